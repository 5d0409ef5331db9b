"""Pooling that is fast on a processor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

SMALLEST = 16
"""Narrower maps are not worth the calls that the fast ways take."""

VECTOR = 8
"""PyTorch's pooling of channels-last maps is fast where their channels are multiples of this."""


class AvgPool(nn.Module):
    """Average over windows of every channel, of what of them lies inside the map.

    While training on a processor the windows are summed by a depthwise convolution with ones,
    which is faster than PyTorch's pooling of large channels-last maps. Evaluation, in which
    multiply-accumulates are counted, pools as PyTorch does.

    Args:
        kernel: side of the window, odd.
        stride: step of the window; the output has the input's size divided by it.
    """

    def __init__(self, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C, H / stride, W / stride)."""
        pad = self.kernel // 2
        large = self.stride == 1 and x.shape[3] >= SMALLEST
        if not (self.training and large and x.device.type == "cpu"):
            return F.avg_pool2d(x, self.kernel, self.stride, pad, count_include_pad=False)
        channels = x.shape[1]
        window = x.new_ones((channels, 1, self.kernel, self.kernel))
        counts = F.conv2d(x.new_ones((1, 1, *x.shape[2:])), window[:1], padding=pad)
        return F.conv2d(x, window, padding=pad, groups=channels) * counts.reciprocal()

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.kernel}, stride={self.stride}"


class MaxPool(nn.MaxPool2d):
    """Maximum over windows of every channel.

    Channels of large maps that fill no whole vectors are pooled together with those of all other
    samples, as one sample with the channels of all: to the same values and gradients.

    Args:
        kernel: side of the window, odd.
        stride: step of the window.
    """

    def __init__(self, kernel: int, stride: int = 1) -> None:
        super().__init__(kernel, stride, padding=kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C, H / stride, W / stride)."""
        n, c, h, w = x.shape
        if c % VECTOR == 0 or w < SMALLEST or x.device.type != "cpu":
            return self._pooled(x)
        together = x.permute(2, 3, 0, 1).reshape(1, h, w, n * c).permute(0, 3, 1, 2)
        maxima = self._pooled(together).permute(0, 2, 3, 1)
        apart = maxima.reshape(*maxima.shape[1:3], n, c).permute(2, 0, 1, 3)
        return apart.contiguous().permute(0, 3, 1, 2)

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = super().forward(x)
        return pooled
