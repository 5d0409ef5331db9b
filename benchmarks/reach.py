"""How many optimiser steps a random search spends until it has found a truly good architecture.

A search goes through architectures in a random order. As it cannot see the truth, what it has found
at any time are the one or few architectures with the lowest last losses so far, which it would hand
over to be trained for real. Steps are summed over all architectures that it trained until then.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def top(true: Floats, share: float) -> Ints:
    """The architectures that are truly best: the share given, and at least one."""
    return np.argsort(-true, kind="stable")[: max(1, math.floor(share * len(true)))]


def full_steps(order: Ints, curves: Floats, steps: list[int], best: Ints, kept: int = 1) -> float:
    """With every architecture trained to the end; infinite if it never happens.

    Args:
        order: the architectures in the order of the search.
        curves: losses, (architectures, steps).
        steps: after how many steps they were read; the last is the end.
        best: the architectures, one of which is to be found.
        kept: how many of the lowest losses count as found.
    """
    return _until(((steps[-1], int(arch)) for arch in order), curves, best, kept)


def halving_steps(
    order: Ints,
    curves: Floats,
    steps: list[int],
    rungs: list[int],
    best: Ints,
    size: int,
    kept: int = 1,
) -> float:
    """With brackets of ``size`` architectures one after another, each halved at the rungs.

    What a bracket found is known when it has ended. The other arguments are those of
    :func:`full_steps` and :func:`halved`.
    """
    brackets = (order[i : i + size] for i in range(0, len(order), size))
    return _until((halved(drawn, curves, steps, rungs) for drawn in brackets), curves, best, kept)


def halved(drawn: Ints, curves: Floats, steps: list[int], rungs: list[int]) -> tuple[int, int]:
    """Steps spent, and the architecture that is left with the lowest loss.

    Args:
        drawn: the architectures that begin.
        curves: losses, (architectures, steps).
        steps: after how many steps they were read; those left are trained to the last.
        rungs: columns of ``curves`` after which the better half goes on.
    """
    spent, before = 0, 0
    for rung in [*rungs, len(steps) - 1]:
        spent += len(drawn) * (steps[rung] - before)
        before = steps[rung]
        if rung != len(steps) - 1 and len(drawn) > 1:
            drawn = drawn[curves[drawn, rung].argsort()[: math.ceil(len(drawn) / 2)]]
    return spent, int(drawn[curves[drawn, -1].argmin()])


def _until(found: Iterable[tuple[int, int]], curves: Floats, best: Ints, kept: int) -> float:
    """Steps until one of the lowest last losses is that of one of the best."""
    wanted = set(best.tolist())
    total = 0
    lowest: list[float] = []
    for spent, arch in found:
        total += spent
        loss = float(curves[arch, -1])
        bound = lowest[kept - 1] if len(lowest) >= kept else math.inf
        if loss < bound:
            if arch in wanted:
                return total
            insort(lowest, loss)
    return math.inf
