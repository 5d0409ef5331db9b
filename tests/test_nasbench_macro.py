from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import parity
from contracts.space_contract import SpaceContract
from gennas_optuna import ProxyEvaluator, load_truth
from gennas_optuna._scored import match_scores
from gennas_optuna.errors import GenNASError
from gennas_optuna.score_file import ScoreFile
from gennas_optuna.spaces import Architecture, Scale, get_space

GENNAS = get_space("nasbench-macro")
BENCHMARK = get_space("nasbench-macro", form="benchmark")
CODES = ["".join(digits) for digits in itertools.product("012", repeat=8)]

MALFORMED = (
    "0201210",
    "020121000",
    "02012103",
    "0201 210",
    "-2012100",
    "\uff10" * 8,
    "[0,2]",
)


class TestNASBenchMacro(SpaceContract):
    space = GENNAS
    small = Scale(width=4)
    malformed = (*SpaceContract.malformed, *MALFORMED)


class TestNASBenchMacroBenchmark(SpaceContract):
    space = BENCHMARK
    small = Scale(width=4)
    malformed = (*SpaceContract.malformed, *MALFORMED)


def built(space, arch, **options):
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


def macs(net: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.empty(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


# The last convolution 256 -> 1280 on 4 x 4 pixels, its norm, the linear layer 1280 -> 10.
CLASSIFIER_PARAMS = 256 * 1280 + 2 * 1280 + 1280 * 10 + 10
CLASSIFIER_MACS = 4 * 4 * 256 * 1280 + 1280 * 10


def classifier() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(256, 1280, 1, bias=False),
        nn.BatchNorm2d(1280),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1280, 10),
    )


# Facts of the benchmark and of the reference --------------------------------------------------


def test_every_parity_row_of_gennas(matched: Callable[[str], None]) -> None:
    for row in parity.load("parity/macro.json")["archs"]:
        arch, expected = GENNAS.parse(row["key"]), row["gennas"]
        assert str(arch) == row["key"]
        net = built(GENNAS, arch)
        assert parity.parameters(net) == expected["params_backbone"]
        assert macs(GENNAS.skeleton(arch)) == expected["macs"]
        with torch.no_grad():
            taps = parity.fill(net)(parity.images())
        assert [list(tap.shape) for tap in taps] == expected["tap_shapes"]
        for tap, numbers in zip(taps, expected["taps"], strict=True):
            parity.assert_fingerprint(tap, numbers)
        matched("nasbench-macro")


def test_every_parity_row_of_the_benchmark(matched: Callable[[str], None]) -> None:
    """With its classifier on top, its maps, its pooled features and its outputs agree as well."""
    for row in parity.load("parity/macro.json")["archs"]:
        arch, expected = BENCHMARK.parse(row["key"]), row["original"]
        net = built(BENCHMARK, arch)
        total = parity.parameters(net) + CLASSIFIER_PARAMS
        assert total == expected["params_total_with_classifier"] == expected["params_json"]
        multiplications = macs(BENCHMARK.skeleton(arch)) + CLASSIFIER_MACS
        assert multiplications == expected["macs_total"] == expected["flops_json"]
        top = parity.fill(classifier())
        with torch.no_grad():
            taps = parity.fill(net)(parity.images())
            pooled = top[:4](taps[-1])
            logits = top(taps[-1])
        maps = [*taps, pooled]
        assert [list(tap.shape) for tap in maps] == expected["tap_shapes"]
        for tap, numbers in zip(maps, expected["taps"], strict=True):
            parity.assert_fingerprint(tap, numbers)
        parity.assert_fingerprint(logits[:, :, None, None], expected["logits"])
        matched("nasbench-macro, benchmark")


def test_sizes_of_the_benchmarks_records() -> None:
    """``params`` and ``flops`` of every 20th record of the benchmark, exactly."""
    records = parity.load("benchmarks/nasbench_macro/nas-bench-macro_cifar10.json")
    assert {str(BENCHMARK.parse(code)) for code in records} == set(records)
    for code, record in list(records.items())[::20]:
        net = BENCHMARK.skeleton(BENCHMARK.parse(code))
        assert parity.parameters(net) + CLASSIFIER_PARAMS == record["params"]
        assert macs(net) + CLASSIFIER_MACS == record["flops"]


@pytest.mark.parametrize(
    ("code", "params", "flops"),
    [
        ("00000000", 387_882, 7_713_280),
        ("11111111", 1_588_874, 53_246_464),
        ("22222222", 2_932_586, 105_660_928),
        ("00000012", 1_623_082, 27_312_640),
    ],
)
def test_sizes_that_the_benchmark_publishes(code: str, params: int, flops: int) -> None:
    net = BENCHMARK.skeleton(BENCHMARK.parse(code))
    assert parity.parameters(net) + CLASSIFIER_PARAMS == params
    assert macs(net) + CLASSIFIER_MACS == flops
    assert [(tap.channels, tap.size) for tap in net.taps] == [
        (64, (16, 16)),
        (128, (8, 8)),
        (256, (4, 4)),
    ]


@pytest.mark.parametrize(
    ("code", "params", "multiplications"),
    [
        ("00000000", 175_392, 12_419_072),
        ("11111111", 491_392, 61_984_768),
        ("22222222", 868_960, 124_788_736),
    ],
)
def test_known_sizes_of_gennas(code: str, params: int, multiplications: int) -> None:
    """Facts about GenNAS's variant that hold on any machine."""
    net = GENNAS.skeleton(GENNAS.parse(code))
    assert parity.parameters(net) == params
    assert macs(net) == multiplications
    assert [(tap.channels, tap.size) for tap in net.taps] == [
        (32, (32, 32)),
        (64, (16, 16)),
        (1280, (8, 8)),
    ]


def test_the_last_width_follows_the_stem() -> None:
    net = GENNAS.skeleton(GENNAS.parse("00000000"), scale=Scale(width=8))
    assert [tap.channels for tap in net.taps] == [8, 16, 320]


# The key ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "one", "other", "same"),
    [
        (GENNAS, "01000000", "10000000", True),  # nothing before or after the block
        (BENCHMARK, "01000000", "10000000", False),  # strided convolution, or strided block
        (GENNAS, "00001000", "00010000", True),
        (BENCHMARK, "00001000", "00010000", True),
        (GENNAS, "00001000", "00100000", False),  # the first layer of a stage is strided
        (BENCHMARK, "00001000", "00100000", False),
        (GENNAS, "12000000", "21000000", False),  # the order of two blocks matters
        (GENNAS, "10010002", "01001020", True),
        (GENNAS, "00000100", "00100000", False),  # a block in another stage
    ],
)
def test_which_encodings_are_one_network(space, one: str, other: str, same: bool) -> None:
    a, b = space.parse(one), space.parse(other)
    assert (a.key == b.key) == same
    assert (fingerprint(space, a) == fingerprint(space, b)) == same


@pytest.mark.parametrize(
    # Per stage, sequences of 1 and 2 of length 0 to n: 7 for two free layers, 3 for one.
    ("space", "count"),
    [(GENNAS, 7 * 21 * 21), (BENCHMARK, 9 * 21 * 21)],
)
def test_number_of_different_networks(space, count: int) -> None:
    keys = {space.parse(code).key for code in CODES}
    assert len(keys) == count
    assert all(space.parse(key).key == key for key in keys)


# The table: the benchmark trained 01000012 and 10000012, which are one network in GenNAS's form

TABLE = {"10000012": 77.0, "02000000": 70.0, "00001000": 66.0, "11111111": 90.0}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "macro.json"
    path.write_text(json.dumps({code: {"mean_acc": truth} for code, truth in TABLE.items()}))
    return path


@pytest.mark.parametrize("asked", [GENNAS, BENCHMARK])
@pytest.mark.parametrize("loaded", [GENNAS, BENCHMARK])
def test_a_table_is_looked_up_by_what_the_benchmark_trained(asked, loaded, table: Path) -> None:
    truth = load_truth(table, loaded)
    for code, found, rank in (
        ("10000012", 77, 2),
        ("01000012", None, None),
        ("02000000", 70, 3),
        ("20000000", None, None),
        ("00010000", 66, 4),  # in the second stage both forms have the same free layers
        ("00100000", None, None),
    ):
        arch = asked.parse(code)
        if found is None:
            assert truth.find(arch) is None
            with pytest.raises(GenNASError, match=f"no record of {code}"):
                truth.rank_of(arch)
        else:
            assert truth[list(TABLE.values()).index(found)] is truth.find(arch)
            assert truth.rank_of(arch) == rank


@pytest.mark.parametrize("space", [GENNAS, BENCHMARK])
def test_number_of_networks_that_the_benchmark_trained(space) -> None:
    archs = [space.parse(code) for code in CODES]
    assert len({space.benchmark_key(arch) for arch in archs}) == 9 * 21 * 21
    if space == BENCHMARK:
        assert all(space.benchmark_key(arch) == arch.key for arch in archs)


def test_scores_of_networks_that_the_benchmark_trained_apart(table: Path, tmp_path: Path) -> None:
    """Each stands beside its own truth, though GenNAS's form does not tell them apart."""
    records = {**json.loads(table.read_text()), "01000012": {"mean_acc": 80.0}}
    table.write_text(json.dumps(records))
    for code in ("10000012", "01000012", "00001000", "00010000"):
        evaluator = ProxyEvaluator("params")
        arch = GENNAS.parse(code)
        ScoreFile(tmp_path / "scores").append(evaluator, arch, evaluator.evaluate(arch))
    found = match_scores(tmp_path / "scores", str(table))
    assert found.qualities == (77, 80, 66)
    assert found.losses[0] == found.losses[1]


def fingerprint(space, arch: Architecture) -> tuple[float, ...]:
    net = parity.fill(built(space, arch, scale=Scale(width=4)))
    with torch.no_grad():
        last = net(parity.images())[-1]
    return tuple(float(f"{x:.8g}") for x in parity.statistics(last))


@pytest.mark.parametrize("space", [GENNAS, BENCHMARK])
@settings(max_examples=40, deadline=None)
@given(codes=st.tuples(st.sampled_from(CODES), st.sampled_from(CODES)))
def test_keys_are_equal_exactly_if_the_networks_are(space, codes: tuple[str, str]) -> None:
    one, other = (space.parse(code) for code in codes)
    canonical = space.parse(one.key)
    assert fingerprint(space, one) == fingerprint(space, canonical)
    assert (one.key == other.key) == (fingerprint(space, one) == fingerprint(space, other))


@pytest.mark.parametrize("space", [GENNAS, BENCHMARK])
@settings(max_examples=30, deadline=None)
@given(code=st.sampled_from(CODES))
def test_one_key_builds_one_canonical_network(space, code: str) -> None:
    arch = space.parse(code)
    options = {"canonical": True, "scale": Scale(width=4)}
    nets = [built(space, a, **options) for a in (arch, space.parse(arch.key))]
    states = [net.state_dict() for net in nets]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# Moves and errors ---------------------------------------------------------------------------


def test_mutation_changes_at_least_one_layer() -> None:
    """One layer surely, each of the other seven with chance 1/8."""
    rng = np.random.default_rng(0)
    arch = GENNAS.parse("02012100")
    changes = np.array(
        [
            [a != b for a, b in zip(str(arch), str(GENNAS.mutate(arch, rng)), strict=True)]
            for _ in range(3000)
        ]
    )
    assert changes.sum(axis=1).min() >= 1
    assert changes.sum(axis=1).mean() == pytest.approx(1 + 7 / 8, abs=0.06)
    assert changes.mean(axis=0) == pytest.approx(np.full(8, 15 / 64), abs=0.03)


def test_sampling_is_uniform() -> None:
    rng = np.random.default_rng(0)
    digits = np.array([list(str(GENNAS.sample(rng))) for _ in range(3000)])
    for digit in "012":
        assert (digits == digit).mean(axis=0) == pytest.approx(np.full(8, 1 / 3), abs=0.04)


def test_a_depth_is_refused() -> None:
    with pytest.raises(GenNASError, match="width only"):
        built(GENNAS, GENNAS.parse("02012100"), scale=Scale(depth=2))


@pytest.mark.parametrize(
    ("space", "shape", "multiple"),
    [
        (GENNAS, (3, 30, 32), "multiples of 4"),
        (GENNAS, (3, 1, 1), "multiples of 4"),
        (BENCHMARK, (3, 36, 32), "multiples of 8"),
    ],
)
def test_images_that_cannot_be_halved_are_refused(space, shape, multiple: str) -> None:
    with pytest.raises(GenNASError, match=multiple):
        built(space, space.parse("11111111"), input_shape=shape)
