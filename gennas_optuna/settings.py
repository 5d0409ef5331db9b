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
        batch_size: samples per step; ``None``: the task's.
        window: what the loss of an architecture is. ``None``: its loss in evaluation mode, taken
            after the last step (the paper). A number: the mean over that many last steps of the
            loss in training mode, which costs nothing to read, is averaged over several draws of
            the noise, and does not suffer from running statistics that lag behind.
    """

    name: str
    steps: int
    scale: Scale | None = None
    batch_size: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        _check.instance(self.name, "preset name", str)
        _check.whole(self.steps, "preset steps", low=1)
        if self.scale is not None:
            _check.instance(self.scale, "preset scale", Scale)
        if self.batch_size is not None:
            _check.whole(self.batch_size, "preset batch_size", low=2)
        if self.window is not None:
            _check.whole(self.window, "preset window", low=1, high=self.steps)


PRESETS = {preset.name: preset for preset in (Preset("paper", steps=100),)}
"""``paper``: 100 steps on the full network, as GenNAS section 4 runs it."""


def get_preset(preset: str | Preset) -> Preset:
    """The preset of that name; a :class:`Preset` is passed through."""
    if isinstance(preset, Preset):
        return preset
    if not isinstance(preset, str) or preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    return PRESETS[preset]
