"""Encodings of one NDS cell network share a key and a canonical network."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nds_cell_examples import REST, SMALL, built, darts
from torch import nn

import parity
from gennas_optuna.spaces import Scale, get_space


def cell_choices(draw: st.DrawFn, row: Any, cell: dict[str, Any], prefix: str) -> None:
    """The same cell drawn otherwise: pairs swapped, nodes reordered, zeros read elsewhere."""
    pairs = [tuple(pair) for pair in cell[prefix]]
    nodes = [pairs[i : i + 2] for i in range(0, len(pairs), 2)]
    order: list[int] = []
    while len(order) < len(nodes):
        ready = [
            i
            for i in range(len(nodes))
            if i not in order and all(source < 2 or source - 2 in order for _, source in nodes[i])
        ]
        order.append(draw(st.sampled_from(ready)))
    number = {0: 0, 1: 1, **{old + 2: new + 2 for new, old in enumerate(order)}}
    redrawn: list[tuple[str, int]] = []
    for new, old in enumerate(order):
        node = [(op, number[source]) for op, source in nodes[old]]
        if draw(st.booleans()):
            node.reverse()
        redrawn += [
            (op, draw(st.integers(0, new + 1)) if op == "none" else source) for op, source in node
        ]
    concat = [number[state] for state in cell[f"{prefix}_concat"]]
    cell[prefix] = redrawn
    cell[f"{prefix}_concat"] = draw(st.permutations(concat))


@st.composite
def two_encodings(draw: st.DrawFn, name: str) -> tuple[str, str]:
    """Texts of one network, some of whose nodes may be dead."""
    space: Any = get_space(name)
    net = json.loads(str(space.sample(np.random.default_rng(draw(st.integers(0, 10**6))))))
    if draw(st.booleans()):
        states = range(2, space.row.nodes + 2)
        for cell in ("normal_concat", "reduce_concat"):
            net["genotype"][cell] = draw(
                st.lists(st.sampled_from(states), min_size=1, max_size=2, unique=True)
            )
    one = json.dumps(net)
    for cell in ("normal", "reduce"):
        cell_choices(draw, space.row, net["genotype"], cell)
    return one, json.dumps(net)


@pytest.mark.parametrize("name", ["darts", "enas", "nasnet-in"])
def test_two_encodings_share_key_and_canonical_network(name: str) -> None:
    space = get_space(name)

    @settings(max_examples=60, deadline=None, database=None)
    @given(two_encodings(name))
    def check(texts: tuple[str, str]) -> None:
        one, other = map(space.parse, texts)
        assert one.key == other.key
        nets = [
            space.skeleton(arch, scale=Scale(width=2, depth=3), canonical=True)
            for arch in (one, other)
        ]
        assert str(nets[0]) == str(nets[1])
        assert nets[0].taps == nets[1].taps

    check()


@settings(max_examples=10, deadline=None, database=None)
@given(two_encodings("darts"))
def test_canonical_networks_are_equal_to_the_bit(texts: tuple[str, str]) -> None:
    space = get_space("darts")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    one, other = (built(space, space.parse(t), scale=SMALL, canonical=True) for t in texts)
    for a, b in zip(one(x), other(x), strict=True):
        assert torch.equal(a, b)


def test_another_operation_is_another_key() -> None:
    """Where no operation is a zero and no node dead, other operations are another network."""
    space, rng = get_space("enas"), np.random.default_rng(0)
    for _ in range(300):
        arch = space.sample(rng)
        params = space.params(arch)
        ops = [name for name in params if name.endswith("_op")]
        name = ops[rng.integers(len(ops))]
        other = "sep_conv_3x3" if params[name] != "sep_conv_3x3" else "max_pool_3x3"
        assert space.decode({**params, name: other}).key != arch.key


def test_the_two_previous_cells_are_not_interchangeable() -> None:
    one = darts(f"sep_conv_3x3 0 sep_conv_3x3 0 {REST}")
    assert one.key != darts(f"sep_conv_3x3 1 sep_conv_3x3 1 {REST}").key


def test_width_and_depth_are_part_of_the_key() -> None:
    cell = f"sep_conv_3x3 0 sep_conv_3x3 0 {REST}"
    assert len({darts(cell, width=w, depth=d).key for w in (16, 24) for d in (4, 8)}) == 4


def test_zeros_are_folded() -> None:
    """Identities and pools of a zero are zero; a convolution's batch norm adds its bias."""
    zero = "none 0 none 1 "
    rest = " sep_conv_3x3 0 skip_connect 1 dil_conv_3x3 1 skip_connect 0"
    all_zero = darts(f"{zero} none 0 none 0 {rest}")
    assert all_zero.key == darts(f"{zero} max_pool_3x3 2 skip_connect 2 {rest}").key
    assert all_zero.key != darts(f"{zero} sep_conv_3x3 2 skip_connect 2 {rest}").key
    assert "d3@z" in darts(f"{zero} dil_conv_3x3 2 none 1 {rest}").key


def even(net: nn.Module) -> nn.Module:
    """Weights that do not depend on the channel, so that functions do not on their order."""
    net.double().eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            row = torch.arange(module.kernel_size[0]).view(1, 1, -1, 1)
            column = torch.arange(module.kernel_size[1]).view(1, 1, 1, -1)
            scale = math.sqrt(module.weight[0].numel())
            pattern = torch.cos(1 + 0.3 * row + 0.2 * column) / scale
            module.weight.data = pattern.expand(module.weight.shape).double().clone()
    return net


@pytest.mark.parametrize("name", ["darts", "darts-in", "nasnet", "amoeba-in"])
def test_the_canonical_network_computes_the_same(name: str) -> None:
    """Up to the order of the channels, compared by their sorted means and magnitudes."""
    space = get_space(name)

    @settings(max_examples=12, deadline=None, database=None)
    @given(two_encodings(name))
    def check(texts: tuple[str, str]) -> None:
        arch = space.parse(texts[1])
        nets = [even(built(space, arch, scale=SMALL, canonical=c)) for c in (False, True)]
        assert parity.parameters(nets[1]) <= parity.parameters(nets[0])
        with torch.no_grad():
            for a, b in zip(nets[0](parity.images()), nets[1](parity.images()), strict=True):
                tolerance = 1e-9 * float(a.abs().max()) + 1e-12
                for size in (torch.Tensor.clone, torch.Tensor.abs):
                    x, y = (size(tap).mean(dim=(0, 2, 3)).sort().values for tap in (a, b))
                    assert torch.allclose(x, y, rtol=0, atol=tolerance)

    check()


def test_what_no_tap_depends_on_is_left_out() -> None:
    """Only cells that read the older input: every other cell, and its preprocessing, is dead."""
    cell = [["sep_conv_3x3", 0], ["skip_connect", 0]] * 4
    genotype = {"normal": cell, "normal_concat": [2], "reduce": cell, "reduce_concat": [5]}
    space = get_space("darts")
    arch = space.parse(json.dumps({"width": 16, "depth": 9, "genotype": genotype}))
    net: Any = built(space, arch, canonical=True)
    # Reductions 3 and 6; tapped are the outputs of 2, 5 and 8, which need those of 0, 3 and 6,
    # of 1, 4 and the stem.
    assert set(net.cells) == {"0", "1", "2", "3", "4", "5", "6", "8"}
    assert all(cell.newer is None for cell in net.cells.values())
    x = torch.randn(2, 3, 32, 32)
    sum(tap.mean() for tap in net(x)).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_cells_that_read_nothing() -> None:
    nothing = darts(" ".join(["none 0 none 1"] * 4))
    for canonical in (False, True):
        net = built(get_space("darts"), nothing, scale=SMALL, canonical=canonical)
        taps = net(torch.ones(2, 3, 32, 32))
        assert [tuple(tap.shape) for tap in taps] == [(2, i.channels, *i.size) for i in net.taps]
