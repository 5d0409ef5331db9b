"""1x1 convolution that trains fast on a processor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution.

    Of channels-last maps it is a matrix product over the channels of all pixels. While training on
    a processor it runs as one, which saves PyTorch the preparations of a convolution, longer than
    the product itself where channels are few. And it is safe: with a stride, PyTorch 2.13's
    gradient of the weights writes out of bounds where channels are few and maps large. Evaluation,
    in which multiply-accumulates are counted, runs PyTorch's convolution; the parameters are the
    same.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        stride: every how many pixels, in rows and columns, one is read.
        bias: whether there is one.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__(channels_in, channels_out, 1, stride=stride, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels_in, H, W) to (N, channels_out, H / stride, W / stride)."""
        if not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        step = self.stride[0]
        pixels = x[:, :, ::step, ::step].permute(0, 2, 3, 1)
        return F.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def convolution(
    channels_in: int,
    channels_out: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """A square kernel of odd side that keeps the maps' size but for the stride."""
    if kernel == groups == 1:
        return PointwiseConv2d(channels_in, channels_out, stride=stride, bias=bias)
    return nn.Conv2d(
        channels_in,
        channels_out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=bias,
    )
