"""What the objectives do alike with a trial: report to its pruner, and give up without memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import BaseTrial, Trial

from gennas_optuna.errors import out_of_memory
from gennas_optuna.regression import OnEval


def reporter(trial: BaseTrial, *, several: bool, last: int | None) -> OnEval | None:
    """Reports each loss and lets the study's pruner end the trial, unless it has ended.

    Args:
        trial: any trial.
        several: whether the objective has several values; Optuna prunes for one only.
        last: the step after which nothing is left to save.
    """
    if several or (isinstance(trial, Trial) and len(trial.study.directions) > 1):
        return None

    def report(step: int, loss: float) -> None:
        trial.report(loss, step)
        if step != last and trial.should_prune():
            raise optuna.TrialPruned(f"loss {loss:.4g} after {step} steps")

    return report


@contextmanager
def pruned_without_memory() -> Iterator[None]:
    """Turns running out of memory into :class:`optuna.TrialPruned`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            raise optuna.TrialPruned(f"out of memory: {error}") from error
        raise
