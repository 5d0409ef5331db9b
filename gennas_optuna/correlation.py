"""Rank correlation of a score with the truth, and how certain it is.

All correlations are signed: a ranking upside down has a negative one. Give scores as goodness
(higher is better), so minus the loss. Infinite values are in order (a training that diverged has
goodness minus infinity and ranks last); values that are not numbers (NaN) are refused. If one of
the two sides is constant, it ranks nothing and the correlation is 0.

Intervals are percentile bootstrap intervals (Efron & Tibshirani, 1993, chapter 13): architectures
are drawn with replacement, with score and truth together. They say how much the figure depends on
which architectures were in the sample, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.seeding import numpy_generator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Values = Sequence[float] | Floats
Interval = tuple[float, float]

_UNKNOWN: Interval = (math.nan, math.nan)
_CHUNK = 2**21  # resampled values held at a time
_MOST_PAIRWISE = 1000  # architectures; beyond, comparing all pairs costs more than sorting


@dataclass(frozen=True)
class RankCorrelation:
    """Rank correlations of one score with the truth.

    Attributes:
        spearman: Spearman's rho, -1 to 1.
        spearman_ci: its interval (low, high); NaNs if there are fewer than three architectures
            or one side is constant.
        kendall: Kendall's tau-b, -1 to 1.
        kendall_ci: its interval, likewise.
        n: number of architectures.
    """

    spearman: float
    spearman_ci: Interval
    kendall: float
    kendall_ci: Interval
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """How much better one score ranks than another on the same architectures.

    Attributes:
        difference: Spearman's rho of the first minus that of the second.
        ci: its interval (low, high); NaNs if there are fewer than three architectures or the
            truth is constant.
        n: number of architectures.
    """

    difference: float
    ci: Interval
    n: int


def spearman(x: Values, y: Values) -> float:
    """Spearman's rank correlation; equal values share their mean rank. 0 if one is constant.

    Raises:
        InvalidValueError: the lengths differ or are below 2, or there is a NaN.
    """
    a, b = _checked(x=x, y=y)
    return float(_spearman(a, b))


def kendall(x: Values, y: Values) -> float:
    """Kendall's tau-b, which corrects for equal values. 0 if one is constant.

    Raises:
        InvalidValueError: the lengths differ or are below 2, or there is a NaN.
    """
    a, b = _checked(x=x, y=y)
    return _kendall(a, b)


def rank_correlation(
    goodness: Values,
    truth: Values,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> RankCorrelation:
    """Both correlations with their bootstrap intervals.

    Args:
        goodness: one score per architecture; higher is better.
        truth: how good they really are, in the same order; higher is better.
        n_resamples: bootstrap resamples.
        confidence: coverage of the intervals, between 0 and 1.
        seed: of the resampling; global random state is not used.

    Raises:
        InvalidValueError: the lengths differ or are below 2, there is a NaN, or an option is
            out of range.
    """
    a, b = _checked(goodness=goodness, truth=truth)
    draws = _Draws(len(a), n_resamples, confidence, seed)
    spearman_ci = kendall_ci = _UNKNOWN
    if len(a) >= 3 and not (_constant(a) or _constant(b)):
        spearman_ci = draws.interval(lambda index: _spearman(a[index], b[index]))
        kendall_ci = draws.interval(_kendall_of_resamples(a, b))
    return RankCorrelation(
        spearman=float(_spearman(a, b)),
        spearman_ci=spearman_ci,
        kendall=_kendall(a, b),
        kendall_ci=kendall_ci,
        n=len(a),
    )


def paired_difference(
    goodness_a: Values,
    goodness_b: Values,
    truth: Values,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Spearman's rho of ``goodness_a`` minus that of ``goodness_b``, with its interval.

    Every resample has the same architectures for both, so what makes a sample easy or hard for
    either cancels: the interval is narrower than the two separate ones suggest. A lower end above
    0 says that the first ranks better; one above ``-d``, that it is worse by less than ``d``.

    Raises:
        InvalidValueError: as :func:`rank_correlation`.
    """
    a, b, t = _checked(goodness_a=goodness_a, goodness_b=goodness_b, truth=truth)
    draws = _Draws(len(t), n_resamples, confidence, seed)

    def difference(index: Ints) -> Floats:
        return _spearman(a[index], t[index]) - _spearman(b[index], t[index])

    ci = _UNKNOWN if len(t) < 3 or _constant(t) else draws.interval(difference)
    return PairedDifference(float(difference(np.arange(len(t)))), ci, len(t))


class _Draws:
    """The resamples: the same ones whenever they are gone through."""

    def __init__(self, n: int, n_resamples: int, confidence: float, seed: int) -> None:
        if type(n_resamples) is not int or n_resamples < 1:
            raise InvalidValueError(f"{n_resamples=}: give a whole number from 1 up")
        if not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
            raise InvalidValueError(f"{confidence=}: give a number between 0 and 1")
        if type(seed) is not int:
            raise InvalidValueError(f"{seed=}: give a whole number")
        self._n = n
        self._n_resamples = n_resamples
        self._confidence = confidence
        self._seed = seed

    def interval(self, statistic: Callable[[Ints], Floats]) -> Interval:
        """The interval of a statistic that maps (resamples, n) indices to one value each."""
        values = np.concatenate([statistic(index) for index in self._chunks()])
        tail = (1 - self._confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail])
        return float(low), float(high)

    def _chunks(self) -> Iterator[Ints]:
        rng = numpy_generator(self._seed, "bootstrap")
        rows = max(1, _CHUNK // self._n)
        for start in range(0, self._n_resamples, rows):
            count = min(rows, self._n_resamples - start)
            yield rng.integers(self._n, size=(count, self._n))


def _checked(**sides: Values) -> tuple[Floats, ...]:
    arrays = []
    for name, values in sides.items():
        try:
            if np.iscomplexobj(values):
                raise TypeError("complex numbers have no order")
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidValueError(f"{name} is not a list of numbers: {error}") from error
        if array.ndim != 1:
            raise InvalidValueError(f"{name} has {array.ndim} axes: give a flat list of numbers")
        if np.isnan(array).any():
            where = int(np.flatnonzero(np.isnan(array))[0])
            raise InvalidValueError(f"{name}[{where}] is NaN, which has no rank")
        arrays.append(array)
    lengths = [len(array) for array in arrays]
    if min(lengths) != max(lengths) or min(lengths) < 2:
        given = ", ".join(f"{name} {n}" for name, n in zip(sides, lengths, strict=True))
        raise InvalidValueError(f"lengths {given}: give equally many numbers, at least 2")
    return tuple(arrays)


def _constant(values: Floats) -> bool:
    return bool((values == values[0]).all())


def _spearman(a: Floats, b: Floats) -> Floats:
    """Along the last axis. All sums are of halves, hence exact: equal ranks give just 1."""
    center = (a.shape[-1] + 1) / 2
    rank_a, rank_b = (np.asarray(scipy.stats.rankdata(side, axis=-1)) - center for side in (a, b))
    covariance = (rank_a * rank_b).sum(axis=-1)
    return _ratio(covariance, (rank_a**2).sum(axis=-1), (rank_b**2).sum(axis=-1))


def _ratio(covariance: Floats, variance_a: Floats, variance_b: Floats) -> Floats:
    """A correlation from its parts; 0 where one side does not vary."""
    scale = np.asarray(np.sqrt(variance_a * variance_b))
    rho: Floats = np.zeros_like(scale)
    np.divide(covariance, scale, out=rho, where=scale > 0)
    return np.clip(rho, -1, 1, out=rho)


def _kendall(a: Floats, b: Floats) -> float:
    if _constant(a) or _constant(b):
        return 0.0
    return float(np.clip(scipy.stats.kendalltau(a, b).statistic, -1, 1))


def _kendall_of_resamples(a: Floats, b: Floats) -> Callable[[Ints], Floats]:
    """Kendall's tau-b of resamples of (a, b), given the indices drawn.

    How two architectures compare does not depend on the resample, only how often each was drawn:
    with counts w, concordant minus discordant pairs are w' C w / 2, where C is the product of the
    signs of the two differences; likewise the pairs that are not tied.
    """
    n = len(a)
    if n > _MOST_PAIRWISE:
        return lambda index: np.array([_kendall(a[i], b[i]) for i in index])
    sign_a, sign_b = (np.sign(_compared(side)) for side in (a, b))
    products = (sign_a * sign_b, np.abs(sign_a), np.abs(sign_b))

    def statistic(index: Ints) -> Floats:
        counts = np.stack([np.bincount(row, minlength=n) for row in index]).astype(np.float64)
        balance, untied_a, untied_b = (((counts @ p) * counts).sum(axis=1) for p in products)
        return _ratio(balance, untied_a, untied_b)

    return statistic


def _compared(values: Floats) -> Floats:
    """Differences of all pairs of ranks (differences of infinite values would be NaN)."""
    ranks: Floats = np.asarray(scipy.stats.rankdata(values))
    differences: Floats = ranks[:, None] - ranks[None, :]
    return differences
