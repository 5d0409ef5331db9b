"""Keeping gradients in channels-last layout."""

from __future__ import annotations

from typing import Any

import torch


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """``x``, with a gradient that is channels-last (N, C, H, W) whatever comes back.

    For inputs of operations whose gradients are cut out of larger tensors, such as concatenation:
    sums with those would be laid out channels first, and so would all gradients before them, each
    to be copied before the next convolution.
    """
    out: torch.Tensor = _ChannelsLastGradient.apply(x)  # type: ignore[no-untyped-call]
    return out


class _ChannelsLastGradient(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad.contiguous(memory_format=torch.channels_last)
