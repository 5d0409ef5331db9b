"""How well an evaluator ranks architectures of known quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna.benchmarks import GroundTruth, Trained
from gennas_optuna.correlation import RankCorrelation, rank_correlation
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.seeding import numpy_generator


@dataclass(frozen=True)
class Ranked:
    """An architecture with its true quality and its score."""

    trained: Trained
    score: Score


@dataclass(frozen=True)
class Ranking:
    """The outcome of a comparison.

    Attributes:
        records: the architectures, in the order they were drawn.
        correlation: between minus the loss and the truth (turned so that higher is better).
        cpu_seconds_per_arch: mean processor time of an evaluation, each network counted once.
    """

    records: tuple[Ranked, ...]
    correlation: RankCorrelation
    cpu_seconds_per_arch: float


def rank(
    truth: GroundTruth,
    evaluator: Evaluator,
    *,
    samples: int,
    seed: int = 0,
    workers: int = 1,
    on_score: Callable[[Trained, Score], None] | None = None,
) -> Ranking:
    """Score randomly drawn architectures of a table and correlate with their true quality.

    Args:
        truth: the table.
        evaluator: what to judge.
        samples: number of records to draw, without repetition.
        seed: of the draw. Tables with equal architectures in equal order give equal draws.
        workers: processes; the result does not depend on it.
        on_score: sees each architecture as it is done.
    """
    drawn = truth.sample(samples, numpy_generator(seed, "rank"))
    records = []
    with EvaluatorPool(evaluator, workers) as pool:
        for trained, score in zip(drawn, pool.map([t.arch for t in drawn]), strict=True):
            records.append(Ranked(trained, score))
            if on_score is not None:
                on_score(trained, score)
    return Ranking(tuple(records), correlate(truth, records, seed), mean_cpu_seconds(records))


def correlate(truth: GroundTruth, records: Sequence[Ranked], seed: int = 0) -> RankCorrelation:
    """Signed rank correlation of minus the loss with the truth."""
    return rank_correlation(
        [-record.score.loss for record in records],
        [truth.goodness(record.trained) for record in records],
        seed=seed,
    )


def mean_cpu_seconds(records: Sequence[Ranked]) -> float:
    """Mean processor time per network that was evaluated."""
    seconds = {record.trained.arch.key: record.score.cpu_seconds for record in records}
    return float(np.mean(list(seconds.values())))
