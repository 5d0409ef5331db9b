"""Average pooling in the search spaces against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gennas_optuna.cost import _Counter
from gennas_optuna.spaces._pool import AvgPool


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("channels", "height", "width"), [(16, 32, 32), (5, 8, 16), (7, 8, 8)])
@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_those_of_pytorch(
    kernel: int, stride: int, channels: int, height: int, width: int, training: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    known = nn.AvgPool2d(kernel, stride, padding=kernel // 2, count_include_pad=False)
    expected, got = known(x), AvgPool(kernel, stride).train(training)(x)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), x)
    (own,) = torch.autograd.grad((got * weights).sum(), x)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(own, gradient, rtol=1e-12, atol=1e-12)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_pooling_counts_no_multiply_accumulates() -> None:
    with torch.no_grad(), _Counter() as counter:
        AvgPool(3).eval()(torch.zeros(1, 16, 32, 32))
    assert counter.flops == 0
