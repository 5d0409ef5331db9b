"""From stages of equal blocks to a network: the builder of the NDS ResNet family."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import nn

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._pointwise import convolution
from gennas_optuna.spaces._scale import Scale
from gennas_optuna.taps import StagedModel, TapInfo

Block = Literal["vanilla", "basic", "bottleneck"]
Stem = Literal["plain", "resnet", "resnext"]

_STEM_STRIDES: dict[Stem, int] = {"plain": 1, "resnet": 4, "resnext": 8}


class Stage(NamedTuple):
    """Equal blocks in a row.

    Attributes:
        depth: number of blocks.
        width: channels of each block's output.
        stride: of the first block.
        inner: channels inside a bottleneck block; 0 for the other blocks.
        groups: groups of a bottleneck block's 3x3 convolution; 0 for the other blocks.
    """

    depth: int
    width: int
    stride: int
    inner: int = 0
    groups: int = 0

    def sized(self, scale: Scale) -> Stage:
        """The stage with at most the scale's channels and blocks; inner parts in proportion."""
        width = min(self.width, scale.channels(self.width))
        inner = max(self.inner * width // self.width, min(self.inner, 1))
        return self._replace(
            depth=min(self.depth, scale.blocks(self.depth)),
            width=width,
            inner=inner,
            groups=self.groups if inner == self.inner else math.gcd(self.groups, inner),
        )

    def __str__(self) -> str:
        inner = f":{self.inner}g{self.groups}" if self.inner else ""
        return f"{self.depth}x{self.width}{inner}/{self.stride}"


class Plan(NamedTuple):
    """All that describes a network: two equal plans are one network."""

    block: Block
    stem: Stem
    stem_width: int
    stages: tuple[Stage, ...]

    def sized(self, scale: Scale) -> Plan:
        """The plan with no part wider, and no stage deeper, than the scale says."""
        return self._replace(
            stem_width=min(self.stem_width, scale.channels(self.stem_width)),
            stages=tuple(stage.sized(scale) for stage in self.stages),
        )

    def fault(self) -> str | None:
        """Why it cannot be built: the bottleneck that cannot be cut into its groups."""
        for number, stage in enumerate(self.stages, start=1):
            if self.block == "bottleneck" and not (
                0 < stage.groups <= stage.inner and stage.inner % stage.groups == 0
            ):
                return (
                    f"stage {number} of {self}: {stage.inner} inner channels cannot be cut into "
                    f"{stage.groups} groups"
                )
        return None

    def __str__(self) -> str:
        return "|".join((f"{self.block} {self.stem}{self.stem_width}", *map(str, self.stages)))


class AnyNet(StagedModel):
    """Stem and stages; tapped are the last three stages.

    The tap of a stage of residual blocks is read before its last ReLU, which comes between the
    stages; that of a stage of vanilla blocks after it (as GenNAS reads them).

    Args:
        plan: the network.
        input_shape: ``(channels, height, width)`` of an image.

    Raises:
        InvalidValueError: a bottleneck's inner channels cannot be cut into its groups.
    """

    def __init__(self, plan: Plan, *, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        if fault := plan.fault():
            raise InvalidValueError(fault)
        channels, *size = input_shape
        self.stem = _STEMS[plan.stem](channels, plan.stem_width)
        self.stages = nn.ModuleList()
        size = [_after(side, _STEM_STRIDES[plan.stem]) for side in size]
        infos, width = [], plan.stem_width
        for number, stage in enumerate(plan.stages):
            self.stages.append(_StageModule(plan.block, width, stage))
            size = [_after(side, stage.stride) for side in size]
            width = stage.width
            infos.append(TapInfo(f"stages.{number}", width, tuple(size)))
        self.relu = nn.ReLU() if plan.block != "vanilla" else nn.Identity()
        self.taps = tuple(infos[-3:])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Three maps; of 32x32 images with the strides 1, 2, 2: of the sizes 32, 16 and 8."""
        outputs: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(self.relu(outputs[-1]) if outputs else self.stem(x))
            outputs.append(x)
        return tuple(outputs[-3:])


def _after(side: int, stride: int) -> int:
    """The size of a side of that many pixels after a stride."""
    return math.ceil(side / stride)


def _conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution and batch norm."""
    conv = convolution(channels_in, channels_out, kernel, stride=stride, groups=groups)
    return [conv, nn.BatchNorm2d(channels_out)]


def _relu() -> nn.Module:
    """Of a batch norm or a sum, whose values no one else needs."""
    return nn.ReLU(inplace=True)


def _plain_stem(channels: int, width: int) -> nn.Module:
    return nn.Sequential(*_conv(channels, width, 3), _relu())


def _resnet_stem(channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        *_conv(channels, width, 7, stride=2), _relu(), nn.MaxPool2d(3, stride=2, padding=1)
    )


def _resnext_stem(channels: int, width: int) -> nn.Module:
    """Three convolutions of stride 2; for the width 64 of all records: 32, 64 and 64 channels."""
    half = max(width // 2, 1)
    return nn.Sequential(
        *_conv(channels, half, 3, stride=2),
        _relu(),
        *_conv(half, width, 3, stride=2),
        _relu(),
        *_conv(width, width, 3, stride=2),
        _relu(),
    )


_STEMS = {"plain": _plain_stem, "resnet": _resnet_stem, "resnext": _resnext_stem}


class _StageModule(nn.Module):
    """The blocks of a stage, with the ReLU between residual ones, not after the last."""

    def __init__(self, block: Block, width_in: int, stage: Stage) -> None:
        super().__init__()
        make = _Vanilla if block == "vanilla" else _Residual
        self.blocks = nn.ModuleList(
            [
                make(
                    stage.width if i else width_in, stage._replace(stride=1 if i else stage.stride)
                )
                for i in range(stage.depth)
            ]
        )
        self.relu = _relu() if block != "vanilla" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, block in enumerate(self.blocks):
            x = block(self.relu(x) if i else x)
        return x


class _Vanilla(nn.Sequential):
    """Two 3x3 convolutions, each with ReLU, no shortcut."""

    def __init__(self, width_in: int, stage: Stage) -> None:
        super().__init__(
            *_conv(width_in, stage.width, 3, stride=stage.stride),
            _relu(),
            *_conv(stage.width, stage.width, 3),
            _relu(),
        )


class _Residual(nn.Module):
    """A residual block without its closing ReLU: basic, or bottleneck if it has inner channels."""

    def __init__(self, width_in: int, stage: Stage) -> None:
        super().__init__()
        width, stride, inner = stage.width, stage.stride, stage.inner
        if inner:
            layers = [
                *_conv(width_in, inner, 1),
                _relu(),
                *_conv(inner, inner, 3, stride=stride, groups=stage.groups),
                _relu(),
                *_conv(inner, width, 1),
            ]
        else:
            layers = [
                *_conv(width_in, width, 3, stride=stride),
                _relu(),
                *_conv(width, width, 3),
            ]
        self.main = nn.Sequential(*layers)
        same = width_in == width and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_conv(width_in, width, 1, stride=stride))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.main(x)
        out += self.shortcut(x)  # in place: a batch norm does not need its own output again
        return out
