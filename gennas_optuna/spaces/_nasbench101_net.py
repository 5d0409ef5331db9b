"""The NAS-Bench-101 network: stem and three stacks of equal cells, pooled in between."""

from __future__ import annotations

import torch
from torch import nn

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._dataflow import DataFlow
from gennas_optuna.spaces._nasbench101_cell import POOL
from gennas_optuna.spaces._pointwise import convolution
from gennas_optuna.spaces._pool import MaxPool
from gennas_optuna.taps import StagedModel, TapInfo

MIN_WIDTH = 5
"""A cell splits its width over up to five vertices, and each needs a channel."""


class NASBench101Net(StagedModel):
    """The network up to the end of its third stack, tapped after each stack.

    Args:
        flow: the cell; steps ``"1"``, ``"3"`` (convolutions by kernel size) and ``"p"``.
        width: channels C of the stem; the stacks have C, 2C, 4C.
        depth: cells per stack.
        input_shape: ``(channels, height, width)`` of an image.
    """

    def __init__(
        self, flow: DataFlow, *, width: int, depth: int, input_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        if any(side % 4 or side < 4 for side in input_shape[1:]):
            raise InvalidValueError(
                f"input shape {input_shape}: NAS-Bench-101 halves its images twice; "
                "give (channels, height, width) with sides that are multiples of 4"
            )
        if width < MIN_WIDTH:
            raise InvalidValueError(
                f"scale width={width}: NAS-Bench-101 splits its channels over up to five "
                f"vertices; give a width from {MIN_WIDTH} up"
            )
        channels, height, width_in = input_shape
        widths = (width, 2 * width, 4 * width)
        self.stem = _conv_bn_relu(channels, width, 3)
        self.pool = nn.MaxPool2d(2, stride=2)
        self.stacks = nn.ModuleList()
        before = width
        for c in widths:
            # The first cell of a stack sees the width of the stack before.
            self.stacks.append(
                nn.Sequential(*[_Cell(flow, c if i else before, c) for i in range(depth)])
            )
            before = c
        self.taps = tuple(
            TapInfo(f"stacks.{i}", c, (height >> i, width_in >> i)) for i, c in enumerate(widths)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Three maps: C x H x W, 2C x H/2 x W/2, 4C x H/4 x W/4."""
        taps = [self.stacks[0](self.stem(x))]
        for stack in self.stacks[1:]:
            taps.append(stack(self.pool(taps[-1])))
        return tuple(taps)


def vertex_channels(flow: DataFlow, c_in: int, c_out: int) -> list[int]:
    """Channels of the input, of every step and of the output of a cell.

    The steps that the output concatenates share its channels, the first ones getting one more
    where they do not divide evenly; any other step has as many as the widest step it feeds.
    """
    channels: dict[int, int] = {}
    joined = [value for value in flow.output if value]
    for k, value in enumerate(joined):
        share, rest = divmod(c_out, len(joined))
        channels[value] = share + (k < rest)
    for value in range(len(flow.steps), 0, -1):
        if value not in channels:
            fed = [v for v, step in enumerate(flow.steps, start=1) if value in step.inputs]
            channels[value] = max(channels[v] for v in fed)
    return [c_in, *(channels[v] for v in range(1, len(flow.steps) + 1)), c_out]


class _Cell(nn.Module):
    def __init__(self, flow: DataFlow, c_in: int, c_out: int) -> None:
        super().__init__()
        self.channels = vertex_channels(flow, c_in, c_out)
        self.inputs = [step.inputs for step in flow.steps]
        self.joined = [value for value in flow.output if value]
        # Whatever reads the cell's input, the output included, has a projection of its own.
        self.projections = nn.ModuleDict(
            {
                str(value): _conv_bn_relu(c_in, self.channels[value], 1)
                for value, inputs in enumerate([*self.inputs, flow.output], start=1)
                if 0 in inputs
            }
        )
        self.ops = nn.ModuleList(
            [
                MaxPool(3) if step.op == POOL else _conv_bn_relu(c, c, int(step.op))
                for step, c in zip(flow.steps, self.channels[1:], strict=False)
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        for value, (op, inputs) in enumerate(zip(self.ops, self.inputs, strict=True), start=1):
            terms = [_cut(values[i], self.channels[value]) for i in inputs if i]
            values.append(op(self._with_projection(terms, value, x)))
        joined = [values[i] for i in self.joined]
        if len(joined) > 1:
            joined = [torch.cat(joined, dim=1)]
        return self._with_projection(joined, len(values), x)

    def _with_projection(
        self, terms: list[torch.Tensor], value: int, x: torch.Tensor
    ) -> torch.Tensor:
        """The sum of the terms and, if this value reads the cell's input, its projection."""
        if str(value) in self.projections:
            terms = [*terms, self.projections[str(value)](x)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term  # not in place: a ReLU's backward pass needs its output
        return total


def _cut(maps: torch.Tensor, channels: int) -> torch.Tensor:
    """The first channels of N x C x H x W maps, to feed a vertex that is one channel smaller."""
    return maps if maps.shape[1] == channels else maps[:, :channels]


def _conv_bn_relu(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(c_in, c_out, kernel),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )
