"""What is trained, before it is: heads, initial weights, cost."""

from __future__ import annotations

import math

import pytest
import torch
from regression_helpers import Given
from torch import nn

import parity
from gennas_optuna.cost import Cost, count_cost
from gennas_optuna.regression import ImageHead, SequenceHead, make_heads
from gennas_optuna.spaces import Scale, get_space
from gennas_optuna.taps import StagedModel, TapInfo
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import Noise

NB201 = get_space("nasbench201")


# Heads ----------------------------------------------------------------------------------------


def head_maps(key: str) -> list[torch.Tensor]:
    """The outputs of three heads of 64 channels under the rule of the parity files."""
    generator = torch.Generator().manual_seed(0)
    model = parity.fill(NB201.build(NB201.parse(key), generator=generator))
    batch = Batch(parity.images(), (torch.zeros(2, 64, 8, 8),) * 3, Noise())
    heads = parity.fill(make_heads(model, batch, generator=generator))
    with torch.no_grad():
        taps = model(batch.inputs)
        return [head(tap) for head, tap in zip(heads, taps, strict=True)]


def test_heads_of_the_papers_code() -> None:
    expected = [
        [0.000900968271, 0.6601467368, 4.860264254, 0.007546436743],
        [0.0001754708179, 0.8573568166, 5.063658878, 0.01070593518],
        [5.854691731e-18, 1.041689235, 5.905745944, -0.004676155001],
    ]
    for maps, numbers in zip(head_maps("000300"), expected, strict=True):
        assert maps.shape == (2, 64, 8, 8)
        parity.assert_fingerprint(maps, numbers)


def test_recorded_head_outputs() -> None:
    for row in parity.load("parity/nb201.json")["archs"][::4]:
        maps = head_maps(row["key"])
        assert [list(m.shape) for m in maps] == row["head_shapes"]
        for found, expected in zip(maps, row["heads"], strict=True):
            parity.assert_fingerprint(found, expected)


@pytest.mark.parametrize("side", [32, 16, 12, 8, 4])
def test_heads_take_the_nearest_pixel(side: int) -> None:
    """Source index floor(i * H / 8); a unit convolution shows the pixels themselves."""
    head = ImageHead(TapInfo("x", 2, (side, side)), torch.Size((3, 2, 8, 8))).eval()
    with torch.no_grad():
        head.conv.weight.copy_(torch.eye(2)[:, :, None, None])
        head.conv.bias.zero_()  # type: ignore[union-attr]
    x = torch.randn(3, 2, side, side, generator=torch.Generator().manual_seed(0))
    index = [i * side // 8 for i in range(8)]
    expected = x[:, :, index][:, :, :, index] / math.sqrt(1 + 1e-5)  # batch norm as new
    assert torch.allclose(head(x), expected, atol=1e-6)


def only_head(tap: TapInfo, target: tuple[int, ...]) -> nn.Module:
    batch = Batch(torch.zeros(target), (torch.zeros(target),), Noise())
    return make_heads(Given(tap), batch, generator=torch.Generator().manual_seed(0))[0]


def test_image_heads_start_as_pytorch_starts_convolutions() -> None:
    """Uniform in +-1/sqrt(fan-in), weights and bias alike; batch norm 1 and 0."""
    head = only_head(TapInfo("x", 25, (16, 16)), (4, 400, 8, 8))
    assert isinstance(head, ImageHead)
    assert head.conv.bias is not None
    for drawn in (head.conv.weight.detach(), head.conv.bias.detach()):
        assert 0.19 < float(drawn.abs().max()) <= 0.2
        assert float(drawn.std()) == pytest.approx(0.2 / math.sqrt(3), rel=0.1)
    assert (head.norm.weight == 1).all()
    assert not head.norm.bias.any()
    assert (head.norm.eps, head.norm.momentum) == (1e-5, 0.1)


def test_sequence_heads_start_as_published() -> None:
    head = only_head(TapInfo("output", 40, (8,), "LND"), (8, 4, 48))
    assert isinstance(head, SequenceHead)
    assert head.weight.shape == (48, 40)
    weight = head.weight.detach()
    assert 0.099 < float(weight.abs().max()) <= 0.1
    assert float(weight.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.05)
    assert not head.bias.any()


# Initial weights ------------------------------------------------------------------------------


def test_initial_weights_are_pytorchs_default() -> None:
    """Uniform in +-1/sqrt(fan-in), weights and biases alike."""
    generator = torch.Generator().manual_seed(0)
    net = NB201.build(NB201.parse("333333"), generator=generator, scale=Scale(depth=1))
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 2000]
    assert len(convs) > 10
    for conv in convs:
        bound = 1 / math.sqrt(conv.weight[0].numel())
        weight = conv.weight.detach()
        assert float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    biases = torch.cat(
        [c.bias.detach() * math.sqrt(c.weight[0].numel()) for c in convs if c.bias is not None]
    )
    assert 0.9 < float(biases.abs().max()) <= 1
    assert float(biases.std()) == pytest.approx(1 / math.sqrt(3), rel=0.1)


# Cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "params", "macs"),
    [
        ("000000", 72_528, 7_782_400),
        ("111111", 72_528, 7_782_400),
        ("222222", 237_168, 31_375_360),
        ("333333", 1_527_408, 220_119_040),
        ("421211", 127_408, 15_646_720),
        ("300000", 315_008, 43_171_840),
    ],
)
def test_parameters_and_multiplications_of_known_networks(
    code: str, params: int, macs: int
) -> None:
    """From the development parity file nb201.json: those that run in a forward pass."""
    skeleton = NB201.skeleton(NB201.parse(code))
    assert count_cost(skeleton, (3, 32, 32)) == Cost(params, macs)
    assert skeleton.training  # as it was


def test_costs_of_every_recorded_network() -> None:
    for row in parity.load("parity/nb201.json")["archs"]:
        cost = count_cost(NB201.skeleton(NB201.parse(row["key"])), (3, 32, 32))
        assert cost == Cost(row["params_executed"], row["macs"])


def test_costs_of_sequences_are_of_all_time_steps() -> None:
    class Linear(StagedModel):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(48, 10, device="meta")
            self.taps = (TapInfo("linear", 10, (8,), "LND"),)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            assert x.shape == (8, 1, 48)
            return (self.linear(x),)

    assert count_cost(Linear().eval(), (8, 48)) == Cost(48 * 10 + 10, 8 * 48 * 10)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2), (4, 15, 13)),
        (nn.Conv2d(4, 6, (5, 1), padding="same"), (4, 15, 13)),
        (nn.Conv2d(4, 4, 5, padding="same", groups=4), (4, 15, 13)),
        (nn.Conv2d(4, 6, 2, padding="valid"), (4, 15, 13)),
        (nn.Conv1d(4, 6, 3, stride=2), (4, 15)),
        (nn.Conv3d(4, 6, 2, padding=1), (4, 5, 6, 7)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2), (4, 5, 7)),
        (nn.ConvTranspose1d(4, 6, 3, dilation=2, padding=1), (4, 9)),
    ],
)
def test_convolutions_of_every_kind_are_counted(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """By what they compute: a product for each weight of a channel at each pixel it is slid to."""
    assert isinstance(layer.weight, torch.Tensor)

    class Net(StagedModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer
            self.taps = (TapInfo("layer", 6, (1, 1)),)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (self.layer(x).relu(),)

    x = torch.zeros((1, *shape))
    slid = x if "Transpose" in type(layer).__name__ else layer(x)
    assert count_cost(Net(), shape).flops == slid.numel() * layer.weight[0].numel()
