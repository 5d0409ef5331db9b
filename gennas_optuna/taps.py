"""Taps: the feature maps that regression heads read, and the module that returns them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Layout = Literal["NCHW", "LND"]
"""``NCHW``: images (batch, channels, height, width). ``LND``: sequences (time, batch, width)."""


@dataclass(frozen=True)
class TapInfo:
    """What a tap hands over.

    Attributes:
        name: where in the network it is read, for people.
        channels: number of channels (``NCHW``) or features (``LND``).
        size: ``(height, width)`` of an ``NCHW`` tap, ``(length,)`` of an ``LND`` one.
        layout: order of the axes.
    """

    name: str
    channels: int
    size: tuple[int, ...]
    layout: Layout = "NCHW"


class StagedModel(nn.Module, ABC):
    """A backbone without classifier: ``model(x)`` returns one feature map per tap, early to late.

    Attributes:
        taps: one :class:`TapInfo` per returned tensor, in the same order.
        noise_generator: what layers that draw random numbers in training mode (dropout) draw
            from. The training loop sets it, so that global random state is never touched.
    """

    taps: tuple[TapInfo, ...]
    noise_generator: torch.Generator | None = None

    @abstractmethod
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The taps of a batch of inputs."""
