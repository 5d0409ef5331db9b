"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

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


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up floating-point operations by the formulas of PyTorch's ``FlopCounterMode``.

    That itself imports PyTorch's compiler, which takes as long as scoring a few architectures.
    Convolutions are counted, not computed: what comes out of them is zeros.
    """

    flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it is what imports it

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.convolution.default:
            return self._convolution(*args)
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out

    def _convolution(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        transposed: bool,
        output_padding: list[int],
        groups: int,
    ) -> torch.Tensor:
        axes = x.dim() - 2
        options = (  # a single number is for all axes
            option * axes if len(option) == 1 else option
            for option in (stride, padding, dilation, output_padding)
        )
        sizes = zip(x.shape[2:], weight.shape[2:], *options, strict=True)
        if transposed:
            channels = weight.shape[1] * groups
            shape = [(n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in sizes]
        else:
            channels = weight.shape[0]
            shape = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in sizes]
        out = x.new_zeros((len(x), channels, *shape))
        self.flops += 2 * (x if transposed else out).numel() * weight[0].numel()
        return out


def count_cost(network: StagedModel, input_shape: tuple[int, ...]) -> Cost:
    """Count parameters, and multiply-accumulates by one pass in evaluation mode on the CPU.

    Args:
        network: on the CPU, or a skeleton on the meta device, which is run with zeros: that is
            faster than PyTorch's passes without arithmetic.
        input_shape: of one input: (3, H, W), or (T, D) for sequences.
    """
    sequence = network.taps[0].layout == "LND"
    shape = (input_shape[0], 1, *input_shape[1:]) if sequence else (1, *input_shape)
    tensors = {
        name: torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    was_training = network.training
    network.eval()
    # Attention is counted as the matrix products it is; its fused kernels have no formula.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Counter() as counter:  # type: ignore[no-untyped-call]
        torch.func.functional_call(network, tensors, torch.zeros(shape))
    network.train(was_training)
    params = sum(parameter.numel() for parameter in network.parameters())
    return Cost(params, counter.flops // 2)
