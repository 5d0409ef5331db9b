"""What callers hand to a search space, checked before the space's own code sees it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._scale import Scale

if TYPE_CHECKING:
    from gennas_optuna.spaces._base import SearchSpace

_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "params": (Mapping, "a mapping of parameter names to values, see distributions()"),
    "text": (str, "the text of an architecture, see format()"),
    "rng": (np.random.Generator, "a NumPy generator, such as numpy.random.default_rng(0)"),
    "generator": (
        torch.Generator,  # with None PyTorch would draw from its global state
        "a PyTorch generator, such as torch.Generator().manual_seed(0)",
    ),
    "prefix": (str, "a text"),
    "canonical": (bool, "true or false"),
    "scale": ((Scale, NoneType), "a Scale, or None"),
    "init": ((str, NoneType), "the name of an initialisation scheme, or None"),
}
"""By the name of a method's argument what it has to be, and how that is said."""

_AXES = {"NCHW": ("channels", "height", "width"), "LND": ("length", "dimension")}
"""The axes of one input of a space, by the layout of its taps."""


def check_arguments(cls: type, interface: Collection[str]) -> None:
    """Have those methods of an interface that a class itself defines check their arguments."""
    for name, method in list(vars(cls).items()):
        if name in interface and inspect.isfunction(method) and not name.startswith("_"):
            setattr(cls, name, _checked(method))


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    names = list(inspect.signature(method).parameters)[1:]

    @wraps(method)
    def call(self: SearchSpace, *args: Any, **kwargs: Any) -> Any:
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            _check_one(self, name, value)
        return method(self, *args, **kwargs)

    return call


def _check_one(space: SearchSpace, name: str, value: Any) -> None:
    if name == "arch":
        _check_architecture(space, value)
    elif name == "input_shape" and value is not None:
        _check_shape(space, value)
    elif name in _KINDS:
        check_kind(name, value)


def check_kind(name: str, value: Any) -> None:
    """Check what is meant for an argument of this name."""
    kind, what = _KINDS[name]
    if not isinstance(value, kind):
        raise InvalidValueError(f"{name}={_check.shorten(value)}: give {what}")


def _check_architecture(space: SearchSpace, arch: Any) -> None:
    if not isinstance(arch, Architecture):
        raise InvalidValueError(
            f"arch={_check.shorten(arch)}: give an Architecture, such as parse(text) returns"
        )
    if arch.space is not space and arch.space != space:
        raise InvalidValueError(
            f"arch belongs to {_check.shorten(arch.space)}, not to {_check.shorten(space)}: "
            "give an architecture of this space, such as its parse(text) returns"
        )


def _check_shape(space: SearchSpace, shape: Any) -> None:
    axes = _AXES[space.layout]
    sizes = _check.sequence(shape, "input_shape")
    if len(sizes) != len(axes):
        raise InvalidValueError(
            f"input_shape={_check.shorten(shape)}: give ({', '.join(axes)}), such as "
            f"{space.input_shape}"
        )
    for size, axis in zip(sizes, axes, strict=True):
        _check.whole(size, f"input_shape {axis}", low=1, high=65536)
