"""NAS-Bench-101 cells as graphs: pruning, repair, embedding in seven vertices, data flow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import NamedTuple

from gennas_optuna.spaces._dataflow import DataFlow, Step

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""The labels of the vertices between input and output, in the benchmark's order."""

INPUT, OUTPUT = "input", "output"

MAX_VERTICES = 7
"""Most vertices of a pruned cell, input and output included."""

MAX_EDGES = 9
"""Most edges of a pruned cell."""

POOL = "p"
"""The step of a data flow that pools; the others are convolutions by kernel size."""

_STEP_NAMES = dict(zip(OPERATIONS, ("3", "1", POOL), strict=True))

Edge = tuple[int, int]


class Cell(NamedTuple):
    """A cell as the benchmark writes it.

    Attributes:
        matrix: ``matrix[i][j]`` is 1 for an edge from vertex i to vertex j > i, else 0.
        ops: a label per vertex: ``"input"``, any of ``OPERATIONS``, ``"output"``.
    """

    matrix: tuple[tuple[int, ...], ...]
    ops: tuple[str, ...]

    @property
    def edges(self) -> list[Edge]:
        """The edges (source, target) in the order of the rows."""
        return [edge for edge in pairs(len(self.ops)) if self.matrix[edge[0]][edge[1]]]


def pairs(size: int) -> list[Edge]:
    """All edges that ``size`` vertices can have, in the order of the rows."""
    return list(combinations(range(size), 2))


def cell(edges: Collection[Edge], ops: Sequence[str]) -> Cell:
    """The cell with these edges and these interior labels."""
    size = len(ops) + 2
    matrix = tuple(tuple(int((i, j) in edges) for j in range(size)) for i in range(size))
    return Cell(matrix, (INPUT, *ops, OUTPUT))


def fault(given: object) -> str | None:
    """What keeps ``given`` from being ``(matrix, ops)`` of a cell of the benchmark, if anything.

    The limits on vertices and edges are the benchmark's own: they count after pruning.
    """
    if not (isinstance(given, (list, tuple)) and len(given) == 2):
        return "it is not a pair of matrix and labels"
    matrix, ops = given
    if not (isinstance(ops, (list, tuple)) and len(ops) >= 2):
        return "it has no list of two or more labels"
    if not all(isinstance(op, str) for op in ops):
        return "a label is not a text"
    if ops[0] != INPUT or ops[-1] != OUTPUT or not all(op in OPERATIONS for op in ops[1:-1]):
        return "its labels are wrong"
    if not (isinstance(matrix, (list, tuple)) and len(matrix) == len(ops)):
        return f"its matrix does not have one row per label ({len(ops)})"
    for i, row in enumerate(matrix):
        if not (isinstance(row, (list, tuple)) and len(row) == len(ops)):
            return f"row {i} of its matrix does not have {len(ops)} entries"
        if not all(type(entry) is int and entry in (0, 1) for entry in row):
            return f"row {i} of its matrix has entries other than 0 and 1"
        if any(row[: i + 1]):
            return "its matrix is not upper triangular"
    edges = live(len(ops), [(i, j) for i, j in pairs(len(ops)) if matrix[i][j]])
    vertices = len({vertex for edge in edges for vertex in edge})
    if not edges:
        return "no path leads from input to output"
    if vertices > MAX_VERTICES:
        return f"{vertices} of its vertices are on paths from input to output"
    if len(edges) > MAX_EDGES:
        return f"{len(edges)} of its edges are on paths from input to output"
    return None


def live(size: int, edges: Collection[Edge]) -> list[Edge]:
    """Those edges that are on a path from vertex 0 to vertex ``size - 1``, in row order."""
    ordered = sorted(edges)
    ahead, back = {0}, {size - 1}
    for source, target in ordered:  # all edges into a source come before those out of it
        if source in ahead:
            ahead.add(target)
    for source, target in reversed(ordered):
        if target in back:
            back.add(source)
    return [(source, target) for source, target in ordered if source in ahead and target in back]


def prune(given: Cell) -> Cell:
    """The cell without the vertices that are on no path from input to output."""
    edges = live(len(given.ops), given.edges)
    kept = sorted({vertex for edge in edges for vertex in edge})
    number = {old: new for new, old in enumerate(kept)}
    return cell({(number[i], number[j]) for i, j in edges}, [given.ops[old] for old in kept[1:-1]])


def embed(given: Cell) -> Cell:
    """The same cell with seven vertices.

    Vertices without edges are put in front of the output; a cell that has more than seven
    vertices is pruned first.
    """
    small = given if len(given.ops) <= MAX_VERTICES else prune(given)
    last = len(small.ops) - 1
    spare = MAX_VERTICES - len(small.ops)
    edges = {(i, j + spare if j == last else j) for i, j in small.edges}
    return cell(edges, [*small.ops[1:-1], *OPERATIONS[:1] * spare])


def repair(size: int, edges: Collection[Edge]) -> set[Edge]:
    """The nearest edges that make a valid cell of ``size`` (at most seven) vertices.

    Without a path from input to output, the one missing edge that brings most of the given
    edges onto a path is added. While more than nine edges are on such paths, the one whose
    removal leaves most edges on them is removed: one that takes no other with it, if there is
    one, and the whole path never. Among equals it is the edge whose source has most edges out
    and whose target most edges in, so that a cell is thinned where it is dense; then the first
    in row order. Edges that are on no path stay.
    """
    kept = set(edges)
    if not live(size, kept):
        kept.add(
            max(
                (edge for edge in pairs(size) if edge not in kept),
                key=lambda edge: len(live(size, kept | {edge})),
            )
        )
    while len(used := live(size, kept)) > MAX_EDGES:
        leaving = Counter(source for source, _ in used)
        entering = Counter(target for _, target in used)
        left = {edge: len(live(size, kept - {edge})) for edge in used}
        kept.remove(max(used, key=lambda e: (left[e], leaving[e[0]] + entering[e[1]])))
    return kept


def flow(given: Cell) -> DataFlow:
    """The pruned cell as data flow: one step per interior vertex, in index order.

    The output is a concatenation of values rather than a sum, and the cell's input enters
    through a projection; for what belongs to what, this makes no difference.
    """
    pruned = prune(given)
    size = len(pruned.ops)
    sources = [tuple(i for i in range(j) if pruned.matrix[i][j]) for j in range(size)]
    steps = [Step(_STEP_NAMES[pruned.ops[j]], sources[j]) for j in range(1, size - 1)]
    return DataFlow(tuple(steps), sources[-1])
