"""The dot bases: single points of +1 and -1, and the same blurred."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from gennas_optuna import _check
from gennas_optuna.signals._base import Signal, register_signal


@dataclass(frozen=True)
class _Dots(Signal):
    """What both dot bases share.

    Attributes:
        fraction: share of a map's positions that hold a dot, rounded down to a whole number.
        local: every sample draws its own maps; otherwise one draw serves the whole batch.
    """

    fraction: float
    local: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        _check.number_field(self, "fraction", f"{self.kind} fraction", low=0, high=1)
        _check.boolean(self.local, f"{self.kind} local")

    def _dots(
        self, batch: int, channels: int, size: tuple[int, int], generator: torch.Generator
    ) -> torch.Tensor:
        cells = size[0] * size[1]
        shape = (batch if self.local else 1, channels, cells)
        draws = torch.rand(shape, generator=generator).numpy()
        # Stable, so that equal draws are the same dots on every processor.
        rank = torch.from_numpy(np.argsort(draws, axis=-1, kind="stable"))
        sign = torch.randint(2, shape, generator=generator) * 2 - 1
        dots = torch.where(rank < int(self.fraction * cells), sign, 0)
        return dots.to(torch.float32).view(*shape[:2], *size)


@register_signal
@dataclass(frozen=True)
class Dot(_Dots):
    """Dots of +1 or -1 with equal chance at distinct random positions, zero elsewhere."""

    kind: ClassVar[str] = "dot"

    def draw(
        self,
        *,
        batch: int,
        channels: int,
        size: tuple[int, int],
        generator: torch.Generator,
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self._dots(batch, channels, size, generator).expand(batch, -1, -1, -1)


@register_signal
@dataclass(frozen=True)
class DotGaussian(_Dots):
    """Dots blurred by a Gaussian of one pixel, each map scaled to a largest magnitude of 1.

    A map without a dot stays zero.
    """

    kind: ClassVar[str] = "dot_gaussian"

    def draw(
        self,
        *,
        batch: int,
        channels: int,
        size: tuple[int, int],
        generator: torch.Generator,
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        dots = self._dots(batch, channels, size, generator)
        return blur(dots).expand(batch, -1, -1, -1)


def blur(dots: torch.Tensor) -> torch.Tensor:
    """Gaussian filter (sigma 1, mirrored edges) of maps (..., H, W), each scaled to peak 1."""
    rows, columns = (torch.from_numpy(_blur_matrix(n)) for n in dots.shape[-2:])
    blurred = rows @ dots @ columns.T
    peak = blurred.abs().amax((-2, -1), keepdim=True)
    return blurred / peak.clamp_min(torch.finfo(torch.float32).tiny)


@lru_cache
def _blur_matrix(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """SciPy's one-dimensional filter as a matrix: the filter is linear and separable."""
    matrix: np.ndarray[tuple[int, int], np.dtype[np.float32]]
    matrix = gaussian_filter1d(np.eye(n), sigma=1.0, axis=0).astype(np.float32)
    return matrix
