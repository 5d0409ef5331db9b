"""What is searched, and how: the options of the trial command, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from optuna.study import StudyDirection

from gennas_optuna import _check
from gennas_optuna._cli_options import TASK_OPTION, TRAINING_OPTIONS, with_options
from gennas_optuna._task_bound import STATISTICS
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.evaluator import GenNASEvaluator
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.spaces import SearchSpace, get_space
from gennas_optuna.task_search import ProxyTaskObjective
from gennas_optuna.task_space import FORMS, ProxyTaskSpace

Objective = GenNASObjective | ProxyTaskObjective

SEARCHES = ("arch", "task")
"""What an experiment searches: architectures, or the proxy task that ranks them best."""

_OPTIONS = (
    click.option("--form", metavar="FORM", help="Which network of the space."),
    click.option(
        "--search",
        type=click.Choice(SEARCHES),
        default="arch",
        show_default=True,
        help="Architectures, or the proxy task that ranks them best.",
    ),
    TASK_OPTION,
    *TRAINING_OPTIONS,
    click.option("--truth", help="Task search: known qualities, hpo-bench:cifar10 or a file."),
    click.option(
        "--archs",
        type=click.IntRange(min=2),
        default=20,
        show_default=True,
        help="Task search: architectures drawn from TRUTH.",
    ),
    click.option(
        "--statistic",
        type=click.Choice(STATISTICS),
        default="spearman",
        show_default=True,
        help="Task search: the rank correlation.",
    ),
    click.option(
        "--task-space",
        type=click.Choice(FORMS),
        default="flat",
        show_default=True,
        help="Task search: form of the parameters.",
    ),
)


trial_options = with_options(*_OPTIONS)
"""All options of the trial but ``--space``."""


def searched(
    space: str, form: str | None = None, search: str = "arch", task_space: str = "flat"
) -> SearchSpace | ProxyTaskSpace:
    """The space of the parameters that NNI chooses: of architectures, or of proxy tasks."""
    _check.one_of(search, "search", SEARCHES)
    chosen = get_space(space) if form is None else get_space(space, form=form)
    return chosen if search == "arch" else ProxyTaskSpace.of(chosen, task_space)


def make_objective(space: str, options: Mapping[str, Any]) -> Objective:
    """The objective of the trial's options.

    Raises:
        GenNASError: one of them is wrong.
    """
    form = options["form"]
    chosen = get_space(space) if form is None else get_space(space, form=form)
    names = ("preset", "steps", "inputs", "seed", "device", "threads")
    settings = {name: options[name] for name in names}
    if options["search"] == "arch":
        if options["truth"] is not None:
            raise InvalidValueError("--truth is for --search task")
        evaluator = GenNASEvaluator(options["task"], **settings)
        evaluator.task_for(chosen)  # so that a task that is not there is told now
        return GenNASObjective(chosen, evaluator=evaluator)
    if options["truth"] is None:
        raise InvalidValueError("--search task: give --truth, the architectures' known qualities")
    if options["task"] != "default":
        raise InvalidValueError("--search task finds the task: leave --task out")
    return ProxyTaskObjective(
        chosen,
        options["truth"],
        n_archs=options["archs"],
        statistic=options["statistic"],
        tasks=ProxyTaskSpace.of(chosen, options["task_space"]),
        prune=False,
        **settings,
    )


def optimize_mode(objective: Objective) -> str:
    """NNI's name of the objective's direction."""
    if isinstance(objective, GenNASObjective):
        return "minimize"
    return "minimize" if objective.direction == StudyDirection.MINIMIZE else "maximize"


def space_of(objective: Objective) -> SearchSpace | ProxyTaskSpace:
    """What the objective's parameters stand for."""
    return objective.space if isinstance(objective, GenNASObjective) else objective.tasks


def as_arguments(command: click.Command, values: Mapping[str, Any]) -> list[str]:
    """The command-line arguments that give a command these values; defaults are left out."""
    arguments: list[str] = []
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if value is not None and value != parameter.default:
            arguments += [parameter.opts[0], str(value)]
    return arguments
