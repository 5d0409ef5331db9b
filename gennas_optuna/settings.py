"""Presets: how long and at what size an architecture is trained."""

from __future__ import annotations

from dataclasses import dataclass

from gennas_optuna import _check
from gennas_optuna.cost import Cost
from gennas_optuna.errors import UnknownNameError
from gennas_optuna.spaces import Scale
from gennas_optuna.spaces._init import SCHEMES
from gennas_optuna.spaces.nds import CELL_SPACES, STAGE_SPACES
from gennas_optuna.task_parts import Optimizer


@dataclass(frozen=True)
class Size:
    """How much a network's size counts, as powers that losses are divided by.

    Of two networks that learn the signals equally well the larger one is better (the factor of
    Eproxy, arXiv 2210.09459).

    Attributes:
        flops: power of the multiply-accumulates, in hundreds of millions.
        params: power of the number of parameters, in millions.
    """

    flops: float = 0.0
    params: float = 0.0

    def __post_init__(self) -> None:
        _check.number_field(self, "flops", "preset size: flops")
        _check.number_field(self, "params", "preset size: params")

    def factor(self, cost: Cost) -> float:
        """What losses of a network that costs so much are multiplied by."""
        by_flops = (max(cost.flops, 1) / 1e8) ** -self.flops
        return float(by_flops * (max(cost.params, 1) / 1e6) ** -self.params)


@dataclass(frozen=True)
class Preset:
    """A way to run the regression.

    Attributes:
        name: registered name.
        steps: optimiser steps.
        steps_of: the same for single spaces, by name.
        scale: at what size networks are built; ``None``: the paper's.
        scales: the same for single spaces, by name.
        init: how weights start: ``"pytorch"`` or ``"fan-out"``; ``None``: as the space says.
            Where convolutions are followed by batch norm, smaller initial weights make the same
            learning rate act faster.
        batch_size: samples per step; ``None``: the task's.
        optimizer: how it is trained; ``None``: as the task says.
        window: what the loss of an architecture is. ``None``: its loss in evaluation mode, taken
            after the last step (the paper). A number: the mean over that many last steps of the
            loss in training mode, which costs nothing to read, is averaged over several draws of
            the noise, and does not suffer from running statistics that lag behind.
        size: how much size counts.
        sizes: the same for single spaces, by name.
    """

    name: str
    steps: int
    steps_of: tuple[tuple[str, int], ...] = ()
    scale: Scale | None = None
    scales: tuple[tuple[str, Scale], ...] = ()
    init: str | None = None
    batch_size: int | None = None
    optimizer: Optimizer | None = None
    window: int | None = None
    size: Size = Size()
    sizes: tuple[tuple[str, Size], ...] = ()

    def __post_init__(self) -> None:
        _check.instance(self.name, "preset name", str)
        least = min(
            _check.whole(steps, "preset steps", low=1)
            for steps in (self.steps, *dict(self.steps_of).values())
        )
        if self.scale is not None:
            _check.instance(self.scale, "preset scale", Scale)
        if self.init is not None:
            _check.one_of(self.init, "preset init", SCHEMES)
        if self.batch_size is not None:
            _check.whole(self.batch_size, "preset batch_size", low=2)
        if self.optimizer is not None:
            _check.instance(self.optimizer, "preset optimizer", Optimizer)
        if self.window is not None:
            _check.whole(self.window, "preset window", low=1, high=least)
        for size in (self.size, *dict(self.sizes).values()):
            _check.instance(size, "preset size", Size)

    def steps_for(self, space: str) -> int:
        """How many steps networks of the space of that name are trained."""
        return dict(self.steps_of).get(space, self.steps)

    def scale_for(self, space: str) -> Scale | None:
        """The size at which networks of the space of that name are built."""
        return dict(self.scales).get(space, self.scale)

    def size_for(self, space: str) -> Size:
        """How much size counts in the space of that name."""
        return dict(self.sizes).get(space, self.size)


_SMALLER = (
    ("nasbench101", Scale(depth=2)),
    ("nasbench-nlp", Scale(width_factor=0.5, depth=2)),
    *((name, Scale(width_factor=0.25, depth_factor=0.5)) for name in CELL_SPACES),
    *((name, Scale(width_factor=0.5, depth_factor=0.5)) for name in STAGE_SPACES),
)
"""Small networks learn the signals in a fraction of the steps."""

_SIZE = Size(flops=0.1)
"""How much size counts where nothing else is known."""

_SIZES = (
    *((name, Size(params=0.1)) for name in (*CELL_SPACES, *STAGE_SPACES)),
    *((name, Size(flops=0.02)) for name in ("nasbench101", "nasbench201", "nasbench-nlp")),
)
"""Where width and depth differ parameters say more than FLOPs; where nothing but the cell differs
size counts for little."""

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "fast",
            steps=25,
            steps_of=(("nasbench-nlp", 60),),
            batch_size=8,
            window=6,
            init="pytorch",
            scales=(("nasbench201", Scale(depth=1)), *_SMALLER),
            size=_SIZE,
            sizes=_SIZES,
        ),
        Preset(
            "balanced",
            steps=40,
            steps_of=(("nasbench-nlp", 100),),
            batch_size=8,
            window=10,
            init="pytorch",
            scales=(("nasbench201", Scale(depth=2)), *_SMALLER),
            size=_SIZE,
            sizes=_SIZES,
        ),
        Preset("paper", steps=100),
    )
}
"""``paper``: 100 steps on the full network, as GenNAS section 4 runs it. ``balanced`` and ``fast``
read fewer steps of smaller batches and let size count; how they rank is in ``docs/results.md``."""

DEFAULT_PRESET = "balanced"
"""Where both were measured it ranks like ``paper`` or better for a fifth of its cost."""


def get_preset(preset: str | Preset) -> Preset:
    """The preset of that name; a :class:`Preset` is passed through."""
    if isinstance(preset, Preset):
        return preset
    if not isinstance(preset, str) or preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    return PRESETS[preset]
