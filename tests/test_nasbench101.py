from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import parity
from contracts.space_contract import SpaceContract
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import Architecture, Scale, get_space
from gennas_optuna.spaces import _nasbench101_cell as graph
from gennas_optuna.spaces._dataflow import canonical
from gennas_optuna.spaces._nasbench101_net import NASBench101Net, vertex_channels

GENNAS = get_space("nasbench101")
FIRST_RELEASE = get_space("nasbench101", form="first-release")
LABELS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
SHORT = {"3": LABELS[0], "1": LABELS[1], "p": LABELS[2]}


def lists(edges: str, ops: str) -> list[Any]:
    """``[matrix, labels]`` from edges such as ``"01 12"`` and operations such as ``"3p"``."""
    size = len(ops) + 2
    matrix = [[0] * size for _ in range(size)]
    for edge in edges.split():
        matrix[int(edge[0])][int(edge[1])] = 1
    return [matrix, ["input", *(SHORT[op] for op in ops), "output"]]


def arch_of(edges: str, ops: str) -> Architecture:
    return GENNAS.parse(json.dumps(lists(edges, ops)))


def edges_of(arch: Architecture) -> str:
    matrix, _ = arch.code  # type: ignore[misc]
    return " ".join(f"{i}{j}" for i, row in enumerate(matrix) for j, x in enumerate(row) if x)


def built(space, arch, **options):
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


INCEPTION = ("01 02 03 05 16 26 34 46 56", "1333p")
"""The example of the benchmark's README."""

CHAIN = "01 12 23 34 45 56"
FIVE_BRANCHES = "01 02 03 04 05 16 26 36 46 56"
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
    decode_examples = 100


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


# The key ------------------------------------------------------------------------------------


def wl_hash(arch: Architecture) -> str:
    """The benchmark's own hash of a graph, written from its definition."""
    pruned = graph.prune(graph.Cell(*arch.code))  # type: ignore[misc]
    size = len(pruned.ops)
    labels = [-1, *(LABELS.index(op) for op in pruned.ops[1:-1]), -2]
    md5 = lambda text: hashlib.md5(text.encode()).hexdigest()  # noqa: E731
    columns = list(zip(*pruned.matrix, strict=True))
    hashes = [
        md5(str((sum(row), sum(column), label)))
        for row, column, label in zip(pruned.matrix, columns, labels, strict=True)
    ]
    for _ in range(size):
        hashes = [
            md5(
                "".join(sorted(hashes[i] for i in range(size) if pruned.matrix[i][v]))
                + "|"
                + "".join(sorted(hashes[i] for i in range(size) if pruned.matrix[v][i]))
                + "|"
                + hashes[v]
            )
            for v in range(size)
        ]
    return md5(str(sorted(hashes)))


def all_cells(size: int) -> Iterator[Architecture]:
    """Every cell of ``size`` vertices that loses none by pruning, in every numbering."""
    pairs = list(itertools.combinations(range(size), 2))
    for chosen in itertools.product((False, True), repeat=len(pairs)):
        edges = [pair for pair, used in zip(pairs, chosen, strict=True) if used]
        # Where only vertex 0 has no edge in and only the last has none out, all are on paths.
        if {i for i, _ in edges} != set(range(size - 1)) or len(edges) > 9:
            continue
        if {j for _, j in edges} != set(range(1, size)):
            continue
        for ops in itertools.product("31p", repeat=size - 2):
            yield Architecture(GENNAS, graph.cell(edges, [SHORT[op] for op in ops]))


def moved(cell: graph.Cell, order: Sequence[int]) -> graph.Cell:
    """The same graph with vertex ``order[k]`` of ``cell`` as vertex k."""
    edges = {(order.index(i), order.index(j)) for i, j in cell.edges}
    return graph.cell(edges, [cell.ops[old] for old in order[1:-1]])


def renumbered(arch: Architecture, priorities: Sequence[int]) -> Architecture:
    """The same graph with its inner vertices in another order in which no edge goes back."""
    cell = graph.Cell(*arch.code)  # type: ignore[misc]
    last = len(cell.ops) - 1
    order = [0]
    while len(order) < last:
        ready = [
            v
            for v in range(1, last)
            if v not in order and all(i in order for i, j in cell.edges if j == v)
        ]
        order.append(min(ready, key=lambda v: priorities[v]))
    return GENNAS.parse(json.dumps(moved(cell, [*order, last])))


def sampled(seed: int) -> Architecture:
    return GENNAS.sample(np.random.default_rng(seed))


seeds = st.integers(0, 2**32)
orders = st.permutations(range(7))


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


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 30, 32), (32, 32)])
def test_images_that_cannot_be_halved_twice_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GenNASError, match="multiples of 4"):
        built(GENNAS, arch_of(*INCEPTION), input_shape=shape)


def test_a_width_that_five_vertices_cannot_share_is_refused() -> None:
    with pytest.raises(GenNASError, match="width from 5 up"):
        built(GENNAS, arch_of(*INCEPTION), scale=Scale(width=4))


# Repair and moves ---------------------------------------------------------------------------


def decoded(edges: str) -> str:
    ops = {f"op_{i}": LABELS[0] for i in range(1, 6)}
    drawn = {
        f"edge_{i}_{j}": f"{i}{j}" in edges.split() for i, j in itertools.combinations(range(7), 2)
    }
    return edges_of(GENNAS.decode({**drawn, **ops}))


@pytest.mark.parametrize(
    ("drawn", "repaired"),
    [
        ("", "06"),
        ("12 23", "06 12 23"),  # no one edge can use these; they stay, unused
        ("01 12 56", "01 12 25 56"),  # the edge that uses all three
        ("01 13 24 46", "01 12 13 24 46"),  # 12 uses three of them, as 34 does; it comes first
        ("01 13 34 25 56", "01 13 34 45 25 56"),  # 12 uses three, 45 four
        ("16 26 36", "01 16 26 36"),
        (FIVE_BRANCHES, "02 03 04 05 16 26 36 46 56"),  # a branch; its other edge stays, unused
        (CHAIN + " 02 13 24 35", "01 12 13 23 24 34 35 45 56"),  # not 01, 45, 56
        (INCEPTION[0], INCEPTION[0]),
    ],
)
def test_repairs(drawn: str, repaired: str) -> None:
    assert decoded(drawn) == " ".join(sorted(repaired.split()))


def test_all_21_edges_are_thinned_to_nine_over_all_seven_vertices() -> None:
    everything = " ".join(f"{i}{j}" for i, j in itertools.combinations(range(7), 2))
    edges = decoded(everything).split()
    assert len(edges) == 9
    assert {int(edge[0]) for edge in edges} == {0, 1, 2, 3, 4, 5}
    assert {int(edge[1]) for edge in edges} == {1, 2, 3, 4, 5, 6}


@settings(max_examples=300, deadline=None)
@given(st.sets(st.sampled_from(list(itertools.combinations(range(7), 2)))))
def test_repair_keeps_what_it_can(drawn: set[tuple[int, int]]) -> None:
    """Nothing of a valid cell is touched; else one edge comes in, or nine (or eight) are left."""
    repaired = graph.repair(7, drawn)
    used, wanted = graph.live(7, repaired), graph.live(7, drawn)
    assert 1 <= len(used) <= 9
    if wanted and len(wanted) <= 9:
        assert repaired == drawn
    elif wanted:
        assert repaired < drawn
        assert len(used) >= 8
    else:
        assert len(repaired - drawn) == 1


def test_a_small_cell_is_embedded_and_a_large_one_pruned() -> None:
    small = arch_of("01 12", "p")
    assert edges_of(GENNAS.decode(GENNAS.params(small))) == "01 16"
    large = arch_of("03 39 12 45 56 67 78", "11p11111")
    assert edges_of(GENNAS.decode(GENNAS.params(large))) == "01 16"
    assert GENNAS.decode(GENNAS.params(large)).key == small.key == large.key


def test_seven_vertices_survive_decoding_with_their_dead_parts() -> None:
    arch = arch_of("01 16 23 24 35", "3p1p3")
    assert GENNAS.decode(GENNAS.params(arch)) == arch


def test_mutation_rates() -> None:
    """Published: 21 edges with chance 1/7, five operations with 1/5, another one each time."""
    rng = np.random.default_rng(0)
    start = arch_of("01 06 16", "13p3p")
    children = [GENNAS.mutate(start, rng) for _ in range(2000)]
    changed_ops = [
        [a != b for a, b in zip(start.code[1], child.code[1], strict=True)]  # type: ignore[index]
        for child in children
    ]
    assert np.mean(np.sum(changed_ops, axis=1)) == pytest.approx(1, abs=0.08)
    flips = [len(set(edges_of(start).split()) ^ set(edges_of(c).split())) for c in children]
    assert np.mean(flips) == pytest.approx(3, abs=0.15)  # few children here are invalid
    second = [child.code[1][2] for child in children]  # type: ignore[index]
    assert second.count(LABELS[1]) == pytest.approx(200, abs=50)
    assert second.count(LABELS[2]) == pytest.approx(200, abs=50)


def test_samples_have_seven_vertices_and_are_cells() -> None:
    for seed in range(100):
        arch = sampled(seed)
        assert len(arch.code[1]) == 7  # type: ignore[index]
        assert GENNAS.parse(str(arch)) == arch


@pytest.mark.parametrize("given", [None, 3, [[[0, 1], [0, 0]], ["input", "output"]]])
def test_only_texts_are_parsed(given: object) -> None:
    with pytest.raises(GenNASError, match="JSON text"):
        GENNAS.parse(given)  # type: ignore[arg-type]


def test_errors_name_the_fault_on_one_short_line() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    for matrix in (nested, "x" * 10_000, {"a": 1}, None):
        with pytest.raises(GenNASError) as info:
            GENNAS.from_matrix(matrix, ["input", "output"])  # type: ignore[attr-defined]
        assert "one row per label" in str(info.value) or "row 0" in str(info.value)
        assert len(str(info.value)) < 600
        assert "\n" not in str(info.value)
