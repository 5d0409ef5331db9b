"""At what size architectures are built."""

from __future__ import annotations

from dataclasses import dataclass

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError

MIN_CHANNELS = 8
"""A factor makes nothing narrower than this."""


@dataclass(frozen=True)
class Scale:
    """How large an architecture is built; by default as in the paper.

    Where architectures have widths and depths of their own, factors keep them apart.

    Attributes:
        width: channels of the stem; ``None``: as the factor says.
        depth: cells (or blocks) per stage; likewise.
        width_factor: share of what the architecture has itself, at most 1.
        depth_factor: likewise.
    """

    width: int | None = None
    depth: int | None = None
    width_factor: float = 1.0
    depth_factor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("width", "depth"):
            value, factor = getattr(self, name), f"{name}_factor"
            _check.number_field(self, factor, f"scale {factor}", low=0.01, high=1)
            if value is None:
                continue
            _check.whole(value, f"scale {name}", low=1)
            if getattr(self, factor) != 1:
                raise InvalidValueError(f"scale: give {name} or {factor}, not both")

    def channels(self, own: int) -> int:
        """Width of the stem of an architecture that has ``own`` channels: even if resized."""
        if self.width is not None or self.width_factor == 1:
            return self.width or own
        return max(min(own, MIN_CHANNELS), 2 * round(own * self.width_factor / 2))

    def blocks(self, own: int, *, least: int = 1) -> int:
        """Cells or blocks, of which the architecture has ``own`` and needs ``least``."""
        if self.depth is not None or self.depth_factor == 1:
            return self.depth or own
        return max(min(own, least), round(own * self.depth_factor))
