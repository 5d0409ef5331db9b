"""The NAS-Bench-NLP network: an embedding and a stack of recurrent layers of one cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from gennas_optuna._transfer import send
from gennas_optuna.seeding import torch_generator
from gennas_optuna.spaces._recipe_graph import Graph
from gennas_optuna.spaces._recurrent_cell import Cell, run_cell
from gennas_optuna.taps import StagedModel, TapInfo

WEIGHT_DROP = 0.1
"""Chance of a recurrent weight to be dropped (``wdrop`` of the benchmark's records)."""

BETWEEN_DROP, LAST_DROP = 0.25, 0.1
"""Dropout between the layers and after the last (``dropouth``, ``dropout``)."""


class RecurrentNet(StagedModel):
    """Embedding and recurrent layers, tapped at the output of the last layer.

    Args:
        graph: the cell.
        width: width E of the embedding and of the last layer; the others have 1.5 E.
        depth: number of layers.
        frozen: train as GenNAS does: weight drop, and recurrent weights that never change.
        input_shape: ``(length, dimension)`` of a sequence.

    In training mode, masks are drawn from :attr:`noise_generator`; if none is set, from one
    that the model makes for itself with a constant seed.
    """

    def __init__(
        self, graph: Graph, *, width: int, depth: int, frozen: bool, input_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        length, dimension = input_shape
        self.embedding = _Embedding(dimension, width)
        widths = (width, *[round(1.5 * width)] * (depth - 1), width)
        cell = Cell(graph)
        self.layers = nn.ModuleList(
            [RecurrentLayer(cell, small, large, frozen) for small, large in pairwise(widths)]
        )
        self.taps = (TapInfo(f"layers.{depth - 1}", width, (length,), "LND"),)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """From length x batch x dimension to one map, length x batch x E."""
        if self.training and self.noise_generator is None:
            self.noise_generator = torch_generator(0, "noise")
        generator = self.noise_generator if self.training else None
        for i, layer in enumerate(self.layers, start=1):
            x, _ = layer(x, generator=generator, embedding=self.embedding if i == 1 else None)
            if generator is not None:
                x = _locked_dropout(
                    x, LAST_DROP if i == len(self.layers) else BETWEEN_DROP, generator
                )
        return (x,)


class RecurrentLayer(nn.Module):
    """A cell run over a sequence, with its own weights.

    Attributes:
        x_weight: the weights on ``x`` of all linear nodes that read it, one above the other.
        bias: the biases, a row for each linear node, in the order of ``cell.linears``.
        recurrent: the weights on all other values, a matrix each.
    """

    def __init__(self, cell: Cell, width_in: int, width: int, frozen: bool) -> None:
        super().__init__()
        self.cell = cell
        self.frozen = frozen
        self.x_weight = nn.Parameter(torch.empty(cell.x_rows * width, width_in))
        self.bias = nn.Parameter(torch.empty(len(cell.linears), width))
        self.recurrent = nn.Parameter(
            torch.empty(cell.matrices, width, width), requires_grad=not frozen
        )
        # Memory for weights with drops, by address: fresh pages every step would cost more than
        # the drops themselves. One is taken by each forward pass and comes back by its backward.
        self._spare: dict[int, torch.Tensor] = {}

    def init_weights(self, generator: torch.Generator) -> None:
        """All parameters uniform in +-1/sqrt(hidden width)."""
        bound = 1 / math.sqrt(self.bias.shape[1])
        for parameter in (self.x_weight, self.bias, self.recurrent):
            parameter.uniform_(-bound, bound, generator=generator)

    def forward(
        self,
        x: torch.Tensor,
        state: Sequence[torch.Tensor] = (),
        generator: torch.Generator | None = None,
        embedding: nn.Linear | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Run the cell.

        Args:
            x: length x batch x width in.
            state: the hidden states to start from, each batch x width; zeros by default.
            generator: what weight drop draws from; no weights are dropped without one.
            embedding: a linear layer to pass ``x`` through first.

        Returns:
            The first hidden state after every step, length x batch x width, and all hidden
            states after the last step.
        """
        x_weight: torch.Tensor = self.x_weight
        bias: torch.Tensor = self.bias
        if embedding is not None:
            samples = x.shape[0] * x.shape[1]
            if x.shape[2] * (samples + embedding.out_features) < samples * embedding.out_features:
                x_weight, bias = self._embedded(embedding)  # the cheaper order of the products
            else:
                x = embedding(x)
        recurrent: torch.Tensor = self.recurrent
        spare = None
        if generator is not None and self.frozen:
            recurrent, spare = self._dropped(generator), self._spare
        return run_cell(self.cell, x, x_weight, bias, recurrent, state, spare)

    def _embedded(self, embedding: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights on the embedding's input, and the biases with its bias."""
        rows = self.cell.x_rows
        first = torch.addmv(self.bias[:rows].flatten(), self.x_weight, embedding.bias)
        bias = torch.cat([first.view_as(self.bias[:rows]), self.bias[rows:]])
        return torch.mm(self.x_weight, embedding.weight), bias

    @torch.no_grad()
    def _dropped(self, generator: torch.Generator) -> torch.Tensor:
        weights = self.recurrent
        buffer = self._spare.popitem()[1] if self._spare else None
        if buffer is None or buffer.dtype != weights.dtype or buffer.device != weights.device:
            buffer = torch.empty_like(weights)
        torch.mul(weights, 1 / (1 - WEIGHT_DROP), out=buffer)
        dropped = drop_positions(weights.numel(), WEIGHT_DROP, generator)
        buffer.view(-1).index_fill_(0, send(dropped, buffer.device), 0)
        return buffer


class _Embedding(nn.Linear):
    def init_weights(self, generator: torch.Generator) -> None:
        self.weight.uniform_(-0.1, 0.1, generator=generator)
        bound = 1 / math.sqrt(self.in_features)
        self.bias.uniform_(-bound, bound, generator=generator)


def drop_positions(count: int, chance: float, generator: torch.Generator) -> torch.Tensor:
    """The positions among ``count`` that are dropped, each independently with ``chance``.

    Distances between drops are geometric, so drawing these takes a tenth of the numbers that
    a draw for every position would.
    """
    # More than ten standard deviations above the expected number of drops.
    draws = math.ceil(count * chance + 10 * math.sqrt(count * chance) + 10)
    uniform = torch.empty(draws, device=generator.device).uniform_(generator=generator)
    distances = (1 - uniform).log_().mul_(1 / math.log1p(-chance)).to(torch.int64).add_(1)
    positions = distances.cumsum_(0).sub_(1)
    return positions[: int(torch.searchsorted(positions, count))]


def _locked_dropout(x: torch.Tensor, chance: float, generator: torch.Generator) -> torch.Tensor:
    """Drop features of samples, the same at every time step."""
    mask = torch.empty(x.shape[1:], device=generator.device)
    mask.bernoulli_(1 - chance, generator=generator).div_(1 - chance)
    return x * send(mask.to(x.dtype), x.device)
