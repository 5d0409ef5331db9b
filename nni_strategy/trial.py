"""The command of an NNI trial: ``python -m nni_strategy.trial --space SPACE``.

It scores the architecture (or proxy task) that NNI's parameters stand for. Intermediate results
are the losses at the late steps (or the rank correlations so far), so NNI's assessors can act. The
final result names the parameters that it belongs to, since NNI may file it under others.
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from typing import Any

import click
import nni
from optuna.trial import FixedTrial

from gennas_optuna.errors import GenNASError
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.task_search import ProxyTaskObjective
from nni_strategy._options import (
    Objective,
    make_objective,
    optimize_mode,
    space_of,
    trial_options,
)
from nni_strategy._result import ERROR, KEY, MODE, PARAMETERS
from nni_strategy.searchspace import read_parameters


@click.command(name="python -m nni_strategy.trial")
@click.option("--space", required=True, help="The architectures' search space.")
@trial_options
def command(space: str, **options: Any) -> None:
    """Score what NNI's parameters stand for.

    Outside an experiment something random is scored, so that the command can be tried.
    """
    objective = make_objective(space, options)
    tried = space_of(objective)
    if _alone():
        generator = numpy_generator(options["seed"], "standalone")
        given = tried.params(tried.sample(generator))  # type: ignore[arg-type]
    else:
        given = nni.get_next_parameter()
    parameters = read_parameters(given, tried.distributions())
    nni.report_final_result(score(objective, parameters, given))


class _Trial(FixedTrial):
    """A trial whose reports go to NNI. Its pruner is NNI's assessor, which kills the process."""

    def report(self, value: float, step: int) -> None:
        nni.report_intermediate_result(float(value))


def score(objective: Objective, parameters: dict[str, Any], given: Any) -> dict[str, Any]:
    """Run the objective; the result to report.

    Args:
        objective: of architectures or of proxy tasks.
        parameters: values of its space's distributions.
        given: the same as NNI has them, which the result carries.
    """
    trial = _Trial(parameters)
    value = objective(trial)
    assert isinstance(value, float)
    result: dict[str, Any] = {"default": value, MODE: optimize_mode(objective)}
    if isinstance(objective, GenNASObjective):
        attributes = trial.user_attrs
        arch = attributes["gennas:arch"]
        result |= {"loss": value, KEY: attributes["gennas:key"], "arch": arch}
        result |= {"task": attributes["gennas:task"], **attributes["gennas:cost"]}
    else:
        assert isinstance(objective, ProxyTaskObjective)
        task = objective.tasks.decode(parameters)
        result |= {"correlation": value, KEY: task.digest, "task": task.to_dict()}
    return {**result, PARAMETERS: given}


def _alone() -> bool:
    return bool(nni.get_trial_id() == "STANDALONE")


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    What is wrong with the options or the parameters is the same for all trials. It is reported
    in place of a result, so that our tuner stops the experiment instead of going on failing.
    NNI's tuners would hang without a number, so there is one: the worst.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.ClickException, GenNASError) as error:
        told = error.format_message() if isinstance(error, click.ClickException) else str(error)
        message = " ".join(f"python -m nni_strategy.trial: error: {told}".split())
        if not _alone():
            if nni.get_current_parameter() is None:
                nni.get_next_parameter()
            # The options may be what is wrong, so they are not parsed.
            tasks = "--search=task" in arguments or ("--search", "task") in pairwise(arguments)
            worst = -math.inf if tasks else math.inf
            nni.report_final_result({"default": worst, ERROR: message})
        print(message, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
