"""NAS-Bench-101: its cells, and facts of the benchmark and of the reference."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from nasbench101_cells import (
    CHAIN,
    FIRST_RELEASE,
    FIVE_BRANCHES,
    GENNAS,
    INCEPTION,
    all_cells,
    arch_of,
    built,
    lists,
    wl_hash,
)
from torch.utils.flop_counter import FlopCounterMode

import parity
from contracts.space_contract import SpaceContract
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import Architecture, Scale
from gennas_optuna.spaces import _nasbench101_cell as graph
from gennas_optuna.spaces._nasbench101_net import vertex_channels

MALFORMED = tuple(
    json.dumps(given)
    for given in (
        [],
        [1, 2],
        [[[0, 1], [0, 0]]],
        [[], []],
        [[[0]], ["input"]],
        [[[0, 1], [0, 0]], ["input", "output", "output"]],
        [[[0, 1], [0]], ["input", "output"]],
        [[[0, 1], [0, 0], [0, 0]], ["input", "output"]],
        [[[0, 2], [0, 0]], ["input", "output"]],
        [[[0, True], [0, 0]], ["input", "output"]],
        [[[0, 1.0], [0, 0]], ["input", "output"]],
        [[[0, [1]], [0, 0]], ["input", "output"]],
        [[[0, 0], [1, 0]], ["input", "output"]],
        [[[1, 1], [0, 0]], ["input", "output"]],
        [[[0, 1], [0, 0]], ["output", "input"]],
        [[[0, 1], [0, 0]], ["input", None]],
        [[[0, 1], [0, 0]], "io"],
        [lists("01 12", "3")[0], ["input", "conv5x5", "output"]],
        [lists("01 12", "3")[0], ["input", "input", "output"]],
        [lists("01 12", "3")[0], ["input", ["maxpool3x3"], "output"]],
        lists("01", "3"),  # no path to the output
        lists(CHAIN + " 67", "333333"),  # eight vertices on a path
        lists(FIVE_BRANCHES, "33333"),  # ten edges on paths
    )
)


class TestNASBench101(SpaceContract):
    space = GENNAS
    small = Scale(width=5, depth=1)
    malformed = (
        *SpaceContract.malformed,
        *MALFORMED,
        "[" * 100_000,
        '{"matrix": [[0, 1], [0, 0]]}',
        "[[[0, 1], [0, 0]], ['input', 'output']]",
    )


class TestNASBench101FirstRelease(SpaceContract):
    space = FIRST_RELEASE
    small = Scale(width=8, depth=1)


# Facts of the benchmark and of the reference --------------------------------------------------


@pytest.mark.slow
def test_every_parity_row(matched: Callable[[str], None]) -> None:
    for row in parity.load("parity/nb101.json")["archs"]:
        given = [row["matrix"], row["ops"]]
        arch = Architecture(GENNAS, (tuple(map(tuple, row["matrix"])), tuple(row["ops"])))
        if "over the 9-edge limit" in row["name"]:
            with pytest.raises(GenNASError, match="10 of its edges"):
                GENNAS.parse(json.dumps(given))
        else:
            assert GENNAS.parse(json.dumps(given)) == arch
        pruned = graph.prune(graph.Cell(*arch.code))  # type: ignore[misc]
        assert json.loads(json.dumps(pruned)) == [row["pruned_matrix"], row["pruned_ops"]]
        flow = graph.flow(pruned)
        for cell, (c_in, c_out) in {
            "cell0": (16, 16),
            "cell3": (16, 32),
            "cell6": (32, 64),
        }.items():
            assert vertex_channels(flow, c_in, c_out) == row["vertex_channels"][cell]
        net = built(GENNAS, arch)
        assert parity.parameters(net) == row["params_backbone"] == row["params_executed"]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            GENNAS.skeleton(arch).eval()(torch.empty(1, 3, 32, 32, device="meta"))
        assert counter.get_total_flops() == 2 * row["macs"]
        with torch.no_grad():
            taps = parity.fill(net)(parity.images())
        assert [list(tap.shape) for tap in taps] == row["tap_shapes"]
        for tap, expected in zip(taps, row["taps"], strict=True):
            parity.assert_fingerprint(tap, expected)
        matched("nasbench101")


@pytest.mark.parametrize("name", ["nasbench1_cifar10", "nasbench1_search_20"])
def test_the_benchmarks_architectures(name: str) -> None:
    """All are cells, and all are different, by the benchmark's hash as by our key."""
    records = parity.load(f"benchmarks/nasbench101/{name}.json")
    archs = [GENNAS.parse(json.dumps(cell)) for cell, _ in records]
    assert len({arch.key for arch in archs}) == len({wl_hash(arch) for arch in archs})
    assert len({arch.key for arch in archs}) == len(records)
    for arch, (cell, _) in zip(archs, records, strict=True):
        assert json.loads(str(arch)) == cell
        assert GENNAS.parse(str(arch)) == arch == GENNAS.from_matrix(*cell)  # type: ignore[attr-defined]
        assert GENNAS.decode(GENNAS.params(arch)).key == arch.key
    for arch in archs[::10]:
        GENNAS.skeleton(arch)


def test_size_of_the_benchmarks_own_example() -> None:
    """Its README prints 2,694,282 trainable parameters, a linear layer 512 -> 10 among them."""
    net = GENNAS.skeleton(arch_of(*INCEPTION), scale=Scale(width=128))
    assert parity.parameters(net) + 512 * 10 + 10 == 2_694_282


@pytest.mark.parametrize(
    ("edges", "ops", "params", "macs"),
    [
        ("01", "", 14_704, 2_539_520),  # only projections: 16 -> 16 ... 32 -> 64
        ("01 12", "p", 14_704, 2_539_520),  # pooling is free
        ("01 12", "3", 160_528, 23_773_184),
        ("01 02 12", "3", 174_768, 25_870_336),  # a second projection, added to the output
    ],
)
def test_known_sizes(edges: str, ops: str, params: int, macs: int) -> None:
    """Facts about the networks of width 16 that hold on any machine."""
    net = GENNAS.skeleton(arch_of(edges, ops))
    assert parity.parameters(net) == params
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.empty(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() == 2 * macs
    assert [(tap.channels, tap.size) for tap in net.taps] == [
        (16, (32, 32)),
        (32, (16, 16)),
        (64, (8, 8)),
    ]


@pytest.mark.parametrize(
    ("size", "count"),
    [(2, 1), (3, 6), (4, 84), (5, 2_441), pytest.param(6, 62_010, marks=pytest.mark.slow)],
)
def test_number_of_different_cells(size: int, count: int) -> None:
    """The benchmark's 423,624 cells are 1 + 6 + 84 + 2,441 + 62,010 + 359,082 by vertices."""
    assert len({arch.key for arch in all_cells(size)}) == count


def test_channels_of_an_uneven_split() -> None:
    """16 over three: 6, 5, 5; the chain that feeds the first has its width, cut for the second."""
    flow = graph.flow(graph.Cell(*arch_of("01 12 13 25 35 04 45", "3131").code))  # type: ignore[misc]
    # vertex 1 feeds 2 (6 channels) and 3 (5 channels); 4 reads the input
    assert vertex_channels(flow, 16, 16) == [16, 6, 6, 5, 5, 16]
    assert vertex_channels(flow, 16, 32) == [16, 11, 11, 11, 10, 32]
