"""Recipes as a fixed set of parameters: a program of 24 nodes, most of which are not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from gennas_optuna.spaces._base import draw, mutate_params
from gennas_optuna.spaces._recipe import ARITY, MAX_HIDDEN, MAX_NODES, OPERATIONS
from gennas_optuna.spaces._recipe_graph import LINEAR, Graph, Step, X, pruned

_SLOTS = 3  # inputs that every node has in the parameters, used or not
_LEAVES = ("x", *(f"h_prev_{i}" for i in range(MAX_HIDDEN)))
_FILLERS = 8  # random nodes that a mutation may take up; with 8, recipes keep their size


@lru_cache(maxsize=1)
def distributions() -> Mapping[str, BaseDistribution]:
    """``hidden``, then ``op_<n>`` and ``in_<n>_<slot>`` of every node, then ``out_<i>``."""
    result: dict[str, BaseDistribution] = {"hidden": IntDistribution(1, MAX_HIDDEN)}
    for node in range(MAX_NODES):
        result[f"op_{node}"] = CategoricalDistribution(OPERATIONS)
        sources = (*_LEAVES, *(f"node_{earlier}" for earlier in range(node)))
        for slot in range(_SLOTS):
            result[f"in_{node}_{slot}"] = CategoricalDistribution(sources)
    for i in range(MAX_HIDDEN):
        result[f"out_{i}"] = IntDistribution(0, MAX_NODES - 1)
    return result


def decoded(values: Mapping[str, Any]) -> Graph:
    """The graph of a complete set of values, repaired, without the nodes that do not count."""
    hidden = values["hidden"]
    number = {"x": X} | {f"h_prev_{i}": 1 + i % hidden for i in range(MAX_HIDDEN)}
    steps = []
    for node in range(MAX_NODES):
        op = values[f"op_{node}"]
        inputs = [number[values[f"in_{node}_{slot}"]] for slot in range(_SLOTS)]
        if op == LINEAR:
            inputs = list(dict.fromkeys(inputs))
        else:
            inputs = [1 if value == X else value for value in inputs[: ARITY[op]]]
        steps.append(Step(op, tuple(inputs)))
        number[f"node_{node}"] = hidden + 1 + node
    outputs: list[int] = []
    for i in range(hidden):
        node = values[f"out_{i}"]
        while node in outputs:
            node = (node - 1) % MAX_NODES
        outputs.append(node)
    graph = pruned(Graph(hidden, tuple(steps), tuple(hidden + 1 + node for node in outputs)))
    if not any(X in step.inputs for step in graph.steps):
        # The first node that counts reads nothing but hidden states; now it reads x, too.
        inputs = list(dict.fromkeys([X, *graph.steps[0].inputs]))[:_SLOTS]
        graph = graph._replace(steps=(Step(LINEAR, tuple(inputs)), *graph.steps[1:]))
    return graph


def encoded(graph: Graph) -> dict[str, Any]:
    """Values that :func:`decoded` turns into ``graph``, all of whose nodes must count."""
    values: dict[str, Any] = {
        name: dist.low if isinstance(dist, IntDistribution) else "h_prev_0"
        for name, dist in distributions().items()
    } | {f"op_{node}": LINEAR for node in range(MAX_NODES)}
    return values | _essential(graph, range(len(graph.steps)))


def mutated(graph: Graph, rng: np.random.Generator) -> Graph:
    """Redraw each value that counts with chance one over their number, at least one.

    A few random nodes are mixed in first; they count only if a redrawn value takes them up.
    """
    count = len(graph.steps)
    places = rng.choice(min(MAX_NODES, count + _FILLERS), size=count, replace=False)
    values = _essential(graph, sorted(places.tolist()))
    values = mutate_params(values, {name: distributions()[name] for name in values}, rng)
    return decoded(
        {
            name: values[name] if name in values else draw(rng, distribution)
            for name, distribution in distributions().items()
        }
    )


def _essential(graph: Graph, places: Sequence[int]) -> dict[str, Any]:
    """The values that count if the nodes of ``graph`` stand at these places of the program."""
    names = [*_LEAVES[: 1 + graph.hidden], *(f"node_{place}" for place in places)]
    values: dict[str, Any] = {"hidden": graph.hidden}
    for place, step in zip(places, graph.steps, strict=True):
        values[f"op_{place}"] = step.op
        inputs = step.inputs
        if step.op == LINEAR:  # a repeated input is none
            inputs += inputs[-1:] * (_SLOTS - len(inputs))
        for slot, value in enumerate(inputs):
            values[f"in_{place}_{slot}"] = names[value]
    for i, value in enumerate(graph.outputs):
        values[f"out_{i}"] = places[value - graph.hidden - 1]
    return values
