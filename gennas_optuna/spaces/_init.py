"""Initial weights from an explicit generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from gennas_optuna.errors import UnknownNameError
from gennas_optuna.spaces._entry import check_kind

Model = TypeVar("Model", bound=nn.Module)

_DRAWS = {getattr(torch.Tensor, f"{name}_") for name in ("uniform", "normal", "fill", "zero")}
_DRAWS.add(nn.init.kaiming_uniform_)


class WithoutInit(TorchFunctionMode):
    """Layers that are made under it do not draw weights, which takes long even on meta."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def initialize(model: Model, *, generator: torch.Generator, scheme: str = "pytorch") -> Model:
    """Give a model built on the meta device memory on the CPU and its initial weights.

    Args:
        model: its parameters are in convolution, linear and batch-norm layers, or in modules
            with a method ``init_weights(generator)`` of their own.
        generator: what the weights are drawn from, in the order of ``model.modules()``.
        scheme: ``"pytorch"``, the layers' default: uniform in +-1/sqrt(fan-in), weights and
            biases alike; ``"fan-out"``: convolution weights normal with standard deviation
            sqrt(2 / (kernel area * output channels)), the rest as ``"pytorch"``.
    """
    check_kind("generator", generator)
    if scheme not in SCHEMES:
        raise UnknownNameError("initialisation scheme", scheme, SCHEMES)
    # As to_empty() does, without its slow way to ask what a tensor on meta is like.
    model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for module in model.modules():
            own = getattr(module, "init_weights", None)
            if own is not None:
                own(generator)
            elif isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                SCHEMES[scheme](module, generator)
            elif isinstance(module, _BatchNorm):
                module.reset_parameters()
    return model


def _uniform(module: nn.Module, generator: torch.Generator) -> None:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    bound = 1 / math.sqrt(weight[0].numel())
    weight.uniform_(-bound, bound, generator=generator)
    if isinstance(module.bias, torch.Tensor):
        module.bias.uniform_(-bound, bound, generator=generator)


def _fan_out(module: nn.Module, generator: torch.Generator) -> None:
    _uniform(module, generator)
    weight = module.weight
    if isinstance(module, nn.modules.conv._ConvNd) and isinstance(weight, torch.Tensor):
        fan_out = weight.shape[0] * weight[0, 0].numel()
        weight.normal_(0, math.sqrt(2 / fan_out), generator=generator)


SCHEMES: dict[str, Callable[[nn.Module, torch.Generator], None]] = {
    "pytorch": _uniform,
    "fan-out": _fan_out,
}
"""How convolutions and linear layers start, by name."""
