"""Keys and networks of NAS-Bench-101: one function has one key and one canonical network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from nasbench101_cells import (
    FIRST_RELEASE,
    GENNAS,
    INCEPTION,
    all_cells,
    arch_of,
    built,
    moved,
    orders,
    renumbered,
    sampled,
    seeds,
    wl_hash,
)
from torch import nn

import parity
from gennas_optuna import GenNASEvaluator
from gennas_optuna.errors import GenNASError
from gennas_optuna.settings import get_preset
from gennas_optuna.spaces import Architecture, Scale
from gennas_optuna.spaces import _nasbench101_cell as graph
from gennas_optuna.spaces._dataflow import canonical
from gennas_optuna.spaces._nasbench101_net import NASBench101Net

# The key ------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(seeds, orders)
def test_renumbering_vertices_keeps_the_key(seed: int, order: list[int]) -> None:
    arch = sampled(seed)
    other = renumbered(arch, order)
    assert other.key == arch.key
    assert wl_hash(other) == wl_hash(arch)


def test_keys_tell_apart_what_the_benchmarks_hash_does() -> None:
    rng = np.random.default_rng(0)
    archs = [GENNAS.sample(rng) for _ in range(1500)]
    pairs = {(arch.key, wl_hash(arch)) for arch in archs}
    assert len({key for key, _ in pairs}) == len({digest for _, digest in pairs}) == len(pairs)


def test_key_of_a_known_cell() -> None:
    assert arch_of("02 23 34", "3p1").key == "p@0,1@1>2"  # vertex 1 is dead
    assert arch_of(*INCEPTION).key == "1@0,3@0,3@0,3@2,p@0>1345"


def test_dead_parts_are_not_in_the_key() -> None:
    bare = arch_of("01 12", "3")
    assert arch_of("01 14 02 34", "3p1").key == bare.key  # 2 leads nowhere, 3 comes from nowhere
    assert arch_of("01 18 23 34 45 56 67", "3333333").key == bare.key  # nine vertices, three live
    assert arch_of("01 12", "1").key != bare.key


# Networks -----------------------------------------------------------------------------------


def transplant(source: NASBench101Net, target: NASBench101Net, order: Sequence[int]) -> list[int]:
    """Give ``target``, whose vertex k is vertex ``order[k]`` of ``source``, the same weights.

    Where a cell's channels divide evenly, the two differ in the places of channels only. Returns
    for every channel of the last tap of ``target`` its place in that of ``source``.
    """
    target.stem.load_state_dict(source.stem.state_dict())
    places = list(range(target.taps[0].channels))
    for old, new in zip(cells(source), cells(target), strict=True):
        assert new.channels == [old.channels[v] for v in order]
        share = new.channels[new.joined[0]] if new.joined else 0
        following = [
            old.joined.index(order[k]) * share + c for k in new.joined for c in range(share)
        ] or list(range(new.channels[-1]))
        for k, projection in new.projections.items():
            weight = old.projections[str(order[int(k)])][0].weight.detach()[:, places]
            is_output = int(k) == len(new.channels) - 1
            projection[0].weight.data = weight[following] if is_output else weight
        for k, op in enumerate(new.ops, start=1):
            op.load_state_dict(old.ops[order[k] - 1].state_dict())
        places = following
    return places


def cells(net: NASBench101Net) -> list[Any]:
    return [cell for stack in net.stacks for cell in stack]  # type: ignore[attr-defined]


def to_canonical(cell: graph.Cell) -> list[int]:
    """The order of vertices that the canonical network has, found by trying all."""
    last = len(cell.ops) - 1
    wanted = canonical(graph.flow(cell))
    for inner in itertools.permutations(range(1, last)):
        order = [0, *inner, last]
        forward = all(order.index(i) < order.index(j) for i, j in cell.edges)
        if forward and graph.flow(moved(cell, order)) == wanted:
            return order
    raise AssertionError("the canonical form is not a renumbering")


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_the_canonical_network_computes_the_same_up_to_channel_order(seed: int) -> None:
    cell = graph.prune(graph.Cell(*sampled(seed).code))  # type: ignore[misc]
    # Width 60 divides evenly over any number of vertices.
    options = {"scale": Scale(width=60, depth=2), "input_shape": (3, 16, 16)}
    encoded, canonical_one = (
        built(GENNAS, Architecture(GENNAS, cell), canonical=c, **options).double().eval()
        for c in (False, True)
    )
    places = transplant(encoded, canonical_one, to_canonical(cell))
    images = torch.randn(
        1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        one, other = encoded(images)[-1], canonical_one(images)[-1]
    assert float(one.std()) > 0
    assert torch.allclose(one[:, places], other, rtol=1e-9, atol=1e-9 * float(one.abs().max()))


def test_different_keys_are_different_functions() -> None:
    """Under the fixed weights of the parity rule, all 91 cells of up to four vertices differ."""
    archs = {arch.key: arch for size in (2, 3, 4) for arch in all_cells(size)}
    options = {"canonical": True, "scale": Scale(width=12, depth=1)}
    with torch.no_grad():
        prints = {
            tuple(float(f"{x:.6g}") for x in parity.statistics(net(parity.images())[-1]))
            for net in (parity.fill(built(GENNAS, arch, **options)) for arch in archs.values())
        }
    assert len(prints) == len(archs) == 91


@settings(max_examples=20, deadline=None)
@given(seeds, orders)
def test_one_key_builds_one_canonical_network(seed: int, order: list[int]) -> None:
    arch = sampled(seed)
    options = {"canonical": True, "scale": Scale(width=7, depth=2), "input_shape": (3, 8, 8)}
    one, other = built(GENNAS, arch, **options), built(GENNAS, renumbered(arch, order), **options)
    one_state, other_state = one.state_dict(), other.state_dict()
    assert list(one_state) == list(other_state)
    assert all(torch.equal(one_state[name], other_state[name]) for name in one_state)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(one(x), other(x), strict=True))


def test_a_projection_added_to_one_convolution_trains() -> None:
    """In the reference it is added in place, which breaks the ReLU's backward pass."""
    net = built(GENNAS, arch_of("01 02 12", "3"))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net(x)[-1].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_initial_weights() -> None:
    """Normal with variance 2 / (9 * 64) for a 64-channel 3x3 convolution, or PyTorch's default."""
    arch = arch_of("01 12", "3")

    def weights(space) -> torch.Tensor:
        net = built(space, space.parse(str(arch)))
        (*_, last) = (m for m in net.modules() if isinstance(m, nn.Conv2d))
        assert last.weight.shape == (64, 64, 3, 3)
        return last.weight.detach()

    std = math.sqrt(2 / (9 * 64))
    assert float(weights(GENNAS).std()) == pytest.approx(std, rel=0.02)
    assert float(weights(GENNAS).abs().max()) > 3 * std
    bound = 1 / math.sqrt(9 * 64)
    assert float(weights(FIRST_RELEASE).abs().max()) == pytest.approx(bound, rel=0.01)
    assert float(weights(FIRST_RELEASE).abs().max()) <= bound


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 30, 32)])
def test_images_that_cannot_be_halved_twice_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GenNASError, match="multiples of 4"):
        built(GENNAS, arch_of(*INCEPTION), input_shape=shape)


def test_a_width_that_five_vertices_cannot_share_is_refused() -> None:
    with pytest.raises(GenNASError, match="width from 5 up"):
        built(GENNAS, arch_of(*INCEPTION), scale=Scale(width=4))


@pytest.mark.parametrize("preset", ["paper", "balanced", "fast"])
def test_first_release_differs_where_the_preset_leaves_initial_weights_alone(preset: str) -> None:
    full, small = get_preset(preset), Scale(width=8, depth=1)
    window = None if full.window is None else 1
    short = replace(full, steps=1, window=window, scale=small, scales=())
    losses = {
        GenNASEvaluator(preset=short).evaluate(space.parse(str(arch_of(*INCEPTION)))).loss
        for space in (GENNAS, FIRST_RELEASE)
    }
    assert len(losses) == (2 if preset == "paper" else 1)
