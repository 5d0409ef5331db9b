"""Average pooling that trains fast on a processor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

SMALLEST = 16
"""Narrower maps are not worth the calls that the sums take."""


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
