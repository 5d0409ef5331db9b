"""Recipes of recurrent cells (NAS-Bench-NLP): reading, checking and writing their text.

A recipe is a JSON object of nodes, ``{"name": {"op": ..., "input": [names]}}``. Its leaves are
``x``, the cell's input, and ``h_prev_i``, the i-th hidden state; the nodes ``h_new_i`` are the
next hidden states and ``h_new_0`` is the output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from reprlib import Repr
from typing import Any, NamedTuple

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._recipe_graph import LINEAR, Graph, Step, X, pruned

ACTIVATIONS = ("activation_tanh", "activation_sigm", "activation_leaky_relu")
"""Operations on one value; the leaky ReLU's slope is 0.01."""

OPERATIONS = (LINEAR, "blend", "elementwise_prod", "elementwise_sum", *ACTIVATIONS)
"""All operations; ``blend`` is a*b + (1-a)*c."""

MAX_NODES = 24
"""Nodes of a recipe, as in the publication."""

MAX_HIDDEN = 3
"""Hidden states of a cell, as in the publication."""

MAX_LINEAR_INPUTS = 3
"""Inputs of a linear node, as in the publication."""

ARITY = {"blend": 3, "elementwise_prod": 2, "elementwise_sum": 2} | dict.fromkeys(ACTIVATIONS, 1)
"""Number of inputs of the operations other than linear."""

_HIDDEN = re.compile(r"h_(prev|new)_(0|[1-9][0-9]{0,8})")


class Node(NamedTuple):
    """One node of a recipe; ``inputs`` are names of nodes and leaves."""

    name: str
    op: str
    inputs: tuple[str, ...]


Recipe = tuple[Node, ...]
"""The nodes in the alphabetically first of all orders in which they can be computed."""


def parse_recipe(text: str) -> Recipe:
    """Read and check the JSON text of a recipe.

    Sums and products of more than two values are split up into nodes of two, from the left.

    Raises:
        InvalidValueError: the text is no recipe, or exceeds the limits of the publication.
    """
    try:
        nodes = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _bad(text, f"no JSON ({error})") from None
    if not isinstance(nodes, dict) or not nodes:
        raise _bad(text, "give a JSON object of nodes")
    return make_recipe(_folded([_node(text, name, spec) for name, spec in nodes.items()], text))


def make_recipe(nodes: Sequence[Node]) -> Recipe:
    """Put nodes in order and check that together they are a recipe. See :func:`parse_recipe`."""
    by_name = {node.name: node for node in nodes}
    _check(by_name)
    recipe = _ordered(by_name)
    if not any(X in step.inputs for step in pruned(graph(recipe)).steps):
        raise _bad(by_name, "no h_new_<i> depends on x")
    return recipe


def format_recipe(recipe: Recipe) -> str:
    """The JSON text of a recipe, without blanks."""
    nodes = {node.name: {"op": node.op, "input": node.inputs} for node in recipe}
    return json.dumps(nodes, separators=(",", ":"))


def graph(recipe: Recipe) -> Graph:
    """The recipe in numbers, every node in the recipe's order and inputs as given."""
    hidden = sum(_is_hidden(node.name, "new") for node in recipe)
    names = ["x", *(f"h_prev_{i}" for i in range(hidden)), *(node.name for node in recipe)]
    number = {name: i for i, name in enumerate(names)}
    return Graph(
        hidden,
        tuple(Step(node.op, tuple(number[name] for name in node.inputs)) for node in recipe),
        tuple(number[f"h_new_{i}"] for i in range(hidden)),
    )


def recipe_of(graph: Graph) -> Recipe:
    """A recipe with that graph; its nodes are named after their number."""
    names = ["x", *(f"h_prev_{i}" for i in range(graph.hidden))]
    names += [f"node_{i}" for i in range(len(graph.steps))]
    for i, value in enumerate(graph.outputs):
        names[value] = f"h_new_{i}"
    first = 1 + graph.hidden
    return make_recipe(
        [
            Node(name, step.op, tuple(names[i] for i in step.inputs))
            for name, step in zip(names[first:], graph.steps, strict=True)
        ]
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name is used twice")
    return result


def _node(text: str, name: str, spec: Any) -> Node:
    if not isinstance(spec, dict) or spec.keys() != {"op", "input"}:
        raise _bad(text, f"node {_short(name)} is not {{'op': ..., 'input': [...]}}")
    op, inputs = spec["op"], spec["input"]
    if not isinstance(op, str) or op not in OPERATIONS:
        raise _bad(
            text, f"op {_short(op)} of {_short(name)} is not one of {', '.join(OPERATIONS)}"
        )
    if not isinstance(inputs, list) or not all(isinstance(i, str) for i in inputs):
        raise _bad(text, f"the inputs of {_short(name)} are not a list of names")
    return Node(name, op, tuple(inputs))


def _folded(nodes: list[Node], text: str) -> list[Node]:
    """Split sums and products of many values; the parts' names are new ones."""
    taken = {node.name for node in nodes}
    result = []
    for node in nodes:
        first, *rest = node.inputs if node.op.startswith("elementwise") else [""]
        if len(rest) > MAX_NODES:
            raise _bad(text, f"{_short(node.name)} has {len(node.inputs)} inputs")
        for part, other in enumerate(rest[:-1]):
            name = f"{node.name}_part{part}"
            while name in taken:
                name += "_"
            taken.add(name)
            result.append(Node(name, node.op, (first, other)))
            first = name
        result.append(node._replace(inputs=(first, rest[-1])) if len(rest) > 1 else node)
    return result


def _check(nodes: Mapping[str, Node]) -> None:
    if len(nodes) > MAX_NODES:
        raise _bad(nodes, f"{len(nodes)} nodes, at most {MAX_NODES} are allowed")
    hidden = sum(_is_hidden(name, "new") for name in nodes)
    if not 1 <= hidden <= MAX_HIDDEN:
        raise _bad(nodes, f"{hidden} nodes h_new_<i>, give 1 to {MAX_HIDDEN}")
    for i in range(hidden):
        if f"h_new_{i}" not in nodes:
            raise _bad(nodes, f"there is no h_new_{i} among {hidden} nodes h_new_<i>")
    known = {"x", *(f"h_prev_{i}" for i in range(hidden)), *nodes}
    for name, op, inputs in nodes.values():
        if name == "x" or _is_hidden(name, "prev"):
            raise _bad(nodes, f"{_short(name)} is an input of the cell, not a node")
        for read in inputs:
            if read not in known:
                raise _bad(nodes, f"{_short(name)} reads {_short(read)}, which does not exist")
        if op != LINEAR and len(inputs) != ARITY[op]:
            raise _bad(nodes, f"{_short(name)}: {op} takes {ARITY[op]} inputs, not {len(inputs)}")
        if op != LINEAR and "x" in inputs:
            raise _bad(nodes, f"{_short(name)}: only linear nodes may read x")
        if op == LINEAR and not 1 <= len(inputs) <= MAX_LINEAR_INPUTS:
            raise _bad(
                nodes,
                f"{_short(name)}: linear takes 1 to {MAX_LINEAR_INPUTS} inputs, not {len(inputs)}",
            )
        if op == LINEAR and len(set(inputs)) < len(inputs):
            raise _bad(nodes, f"{_short(name)}: linear reads one value twice")


def _ordered(nodes: Mapping[str, Node]) -> Recipe:
    """Of the nodes that can be computed next, always the one with the first name."""
    missing = {node.name: {i for i in node.inputs if i in nodes} for node in nodes.values()}
    ready = [name for name, needed in missing.items() if not needed]
    heapify(ready)
    order: list[Node] = []
    while ready:
        done = heappop(ready)
        order.append(nodes[done])
        for name, needed in missing.items():
            if done in needed:
                needed.remove(done)
                if not needed:
                    heappush(ready, name)
    if len(order) < len(nodes):
        raise _bad(nodes, "its nodes form a cycle")
    return tuple(order)


def _is_hidden(name: str, kind: str) -> bool:
    match = _HIDDEN.fullmatch(name)
    return match is not None and match[1] == kind


def _bad(given: object, why: str) -> InvalidValueError:
    """The error for a recipe, of which the text or the nodes by name are given."""
    text = format_recipe(tuple(given.values())) if isinstance(given, Mapping) else given
    return InvalidValueError(f"not a NAS-Bench-NLP recipe: {why}; given {_short(text)}")


def _short(value: Any) -> str:
    """Text for a message, however long or deeply nested the value is."""
    shortener = Repr()
    shortener.maxstring = 80
    return shortener.repr(value)
