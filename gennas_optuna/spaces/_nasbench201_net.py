"""The NAS-Bench-201 network: stem, three stages of equal cells, two residual reductions."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._dataflow import DataFlow
from gennas_optuna.spaces._pointwise import PointwiseConv2d, convolution
from gennas_optuna.spaces._pool import AvgPool
from gennas_optuna.taps import StagedModel, TapInfo

POOL = "p"
"""The pooling step; the convolution steps are named by their kernel size."""


class NASBench201Net(StagedModel):
    """The network up to the end of its third stage, tapped after each stage.

    Args:
        flow: the cell; steps ``"1"``, ``"3"`` (convolutions by kernel size) and ``"p"``.
        width: channels C of the stem; the stages have C, 2C, 4C.
        depth: cells per stage.
        own_norm: the benchmark's own convolution-norm pairs instead of GenNAS's.
        input_shape: ``(channels, height, width)`` of an image.
    """

    def __init__(
        self,
        flow: DataFlow,
        *,
        width: int,
        depth: int,
        own_norm: bool,
        input_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        if any(side % 4 or side < 4 for side in input_shape[1:]):
            raise InvalidValueError(
                f"input shape {input_shape}: NAS-Bench-201 halves its images twice; "
                "give (channels, height, width) with sides that are multiples of 4"
            )
        channels, height, width_in = input_shape
        widths = (width, 2 * width, 4 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        self.reductions = nn.ModuleList(
            [_Residual(small, large) for small, large in pairwise(widths)]
        )
        self.stages = nn.ModuleList(
            [nn.Sequential(*[_Cell(flow, c, own_norm) for _ in range(depth)]) for c in widths]
        )
        self.taps = tuple(
            TapInfo(f"stages.{i}", c, (height >> i, width_in >> i)) for i, c in enumerate(widths)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Three maps: C x H x W, 2C x H/2 x W/2, 4C x H/4 x W/4."""
        taps = [self.stages[0](self.stem(x))]
        for reduction, stage in zip(self.reductions, self.stages[1:], strict=True):
            taps.append(stage(reduction(taps[-1])))
        return tuple(taps)


class _Cell(nn.Module):
    def __init__(self, flow: DataFlow, channels: int, own_norm: bool) -> None:
        super().__init__()
        self.flow = flow
        self.convs = nn.ModuleDict()
        for i, step in enumerate(flow.steps):
            if step.op != POOL:
                kernel = int(step.op)
                self.convs[str(i)] = nn.Sequential(
                    convolution(channels, channels, kernel, bias=not own_norm),
                    nn.BatchNorm2d(channels, affine=own_norm, track_running_stats=own_norm),
                )
        self.relu = nn.ReLU()
        self.pool = AvgPool(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        sums: dict[tuple[int, ...], torch.Tensor] = {}  # several steps may read one sum
        active: dict[tuple[int, ...], torch.Tensor] = {}  # ... and its ReLU

        def total(terms: tuple[int, ...]) -> torch.Tensor:
            if terms not in sums:
                sums[terms] = _sum([values[i] for i in terms], like=x)
            return sums[terms]

        for i, step in enumerate(self.flow.steps):
            if step.op == POOL:
                values.append(self.pool(total(step.inputs)))
            else:
                if step.inputs not in active:
                    active[step.inputs] = self.relu(total(step.inputs))
                values.append(self.convs[str(i)](active[step.inputs]))
        return total(self.flow.output)


class _Residual(nn.Module):
    """Halves the size and doubles the width."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.side = nn.Sequential(
            nn.AvgPool2d(2, stride=2), PointwiseConv2d(channels_in, channels_out)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.main(x) + self.side(x)
        return out


def _sum(terms: list[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    if not terms:
        return torch.zeros_like(like)
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
