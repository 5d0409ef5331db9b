"""NAS-Bench-NLP (Klyuchnikov et al., 2020): recurrent cells given as graphs of operations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution

from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._base import SearchSpace
from gennas_optuna.spaces._recipe import (
    MAX_HIDDEN,
    Recipe,
    format_recipe,
    graph,
    parse_recipe,
    recipe_of,
)
from gennas_optuna.spaces._recipe_draw import draw_recipe
from gennas_optuna.spaces._recipe_graph import Graph, pruned
from gennas_optuna.spaces._recipe_graph import canonical as canonical_graph
from gennas_optuna.spaces._recipe_params import decoded, distributions, encoded, mutated
from gennas_optuna.spaces._recurrent import RecurrentNet
from gennas_optuna.spaces._scale import Scale
from gennas_optuna.taps import Layout


@dataclass(frozen=True)
class NASBenchNLP(SearchSpace):
    """Recurrent cells of up to 24 nodes and 3 hidden states, stacked three times.

    The code of an architecture is its recipe: tuples ``(name, op, inputs)``. Its text is the
    benchmark's field ``recepie``. A network's input has the shape (length, batch, dimension).

    ``form="gennas"`` trains as GenNAS does: weight drop is active in training mode, and its
    masked copies keep the recurrent weights from ever getting a gradient, so they stay at their
    initial values. ``form="trained"`` has no weight drop and trains everything.

    A scale's ``width`` is the width of the embedding, 400 by default, and the hidden width is
    1.5 times that; ``depth`` is the number of layers.
    """

    name: str = "nasbench-nlp"
    forms: ClassVar[tuple[str, ...]] = ("gennas", "trained")
    input_shape: ClassVar[tuple[int, ...]] = (8, 48)
    layout: ClassVar[Layout] = "LND"

    def distributions(self) -> dict[str, BaseDistribution]:
        """A program of 24 nodes, of which those count that the output depends on.

        ``hidden`` is the number of hidden states and ``out_<i>`` the node that becomes hidden
        state i; ``op_<n>`` and ``in_<n>_<k>`` are the operation and the inputs of node n. A
        linear node reads its inputs without repetition, others as many as they need.
        """
        return dict(distributions())

    def decode(self, params: Mapping[str, Any]) -> Architecture:
        """See :meth:`SearchSpace.decode`.

        Repaired are: hidden states beyond ``hidden`` (counted modulo ``hidden``), ``x`` read by
        other nodes than linear ones (they read ``h_prev_0``), two hidden states from one node
        (the second takes the next lower free node), and a cell that never reads ``x`` (its first
        node becomes a linear one that does).
        """
        return Architecture(self, recipe_of(decoded(self._checked(params))))

    def params(self, arch: Architecture) -> dict[str, Any]:  # noqa: D102 - inherited
        return encoded(pruned(graph(_recipe(arch))))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A recipe by the publication's generator, with 1, 2 or 3 hidden states."""
        return Architecture(self, draw_recipe(rng, hidden=int(rng.integers(1, MAX_HIDDEN + 1))))

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Redraw each parameter that counts with chance one over their number, at least one.

        A few random nodes are mixed in first, which count only if a redrawn input takes one up:
        so recipes can grow as well as shrink. The result always has another key. (GenNAS itself
        moves in an embedding of the benchmark's records, which needs the records.)
        """
        parent = pruned(graph(_recipe(arch)))
        while True:
            child = Architecture(self, recipe_of(mutated(parent, rng)))
            if child.key != arch.key:
                return child

    def parse(self, text: str) -> Architecture:
        """Read the JSON text of a recipe, as in the benchmark's field ``recepie``.

        Raises:
            InvalidValueError: saying what is wrong, or which limit of the publication is passed
                (24 nodes, 3 hidden states, 3 inputs of a linear node).
        """
        return Architecture(self, parse_recipe(text))

    def format(self, arch: Architecture) -> str:
        """The JSON text of the recipe."""
        return format_recipe(_recipe(arch))

    def key(self, arch: Architecture) -> str:
        """A hash of the cell's canonical form.

        Equal for cells that differ in names and order of nodes, in the order of the inputs of
        linear nodes, sums and products, in the numbers of the hidden states behind the first,
        or in nodes and hidden states that the output never depends on.
        """
        text = _canonical(_recipe(arch)).text()
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def _network(
        self, arch: Architecture, scale: Scale, canonical: bool, input_shape: tuple[int, ...]
    ) -> RecurrentNet:
        recipe = _recipe(arch)
        return RecurrentNet(
            _canonical(recipe) if canonical else graph(recipe),
            width=scale.channels(400),
            depth=scale.blocks(3),
            frozen=self.form == "gennas",
            input_shape=input_shape,
        )


def _recipe(arch: Architecture) -> Recipe:
    assert isinstance(arch.code, tuple)
    return arch.code


@lru_cache(maxsize=2**12)
def _canonical(recipe: Recipe) -> Graph:
    return canonical_graph(graph(recipe))
