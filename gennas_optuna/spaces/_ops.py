"""The one table of operations that the cells of the NDS benchmark choose from.

Every op that has weights starts with a ReLU. It is left out here: ops that read one value share
its ReLU, so the cell applies it (see ``has_weights``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from gennas_optuna.spaces._depthwise import DepthwiseConv2d
from gennas_optuna.spaces._layout import channels_last
from gennas_optuna.spaces._pointwise import PointwiseConv2d, convolution
from gennas_optuna.spaces._pool import AvgPool, MaxPool


class Op(NamedTuple):
    """One operation on ``channels`` channels.

    Attributes:
        symbol: its short name in the keys of architectures.
        make: builds the layers from ``(channels, stride)``, without the leading ReLU; ``None``
            for the zero.
        weights: whether it has parameters at stride 1. An op without maps zero to zero.
    """

    symbol: str
    make: Callable[[int, int], nn.Module] | None
    weights: bool


def has_weights(layers: nn.Module) -> bool:
    """Whether an op's layers have parameters; these read the ReLU of a value, others the value."""
    return any(True for _ in layers.parameters())


class FactorizedReduction(nn.Module):
    """Halves the size: one 1x1 convolution on the even pixels, one on the odd ones, joined.

    The published form pads the image by a row and a column of zeros and drops the first ones
    before the second convolution; on sides of even length its stride never meets the padding,
    and this one takes the odd pixels directly.

    Args:
        channels_in: channels of the (already ReLU'd) input.
        channels_out: channels of the output, even.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.even = PointwiseConv2d(channels_in, channels_out // 2, stride=2)
        self.odd = PointwiseConv2d(channels_in, channels_out // 2)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, 2H, 2W) to (N, channels_out, H, W)."""
        halves = [self.even(x), self.odd(channels_last(x)[:, :, 1::2, 1::2])]
        out: torch.Tensor = self.norm(torch.cat([channels_last(half) for half in halves], dim=1))
        return out


def pointwise(channels_in: int, channels_out: int) -> nn.Sequential:
    """1x1 convolution and batch norm."""
    return nn.Sequential(PointwiseConv2d(channels_in, channels_out), nn.BatchNorm2d(channels_out))


def _skip(channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels)


def _avg_pool(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda _, stride: AvgPool(kernel, stride)


def _max_pool(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda _, stride: MaxPool(kernel, stride)


def _conv(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda c, stride: nn.Sequential(
        convolution(c, c, kernel, stride=stride), nn.BatchNorm2d(c)
    )


def _split_conv(kernel: int) -> Callable[[int, int], nn.Module]:
    """A row kernel, then a column kernel; each takes the stride of its own direction."""
    pad = kernel // 2
    return lambda c, stride: nn.Sequential(
        nn.Conv2d(c, c, (1, kernel), stride=(1, stride), padding=(0, pad), bias=False),
        nn.Conv2d(c, c, (kernel, 1), stride=(stride, 1), padding=(pad, 0), bias=False),
        nn.BatchNorm2d(c),
    )


def _separable(kernel: int, *, dilation: int = 1, times: int) -> Callable[[int, int], nn.Module]:
    """Depthwise and pointwise convolution and batch norm; the stride is in the first of them."""

    def make(c: int, stride: int) -> nn.Module:
        layers: list[nn.Module] = []
        for i in range(times):
            if i:
                layers.append(nn.ReLU(inplace=True))  # of a batch norm, whose output no one keeps
            depthwise = DepthwiseConv2d(c, kernel, stride=1 if i else stride, dilation=dilation)
            layers += [depthwise, *pointwise(c, c)]
        return nn.Sequential(*layers)

    return make


OPS: dict[str, Op] = {
    "none": Op("0", None, weights=False),
    "skip_connect": Op("i", _skip, weights=False),
    "avg_pool_3x3": Op("a3", _avg_pool(3), weights=False),
    "avg_pool_5x5": Op("a5", _avg_pool(5), weights=False),
    "max_pool_3x3": Op("m3", _max_pool(3), weights=False),
    "max_pool_5x5": Op("m5", _max_pool(5), weights=False),
    "max_pool_7x7": Op("m7", _max_pool(7), weights=False),
    "conv_1x1": Op("c1", _conv(1), weights=True),
    "conv_3x3": Op("c3", _conv(3), weights=True),
    "conv_3x1_1x3": Op("x3", _split_conv(3), weights=True),
    "conv_7x1_1x7": Op("x7", _split_conv(7), weights=True),
    "sep_conv_3x3": Op("s3", _separable(3, times=2), weights=True),
    "sep_conv_5x5": Op("s5", _separable(5, times=2), weights=True),
    "sep_conv_7x7": Op("s7", _separable(7, times=2), weights=True),
    "dil_conv_3x3": Op("d3", _separable(3, dilation=2, times=1), weights=True),
    "dil_conv_5x5": Op("d5", _separable(5, dilation=2, times=1), weights=True),
    "dil_sep_conv_3x3": Op("t3", _separable(3, dilation=2, times=2), weights=True),
}
"""Operations by their name in the benchmark's records. Its 2x2 pools are in no record: they would
not keep the size."""
