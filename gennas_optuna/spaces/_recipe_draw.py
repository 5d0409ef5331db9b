"""New recipes, drawn as the publication of NAS-Bench-NLP draws them."""

from __future__ import annotations

import numpy as np

from gennas_optuna.spaces._recipe import ACTIVATIONS, MAX_NODES, Recipe, recipe_of
from gennas_optuna.spaces._recipe_graph import LINEAR, Graph, Step, X, pruned

_OPS = ("blend", "elementwise_prod", "elementwise_sum")
_WEIGHTS = np.array([3, 1, 1, 1]) / 6  # linear, then _OPS


def draw_recipe(rng: np.random.Generator, hidden: int, extra: int = 7) -> Recipe:
    """A random recipe by the publication's generator.

    Nodes are drawn until there are ``hidden + extra``; random ones become the new hidden states,
    and what these do not need goes. Drawings are repeated until the cell reads ``x`` and all
    hidden states, and no new hidden state reads an old one directly.

    Args:
        rng: source of the choices.
        hidden: number of hidden states, 1 to 3.
        extra: how many more nodes than that are drawn; most of them do not stay.
    """
    while True:
        steps = _steps(rng, hidden, hidden + extra)
        outputs = rng.choice(len(steps), size=hidden, replace=False) + 1 + hidden
        graph = pruned(Graph(hidden, tuple(steps), tuple(int(value) for value in outputs)))
        read = {value for step in graph.steps for value in step.inputs}
        if read.issuperset(range(hidden + 1)) and not any(
            0 < value <= hidden
            for output in graph.outputs
            for value in graph.steps[output - hidden - 1].inputs
        ):
            return recipe_of(graph)


def _steps(rng: np.random.Generator, hidden: int, count: int) -> list[Step]:
    leaves = list(range(1, hidden + 1))
    steps: list[Step] = []
    activations: list[int] = []
    while len(steps) < min(count, MAX_NODES - 1):  # the last draw may add two nodes
        op = (LINEAR, *_OPS)[int(rng.choice(4, p=_WEIGHTS))]
        if op == LINEAR:
            sources, size = [X, *leaves, *activations], 2 if rng.random() < 0.8 else 3
        else:
            sources = leaves + [hidden + 1 + i for i in range(len(steps))]
            size = 3 if op == "blend" else 2
        if len(sources) < size:
            continue
        inputs = tuple(int(i) for i in rng.choice(sources, size=size, replace=False))
        steps.append(Step(op, inputs))
        if op == LINEAR:
            steps.append(Step(ACTIVATIONS[rng.integers(3)], (hidden + len(steps),)))
            activations.append(hidden + len(steps))
    return steps
