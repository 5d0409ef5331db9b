"""From two cells to a network: the builder of all NDS cell spaces."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._genotype import ZERO, Cell, Pair
from gennas_optuna.spaces._layout import channels_last
from gennas_optuna.spaces._ops import OPS, FactorizedReduction, has_weights, pointwise
from gennas_optuna.taps import StagedModel, TapInfo

Stem = Literal["cifar", "imagenet", "imagenet-strided"]
"""``cifar``: one convolution, both inputs of the first cell are its output. ``imagenet``: the
three convolutions of the ImageNet form, all of stride 1 (GenNAS's change for 32x32 images).
``imagenet-strided``: the same with the stride of two each that ImageNet was trained with."""


def reductions(depth: int) -> tuple[int, int]:
    """The two cells of ``depth`` that halve the size and double the width."""
    return depth // 3, 2 * depth // 3


def tapped(depth: int) -> tuple[int, int, int]:
    """The cells whose outputs are the taps; -1 stands for the stem."""
    first, second = reductions(depth)
    return first - 1, second - 1, depth - 1


def needed(normal: Cell, reduce: Cell, depth: int) -> set[int]:
    """The outputs that some tap depends on: of cells by index, -1 and -2 the stem's."""
    outputs = set(tapped(depth))
    for k in range(depth - 1, -1, -1):
        if k in outputs:
            cell = reduce if k in reductions(depth) else normal
            outputs.update(k - 2 + state for state in (0, 1) if cell.reads(state))
    return outputs


class CellNet(StagedModel):
    """The network up to its last cell.

    Cells floor(L/3) and floor(2L/3) of the L cells are reductions. Tapped are the inputs of these
    two and the output of the last cell, so the taps have the widths 1, 2 and 4 times ``width``,
    each times the number of joined nodes, and the sizes 1, 1/2 and 1/4 of the stem's.

    Args:
        normal: the cell that keeps the size.
        reduce: the cell that halves it.
        width: channels C of a node before the first reduction, even.
        depth: number of cells L, at least 2.
        stem: the form of the stem.
        prune: leave out whatever no tap depends on.
        input_shape: ``(channels, height, width)`` of an image.
    """

    def __init__(
        self,
        normal: Cell,
        reduce: Cell,
        *,
        width: int,
        depth: int,
        stem: Stem,
        prune: bool,
        input_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        if width % 2 or depth < 2:
            raise InvalidValueError(
                f"{width=}, {depth=}: give an even width and a depth of at least 2 cells"
            )
        shrink = 8 if stem == "imagenet-strided" else 1
        if any(s < 1 or s % (4 * shrink) for s in input_shape[1:]):
            raise InvalidValueError(
                f"input shape {input_shape}: give (channels, height, width) with sides that are "
                f"multiples of {4 * shrink}"
            )
        channels, height, width_in = input_shape
        kept = needed(normal, reduce, depth) if prune else set(range(-2, depth))

        joined = 3 * width if stem == "cifar" else width
        planes = {-2: joined, -1: joined}
        sizes = {-1: (height // shrink, width_in // shrink)}
        self.stem = _stem(stem, channels, width, both=-1 in kept) if {-1, -2} & kept else None
        self.cells = nn.ModuleDict()
        c, size = width, sizes[-1]
        for k in range(depth):
            halves = k in reductions(depth)
            if halves:
                c, size = 2 * c, (size[0] // 2, size[1] // 2)
            cell = reduce if halves else normal
            if k in kept:
                self.cells[str(k)] = _CellModule(
                    cell,
                    c,
                    size=size,
                    inputs=(planes[k - 2], planes[k - 1]),
                    read=(not prune or cell.reads(0), not prune or cell.reads(1)),
                    halves=halves,
                    halve_older=k - 1 in reductions(depth) or (k == 0 and shrink > 1),
                )
            planes[k], sizes[k] = c * len(cell.outputs), size
        self.depth, self.kept, self.tapped = depth, kept, tapped(depth)
        self.taps = tuple(
            TapInfo(f"cells.{k}" if k >= 0 else "stem", planes[k], sizes[k]) for k in self.tapped
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Three maps; for images of 32x32 pixels of the sizes 32, 16 and 8."""
        older, newer = self.stem(x) if self.stem is not None else (None, None)
        outputs: dict[int, Any] = {-1: newer}
        for k in range(self.depth):
            cell = self.cells[str(k)] if k in self.kept else None
            older, newer = newer, None if cell is None else cell(older, newer, x)
            if k in self.tapped:
                outputs[k] = newer
        return tuple(outputs[k].raw for k in self.tapped)


class _Value:
    """A tensor and its ReLU, which is computed once, when first asked for."""

    def __init__(self, raw: torch.Tensor) -> None:
        self.raw = raw
        self._relu: torch.Tensor | None = None

    def relu(self, function: nn.Module) -> torch.Tensor:
        if self._relu is None:
            self._relu = function(self.raw)
        return self._relu


def _stem(form: Stem, channels: int, width: int, *, both: bool) -> nn.Module:
    if form == "cifar":
        return _CifarStem(channels, width)
    return _ImageNetStem(channels, width, stride=2 if form == "imagenet-strided" else 1, both=both)


def _conv_norm(channels_in: int, channels_out: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(channels_out)]


class _CifarStem(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_conv_norm(channels, 3 * width, 1))

    def forward(self, x: torch.Tensor) -> tuple[_Value, _Value]:
        value = _Value(self.layers(x))
        return value, value


class _ImageNetStem(nn.Module):
    """Two inputs for the first cell; the second is computed from the first."""

    def __init__(self, channels: int, width: int, stride: int, *, both: bool) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.first = nn.Sequential(
            *_conv_norm(channels, width // 2, stride),
            nn.ReLU(inplace=True),
            *_conv_norm(width // 2, width, stride),
        )
        self.second = nn.Sequential(*_conv_norm(width, width, stride)) if both else None

    def forward(self, x: torch.Tensor) -> tuple[_Value, _Value | None]:
        older = _Value(self.first(x))
        return older, None if self.second is None else _Value(self.second(older.relu(self.relu)))


class _CellModule(nn.Module):
    """One cell.

    Args:
        cell: what it computes.
        c: channels of each node.
        size: height and width of its output.
        inputs: channels of the outputs of the cell before the last and of the last cell.
        read: whether each of the two is taken in.
        halves: whether it is a reduction.
        halve_older: whether the older input is twice as large as the newer one.
    """

    def __init__(
        self,
        cell: Cell,
        c: int,
        *,
        size: tuple[int, int],
        inputs: tuple[int, int],
        read: tuple[bool, bool],
        halves: bool,
        halve_older: bool,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.relu = nn.ReLU()
        self.shape = (c, *size)
        older = FactorizedReduction if halve_older else pointwise
        self.older = older(inputs[0], c) if read[0] else None
        self.newer = pointwise(inputs[1], c) if read[1] else None
        pairs = [pair for node in cell.nodes for pair in node]
        self.ops = nn.ModuleList(
            [_layers(op, c, 2 if halves and i in (0, 1) else 1) for op, i in pairs]
        )
        self.has_weights = [has_weights(layers) for layers in self.ops]

    def forward(self, older: _Value | None, newer: _Value | None, images: torch.Tensor) -> _Value:
        """The output (N, c times joined nodes, H, W); ``images`` gives the batch its size."""
        states: dict[int, _Value] = {}
        if self.older is not None and older is not None:
            states[0] = _Value(self.older(older.relu(self.relu)))
        if self.newer is not None and newer is not None:
            states[1] = _Value(self.newer(newer.relu(self.relu)))

        def state(number: int) -> _Value:
            if number not in states:
                assert number == ZERO
                zeros = images.new_zeros((len(images), *self.shape))
                states[ZERO] = _Value(zeros.to(memory_format=torch.channels_last))
            return states[number]

        shared: dict[Pair, torch.Tensor] = {}  # what two nodes compute alike, without weights
        ops = iter(zip(self.ops, self.has_weights, strict=True))
        for number, node in enumerate(self.cell.nodes, start=2):
            terms = []
            for pair in node:
                layers, weighted = next(ops)
                if weighted:  # these start with a ReLU
                    terms.append(layers(state(pair[1]).relu(self.relu)))
                else:
                    if pair not in shared:
                        shared[pair] = layers(state(pair[1]).raw)
                    terms.append(shared[pair])
            states[number] = _Value(_sum(terms)) if terms else state(ZERO)
        parts = [state(number).raw for number in self.cell.outputs]
        if len(parts) == 1:
            return _Value(parts[0])
        return _Value(torch.cat([channels_last(part) for part in parts], dim=1))


def _layers(op: str, channels: int, stride: int) -> nn.Module:
    make = OPS[op].make
    assert make is not None  # "none" is no term of a sum
    return make(channels, stride)


def _sum(terms: list[torch.Tensor]) -> torch.Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
