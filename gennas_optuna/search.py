"""Architecture search: an Optuna study asked for batches, scored by a pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from gennas_optuna._evaluator import Score
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.spaces import Architecture

BATCH = 4
"""Trials asked for at a time. Fixed, so that a search does not depend on the workers."""


@dataclass(frozen=True)
class Found:
    """A distinct network that a search scored."""

    arch: Architecture
    score: Score


def search(
    objective: GenNASObjective,
    study: optuna.Study,
    *,
    n_trials: int,
    workers: int = 1,
    on_trial: Callable[[Architecture, Score], None] | None = None,
) -> list[Found]:
    """Run ``n_trials`` trials of ``study``, several at a time.

    The study is asked for trials in batches of a fixed size, so the result is the same for any
    number of workers. Whatever ends the search, no trial is left running.

    Args:
        objective: its space and evaluator are used.
        study: any study of one objective that is minimised; its pruner is not asked.
        n_trials: how many trials to run.
        workers: processes.
        on_trial: sees each architecture with its score.

    Returns:
        The distinct networks that were scored, best first.
    """
    found: dict[str, Found] = {}
    first: dict[str, int] = {}
    with EvaluatorPool(objective.evaluator, workers) as pool:
        for start in range(0, n_trials, BATCH):
            open_trials = [study.ask() for _ in range(min(BATCH, n_trials - start))]
            try:
                archs = [objective.begin(trial) for trial in open_trials]
                for arch, score in zip(archs, pool.map(archs), strict=True):
                    trial = open_trials[0]
                    number = first.setdefault(arch.key, trial.number)
                    if number != trial.number:
                        trial.set_user_attr("gennas:duplicate_of", number)
                    study.tell(trial, objective.finish(trial, score))
                    open_trials.pop(0)
                    found.setdefault(arch.key, Found(arch, score))
                    if on_trial is not None:
                        on_trial(arch, score)
            finally:
                for trial in open_trials:
                    study.tell(trial, state=TrialState.FAIL)
    return sorted(found.values(), key=lambda item: item.score.loss)
