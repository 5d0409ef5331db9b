"""The two NAS-Bench-Macro networks: the benchmark's own, and what GenNAS made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._pointwise import PointwiseConv2d
from gennas_optuna.taps import StagedModel, TapInfo

STAGES = (2, 3, 3)
"""Layers per stage."""

LAST = 40
"""Width of GenNAS's last convolution as a multiple of the stem's: 1280 for 32."""


class Layer(NamedTuple):
    """Where a layer stands: its stage, whether it is the last one there, its shape."""

    stage: int
    last: bool
    channels_in: int
    channels_out: int
    stride: int

    @property
    def plain(self) -> bool:
        """An identity here is nothing at all."""
        return self.stride == 1 and self.channels_in == self.channels_out


def layers(width: int, first_stage_halves: bool) -> Iterator[Layer]:
    """The eight layers behind a stem of that width.

    The first layer of a stage halves the size and doubles the width; in GenNAS's variant, that
    of the first stage does not.
    """
    for stage, count in enumerate(STAGES):
        for i in range(count):
            halves = i == 0 and (stage > 0 or first_stage_halves)
            wider = 2 * width if halves else width
            yield Layer(stage, i == count - 1, width, wider, 2 if halves else 1)
            width = wider


class NASBenchMacroNet(StagedModel):
    """Stem, eight layers in three stages, tapped after each stage.

    Args:
        code: per layer 0 (identity), 1 (inverted residual, expansion 3, kernel 3) or 2 (the same
            with expansion 6, kernel 5).
        width: channels C of the stem.
        gennas: GenNAS's variant: stages of width C, 2C, 4C, the last one seen through a bare
            1x1 convolution to 40C channels. Otherwise the benchmark's: 2C, 4C, 8C.
        input_shape: ``(channels, height, width)`` of an image.
    """

    def __init__(
        self, code: Sequence[int], *, width: int, gennas: bool, input_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        multiple = 4 if gennas else 8
        if any(s % multiple or s < multiple for s in input_shape[1:]):
            raise InvalidValueError(
                f"input shape {input_shape}: this NAS-Bench-Macro network halves its images "
                f"{'twice' if gennas else 'three times'}; give (channels, height, width) with "
                f"sides that are multiples of {multiple}"
            )
        channels, *size = input_shape
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        stages: list[list[nn.Module]] = [[], [], []]
        taps = []
        for choice, layer in zip(code, layers(width, not gennas), strict=True):
            size = [side // layer.stride for side in size]
            stages[layer.stage].extend(_modules(choice, layer))
            if layer.last:
                taps.append(TapInfo(f"stages.{layer.stage}", layer.channels_out, tuple(size)))
        if gennas:
            c_in, c_out = taps[-1].channels, LAST * width
            stages[-1].append(PointwiseConv2d(c_in, c_out))
            taps[-1] = TapInfo("stages.2", c_out, tuple(size))
        self.stages = nn.ModuleList([nn.Sequential(*stage) for stage in stages])
        self.taps = tuple(taps)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Three maps. For ``gennas``: C x H x W, 2C x H/2 x W/2, 40C x H/4 x W/4.

        For the benchmark: 2C x H/2 x W/2, 4C x H/4 x W/4, 8C x H/8 x W/8.
        """
        taps = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        return tuple(taps)


def _modules(choice: int, layer: Layer) -> list[nn.Module]:
    c_in, c_out, stride = layer.channels_in, layer.channels_out, layer.stride
    if choice:
        expansion, kernel = {1: (3, 3), 2: (6, 5)}[choice]
        return [_InvertedResidual(c_in, c_out, stride, expansion, kernel, add=layer.plain)]
    if layer.plain:
        return []
    return [nn.Sequential(PointwiseConv2d(c_in, c_out, stride=stride), nn.BatchNorm2d(c_out))]


class _InvertedResidual(nn.Module):
    def __init__(
        self, c_in: int, c_out: int, stride: int, expansion: int, kernel: int, *, add: bool
    ) -> None:
        super().__init__()
        inner = expansion * c_in
        self.add = add
        self.body = nn.Sequential(
            PointwiseConv2d(c_in, inner),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(
                inner, inner, kernel, stride=stride, padding=kernel // 2, groups=inner, bias=False
            ),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            PointwiseConv2d(inner, c_out),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return x + out if self.add else out
