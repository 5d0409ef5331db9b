"""Cells as graphs: nodes that sum operations on two inputs and on earlier nodes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from gennas_optuna.spaces._ops import OPS

Pair = tuple[str, int]
"""An operation and the state it reads: 0 and 1 are the two previous cells, 2 up the nodes."""

ZERO = -1
"""The state that is zero everywhere."""


class Genotype(NamedTuple):
    """The two cells as the benchmark records them. Pairs 2j and 2j + 1 make up node j + 2."""

    normal: tuple[Pair, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[Pair, ...]
    reduce_concat: tuple[int, ...]


class Cell(NamedTuple):
    """What a cell computes.

    Attributes:
        nodes: per node, from state 2 on, the pairs whose results are summed. A node without
            pairs is zero.
        outputs: the states that are joined, along the channels, to the cell's output.
    """

    nodes: tuple[tuple[Pair, ...], ...]
    outputs: tuple[int, ...]

    def reads(self, state: int) -> bool:
        """Whether some node reads this state."""
        return any(source == state for node in self.nodes for _, source in node)


def encoded(pairs: tuple[Pair, ...], concat: tuple[int, ...]) -> Cell:
    """The cell as recorded, dead nodes included. Adding ``none`` (zeros) is no operation."""
    nodes = zip(pairs[::2], pairs[1::2], strict=True)
    return Cell(tuple(tuple(p for p in node if p[0] != "none") for node in nodes), concat)


def loose_ends(pairs: tuple[Pair, ...]) -> tuple[int, ...]:
    """The nodes that no node reads."""
    read = {source for _, source in pairs}
    return tuple(state for state in range(2, 2 + len(pairs) // 2) if state not in read)


@lru_cache(maxsize=2**14)
def canonical(cell: Cell) -> Cell:
    """The cell that all equal ones share, up to the order of the channels of its output.

    Zeros are folded (a node of nothing but ``none`` is zero; identities and pools keep zero
    zero; a convolution does not, as its batch norm adds a bias), nodes that do not reach the
    output are dropped, and of all orders of the nodes the smallest is taken.
    """
    return min(_orders(_live(_fold_zeros(cell))))


def text(cell: Cell) -> str:
    """Short text, such as ``i@0+s3@1,m3@2>23``: two nodes, both of them joined; ``z`` is zero."""
    nodes = ("+".join(f"{OPS[op].symbol}@{_name(i)}" for op, i in node) for node in cell.nodes)
    return f"{','.join(nodes)}>{'.'.join(map(_name, cell.outputs))}"


def _name(state: int) -> str:
    return "z" if state == ZERO else str(state)


def _fold_zeros(cell: Cell) -> Cell:
    """Let whatever reads a zero node read ``ZERO``; drop what keeps zero zero."""
    number = {ZERO: ZERO}
    nodes = []
    for state, node in enumerate(cell.nodes, start=2):
        renumbered = ((op, number.get(source, source)) for op, source in node)
        kept = tuple(pair for pair in renumbered if pair[1] != ZERO or OPS[pair[0]].weights)
        if not kept:
            number[state] = ZERO
        nodes.append(kept)
    return Cell(tuple(nodes), tuple(number.get(state, state) for state in cell.outputs))


def _live(cell: Cell) -> Cell:
    """Drop the nodes that the output does not depend on."""
    needed = set(cell.outputs)
    for state in range(len(cell.nodes) + 1, 1, -1):
        if state in needed:
            needed.update(source for _, source in cell.nodes[state - 2])
    return _ordered(cell, [s for s in range(2, len(cell.nodes) + 2) if s in needed])


def _orders(cell: Cell) -> Iterator[Cell]:
    """The cell with its nodes in every order in which they can be computed."""
    states = range(2, len(cell.nodes) + 2)

    def extend(order: list[int]) -> Iterator[Cell]:
        if len(order) == len(states):
            yield _ordered(cell, order)
        ready = {ZERO, 0, 1, *order}
        for state in states:
            if state not in ready and all(i in ready for _, i in cell.nodes[state - 2]):
                yield from extend([*order, state])

    return extend([])


def _ordered(cell: Cell, order: list[int]) -> Cell:
    """The cell with these of its states as nodes, in this order."""
    number = {ZERO: ZERO, 0: 0, 1: 1, **{old: new for new, old in enumerate(order, start=2)}}
    nodes = (sorted((op, number[i]) for op, i in cell.nodes[old - 2]) for old in order)
    return Cell(tuple(map(tuple, nodes)), tuple(sorted(number[i] for i in cell.outputs)))
