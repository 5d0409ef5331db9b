"""Which outputs of a foreign module are feature maps, and how they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gennas_optuna.taps import TapInfo

MOST_SPECIAL = 8
"""The most class, distillation and register tokens that are looked for before the patches."""

Axes = Literal["NCHW", "NHWC", "NLD", "LND"]


@dataclass(frozen=True)
class Call:
    """One call of a submodule in a traced pass.

    Attributes:
        path: dotted name of the submodule; ``""`` is the module itself.
        number: of the call among those of this submodule, from 1.
        shape: of its output, or of the first tensor in it; empty if there is none.
        layer: whether the submodule has weight matrices of its own.
        depth: such layers that have run by the end of the call.
    """

    path: str
    number: int
    shape: tuple[int, ...]
    layer: bool
    depth: int


@dataclass(frozen=True)
class Reading:
    """How to read a tap from a submodule's output.

    Attributes:
        path: dotted name of the submodule.
        number: which of its calls in one pass, from 1.
        axes: order of the output's axes.
        special: leading tokens that belong to no place, to be dropped.
        depth: as in :class:`Call`.
        info: the tap.
    """

    path: str
    number: int
    axes: Axes
    special: int
    depth: int
    info: TapInfo

    def read(self, output: Any) -> torch.Tensor:
        """The tap: (N, C, H, W) from an image, (L, N, D) from a sequence."""
        x = first_tensor(output)
        assert x is not None
        if self.info.layout == "LND":
            return x.transpose(0, 1) if self.axes == "NLD" else x
        if self.axes == "NHWC":
            return x.permute(0, 3, 1, 2)
        if self.axes == "NCHW":
            return x
        x = x.permute(0, 2, 1) if self.axes == "NLD" else x.permute(1, 2, 0)
        return x[:, :, self.special :].reshape(*x.shape[:2], *self.info.size)


Classifier = Callable[[Call, bool], Reading | None]
"""Says how a call's output is a feature map, if it is; the flag: it was asked for by name."""


def first_tensor(output: Any) -> torch.Tensor | None:
    """The tensor itself, or the first one in a tuple, list or mapping (models return these)."""
    if isinstance(output, torch.Tensor):
        return output
    parts: Sequence[Any] = ()
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, (tuple, list)):
        parts = output
    return next((part for part in parts if isinstance(part, torch.Tensor)), None)


def image_maps(batch: int, size: tuple[int, int], larger: Sequence[Call] | None) -> Classifier:
    """Feature maps of images.

    Args:
        batch: number of images in the pass.
        size: their height and width.
        larger: the calls with images of twice the size, if the module takes them. What does not
            grow with the image (squeezed, pooled) is no feature map. Without it, maps of one
            place are taken for pooled ones, and a token map must have the image's proportions.
    """
    grown = None if larger is None else {(call.path, call.number): call.shape for call in larger}
    twice = (2 * size[0], 2 * size[1])

    def classify(call: Call, named: bool) -> Reading | None:
        twin = None if grown is None else grown.get((call.path, call.number), ())
        for axes, special, channels, found in _views(call.shape, batch, size):
            if not named:
                if twin is None:
                    good = math.prod(found) > 1
                else:
                    # Twice the image gives more places, of the same number of channels.
                    good = any(
                        (axes, special, channels) == view[:3]
                        and view[3][0] > found[0]
                        and view[3][1] > found[1]
                        for view in _views(twin, batch, twice)
                    )
                if not good:
                    continue
            return _reading(call, axes, special, TapInfo(call.path, channels, found))
        return None

    return classify


def _views(
    shape: tuple[int, ...], batch: int, image: tuple[int, int]
) -> Iterator[tuple[Axes, int, int, tuple[int, int]]]:
    """All ways to see a shape as a map: axes, special tokens, channels, (height, width)."""
    if len(shape) == 4 and shape[0] == batch:
        if _fits((shape[2], shape[3]), image):
            yield "NCHW", 0, shape[1], (shape[2], shape[3])
        if _fits((shape[1], shape[2]), image):
            yield "NHWC", 0, shape[3], (shape[1], shape[2])
    if len(shape) == 3 and batch in shape[:2]:
        axes: Axes = "NLD" if shape[0] == batch else "LND"
        length = shape[1] if axes == "NLD" else shape[0]
        for special in range(min(MOST_SPECIAL, length - 1) + 1):
            places = length - special
            height = max(1, round(math.sqrt(places * image[0] / image[1])))
            grid = (height, places // height)
            if math.prod(grid) == places and _fits(grid, image):
                yield axes, special, shape[2], grid


def _fits(grid: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether a grid has the image's proportions, to less than one place."""
    return min(grid) > 0 and abs(grid[1] * image[0] - grid[0] * image[1]) < max(image)


def sequence_maps(batch: int, length: int, axes: Axes, not_width: int | None) -> Classifier:
    """Feature maps of sequences: outputs with the input's length.

    Args:
        batch: number of sequences in the pass.
        length: their length L.
        axes: order of the module's axes.
        not_width: of logits over a vocabulary, which are no features.
    """
    start = (batch, length) if axes == "NLD" else (length, batch)

    def classify(call: Call, named: bool) -> Reading | None:
        shape = call.shape
        if len(shape) != 3 or shape[:2] != start or (shape[2] == not_width and not named):
            return None
        return _reading(call, axes, 0, TapInfo(call.path, shape[2], (length,), "LND"))

    return classify


def _reading(call: Call, axes: Axes, special: int, info: TapInfo) -> Reading:
    return Reading(call.path, call.number, axes, special, call.depth, info)
