"""Recipes in numbers: what the output depends on, and the one form that equal cells share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

LINEAR = "linear"
X = 0
"""The number of the cell's input; hidden states follow from 1 up, then the nodes."""

_ORDERED = {"blend"}  # operations whose inputs may not be swapped


class Step(NamedTuple):
    """One node: an operation and the numbers of the values it reads."""

    op: str
    inputs: tuple[int, ...]


class Graph(NamedTuple):
    """A cell.

    Attributes:
        hidden: number of hidden states; their values are 1 to ``hidden``.
        steps: the nodes in an order in which they can be computed; the value of the first has
            number ``hidden + 1``.
        outputs: the value that each hidden state takes next; the first is the cell's output.
    """

    hidden: int
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def text(self) -> str:
        """All of it in one line, such as ``1;linear(0,1);activation_tanh(2)>3``."""
        steps = (f"{op}({','.join(map(str, inputs))})" for op, inputs in self.steps)
        return f"{self.hidden};{';'.join(steps)}>{','.join(map(str, self.outputs))}"


def pruned(graph: Graph) -> Graph:
    """The graph without the nodes that no hidden state depends on within a time step."""
    needed = _needed(graph, graph.outputs, across_time=False)
    return _selected(graph, range(graph.hidden), needed)


def live(graph: Graph) -> Graph:
    """The graph without the nodes and hidden states that the output never depends on."""
    needed = _needed(graph, graph.outputs[:1], across_time=True)
    # The first hidden state is the output, so it stays even if no node reads it.
    states = [i for i in range(graph.hidden) if i == 0 or i + 1 in needed]
    return _selected(graph, states, needed)


def _needed(graph: Graph, roots: Sequence[int], across_time: bool) -> set[int]:
    """The values that ``roots`` depend on; across time steps, a hidden state was an output."""
    needed: set[int] = set()
    waiting = list(roots)
    while waiting:
        value = waiting.pop()
        if value not in needed:
            needed.add(value)
            if value > graph.hidden:
                waiting += graph.steps[value - graph.hidden - 1].inputs
            elif value != X and across_time:
                waiting.append(graph.outputs[value - 1])
    return needed


def _selected(graph: Graph, states: Sequence[int], needed: set[int]) -> Graph:
    values = range(graph.hidden + 1, graph.hidden + 1 + len(graph.steps))
    return _reordered(graph, states, [value for value in values if value in needed])


def canonical(graph: Graph) -> Graph:
    """The graph that all equal cells share.

    Cells are equal if they differ in the order or names of nodes, in the order of inputs where
    it does not matter, in the numbers of the hidden states other than the output, in nodes that
    the output never depends on, or in computing a value without weights twice.
    """
    graph = live(_merged(graph))
    candidates = []
    for rest in permutations(range(1, graph.hidden)):
        values = range(graph.hidden + 1, graph.hidden + 1 + len(graph.steps))
        candidate = _reordered(graph, (0, *rest), values)
        candidates.append(_smallest(candidate, [0] * len(candidate.steps)))
    return min(candidates)


def _reordered(graph: Graph, states: Sequence[int], nodes: Sequence[int]) -> Graph:
    """The graph with these hidden states and these nodes (by value), in this order."""
    number = {X: X}
    for old in [*(i + 1 for i in states), *nodes]:
        number[old] = len(number)
    steps = []
    for old in nodes:
        op, inputs = graph.steps[old - graph.hidden - 1]
        steps.append(Step(op, tuple(number[i] for i in inputs)))
    return Graph(len(states), tuple(steps), tuple(number[graph.outputs[i]] for i in states))


def _merged(graph: Graph) -> Graph:
    """Nodes without weights that compute one value become one node."""
    first = graph.hidden + 1
    number = list(range(first))
    seen: dict[Step, int] = {}
    steps: list[Step] = []
    for value, (op, inputs) in enumerate(graph.steps, start=first):
        step = Step(op, _sorted_inputs(op, [number[i] for i in inputs]))
        steps.append(step)
        number.append(value if op == LINEAR else seen.setdefault(step, value))
    return Graph(graph.hidden, tuple(steps), tuple(number[i] for i in graph.outputs))


def _smallest(graph: Graph, colours: list[int]) -> Graph:
    """The smallest graph among all orders of the nodes that respect their colours.

    Colours are refined until nodes of one colour have neighbours of equal colours. If several
    nodes still share one, each in turn is told apart from the others; those for which this
    leads to a graph already seen are equivalent to an earlier one and need no second look.
    """
    colours = _refined(graph, colours)
    tied = _tied(colours)
    if not tied:
        return _sorted_graph(graph, colours)
    seen = set()
    results = []
    for node in tied:
        marked = _marked(colours, node)
        probe = _first_path(graph, marked)
        if probe not in seen:
            seen.add(probe)
            results.append(_smallest(graph, marked))
    return min(results)


def _first_path(graph: Graph, colours: list[int]) -> Graph:
    """The graph reached by always telling the first of the tied nodes apart."""
    colours = _refined(graph, colours)
    while tied := _tied(colours):
        colours = _refined(graph, _marked(colours, tied[0]))
    return _sorted_graph(graph, colours)


def _tied(colours: list[int]) -> list[int]:
    """The nodes of the first colour that several nodes have."""
    shared = [c for c in colours if colours.count(c) > 1]
    return [node for node, c in enumerate(colours) if shared and c == min(shared)]


def _marked(colours: list[int], node: int) -> list[int]:
    return [2 * c + (i == node) for i, c in enumerate(colours)]


def _refined(graph: Graph, colours: list[int]) -> list[int]:
    """Split the colours by operation, inputs, readers and outputs until nothing changes."""
    first = graph.hidden + 1
    edges = list(_edges(graph))
    outputs = [
        tuple(i for i, value in enumerate(graph.outputs) if value == first + node)
        for node in range(len(graph.steps))
    ]
    while True:
        readers: list[list[tuple[int, int]]] = [[] for _ in graph.steps]
        for source, place, reader in edges:
            readers[source].append((place, colours[reader]))
        signatures = []
        for node, (op, inputs) in enumerate(graph.steps):
            sources = ((0, i) if i < first else (1, colours[i - first]) for i in inputs)
            ordered = tuple(sources) if op in _ORDERED else tuple(sorted(sources))
            signatures.append(
                (colours[node], op, ordered, tuple(sorted(readers[node])), outputs[node])
            )
        ranks = {signature: rank for rank, signature in enumerate(sorted(set(signatures)))}
        refined = [ranks[signature] for signature in signatures]
        if len(ranks) == len(set(colours)):
            return refined
        colours = refined


def _edges(graph: Graph) -> Iterator[tuple[int, int, int]]:
    """``(source, place, reader)`` for every input that is a node; place 0 if it is no matter."""
    for reader, (op, inputs) in enumerate(graph.steps):
        for place, value in enumerate(inputs):
            if value > graph.hidden:
                yield value - graph.hidden - 1, place if op in _ORDERED else 0, reader


def _sorted_graph(graph: Graph, colours: list[int]) -> Graph:
    """The graph in the order of its colours, all different, as far as it can be computed so."""
    first = graph.hidden + 1
    order: list[int] = []
    left = sorted(range(first, first + len(graph.steps)), key=lambda v: colours[v - first])
    while left:
        known = {*range(first), *order}
        ready = next(v for v in left if known.issuperset(graph.steps[v - first].inputs))
        left.remove(ready)
        order.append(ready)
    result = _reordered(graph, range(graph.hidden), order)
    steps = tuple(Step(op, _sorted_inputs(op, inputs)) for op, inputs in result.steps)
    return result._replace(steps=steps)


def _sorted_inputs(op: str, inputs: Sequence[int]) -> tuple[int, ...]:
    return tuple(inputs if op in _ORDERED else sorted(inputs))
