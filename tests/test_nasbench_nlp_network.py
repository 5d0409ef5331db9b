from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from nlp_recipes import GRU, KNOWN, LSTM, RNN
from plain_recurrent import PlainNet, node_weights
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import parity
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import Scale, get_space
from gennas_optuna.spaces._recipe import graph
from gennas_optuna.spaces._recurrent import drop_positions
from gennas_optuna.spaces._recurrent_cell import Cell, run_cell

GENNAS = get_space("nasbench-nlp")
TRAINED = get_space("nasbench-nlp", form="trained")
SMALL = Scale(width=6, depth=2)


def sequence(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def built(space, arch, **options):
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


def samples(count: int) -> list:
    rng = np.random.default_rng(7)
    return [GENNAS.sample(rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "params", "frozen", "macs"),
    [
        (RNN, 1_721_600, 880_000, 1_720_000),
        (GRU, 5_164_800, 2_640_000, 5_160_000),
        (LSTM, 6_886_400, 3_520_000, 6_880_000),
    ],
)
def test_known_sizes(text: str, params: int, frozen: int, macs: int) -> None:
    """Facts about the benchmark's networks that hold on any machine."""
    arch = GENNAS.parse(text)
    layers = GENNAS.skeleton(arch).layers
    assert parity.parameters(layers) == params
    assert sum(p.numel() for p in layers.parameters() if not p.requires_grad) == frozen
    assert macs_per_step(layers) == macs
    assert all(p.requires_grad for p in TRAINED.skeleton(TRAINED.parse(text)).parameters())


def test_fingerprints_of_three_cells() -> None:
    """Numbers of the benchmark's RNN, GRU and LSTM, three layers, output of the last."""
    known = {
        RNN: [0.0002647487608, 0.06207931681, 0.1198458536, -3.602821693e-05],
        GRU: [-0.0003897579001, 0.05652104869, 0.1138683741, 4.089375651e-05],
        LSTM: [0.004370468141, 0.003269982843, 0.01154276928, 4.19710434e-07],
    }
    for text, expected in known.items():
        net, _ = filled(GENNAS, text)
        x = grid((8, 2, 400), 0.3, 0.1, 0.5).sin()
        for layer in net.layers:
            x, _ = layer(x)
        assert_fingerprint(x.detach(), expected)


@pytest.mark.slow
def test_every_parity_row(matched: Callable[[str], None]) -> None:
    for row in parity.load("parity/nlp.json")["archs"]:
        net, arch = filled(GENNAS, row["recepie"])
        params = parity.parameters(net.layers)
        assert params == row["params_backbone"]
        assert params + 10_000 * 400 + 10_000 == row["num_params_json"]
        head = nn.Linear(400, 48).double()
        assert parity.parameters(net) + parity.parameters(head) == row["params_with_io_linears48"]
        frozen = sum(p.numel() for p in net.parameters() if not p.requires_grad)
        assert frozen == row["params_frozen_recurrent"]
        assert macs_per_step(GENNAS.skeleton(arch).layers) == row["macs_per_step_per_sample"]
        with torch.no_grad():
            x = h0 = grid((8, 2, 400), 0.3, 0.1, 0.5).sin()
            for i, layer in enumerate(net.layers):
                x, last = layer(x)
                assert list(x.shape) == row["layer_shapes"][i]
                assert_fingerprint(x, row["layers"][i])
                width = x.shape[2]
                state = [
                    0.2 * (0.4 * s + grid((2, width), 0.3, 0.6)).sin()
                    for s in range(row["hidden_tuple"])
                ]
                h0, _ = layer(h0, state)
                assert_fingerprint(h0, row["layers_h0"][i])
            for hidden, expected in zip(last, row["last_hidden"], strict=True):
                assert_fingerprint(hidden[None], expected)
            fill_linear(head)
            out = head(net(grid((8, 2, 48), 0.3, 0.1, 0.5).sin())[0])
            assert list(out.shape) == row["wrapper_out_shape"]
            assert_fingerprint(out, row["wrapper_out"])
        matched("nasbench-nlp")


@pytest.mark.slow
def test_every_parity_row_of_training() -> None:
    phase = grid((8, 4, 48), 0.3, 0.1, 0.5)
    for row in parity.load("parity/training_nlp.json")["archs"]:
        space = {"frozen": GENNAS, "trained": TRAINED}[row["recurrent"]]
        net, _ = filled(space, row["recepie"])
        head = nn.Linear(400, 48).double()
        fill_linear(head)
        parameters = [*net.parameters(), *head.parameters()]
        adam = torch.optim.Adam(parameters, lr=row["lr"], weight_decay=1.2e-6)
        loss = F.mse_loss(head(net(phase.sin())[0]), (phase + 1).sin())
        for expected in row["eval_losses"]:
            adam.zero_grad()
            loss.backward()
            adam.step()
            loss = F.mse_loss(head(net(phase.sin())[0]), (phase + 1).sin())
            assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def grid(shape: tuple[int, ...], *factors: float) -> torch.Tensor:
    """The sum over the axes of factor times index."""
    axes = [torch.arange(size, dtype=torch.float64) for size in shape]
    mesh = torch.meshgrid(*axes, indexing="ij")
    return sum((f * m for f, m in zip(factors, mesh, strict=True)), torch.zeros(()))


def rule(shape: tuple[int, int], k: int) -> torch.Tensor:
    o = torch.arange(shape[0], dtype=torch.float64)[:, None]
    i = torch.arange(shape[1], dtype=torch.float64)
    phase = 1 + 0.7 * o + 1.3 * i + 0.5 * torch.remainder(o * i, 11) + 0.9 * k
    return torch.cos(phase) / math.sqrt(shape[1])


def fill_linear(linear: nn.Linear) -> None:
    with torch.no_grad():
        linear.weight.copy_(rule(tuple(linear.weight.shape), 0))
        linear.bias.zero_()


def filled(space, text: str):
    """The network with weights by the rule of the parity file; float64, evaluation mode."""
    arch = space.parse(text)
    net = built(space, arch).double().eval()
    fill_linear(net.embedding)
    with torch.no_grad():
        for layer in net.layers:
            for _, weights, bias in node_weights(layer, arch.code):
                for k, weight in enumerate(weights):
                    weight.copy_(rule(tuple(weight.shape), k))
                bias.copy_(0.1 * grid((len(bias),), 0.7).cos())
    return net, arch


def assert_fingerprint(found: torch.Tensor, expected: list[float]) -> None:
    weight = (1 + grid(tuple(found.shape), 0.9, 0.31, 0.17)).sin()
    parts = (found.mean(), found.std(unbiased=False), found.abs().max(), (found * weight).mean())
    tolerance = 1e-6 * expected[2] + 1e-12
    assert [float(part) for part in parts] == pytest.approx(expected, rel=0, abs=tolerance)


def macs_per_step(layers: nn.ModuleList) -> int:
    """Of one step of one sample; with a given state, since zeros are not multiplied."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for layer in layers:
            width = layer.bias.shape[1]
            x = torch.empty(1, 1, layer.x_weight.shape[1], device="meta")
            layer(x, [torch.empty(1, width, device="meta")] * layer.cell.hidden)
    return counter.get_total_flops() // 2


def test_initial_weights() -> None:
    net = built(GENNAS, GENNAS.parse(GRU))
    bounds = {0.1: [net.embedding.weight], 1 / math.sqrt(48): [net.embedding.bias]}
    for layer, width in zip(net.layers, (600, 600, 400), strict=True):
        bounds.setdefault(1 / math.sqrt(width), []).extend(layer.parameters())
    for bound, parameters in bounds.items():
        for parameter in parameters:
            assert bound * 0.9 < float(parameter.detach().abs().max()) <= bound
            assert abs(float(parameter.detach().mean())) < 4 * bound / math.sqrt(parameter.numel())


@pytest.mark.parametrize("batch", [1, 40])  # the embedding is applied before or after the weights
@pytest.mark.parametrize("text", [*KNOWN.values(), *map(str, samples(6))])
def test_the_same_as_a_plain_loop(text: str, batch: int) -> None:
    """Outputs and all gradients, in double precision, in a network that trains everything."""
    arch = TRAINED.parse(text)
    net = built(TRAINED, arch, scale=Scale(width=16), input_shape=(8, 5)).double().eval()
    plain = PlainNet(net, arch.code).double().eval()
    x = sequence(8, batch, 5).double()
    target = sequence(8, batch, 16).double().flip(0)
    maps = [model(x)[0] for model in (net, plain)]
    assert torch.allclose(*maps, rtol=0, atol=1e-12)
    for found in maps:
        F.mse_loss(found, target).backward()
    gradients_agree(net.embedding.weight, plain.embedding.weight)
    gradients_agree(net.embedding.bias, plain.embedding.bias)
    for layer, slow in zip(net.layers, plain.layers, strict=True):
        for parameter in layer.parameters():
            parameter.data = parameter.grad  # so that the views below show gradients
        for node, *weights, bias in node_weights(layer, arch.code):
            expected = slow.weights[slow.index[node.name]]
            for grad, weight in zip([*weights[0], bias], expected, strict=True):
                other = torch.zeros_like(grad) if weight.grad is None else weight.grad
                assert torch.allclose(grad, other, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("batch", [1, 40])
@pytest.mark.parametrize("text", KNOWN.values(), ids=KNOWN)
def test_the_canonical_network_trains(text: str, batch: int) -> None:
    """Even if no weight on ``x`` is left in it."""
    net = built(GENNAS, GENNAS.parse(text), canonical=True, scale=SMALL).train()
    parameters = [p for p in net.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, lr=0.01, fused=True)
    losses = []
    for _ in range(30):
        adam.zero_grad()
        losses.append((net(sequence(8, batch, 48))[0] - 1).square().mean())
        losses[-1].backward()
        adam.step()
    assert losses[-1] < losses[0]


def gradients_agree(one: torch.Tensor, other: torch.Tensor) -> None:
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in (one, other)]
    assert torch.allclose(*gradients, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("text", KNOWN.values(), ids=KNOWN)
def test_gradients_with_given_and_returned_states(text: str) -> None:
    """Against finite differences, through all outputs, for all inputs."""
    cell = Cell(graph(GENNAS.parse(text).code))
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> torch.Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    def run(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out, last = run_cell(cell, *tensors[:4], tensors[4:])
        return out, *last

    weights = leaf(cell.x_rows * 3, 2), leaf(len(cell.linears), 3), leaf(cell.matrices, 3, 3)
    states = [leaf(2, 3) for _ in range(cell.hidden)]
    assert torch.autograd.gradcheck(run, (leaf(3, 2, 2), *weights, *states))
    assert torch.autograd.gradcheck(run, (leaf(3, 2, 2), *weights))


def test_a_sequence_can_be_run_in_two_parts() -> None:
    net = built(GENNAS, GENNAS.parse(LSTM), scale=SMALL).double()
    layer, x = net.layers[0], sequence(8, 2, 6).double()
    whole, (last, _) = layer(x)
    first, state = layer(x[:3])
    second, (again, _) = layer(x[3:], state)
    assert torch.allclose(whole, torch.cat([first, second]), rtol=0, atol=1e-12)
    assert torch.allclose(last, again, rtol=0, atol=1e-12)
    assert torch.equal(last, whole[-1])


# Random drops ---------------------------------------------------------------------------------


def test_positions_are_dropped_independently_with_the_chance_asked_for() -> None:
    count, rounds = 50, 4000
    generator = torch.Generator().manual_seed(0)
    dropped = torch.zeros(rounds, count)
    for i in range(rounds):
        dropped[i, drop_positions(count, 0.1, generator)] = 1
    sigma = math.sqrt(0.1 * 0.9 / rounds)
    assert float(dropped.mean()) == pytest.approx(0.1, abs=5 * sigma / math.sqrt(count))
    assert (dropped.mean(0) - 0.1).abs().max() < 5 * sigma
    both = dropped.T @ dropped / rounds
    off_diagonal = both[~torch.eye(count, dtype=torch.bool)]
    assert (off_diagonal - 0.01).abs().max() < 6 * math.sqrt(0.01 * 0.99 / rounds)


def test_training_drops_recurrent_weights_and_features() -> None:
    """The same numbers as the plain network with the masked weights, times the same masks."""
    arch = GENNAS.parse(GRU)
    net = built(GENNAS, arch, scale=Scale(width=40, depth=1)).train()
    stored = net.layers[0].recurrent.detach().clone()
    net.noise_generator = torch.Generator().manual_seed(5)
    out = net(sequence(8, 3, 48))[0]
    out.square().sum().backward()
    again = torch.Generator().manual_seed(5)
    positions = drop_positions(stored.numel(), 0.1, again)
    masked = (stored / 0.9).flatten().index_fill(0, positions, 0).view_as(stored)
    features = torch.empty(3, 40).bernoulli_(0.9, generator=again) / 0.9
    assert torch.equal(net.layers[0].recurrent, stored)
    assert net.layers[0].recurrent.grad is None

    net.layers[0].recurrent.data = masked
    plain = PlainNet(net, arch.code).eval()
    expected = plain(sequence(8, 3, 48))[0] * features
    expected.square().sum().backward()
    assert torch.allclose(out, expected, atol=1e-6)
    assert (out == 0).float().mean() == pytest.approx(0.1, abs=0.08)
    assert torch.allclose(
        net.embedding.weight.grad, plain.embedding.weight.grad, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("space", [GENNAS, TRAINED])
def test_drops_are_new_each_time_and_come_from_the_generator_alone(space) -> None:
    x = sequence(8, 2, 48)

    def outputs(seed: int | None) -> list[torch.Tensor]:
        net = built(space, space.parse(GRU), scale=SMALL).train()
        if seed is not None:
            net.noise_generator = torch.Generator().manual_seed(seed)
        return [net(x)[0] for _ in range(3)]

    before = torch.get_rng_state()
    for seed in (None, 1):
        first, second = outputs(seed), outputs(seed)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert not torch.equal(first[0], first[1])
    assert not torch.equal(outputs(1)[0], outputs(2)[0])
    assert torch.equal(before, torch.get_rng_state())
    net = built(space, space.parse(GRU), scale=SMALL).eval()
    assert torch.equal(net(x)[0], net(x)[0])


def test_several_passes_may_wait_for_their_gradients() -> None:
    """The memory of the masked weights is used again, but not before its time."""
    x, y = sequence(8, 2, 48), sequence(8, 2, 48).flip(0)

    def gradient(separate: bool) -> torch.Tensor:
        net = built(GENNAS, GENNAS.parse(GRU), scale=SMALL).train()
        losses = []
        for inputs in (x, y, x):
            losses.append(net(inputs)[0].square().sum())
            if separate:
                losses.pop().backward()
        sum(losses, torch.zeros((), requires_grad=True)).backward()
        return net.embedding.weight.grad

    assert torch.allclose(gradient(True), gradient(False), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(8,), (8, 0), (3, 8, 48), (8.0, 48)])
def test_input_shapes_that_are_no_sequences_are_refused(shape: tuple) -> None:
    with pytest.raises(GenNASError, match=r"input_shape.*(length|dimension)"):
        built(GENNAS, GENNAS.parse(RNN), input_shape=shape)


def test_scales_and_dimensions() -> None:
    net = built(GENNAS, GENNAS.parse(RNN), scale=Scale(width=20, depth=4), input_shape=(5, 64))
    assert [layer.bias.shape[1] for layer in net.layers] == [30, 30, 30, 20]
    assert net(sequence(5, 3, 64))[0].shape == (5, 3, 20)
    assert (net.taps[0].size, net.taps[0].channels, net.taps[0].layout) == ((5,), 20, "LND")
