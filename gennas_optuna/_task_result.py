"""What a task search found: the task, how certain it is, where it came from."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import scipy
from optuna.trial import FrozenTrial, TrialState

from gennas_optuna._task_pool import MakeEvaluator
from gennas_optuna._task_study import LOSSES, completed, evaluations, finished
from gennas_optuna.benchmarks import GroundTruth, Trained
from gennas_optuna.correlation import RankCorrelation, rank_correlation
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.report import correlation_record
from gennas_optuna.score_file import ScoreFile, finite
from gennas_optuna.task import ProxyTask

if TYPE_CHECKING:
    from gennas_optuna.task_search import ProxyTaskObjective

_FEWEST = 10
"""Completed trials that importances are told from."""


@dataclass(frozen=True)
class TaskSearch:
    """The outcome of a proxy-task search.

    Attributes:
        task: the best task.
        trial: its trial's number.
        correlation: of the best task on the architectures of the search, which it was chosen by:
            expect less on others.
        losses: the best task's loss of each architecture of the search, in their order.
        n_trials: completed and pruned trials of the study.
        n_completed: those that were not pruned.
        n_evaluations: architectures that were trained.
        sampler: class name of the study's sampler.
        stopped: the limit that ended the search.
        conditions: see :attr:`ProxyTaskObjective.conditions`.
        archs: texts of the architectures of the search.
    """

    task: ProxyTask
    trial: int
    correlation: RankCorrelation
    losses: tuple[float, ...]
    n_trials: int
    n_completed: int
    n_evaluations: int
    sampler: str
    stopped: str
    conditions: dict[str, Any]
    archs: tuple[str, ...]

    def provenance(self) -> dict[str, Any]:
        """Where the task came from, for JSON."""
        versions = {name: metadata.version(name) for name in ("gennas-optuna", "optuna", "torch")}
        return {
            "task_digest": self.task.digest,
            "trial": self.trial,
            "search": correlation_record(self.correlation),
            "n_trials": self.n_trials,
            "n_completed": self.n_completed,
            "n_evaluations": self.n_evaluations,
            "sampler": self.sampler,
            "stopped": self.stopped,
            **self.conditions,
            "archs": list(self.archs),
            "losses": [finite(loss) for loss in self.losses],
            "versions": {"python": platform.python_version(), **versions},
        }


def summarize(objective: ProxyTaskObjective, study: optuna.Study, stopped: str) -> TaskSearch:
    """The best of a study.

    Raises:
        InvalidValueError: no trial of it was completed.
    """
    best = completed(study)
    if not best:
        raise InvalidValueError(
            f"study {study.study_name!r}: no trial was completed; allow more trials or time"
        )
    losses = losses_of(best[0])
    return TaskSearch(
        task=_named(objective, best[0]),
        trial=best[0].number,
        correlation=rank_correlation([-loss for loss in losses], objective.goodness),
        losses=losses,
        n_trials=len(finished(study)),
        n_completed=len(best),
        n_evaluations=evaluations(study),
        sampler=type(study.sampler).__name__,
        stopped=stopped,
        conditions=objective.conditions,
        archs=tuple(str(record.arch) for record in objective.archs),
    )


def losses_of(trial: FrozenTrial) -> tuple[float, ...]:
    """The losses that a trial found, in the order of the architectures."""
    return tuple(float("inf") if x is None else float(x) for x in trial.user_attrs[LOSSES])


def top_tasks(objective: ProxyTaskObjective, study: optuna.Study, n: int) -> list[ProxyTask]:
    """The best tasks of a study, best first, each once; fewer if there are not so many."""
    tasks = [_named(objective, trial) for trial in completed(study)]
    return list(dict.fromkeys(tasks))[:n]


def _named(objective: ProxyTaskObjective, trial: FrozenTrial) -> ProxyTask:
    task = objective.tasks.decode(trial.params)
    return replace(task, name=f"{objective.space.name}-{task.digest}")


def score_tasks(
    tasks: Sequence[ProxyTask],
    make_evaluator: MakeEvaluator,
    records: Sequence[Trained],
    *,
    workers: int = 1,
    cache: Path | None = None,
    on_score: Callable[[], None] | None = None,
) -> list[list[float]]:
    """The losses of architectures on each of several tasks.

    Args:
        tasks: the tasks.
        make_evaluator: makes the evaluator of a task.
        records: the architectures, all of one space.
        workers: processes.
        cache: file of finished scores: read first, then added to.
        on_score: called as each score is there.
    """
    archs = [record.arch for record in records]
    file = None if cache is None else ScoreFile(cache)
    losses: list[list[float]] = []
    for task in tasks:
        evaluator = make_evaluator(task)
        known = set() if file is None else file.restore(evaluator, archs[0].space)
        losses.append([])
        with EvaluatorPool(evaluator, workers) as pool:
            for arch, score in zip(archs, pool.map(archs), strict=True):
                if file is not None and arch.key not in known:
                    file.append(evaluator, arch, score)
                    known.add(arch.key)
                losses[-1].append(score.loss)
                if on_score is not None:
                    on_score()
    return losses


def mean_rank(losses: Sequence[Sequence[float]]) -> list[float]:
    """The mean rank of each architecture over several tasks, 1 for the lowest loss.

    An ensemble of tasks: ranks, since losses of different tasks are not comparable.
    """
    ranks: list[float] = np.mean(scipy.stats.rankdata(losses, axis=1), axis=0).tolist()
    return ranks


def correlate_losses(
    losses: Sequence[float], truth: GroundTruth, records: Sequence[Trained]
) -> RankCorrelation:
    """Signed rank correlations of minus the losses (or ranks) with the truth, with intervals."""
    return rank_correlation(
        [-loss for loss in losses], [truth.goodness(record) for record in records]
    )


def importances(study: optuna.Study) -> dict[str, float]:
    """How much each parameter decides whether a task is among the best (PED-ANOVA).

    They sum to 1, the largest first. Only completed trials with a finite value tell, so a search
    that prunes hard needs many trials (or a larger ``top``); with fewer than ten the result is
    empty.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = [trial.values[0] for trial in complete if np.isfinite(trial.values[0])]
    if len(values) < _FEWEST or len(set(values)) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
