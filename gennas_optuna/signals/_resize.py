"""The resize basis: the input itself, small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.signals._base import Signal, register_signal

_POOL = 1000


@register_signal
@dataclass(frozen=True)
class Resize(Signal):
    """The input images shrunk (nearest neighbour) and scaled to [-1, 1] over the whole batch.

    Each map is one colour channel: distinct numbers are drawn from 0..999 and map ``q`` shows
    channel ``q mod 3``, the same for all samples.
    """

    kind: ClassVar[str] = "resize"

    def max_channels(self) -> int:
        return _POOL

    def draw(
        self,
        *,
        batch: int,
        channels: int,
        size: tuple[int, int],
        generator: torch.Generator,
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if images is None or images.dim() != 4:
            raise InvalidValueError("signal 'resize' follows images: it needs an image input")
        small = shrink(images, size)
        index = torch.randperm(_POOL, generator=generator)[:channels] % images.shape[1]
        return small[:, index]


def shrink(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Images (B, C, H, W) resized to ``size``, then scaled by the batch's extremes to [-1, 1]."""
    small = F.interpolate(images, size=size, mode="nearest")
    low, high = small.min(), small.max()
    return (small - low) / (high - low).clamp_min(torch.finfo(small.dtype).tiny) * 2 - 1
