"""The cell spaces of NDS: DARTS, ENAS, PNAS, NASNet and AmoebaNet cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._cellnet import CellNet, Stem
from gennas_optuna.spaces._genotype import Cell, Genotype, Pair, encoded, loose_ends, text
from gennas_optuna.spaces._genotype import canonical as canonical_cell
from gennas_optuna.spaces._nds import NDSSpace
from gennas_optuna.spaces._record import Record
from gennas_optuna.spaces._scale import Scale
from gennas_optuna.spaces.nds import CELL_SPACES, CellSpace

_EXAMPLE = (
    '{"width": 32, "depth": 10, "genotype": {"normal": [["skip_connect", 0], ...], '
    '"normal_concat": [2, ...], "reduce": [...], "reduce_concat": [...]}}'
)


class Code(NamedTuple):
    """The code of an architecture: what a record of the benchmark says about it."""

    genotype: Genotype
    width: int
    depth: int


@dataclass(frozen=True)
class NDSCells(NDSSpace[CellSpace]):
    """Two cells (normal and reduction), a width and a depth.

    A node of a cell is the sum of two operations, each on one of the two previous cells (states 0
    and 1) or an earlier node. Which operations, how many nodes and which of them are joined to
    the output is in the row of ``CELL_SPACES`` with this space's name.

    ``form="gennas"`` builds what GenNAS runs: the CIFAR form for spaces of CIFAR records; for
    those of ImageNet records (names ending in ``-in``) the ImageNet form with a stem of stride 1,
    for images of 32x32. ``form="first-release"`` builds the CIFAR form for all, as GenNAS's first
    release did. ``form="benchmark"`` builds what the benchmark trained: for ImageNet records with
    the stem's real strides, for images of 224x224.

    :class:`~gennas_optuna.spaces.Scale` replaces the architecture's own width and depth.

    Two encodings share the key if they are equal up to the order of the nodes, of the two
    operations of a node and of the channels, up to nodes that reach no output, and up to
    operations on zeros (see :func:`gennas_optuna.spaces._genotype.canonical`). Width and depth
    are part of the key.
    """

    forms: ClassVar[tuple[str, ...]] = ("gennas", "first-release", "benchmark")
    rows: ClassVar[Mapping[str, CellSpace]] = CELL_SPACES
    kind: ClassVar[str] = "cell"

    def distributions(self) -> dict[str, BaseDistribution]:
        """Per cell, node and side (a, b) an operation and the state it reads; width; depth.

        Node j may read the states 0 to j - 1. Width and depth are left out where they are fixed.
        """
        found: dict[str, BaseDistribution] = {}
        for cell in ("normal", "reduce"):
            for node, slot in self._slots(cell):
                found[f"{slot}_op"] = CategoricalDistribution(self.row.ops)
                found[f"{slot}_from"] = CategoricalDistribution(range(node))
        for name, values in (("width", self.row.widths), ("depth", self.row.depths)):
            if len(values) > 1:
                found[name] = IntDistribution(values[0], values[-1], step=values.step)
        return found

    def decode(self, params: Mapping[str, Any]) -> Architecture:  # noqa: D102 - inherited
        values = self._checked(params)
        normal, reduce = (
            tuple((values[f"{s}_op"], values[f"{s}_from"]) for _, s in self._slots(cell))
            for cell in ("normal", "reduce")
        )
        genotype = Genotype(normal, self._joined(normal), reduce, self._joined(reduce))
        width = values.get("width", self.row.widths[0])
        depth = values.get("depth", self.row.depths[0])
        return Architecture(self, Code(genotype, width, depth))

    def params(self, arch: Architecture) -> dict[str, Any]:
        """The parameters of an architecture.

        Raises:
            InvalidValueError: it is not in the sampled space: its width or depth is not one of
                the row's, or its output joins other nodes than the row's rule says. All records
                of the benchmark keep to that rule.
        """
        genotype, width, depth = _code(arch)
        values: dict[str, Any] = {}
        for cell in ("normal", "reduce"):
            pairs, concat = getattr(genotype, cell), getattr(genotype, f"{cell}_concat")
            if set(concat) != set(self._joined(pairs)):
                raise self._outside(f"{cell}_concat {list(concat)}", list(self._joined(pairs)))
            for (_, slot), (op, state) in zip(self._slots(cell), pairs, strict=True):
                values[f"{slot}_op"], values[f"{slot}_from"] = op, state
        for name, value, allowed in (
            ("width", width, self.row.widths),
            ("depth", depth, self.row.depths),
        ):
            if value not in allowed:
                raise self._outside(f"{name} {value}", list(allowed))
            if len(allowed) > 1:
                values[name] = value
        return values

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """One parameter, chosen with equal chance, takes another value.

        So the ageing evolution of AmoebaNet (Real et al., AAAI 2019) moves: another operation or
        another state to read. Here width and depth move too, unless they are fixed.
        """
        params = self.params(arch)
        distributions = self.distributions()
        name = list(distributions)[rng.integers(len(distributions))]
        others = [value for value in _values(distributions[name]) if value != params[name]]
        return self.decode({**params, name: others[rng.integers(len(others))]})

    def parse(self, text: str) -> Architecture:
        """Read the JSON text of a record's ``net``, or what :meth:`format` wrote.

        Any even width up to 4096 and depth from 3 to 1000 is read, and any joined nodes.
        """
        record = Record(text, space=self.name, example=_EXAMPLE)
        cells: dict[str, Any] = {}
        for cell in ("normal", "reduce"):
            pairs, concat = cell, f"{cell}_concat"
            cells[pairs] = record.pairs(pairs, "genotype", self.row.ops, 2 * self.row.nodes)
            cells[concat] = record.wholes(concat, range(2, self.row.nodes + 2), inside="genotype")
            if not cells[concat] or len(set(cells[concat])) < len(cells[concat]):
                raise record.error(f"{concat} is empty or names a node twice")
        width = record.whole("width", range(2, 4097, 2))
        depth = record.whole("depth", range(3, 1001))
        return Architecture(self, Code(Genotype(**cells), width, depth))

    def format(self, arch: Architecture) -> str:
        """Compact JSON with the fields of a record's ``net`` that describe the network."""
        genotype, width, depth = _code(arch)
        fields = {"width": width, "depth": depth, "genotype": genotype._asdict()}
        return json.dumps(fields, separators=(",", ":"))

    def key(self, arch: Architecture) -> str:
        """Width, depth and the two canonical cells, as in ``32x8|i@0+s3@1>2|m3@0+s5@1>2``."""
        genotype, width, depth = _code(arch)
        return "|".join((f"{width}x{depth}", *map(text, _canonical(genotype))))

    def _network(
        self, arch: Architecture, scale: Scale, canonical: bool, input_shape: tuple[int, ...]
    ) -> CellNet:
        genotype, width, depth = _code(arch)
        normal, reduce = _canonical(genotype) if canonical else _encoded(genotype)
        stem: Stem = "cifar"
        if self.row.imagenet and self.form != "first-release":
            stem = "imagenet-strided" if self.form == "benchmark" else "imagenet"
        return CellNet(
            normal,
            reduce,
            width=scale.channels(width),
            depth=scale.blocks(depth, least=3),
            stem=stem,
            prune=canonical,
            input_shape=input_shape,
        )

    def _slots(self, cell: str) -> list[tuple[int, str]]:
        """Node and name of each of a cell's pairs, such as (2, "normal_2a")."""
        nodes = range(2, self.row.nodes + 2)
        return [(node, f"{cell}_{node}{side}") for node in nodes for side in "ab"]

    def _joined(self, pairs: tuple[Pair, ...]) -> tuple[int, ...]:
        return loose_ends(pairs) if self.row.loose else tuple(range(2, self.row.nodes + 2))


def _code(arch: Architecture) -> Code:
    assert isinstance(arch.code, Code)
    return arch.code


def _encoded(genotype: Genotype) -> tuple[Cell, Cell]:
    return (
        encoded(genotype.normal, genotype.normal_concat),
        encoded(genotype.reduce, genotype.reduce_concat),
    )


def _canonical(genotype: Genotype) -> tuple[Cell, Cell]:
    normal, reduce = _encoded(genotype)
    return canonical_cell(normal), canonical_cell(reduce)


def _values(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution)
    return list(range(distribution.low, distribution.high + 1, distribution.step))
