"""How well a ranking can still become when only its first scores are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from gennas_optuna import _check

STATISTICS = ("spearman", "kendall")

Ints = npt.NDArray[np.int64]
Best = dict[int, int]
"""The largest gain by the amount of ties."""


class _Parts(NamedTuple):
    """A rank correlation as gain / sqrt((total - ties) * truth), all in whole numbers.

    Attributes:
        gain: what a group of equal scores adds; of the rows (start, stop) of known and of
            unknown architectures in it, all rows before being ranked below.
        ties: what a group of so many equal scores takes off ``total``.
        total: the variation of scores without ties.
        truth: the variation of the truth.
    """

    gain: Callable[[tuple[int, int], tuple[int, int]], int]
    ties: Callable[[int], int]
    total: int
    truth: int


def upper_bound(goodness: Sequence[float], truth: Sequence[float], statistic: str) -> float:
    """The largest rank correlation that a partly known ranking can have in the end.

    It is attained: the maximum over all scores that the other architectures can get, equal ones
    and infinite ones included.

    How it is found: scores are a sequence of groups, worst first, each of equal scores. The known
    ones fix the order of their own groups. Whatever the places of the unknown architectures, the
    best way to fill them is in the order of their truth (rearrangement inequality). So what is
    left to choose is how the two sequences are merged, and which groups are shared: a path
    through a grid, along which gain and ties add up, and dynamic programming finds the largest
    gain for each amount of ties.

    Groups that cannot be in a best ranking are left out. Splitting a group where one part is
    truly better than the other raises gain by at least as much as it raises the variation of the
    scores, D; since the gain never exceeds D, gain / sqrt(D) rises as well. So unknown
    architectures are tied with each other, or with a single known one, only where their truth is
    equal, and otherwise only with known ones that are tied already (as those that diverged are).

    Args:
        goodness: scores of the first architectures (minus their losses); higher is better.
        truth: how good all architectures really are, in the same order.
        statistic: ``"spearman"`` or ``"kendall"``, each corrected for ties as in
            :mod:`gennas_optuna.correlation`.
    """
    _check.one_of(statistic, "statistic", STATISTICS)
    known, n = len(goodness), len(truth)
    order = sorted(range(known), key=lambda i: goodness[i])
    groups = [len(list(g)) for _, g in groupby(order, key=lambda i: goodness[i])]
    rest = sorted(range(known, n), key=lambda i: truth[i])
    ranked = np.array([truth[i] for i in order + rest], dtype=np.float64)
    parts = (_spearman if statistic == "spearman" else _kendall)(ranked, known)
    found = _merge(ranked.tolist(), groups, parts)
    values = [_ratio(gain, (parts.total - ties) * parts.truth) for ties, gain in found.items()]
    return max(-1.0, min(1.0, max(values)))


def _merge(truth: list[float], groups: list[int], parts: _Parts) -> Best:
    """All of a ranking's possible (ties, gain), of each amount of ties the best."""
    known = sum(groups)
    starts = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)]).tolist()
    free = len(truth) - known
    table: list[list[Best]] = [[{} for _ in range(free + 1)] for _ in range(len(groups) + 1)]
    table[0][0][0] = 0
    for g, row in enumerate(table):
        for u, here in enumerate(row):
            steps = [(g, u + m) for m in range(1, _equal(truth, known + u, None) + 1)]
            if g < len(groups):
                single = groups[g] == 1
                most = _equal(truth, known + u, truth[starts[g]]) if single else free - u
                steps += [(g + 1, u + m) for m in range(most + 1)]
            for to_g, to_u in steps:
                there = table[to_g][to_u]
                more = parts.gain((starts[g], starts[to_g]), (known + u, known + to_u))
                tied = parts.ties(starts[to_g] - starts[g] + to_u - u)
                for ties, gain in here.items():
                    old = there.get(ties + tied)
                    if old is None or gain + more > old:
                        there[ties + tied] = gain + more
    return table[-1][-1]


def _equal(truth: list[float], start: int, value: float | None) -> int:
    """How many from ``start`` on have that truth (by default, that of the first of them)."""
    count = 0
    while start + count < len(truth) and truth[start + count] == (
        truth[start] if value is None else value
    ):
        count += 1
    return count


def _spearman(truth: npt.NDArray[np.float64], known: int) -> _Parts:
    """Ranks are doubled and centred, which makes them whole numbers."""
    n = len(truth)
    ranks = (2 * np.asarray(scipy.stats.rankdata(truth))).astype(np.int64) - (n + 1)
    sums = np.concatenate([[0], np.cumsum(ranks)]).tolist()

    def gain(ours: tuple[int, int], theirs: tuple[int, int]) -> int:
        below = ours[0] + theirs[0] - known
        size = ours[1] - ours[0] + theirs[1] - theirs[0]
        inside: int = sums[ours[1]] - sums[ours[0]] + sums[theirs[1]] - sums[theirs[0]]
        return (2 * below + size - n) * inside

    return _Parts(gain, lambda t: (t**3 - t) // 3, (n**3 - n) // 3, int((ranks**2).sum()))


def _kendall(truth: npt.NDArray[np.float64], known: int) -> _Parts:
    """Gain is the number of pairs in the right order minus those in the wrong one."""
    n = len(truth)
    signs = np.sign(truth[:, None] - truth[None, :]).astype(np.int64)
    sums = np.zeros((n + 1, n + 1), dtype=np.int64)
    sums[1:, 1:] = signs.cumsum(0).cumsum(1)

    def block(rows: tuple[int, int], columns: tuple[int, int]) -> int:
        (a, b), (c, d) = rows, columns
        return int(sums[b, d] - sums[a, d] - sums[b, c] + sums[a, c])

    def gain(ours: tuple[int, int], theirs: tuple[int, int]) -> int:
        below = ((0, ours[0]), (known, theirs[0]))
        return sum(block(rows, columns) for rows in (ours, theirs) for columns in below)

    return _Parts(
        gain, lambda t: t * (t - 1) // 2, n * (n - 1) // 2, int(np.abs(signs).sum()) // 2
    )


def _ratio(gain: int, square: int) -> float:
    return gain / math.sqrt(square) if square > 0 else 0.0
