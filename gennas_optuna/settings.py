"""Presets: how long and at what size an architecture is trained."""

from __future__ import annotations

from dataclasses import dataclass

from gennas_optuna import _check
from gennas_optuna.errors import UnknownNameError
from gennas_optuna.spaces import Scale


@dataclass(frozen=True)
class Preset:
    """A way to run the regression.

    Attributes:
        name: registered name.
        steps: optimiser steps.
        scale: at what size networks are built; ``None``: the paper's.
    """

    name: str
    steps: int
    scale: Scale | None = None

    def __post_init__(self) -> None:
        _check.instance(self.name, "preset name", str)
        _check.whole(self.steps, "preset steps", low=1)
        if self.scale is not None:
            _check.instance(self.scale, "preset scale", Scale)


PRESETS = {preset.name: preset for preset in (Preset("paper", steps=100),)}
"""``paper``: 100 steps on the full network, as GenNAS section 4 runs it."""


def get_preset(preset: str | Preset) -> Preset:
    """The preset of that name; a :class:`Preset` is passed through."""
    if isinstance(preset, Preset):
        return preset
    if not isinstance(preset, str) or preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    return PRESETS[preset]
