"""Where the feature maps of NNI models are read: the stage ends of its hub's spaces, or named."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gennas_optuna import _check
from gennas_optuna._tap_finder import hooked
from gennas_optuna.errors import InvalidValueError

_CONTAINERS = {
    "NasBench101": "features",
    "NasBench201": "cells",
    "NDS": "stages",  # also DARTS, ENAS, NASNet, PNAS and AmoebaNet, which extend it
    "MobileNetV3Space": "blocks",
    "ProxylessNAS": "blocks",
    "ShuffleNetSpace": "features",
}
"""The modules that run one after the other in each space of NNI's hub."""


class _AllTapped(Exception):  # noqa: N818 - no error: it ends a forward pass early
    """Everything that is asked for has been computed."""


class StageEnds(nn.Module):
    """A model that ends with the last of its taps; ``taps.0``, ``taps.1`` and so on hold them.

    Of a part that returns several tensors the last one is taken: the NDS stages of NNI's hub
    return the previous map and the current one. Hooks are on the model during a pass only.

    Args:
        model: what is tapped.
        paths: of its parts, as in ``model.named_modules()``, early to late.

    Raises:
        InvalidValueError: a path names no part of the model.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        super().__init__()
        known = dict(model.named_modules())
        for path in paths:
            if not path or path not in known:
                names = ", ".join(name for name, _ in model.named_children())
                raise InvalidValueError(
                    f"taps: {type(model).__name__} has no module {_check.shorten(path)}; "
                    f"its outermost are {_check.shorten(names, 300)}"
                )
        self.model = model
        self.paths = tuple(paths)
        self.taps = nn.ModuleList(nn.Identity() for _ in paths)

    @property
    def names(self) -> list[str]:
        """The paths of the taps in this module."""
        return [f"taps.{i}" for i in range(len(self.taps))]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, 3, H, W) to the output of each part.

        Raises:
            InvalidValueError: a part is not run, or returns no tensor.
        """
        found: dict[str, torch.Tensor] = {}

        def keep(path: str, _: nn.Module, output: Any) -> None:
            value = output[-1] if isinstance(output, (tuple, list)) and output else output
            if not isinstance(value, torch.Tensor):
                kind = type(value).__name__
                raise InvalidValueError(f"taps: {path!r} returns {kind}, not a tensor")
            found[path] = value.clone()  # what follows may change it in place
            if len(found) == len(self.paths):
                raise _AllTapped

        try:
            with hooked({path: self.model.get_submodule(path) for path in self.paths}, keep):
                self.model(x)
        except _AllTapped:
            pass
        for path in self.paths:
            if path not in found:
                raise InvalidValueError(f"taps: {path!r} is not run in this model")
        return tuple(tap(found[path]) for tap, path in zip(self.taps, self.paths, strict=True))


def hub_taps(model: nn.Module, count: int) -> tuple[str, ...]:
    """The paths of the last ``count`` stage ends of a model from NNI's hub.

    A stage ends before each part that reduces the resolution, and with the last part.

    Raises:
        InvalidValueError: it is no such model, or it has too few stages.
    """
    cls = next((c for c in type(model).__mro__ if _is_known(c)), None)
    if cls is None:
        raise InvalidValueError(
            f"taps: {type(model).__name__} is not a space of NNI's hub with known taps "
            f"({', '.join(_CONTAINERS)}); name them: taps=[module paths], of the parts that "
            "return the feature maps at the end of each stage"
        )
    container = _CONTAINERS[cls.__name__]
    parts = list(model.get_submodule(container).children())
    if cls.__name__ == "MobileNetV3Space":
        parts = parts[: int(model.num_blocks) - 2]  # type: ignore[arg-type] # then comes the head
    ends = [i for i, after in enumerate(parts[1:]) if _reduces(after)] + [len(parts) - 1]
    if len(ends) < count:
        raise InvalidValueError(
            f"taps: this {cls.__name__} has {len(ends)} stages and the task {count}: give a task "
            "with fewer stages or name taps=[module paths]"
        )
    return tuple(f"{container}.{i}" for i in ends[-count:])


def _is_known(cls: type) -> bool:
    return cls.__module__.startswith("nni.nas.hub.") and cls.__name__ in _CONTAINERS


def _reduces(part: nn.Module) -> bool:
    strides = (getattr(module, "stride", 1) for module in part.modules())
    return any(
        stride > 1
        for stride in itertools.chain.from_iterable(
            s if isinstance(s, (tuple, list)) else (s,) for s in strides
        )
    )
