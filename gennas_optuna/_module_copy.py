"""A private copy of a user's module, with weights drawn anew from a seed."""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from gennas_optuna import _check
from gennas_optuna.errors import GenNASError, InvalidValueError

_LOCK = threading.RLock()


@contextmanager
def seeded_globals(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators, and put them back to what they were.

    Initialisers, dropout and stochastic depth of foreign modules draw from them and take no
    generator. One thread at a time is let in, since the generators belong to the process.
    """
    cuda = device.type == "cuda"
    with _LOCK, torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield


def private_copy(module: nn.Module) -> nn.Module:
    """A deep copy in single precision, on the CPU, without gradients and observing hooks.

    Forward pre-hooks stay, because weight norm, spectral norm and pruning compute with them.
    Hooks that look on (forward, backward) do not, so that they see nothing of the scoring.
    """
    try:
        clone = copy.deepcopy(module, _copied_otherwise(module))
        for part in clone.modules():
            for name in ("_forward_hooks", "_backward_hooks", "_backward_pre_hooks"):
                getattr(part, name).clear()
        clone.to("cpu").float().zero_grad(set_to_none=True)
    except Exception as error:  # what a foreign module raises is not known
        raise InvalidValueError(
            f"the module cannot be copied: {one_line(error)}; score a fresh one"
        ) from error
    for parameter in clone.parameters():  # whatever the layout, ``view`` works and losses agree
        if not is_lazy(parameter):
            parameter.data = parameter.data.contiguous()
    return clone


def _copied_otherwise(module: nn.Module) -> dict[int, Any]:
    """Copies of what ``deepcopy`` refuses, by identity.

    These are the results that weight norm and pruning keep, and the buffers of lazy layers.
    """
    copies: dict[int, Any] = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, torch.Tensor) and value.grad_fn is not None
    }
    for buffer in module.buffers():
        if isinstance(buffer, UninitializedBuffer):
            copies[id(buffer)] = UninitializedBuffer(  # type: ignore[call-arg]
                device=buffer.device, dtype=buffer.dtype
            )
    return copies


def redraw(model: nn.Module) -> tuple[str, ...]:
    """Draw the parameters anew, each module by its own method, from the global generator.

    First what ``_init_weights(module)`` of the model does (``transformers``, ``timm``), for
    parameters that are not in a layer; then every ``reset_parameters()`` (PyTorch's layers) or
    ``_reset_parameters()`` (attention). So layers start by one rule in all modules, that of the
    search spaces; libraries differ in theirs, and the loss would tell libraries apart.

    Returns:
        The names of the parameters that no method draws; they keep their values.
    """
    before = _state(model)
    with torch.no_grad():
        for part in model.modules():
            method = _method(part, "_init_weights", 1)
            if method is not None:
                _run(part, "_init_weights", partial(part.apply, method))
        for part in model.modules():
            for name in ("reset_parameters", "_reset_parameters"):
                method = _method(part, name, 0)
                if method is not None:
                    _run(part, name, method)
                    break
    after = _state(model)
    return tuple(name for name, state in after.items() if before[name] == state)


def _state(model: nn.Module) -> dict[str, tuple[int, float]]:
    """What tells that a parameter was written: its version; or, past ``.data``, its sum."""
    return {
        name: (parameter._version, float(parameter.detach().double().sum()))
        for name, parameter in model.named_parameters()
    }


def _method(part: nn.Module, name: str, arguments: int) -> Callable[..., Any] | None:
    """The method, if there is one that can be called with that many arguments."""
    method: Callable[..., Any] | None = getattr(part, name, None)
    if method is None or not callable(method):
        return None
    try:
        inspect.signature(method).bind(*[None] * arguments)
    except (TypeError, ValueError):
        return None
    return method


def _run(part: nn.Module, name: str, method: Callable[[], Any]) -> None:
    try:
        method()
    except GenNASError:
        raise
    except Exception as error:
        raise InvalidValueError(
            f"{type(part).__name__}.{name} failed: {one_line(error)}; "
            "init='as_given' leaves the weights as they are"
        ) from error


def one_line(error: BaseException, limit: int = 300) -> str:
    """Kind and message of an exception on one line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_module(value: Any) -> None:
    """An ``nn.Module`` that Python code runs."""
    _check.instance(value, "model", nn.Module)
    for name, part in value.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            where = f"its part {name!r}" if name else type(part).__name__
            raise InvalidValueError(
                f"model={_check.shorten(type(value).__name__)}: {where} is compiled by "
                "TorchScript, whose feature maps cannot be read; give the module it was made from"
            )
