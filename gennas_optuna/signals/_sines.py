"""The sine bases: waves along one axis, and plane waves.

A pool of maps is defined for all frequencies and 32 random phases; a stage's channels are drawn
from it without replacement. Only the maps drawn are ever computed.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.signals._base import POOL_PER_FREQUENCY, Signal, register_signal

_PHASES = POOL_PER_FREQUENCY // 2


class Maps(NamedTuple):
    """Maps of a pool, each tensor of one shape.

    Attributes:
        group: the frequency (or pair of frequencies) by number.
        flipped: of the second orientation.
        cosine: a cosine, else a sine.
        phase: in radians.
    """

    group: torch.Tensor
    flipped: torch.Tensor
    cosine: torch.Tensor
    phase: torch.Tensor


def pool_maps(index: torch.Tensor, phases: torch.Tensor) -> Maps:
    """The pool's maps of the given numbers, for phases (draws, groups * 32)."""
    group, within = index // POOL_PER_FREQUENCY, index % POOL_PER_FREQUENCY
    k = within % _PHASES
    return Maps(group, within >= _PHASES, k % 2 == 1, phases.gather(1, group * _PHASES + k))


@dataclass(frozen=True)
class _Sines(Signal):
    """What both sine bases share.

    Attributes:
        frequencies: cycles per pixel, from 0 to 1; those above 0.5 look like 1 minus them.
        local: every sample draws its own maps; otherwise one draw serves the whole batch.
    """

    frequencies: tuple[float, ...]
    local: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        where = f"{self.kind} frequencies"
        values = _check.sequence(self.frequencies, where)
        if not values:
            raise InvalidValueError(f"{where}: give at least one number")
        checked = tuple(
            _check.number(value, f"{where}[{i}]", low=0, high=1) for i, value in enumerate(values)
        )
        object.__setattr__(self, "frequencies", checked)
        _check.boolean(self.local, f"{self.kind} local")

    @property
    @abstractmethod
    def groups(self) -> int:
        """Number of frequencies, or of pairs of them: each offers 64 maps."""

    @abstractmethod
    def render(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Compute maps: of shape (draws, channels) in, (draws, channels, height, width) out."""

    def max_channels(self) -> int:
        return POOL_PER_FREQUENCY * self.groups

    def draw(
        self,
        *,
        batch: int,
        channels: int,
        size: tuple[int, int],
        generator: torch.Generator,
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        draws = batch if self.local else 1
        phases = 2 * math.pi * torch.rand(draws, self.groups * _PHASES, generator=generator)
        lots = torch.rand(draws, self.groups * POOL_PER_FREQUENCY, generator=generator)
        maps = pool_maps(lots.topk(channels, dim=1).indices, phases)
        return self.render(maps, size).expand(batch, -1, -1, -1)


def _wave(angle: torch.Tensor, phase: torch.Tensor, cosine: torch.Tensor) -> torch.Tensor:
    """Sine, or cosine where ``cosine`` says so: a cosine is a sine a quarter turn ahead."""
    return torch.sin(angle + (phase + cosine * (math.pi / 2))[..., None, None])


def _coordinates(size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column numbers, counted from 1, as (height, 1) and (1, width)."""
    rows = torch.arange(1, size[0] + 1, dtype=torch.float32)
    columns = torch.arange(1, size[1] + 1, dtype=torch.float32)
    return rows[:, None], columns[None, :]


@register_signal
@dataclass(frozen=True)
class Sin1D(_Sines):
    """Waves along one axis: sin or cos of 2 pi f i + phase, along rows or along columns.

    The pool has 64 maps per frequency: 32 phases along the rows, and the same along the columns.
    """

    kind: ClassVar[str] = "sin1d"

    @property
    def groups(self) -> int:
        return len(self.frequencies)

    def render(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        rows, columns = _coordinates(size)
        position = torch.where(maps.flipped[..., None, None], columns, rows)
        frequency = torch.tensor(self.frequencies)[maps.group][..., None, None]
        return _wave(2 * math.pi * frequency * position, maps.phase, maps.cosine)


@register_signal
@dataclass(frozen=True)
class Sin2D(_Sines):
    """Plane waves: sin or cos of 2 pi (f1 i + f2 j) + 2 phase, and the same upside down.

    The pool has 64 maps per ordered pair of frequencies. The phase enters twice, as in the
    paper's code.
    """

    kind: ClassVar[str] = "sin2d"

    @property
    def groups(self) -> int:
        return len(self.frequencies) ** 2

    def render(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        frequencies, count = torch.tensor(self.frequencies), len(self.frequencies)
        rows, columns = _coordinates(size)
        # Maps are defined on a square and cut to size, so rows are mirrored within the square.
        row = torch.where(maps.flipped[..., None, None], max(size) + 1 - rows, rows)
        first = frequencies[maps.group // count][..., None, None]
        second = frequencies[maps.group % count][..., None, None]
        angle = 2 * math.pi * (first * row + second * columns)
        return _wave(angle, 2 * maps.phase, maps.cosine)
