"""NAS-Bench-201 (Dong & Yang, ICLR 2020): a cell of six edges, repeated in three stages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._base import SearchSpace
from gennas_optuna.spaces._dataflow import DataFlow, Step
from gennas_optuna.spaces._dataflow import canonical as canonical_flow
from gennas_optuna.spaces._nasbench201_net import POOL, NASBench201Net
from gennas_optuna.spaces._scale import Scale

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations, in the order of their indices in the benchmark's keys."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""The edges (source, target) of the cell, in the order of the benchmark's keys."""

_FORMS = (
    "'|op~0|+|op~0|op~1|+|op~0|op~1|op~2|' with op one of " + ", ".join(OPERATIONS),
    "six digits 0 to 4 such as '421211'",
    "a JSON list such as '[[4],[2,1],[2,1,1]]'",
)


@dataclass(frozen=True)
class NASBench201(SearchSpace):
    """The 15,625 cells of NAS-Bench-201.

    The code of an architecture is the tuple of six operation indices in the order of ``EDGES``.

    ``form="gennas"`` builds what the GenNAS paper ran: cell convolutions with bias, followed by
    batch norm without affine parameters and without running statistics. ``form="benchmark"``
    builds the benchmark's own: no bias, ordinary batch norm.
    """

    name: str = "nasbench201"
    forms: ClassVar[tuple[str, ...]] = ("gennas", "benchmark")

    def distributions(self) -> dict[str, BaseDistribution]:
        """One choice of operation per edge: ``op_<source>_<target>``."""
        return {f"op_{i}_{j}": CategoricalDistribution(OPERATIONS) for i, j in EDGES}

    def decode(self, params: Mapping[str, Any]) -> Architecture:  # noqa: D102 - inherited
        return self._arch([OPERATIONS.index(op) for op in self._checked(params).values()])

    def params(self, arch: Architecture) -> dict[str, Any]:  # noqa: D102
        return {
            name: OPERATIONS[op] for name, op in zip(self.distributions(), _ops(arch), strict=True)
        }

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Each edge is redrawn from all five operations with chance 1/5, as GenNAS does it.

        The published rate is one fifth, not one sixth, and an edge may draw what it had.
        """
        redrawn = rng.random(len(EDGES)) < 1 / 5
        drawn = rng.integers(len(OPERATIONS), size=len(EDGES))
        return self._arch(
            [int(n) if r else o for o, n, r in zip(_ops(arch), drawn, redrawn, strict=True)]
        )

    def parse(self, text: str) -> Architecture:
        """Read the benchmark's string, its six-digit key, or a JSON list of lists of indices."""
        stripped = text.strip()
        if re.fullmatch(r"[0-4]{6}", stripped):
            return self._arch([int(digit) for digit in stripped])
        if stripped.startswith("|"):
            groups = [group.strip("|").split("|") for group in stripped.split("+")]
            named = [tuple(item.rpartition("~")[::2]) for group in groups for item in group]
            if (
                [len(group) for group in groups] == [1, 2, 3]
                and [source for _, source in named] == [str(i) for i, _ in EDGES]
                and all(op in OPERATIONS for op, _ in named)
            ):
                return self._arch([OPERATIONS.index(op) for op, _ in named])
        elif stripped.startswith("["):
            return self._arch(_from_json(stripped))
        raise _malformed(text)

    def format(self, arch: Architecture) -> str:
        """The benchmark's string form."""
        items = [f"{OPERATIONS[op]}~{i}" for op, (i, _) in zip(_ops(arch), EDGES, strict=True)]
        return "+".join(f"|{'|'.join(group)}|" for group in (items[:1], items[1:3], items[3:]))

    def key(self, arch: Architecture) -> str:
        """The data flow of the cell as text.

        ``3@0,1@01>2`` reads: conv 3x3 of value 0 (the input), conv 1x1 of values 0 + 1; the
        result is value 2.
        """
        flow = _canonical(_ops(arch))
        steps = ",".join(f"{step.op}@{_digits(step.inputs)}" for step in flow.steps)
        return f"{steps}>{_digits(flow.output)}"

    def index(self, arch: Architecture) -> str:
        """The benchmark's six-digit key of the encoding (not isomorphism-aware)."""
        return _digits(_ops(arch))

    def _network(
        self, arch: Architecture, scale: Scale, canonical: bool, input_shape: tuple[int, ...]
    ) -> NASBench201Net:
        ops = _ops(arch)
        return NASBench201Net(
            _canonical(ops) if canonical else _flow(ops),
            width=scale.channels(16),
            depth=scale.blocks(5),
            own_norm=self.form == "benchmark",
            input_shape=input_shape,
        )

    def _arch(self, ops: Sequence[int]) -> Architecture:
        return Architecture(self, tuple(ops))


def _ops(arch: Architecture) -> tuple[int, ...]:
    assert isinstance(arch.code, tuple)
    return arch.code


def _digits(values: Sequence[int]) -> str:
    return "".join(map(str, values))


_STEP_NAMES = {"nor_conv_1x1": "1", "nor_conv_3x3": "3", "avg_pool_3x3": POOL}


def _flow(ops: tuple[int, ...]) -> DataFlow:
    """The cell as encoded: every edge that computes is a step, used or not."""
    nodes: list[tuple[int, ...]] = [(0,), (), (), ()]
    steps: list[Step] = []
    for (source, target), op in zip(EDGES, ops, strict=True):
        name = OPERATIONS[op]
        if name == "skip_connect":
            nodes[target] += nodes[source]
        elif name != "none":
            steps.append(Step(_STEP_NAMES[name], nodes[source]))
            nodes[target] += (len(steps),)
    return DataFlow(tuple(steps), nodes[3])


@lru_cache(maxsize=2**14)
def _canonical(ops: tuple[int, ...]) -> DataFlow:
    return canonical_flow(_flow(ops), weightless={POOL})


def _from_json(text: str) -> list[int]:
    try:
        groups = json.loads(text)
        ops = [op for group in groups for op in group]
        shape = [len(group) for group in groups]
    except (ValueError, TypeError, RecursionError):
        raise _malformed(text) from None
    if shape != [1, 2, 3] or not all(type(op) is int and 0 <= op < len(OPERATIONS) for op in ops):
        raise _malformed(text)
    return ops


def _malformed(text: str) -> InvalidValueError:
    given = text if len(text) <= 120 else text[:117] + "..."
    return InvalidValueError(
        f"not a NAS-Bench-201 architecture: {given!r}; give {', or '.join(_FORMS)}"
    )
