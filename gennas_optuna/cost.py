"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from gennas_optuna.taps import StagedModel


class Cost(NamedTuple):
    """Size of a backbone without heads.

    Attributes:
        params: number of learnable scalars.
        flops: multiply-accumulates of all convolutions and linear layers for one input (the
            architecture-search literature's "FLOPs").
    """

    params: int
    flops: int


class _WithoutNorms(TorchFunctionMode):
    """Leaves batch norms out: they change no shape, and take most of a pass on meta."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return args[0] if func is torch.nn.functional.batch_norm else func(*args, **(kwargs or {}))


def count_cost(skeleton: StagedModel, input_shape: tuple[int, ...], device: str = "meta") -> Cost:
    """Count parameters, and multiply-accumulates by one pass (without arithmetic if on meta).

    Args:
        skeleton: a network on ``device``.
        input_shape: of one input: (3, H, W), or (T, D) for sequences.
        device: where the network is.
    """
    taps = skeleton.taps
    sequence = taps[0].layout == "LND"
    shape = (input_shape[0], 1, *input_shape[1:]) if sequence else (1, *input_shape)
    was_training = skeleton.training
    skeleton.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), _WithoutNorms():
        skeleton(torch.zeros(shape, device=device))
    skeleton.train(was_training)
    params = sum(parameter.numel() for parameter in skeleton.parameters())
    return Cost(params, counter.get_total_flops() // 2)
