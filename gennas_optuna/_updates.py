"""The optimiser's updates, by PyTorch's functional interface.

``torch.optim.SGD`` and ``Adam`` import PyTorch's compiler when the first of them is made, which
takes a process as long as scoring a few architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from gennas_optuna.task_parts import Optimizer

_FUSED = ("cpu", "cuda")
"""Kinds of devices on which one call updates many parameters in every version of PyTorch."""


class Updates:
    """Updates the parameters of some modules in place, with weight decay on the right ones.

    Args:
        modules: what is trained.
        settings: the task's optimiser.
    """

    def __init__(self, modules: Iterable[nn.Module], settings: Optimizer) -> None:
        self._settings = settings
        self._update = {"sgd": self._sgd, "adam": self._adam}[settings.kind]
        self._groups: dict[float, list[nn.Parameter]] = {settings.weight_decay: [], 0.0: []}
        for module in modules:
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    matrix = "weight" in name and parameter.dim() > 1
                    decay = settings.weight_decay if matrix or settings.decay == "all" else 0.0
                    self._groups[decay].append(parameter)
        self._state: dict[nn.Parameter, Any] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameters in self._groups.values():
            for parameter in parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have a gradient."""
        for decay, parameters in self._groups.items():
            given = [parameter for parameter in parameters if parameter.grad is not None]
            # Blocks that are skipped at random are updated for the first time later than others.
            for some in _parted(given, self._state.__contains__):
                self._update(some, [p.grad for p in some if p.grad is not None], decay)

    def _sgd(self, parameters: list[nn.Parameter], gradients: list[Tensor], decay: float) -> None:
        momenta = [self._state.get(parameter) for parameter in parameters]
        sgd(
            list[Tensor](parameters),
            gradients,
            momenta,
            weight_decay=decay,
            momentum=self._settings.momentum,
            lr=self._settings.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            fused=parameters[0].device.type in _FUSED,
        )
        self._state.update(zip(parameters, momenta, strict=True))

    def _adam(self, parameters: list[nn.Parameter], gradients: list[Tensor], decay: float) -> None:
        fused = parameters[0].device.type in _FUSED
        for parameter in parameters:
            if parameter not in self._state:
                counted_on = parameter.device if fused else "cpu"  # where they are read
                count = torch.zeros((), dtype=torch.float32, device=counted_on)
                zeros = torch.zeros_like(parameter), torch.zeros_like(parameter)
                self._state[parameter] = *zeros, count
        means, squares, counts = zip(*[self._state[p] for p in parameters], strict=True)
        adam(
            list[Tensor](parameters),
            gradients,
            [*means],
            [*squares],
            [],
            [*counts],
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._settings.lr,
            weight_decay=decay,
            eps=1e-8,
            maximize=False,
            fused=fused,
        )


def _parted(
    parameters: list[nn.Parameter], known: Callable[[nn.Parameter], bool]
) -> list[list[nn.Parameter]]:
    """Those that are known and those that are not, without empty lists."""
    parts = [p for p in parameters if known(p)], [p for p in parameters if not known(p)]
    return [part for part in parts if part]
