"""NAS-Bench-101 (Ying et al., ICML 2019): a cell that is a graph of up to seven vertices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from gennas_optuna._check import shorten
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces import _nasbench101_cell as graph
from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._base import SearchSpace
from gennas_optuna.spaces._dataflow import DataFlow
from gennas_optuna.spaces._dataflow import canonical as canonical_flow
from gennas_optuna.spaces._nasbench101_cell import MAX_EDGES, MAX_VERTICES, OPERATIONS, Cell
from gennas_optuna.spaces._nasbench101_net import NASBench101Net
from gennas_optuna.spaces._scale import Scale

_PAIRS = graph.pairs(MAX_VERTICES)
_INTERIOR = MAX_VERTICES - 2


@dataclass(frozen=True)
class NASBench101(SearchSpace):
    """The 423,624 cells of NAS-Bench-101.

    The code of an architecture is the matrix and the labels just as given, as nested tuples;
    vertices that are on no path from input to output (and so in no network) are part of it,
    because mutation can bring them back.

    ``form="gennas"`` starts the convolutions as the GenNAS code does since its revision: normal,
    by fan-out. ``form="first-release"`` has PyTorch's default, as in its first release. The
    networks are the same. The benchmark itself trained them with ``Scale(width=128)``; the GenNAS
    paper uses 16.
    """

    name: str = "nasbench101"
    forms: ClassVar[tuple[str, ...]] = ("gennas", "first-release")

    def distributions(self) -> dict[str, BaseDistribution]:
        """A yes or no per edge (``edge_<source>_<target>``), an operation per vertex (``op_<i>``).

        Vertex 0 is the input, 6 the output.
        """
        edges = {f"edge_{i}_{j}": CategoricalDistribution((False, True)) for i, j in _PAIRS}
        ops = {f"op_{i}": CategoricalDistribution(OPERATIONS) for i in range(1, _INTERIOR + 1)}
        return {**edges, **ops}

    def decode(self, params: Mapping[str, Any]) -> Architecture:
        """The cell that these parameters draw, repaired where it is none of the benchmark's.

        If no path leads from input to output, the one edge is added that brings most of the
        drawn edges onto such a path. While more than nine edges are on such paths, one is taken
        away: the one that takes fewest others with it; among equals the one between the vertices
        with most edges; then the first. A valid cell is left as it is.
        """
        values = list(self._checked(params).values())
        edges = {pair for pair, chosen in zip(_PAIRS, values, strict=False) if chosen}
        return Architecture(
            self, graph.cell(graph.repair(MAX_VERTICES, edges), values[len(_PAIRS) :])
        )

    def params(self, arch: Architecture) -> dict[str, Any]:
        """The parameters that draw ``arch``; a smaller cell gets vertices without edges."""
        cell = graph.embed(_cell(arch))
        values = [*(bool(cell.matrix[i][j]) for i, j in _PAIRS), *cell.ops[1:-1]]
        return dict(zip(self.distributions(), values, strict=True))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Each edge with chance 1/2, operations uniform, until it is valid (as published)."""
        while True:
            edges = {_PAIRS[k] for k in np.flatnonzero(rng.random(len(_PAIRS)) < 1 / 2)}
            ops = [OPERATIONS[k] for k in rng.integers(len(OPERATIONS), size=_INTERIOR)]
            cell = graph.cell(edges, ops)
            if graph.fault(cell) is None:
                return Architecture(self, cell)

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Each edge flips with chance 1/7, each operation becomes another with chance 1/5.

        As published: on the unpruned cell of seven vertices, repeated from ``arch`` until the
        result is valid. Nothing at all may change (about once in 78 draws), and what
        does may be in a part that no path goes through.
        """
        cell = graph.embed(_cell(arch))
        while True:
            flipped = {_PAIRS[k] for k in np.flatnonzero(rng.random(len(_PAIRS)) < 1 / 7)}
            changed = rng.random(_INTERIOR) < 1 / 5
            steps = rng.integers(1, len(OPERATIONS), size=_INTERIOR) * changed
            ops = [
                OPERATIONS[(OPERATIONS.index(op) + int(step)) % len(OPERATIONS)]
                for op, step in zip(cell.ops[1:-1], steps, strict=True)
            ]
            child = graph.cell(set(cell.edges) ^ flipped, ops)
            if graph.fault(child) is None:
                return Architecture(self, child)

    def parse(self, text: str) -> Architecture:
        """Read the benchmark's form, JSON text of ``[matrix, labels]``."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            raise _malformed(text, "it is not JSON text") from None
        return self._arch(given, text)

    def from_matrix(self, matrix: Any, ops: Any) -> Architecture:
        """The architecture of a matrix and its labels, as nested lists or tuples.

        Raises:
            InvalidValueError: they are no cell of the benchmark.
        """
        return self._arch((matrix, ops), (matrix, ops))

    def format(self, arch: Architecture) -> str:
        """JSON text of ``[matrix, labels]``, just as encoded."""
        return json.dumps(_cell(arch), separators=(",", ":"))

    def key(self, arch: Architecture) -> str:
        """The graph of the pruned cell as text, in the least of all orders of its vertices.

        ``3@0,p@01>02`` reads: a 3x3 convolution of vertex 0 (the input), a max pooling of
        vertices 0 and 1; the output joins vertices 0 and 2. Two cells share the key exactly if
        their pruned graphs are isomorphic, which is when the benchmark counts them as one. (The
        order of vertices moves channels, and one channel more or less of a vertex where a width
        does not divide evenly; it makes no other difference to the network.)
        """
        flow = _canonical(_cell(arch))
        steps = ",".join(f"{step.op}@{_digits(step.inputs)}" for step in flow.steps)
        return f"{steps}>{_digits(flow.output)}"

    def _network(
        self, arch: Architecture, scale: Scale, canonical: bool, input_shape: tuple[int, ...]
    ) -> NASBench101Net:
        cell = _cell(arch)
        return NASBench101Net(
            _canonical(cell) if canonical else graph.flow(cell),
            width=scale.channels(16),
            depth=scale.blocks(3),
            input_shape=input_shape,
        )

    def init_scheme(self) -> str:  # noqa: D102 - inherited
        return "fan-out" if self.form == "gennas" else "pytorch"

    def _arch(self, given: Any, shown: object) -> Architecture:
        if fault := graph.fault(given):
            raise _malformed(shown, fault)
        matrix, ops = given
        return Architecture(self, Cell(tuple(map(tuple, matrix)), tuple(ops)))


def _cell(arch: Architecture) -> Cell:
    assert isinstance(arch.code, tuple)
    return Cell(*arch.code)


@lru_cache(maxsize=2**14)
def _canonical(cell: Cell) -> DataFlow:
    # No ``weightless``: two poolings of the same vertices are two vertices to the benchmark, and
    # differ wherever each has its own projection of the input or its own place in the output.
    return canonical_flow(graph.flow(cell))


def _digits(values: tuple[int, ...]) -> str:
    return "".join(map(str, values))


def _malformed(given: object, reason: str) -> InvalidValueError:
    return InvalidValueError(
        f"not a NAS-Bench-101 cell: {shorten(given, 120)}: {reason}; "
        "give JSON text [matrix, labels]: "
        f"an upper triangular matrix of 0 and 1, and the labels 'input', then any of "
        f"{', '.join(map(repr, OPERATIONS))}, then 'output'; at most {MAX_VERTICES} vertices and "
        f"{MAX_EDGES} edges on paths from input to output"
    )
