"""Depthwise convolution that trains fast on a processor.

PyTorch's own is slow in two places when it goes backward over channels-last maps: dilated kernels,
and the gradient of kernels wider than three columns, take several times as long as others. Both
are put together here from calls that are fast, with the same sums.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

COLUMNS = 3
"""The widest kernel whose gradient is fast."""


class DepthwiseConv2d(nn.Conv2d):
    """One square kernel per channel, without bias, that keeps the size but for the stride.

    While training on a processor it takes the fast way. Evaluation, in which multiply-accumulates
    are counted, runs PyTorch's convolution; the parameters are the same.

    Args:
        channels: of input and output.
        kernel: side of the kernel, odd.
        stride: step of the kernel.
        dilation: distance of the kernel's pixels.
    """

    def __init__(self, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            channels,
            channels,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C, H / stride, W / stride)."""
        step, apart = self.stride[0], self.dilation[0]
        fits = all(
            side % apart == 0 and side // apart > self.kernel_size[0] // 2 for side in x.shape[2:]
        )
        if not (self.training and x.device.type == "cpu" and step in (1, apart) and fits):
            return super().forward(x)
        if apart == 1:
            return _convolve(x, self.weight)
        if step == apart:  # of the other pixels it reads none
            return _convolve(x[:, :, ::apart, ::apart], self.weight)
        return _together(_convolve(_apart(x, apart), self.weight), apart)


def _apart(x: torch.Tensor, step: int) -> torch.Tensor:
    """The step^2 maps of pixels that lie ``step`` apart, as further samples of the batch."""
    n, c, h, w = x.shape
    grid = x.permute(0, 2, 3, 1).reshape(n, h // step, step, w // step, step, c)
    parts = grid.permute(2, 4, 0, 1, 3, 5).reshape(step * step * n, h // step, w // step, c)
    return parts.permute(0, 3, 1, 2)


def _together(x: torch.Tensor, step: int) -> torch.Tensor:
    """The maps that :func:`_apart` took apart."""
    n, c, h, w = x.shape
    n //= step * step
    grid = x.permute(0, 2, 3, 1).reshape(step, step, n, h, w, c)
    whole = grid.permute(2, 3, 0, 4, 1, 5).reshape(n, h * step, w * step, c)
    return whole.permute(0, 3, 1, 2)


def _convolve(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Depthwise convolution of stride 1 that keeps the size."""
    kernel = weight.shape[3]
    if kernel > COLUMNS:
        out: torch.Tensor = _Wide.apply(x, weight)  # type: ignore[no-untyped-call]
        return out
    return F.conv2d(x, weight, padding=kernel // 2, groups=weight.shape[0])


class _Wide(torch.autograd.Function):
    """The same; the kernel's gradient is computed a few columns at a time."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=weight.shape[3] // 2, groups=weight.shape[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        x, weight = ctx.saved_tensors
        pad = weight.shape[3] // 2
        needs_x, needs_weight = ctx.needs_input_grad
        for_x = _backward(grad, x, weight, (pad, pad), of_weight=False) if needs_x else None
        if not needs_weight:
            return for_x, None
        columns = []
        for first in range(0, weight.shape[3], COLUMNS):
            part = weight[..., first : first + COLUMNS]
            last = first + part.shape[3] - 1
            seen = F.pad(x, (pad - first, last - pad))  # the columns of x that these ones meet
            columns.append(_backward(grad, seen, part, (pad, 0), of_weight=True))
        return for_x, torch.cat(columns, dim=3)


def _backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    padding: tuple[int, int],
    *,
    of_weight: bool,
) -> torch.Tensor:
    """The gradient of a depthwise convolution for its weight or for its input."""
    gradients = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        None,
        [1, 1],
        padding,
        [1, 1],
        False,
        [0, 0],
        weight.shape[0],
        [not of_weight, of_weight, False],
    )
    found: torch.Tensor = gradients[int(of_weight)]
    return found
