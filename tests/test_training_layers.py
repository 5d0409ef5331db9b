"""The layers with ways of their own of going backward, against PyTorch's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from gennas_optuna.cost import _Counter
from gennas_optuna.spaces._depthwise import DepthwiseConv2d
from gennas_optuna.spaces._layout import channels_last
from gennas_optuna.spaces._ops import FactorizedReduction
from gennas_optuna.spaces._pointwise import PointwiseConv2d, convolution
from gennas_optuna.spaces._pool import AvgPool, MaxPool


def _agree(
    layer: nn.Module, known: nn.Module, channels: int, height: int, width: int
) -> torch.Tensor:
    """Compare values and all gradients in double precision; returns the layer's values."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    expected, got = known(x), layer(x)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad((expected * weights).sum(), (x, *known.parameters()))
    own = torch.autograd.grad((got * weights).sum(), (x, *layer.parameters()))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(own, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    return got  # type: ignore[no-any-return]


MAPS = [(16, 32, 32), (5, 8, 16), (7, 8, 8)]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("training", [True, False])
def test_average_pooling_is_that_of_pytorch(
    kernel: int, stride: int, maps: tuple[int, int, int], training: bool
) -> None:
    known = nn.AvgPool2d(kernel, stride, padding=kernel // 2, count_include_pad=False)
    got = _agree(AvgPool(kernel, stride).train(training), known, *maps)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_average_pooling_counts_no_multiply_accumulates() -> None:
    with torch.no_grad(), _Counter() as counter:
        AvgPool(3).eval()(torch.zeros(1, 16, 32, 32))
    assert counter.flops == 0


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("maps", [*MAPS, (5, 32, 32), (3, 9, 17)])
def test_maximum_pooling_is_that_of_pytorch(
    kernel: int, stride: int, maps: tuple[int, int, int]
) -> None:
    known = nn.MaxPool2d(kernel, stride, padding=kernel // 2)
    got = _agree(MaxPool(kernel, stride), known, *maps)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_maximum_pooling_sends_the_gradient_of_equal_values_where_pytorch_does() -> None:
    x = torch.zeros(3, 5, 16, 16).to(memory_format=torch.channels_last)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    MaxPool(3)(one).sum().backward()  # type: ignore[no-untyped-call]
    nn.MaxPool2d(3, 1, 1)(other).sum().backward()
    assert other.grad is not None
    assert other.grad.max() > 1
    torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("maps", [*MAPS, (3, 7, 9), (4, 2, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_depthwise_convolution_is_that_of_pytorch(
    kernel: int, stride: int, dilation: int, maps: tuple[int, int, int], training: bool
) -> None:
    layer = DepthwiseConv2d(maps[0], kernel, stride=stride, dilation=dilation).double()
    known = nn.Conv2d(
        maps[0],
        maps[0],
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=maps[0],
        bias=False,
    ).double()
    known.load_state_dict(layer.state_dict())
    got = _agree(layer.train(training), known, *maps)
    assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("maps", [*MAPS, (3, 7, 9), (5, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_pointwise_convolution_is_that_of_pytorch(
    bias: bool, maps: tuple[int, int, int], stride: int, training: bool
) -> None:
    layer = PointwiseConv2d(maps[0], 6, stride=stride, bias=bias).double()
    known = nn.Conv2d(maps[0], 6, 1, stride=stride, bias=bias).double()
    known.load_state_dict(layer.state_dict())
    got = _agree(layer.train(training), known, *maps)
    assert got.is_contiguous(memory_format=torch.channels_last)


TRAINED = """
import torch
from torch import nn
from gennas_optuna.spaces._pointwise import PointwiseConv2d
layer = {layer}.to(memory_format=torch.channels_last)
x = torch.ones(4, 12, 56, 56).to(memory_format=torch.channels_last)
for _ in range(6):
    layer(x).square().mean().backward()
    kept = [torch.empty(size) for size in (10, 1000, 100000)]
"""


def test_training_a_strided_pointwise_convolution_writes_to_its_own_memory() -> None:
    """PyTorch 2.13's own, ``nn.Conv2d(12, 6, 1, 2)``, ends the process on many processors."""
    code = TRAINED.format(layer="PointwiseConv2d(12, 6, stride=2)")
    # Where glibc has it, its checking allocator sees what would else break something later.
    checked = {**os.environ, "LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env=checked, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "kind"),
    [
        (1, 1, 1, PointwiseConv2d),
        (1, 2, 1, PointwiseConv2d),
        (1, 1, 2, nn.Conv2d),
        (3, 1, 1, nn.Conv2d),
        (7, 2, 4, nn.Conv2d),
    ],
)
def test_convolutions_keep_the_size_but_for_the_stride(
    kernel: int, stride: int, groups: int, kind: type[nn.Conv2d]
) -> None:
    layer = convolution(4, 8, kernel, stride=stride, groups=groups)
    assert type(layer) is kind
    assert layer.weight.shape == (8, 4 // groups, kernel, kernel)
    assert layer(torch.ones(2, 4, 8, 6)).shape == (2, 8, 8 // stride, 6 // stride)


def test_depthwise_convolution_computes_no_gradient_that_is_not_asked_for() -> None:
    layer = DepthwiseConv2d(4, 5).train()
    layer.weight.requires_grad_(False)
    x = torch.ones(1, 4, 8, 8, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None

    layer.weight.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert layer.weight.grad is not None


def test_gradients_of_a_concatenation_stay_channels_last() -> None:
    parts = [
        torch.ones(2, 4, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
        for _ in range(2)
    ]
    layouts: list[bool] = []
    inner = [part * 2 for part in parts]
    for tensor in inner:
        tensor.register_hook(
            lambda g: layouts.append(g.is_contiguous(memory_format=torch.channels_last))
        )
    weights = torch.arange(8.0).reshape(1, 8, 1, 1)
    (torch.cat([channels_last(part) for part in inner], dim=1) * weights).sum().backward()
    assert layouts == [True, True]
    assert parts[1].grad is not None
    assert parts[1].grad[0, :, 0, 0].tolist() == [8, 10, 12, 14]


def test_factorized_reduction_is_two_strided_convolutions_of_the_padded_map() -> None:
    layer = FactorizedReduction(6, 8).double()
    x = torch.randn(2, 6, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
    odd = nn.functional.conv2d(padded, layer.odd.weight, stride=2)
    expected = layer.norm(torch.cat([layer.even(x), odd], dim=1))
    torch.testing.assert_close(layer(x), expected)
