"""The NDS cell spaces: their contract, sizes, records, and what can be built."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from nds_cell_examples import NET, RECORDS, REST, SMALL, built, darts

import parity
from contracts.space_contract import SpaceContract
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import Scale, get_space, list_spaces
from gennas_optuna.spaces.nds import CELL_SPACES


class TestDARTS(SpaceContract):
    space = get_space("darts")
    small = SMALL
    build_examples = 4
    malformed = (
        *SpaceContract.malformed,
        "[" * 100_000,
        '{"width": ' + "9" * 5000 + "}",
        NET.replace("max_pool_3x3", "max_pool_9x9"),
        NET.replace('["none",0]', '["none",2]', 1),
        NET.replace('["none",0]', '["none",true]', 1),
        NET.replace('["none",0]', '["none"]', 1),
        NET.replace('["none",0],', "", 1),
        NET.replace("[2,3,4,5]", "[2,2]"),
        NET.replace("[2,3,4,5]", "[]"),
        NET.replace("[2,3,4,5]", "[6]"),
        NET.replace("[2,3,4,5]", "7"),
        NET.replace('"width":48', '"width":48.0'),
        NET.replace('"width":48', '"width":17'),
        NET.replace('"width":48', '"width":NaN'),
        NET.replace('"depth":14', '"depth":2'),
        NET.replace('"genotype"', '"genes"'),
    )


class TestNASNetImageNet(SpaceContract):
    space = get_space("nasnet-in")
    small = SMALL
    build_examples = 4


class TestENASFirstRelease(SpaceContract):
    space = get_space("enas-in", form="first-release")
    small = SMALL
    build_examples = 2


class TestFixedWidthAndDepth(SpaceContract):
    """In the benchmark's own form, on images that its strides leave something of."""

    space = get_space("darts-fix-w-d-in", form="benchmark")
    small = SMALL
    build_examples = 2

    def test_width_and_depth_are_no_parameters(self) -> None:
        rng = np.random.default_rng(0)
        assert len(self.space.distributions()) == 32
        for _ in range(20):
            fields = json.loads(str(self.space.mutate(self.space.sample(rng), rng)))
            assert (fields["width"], fields["depth"]) == (32, 22)


@pytest.mark.parametrize("name", CELL_SPACES)
def test_every_space(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        arch = space.sample(rng)
        params = space.params(arch)
        assert space.parse(str(arch)) == space.decode(params) == arch
        moved = space.params(space.mutate(arch, rng))
        assert sum(params[parameter] != moved[parameter] for parameter in params) == 1
    for canonical in (False, True):
        taps = built(space, arch, scale=SMALL, canonical=canonical)(x)
        assert [tuple(tap.shape[2:]) for tap in taps] == [(32, 32), (16, 16), (8, 8)]


def test_names_and_sizes_of_the_rows() -> None:
    """Operations and nodes as NDS lists them; width and depth together have 25 values."""
    assert set(CELL_SPACES) <= set(list_spaces())
    assert {name: (len(row.ops), row.nodes, row.loose) for name, row in CELL_SPACES.items()} == {
        **dict.fromkeys(("darts", "darts-in"), (8, 4, False)),
        **dict.fromkeys(("darts-fix-w-d", "darts-fix-w-d-in"), (8, 4, False)),
        **dict.fromkeys(("enas", "enas-in", "enas-fix-w-d"), (5, 5, True)),
        **dict.fromkeys(("pnas", "pnas-in", "pnas-fix-w-d"), (8, 5, False)),
        **dict.fromkeys(("nasnet", "nasnet-in"), (13, 5, True)),
        **dict.fromkeys(("amoeba", "amoeba-in"), (8, 5, True)),
    }
    for name, row in CELL_SPACES.items():
        choices = len(row.widths) * len(row.depths)
        assert choices == (1 if "fix-w-d" in name else 25)


@pytest.mark.parametrize(("_file", "name", "net", "params"), RECORDS)
def test_known_records(_file: str, name: str, net: str, params: int) -> None:
    """The sizes are the benchmark's own: they hold on any machine, without the reference."""
    space = get_space(name, form="benchmark")
    arch = space.parse(net)
    model = space.skeleton(arch)
    assert parity.parameters(model) + 1000 * model.taps[-1].channels + 1000 == params
    assert space.decode(space.params(arch)) == arch
    for field, value in json.loads(str(arch)).items():
        assert json.loads(net)[field] == value


@pytest.mark.parametrize(("file", "name", "net", "_params"), RECORDS)
def test_all_records(file: str, name: str, net: str, _params: int) -> None:
    """Each parses, comes back, and lies in the sampled space, its joined nodes too."""
    records = parity.load(f"benchmarks/nds/{file}")
    space = get_space(name)
    assert len(records) >= 58
    assert records[0]["net"] == json.loads(net)
    keys = set()
    for record in records:
        arch = space.parse(json.dumps(record["net"]))
        fields = json.loads(str(arch))
        assert fields == {field: record["net"][field] for field in fields}
        assert space.parse(str(arch)) == space.decode(space.params(arch)) == arch
        keys.add(arch.key)
    assert len(keys) == len(records)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("name", ["amoeba", "amoeba-in"])
def test_shallow_networks(name: str, depth: int) -> None:
    """With two cells, both reductions, the first tap is the stem's output."""
    for form in ("gennas", "benchmark"):
        space = get_space(name, form=form)
        arch = space.sample(np.random.default_rng(depth))
        shape = (3, 32, 64)
        for canonical in (False, True):
            options = {"canonical": canonical, "input_shape": shape}
            net = built(space, arch, scale=Scale(width=4, depth=depth), **options)
            taps = net(torch.ones(2, *shape))
            assert [tuple(t.shape) for t in taps] == [(2, i.channels, *i.size) for i in net.taps]
            assert len({tap.shape[2] for tap in taps}) == 3


@pytest.mark.parametrize(("width", "channels"), [(96, 24), (48, 12), (32, 8), (16, 8), (6, 6)])
@pytest.mark.parametrize(("depth", "cells"), [(22, 11), (14, 7), (8, 4), (3, 3)])
def test_factors_keep_wide_and_deep_apart(
    width: int, channels: int, depth: int, cells: int
) -> None:
    space = get_space("darts")
    arch = darts(f"sep_conv_3x3 0 sep_conv_3x3 0 {REST}", width=width, depth=depth)
    net = space.skeleton(arch, scale=Scale(width_factor=0.25, depth_factor=0.5))
    known = space.skeleton(arch, scale=Scale(width=channels, depth=cells))
    assert str(net) == str(known)
    assert net.taps == known.taps


def test_outside_of_the_sampled_space() -> None:
    """Such architectures are built and named, but have no parameters."""
    space = get_space("darts")
    cell = f"sep_conv_3x3 0 sep_conv_3x3 0 {REST}"
    for arch, problem in (
        (darts(cell, width=18), "width 18"),
        (darts(cell, depth=5), "depth 5"),
        (darts(cell, width=16, depth=8, concat=[5]), r"normal_concat \[5\]"),
    ):
        assert space.parse(str(arch)) == arch
        with pytest.raises(GenNASError, match=f"{problem}.* can be built and scored"):
            space.params(arch)
        space.skeleton(arch)
    reordered = darts(cell, width=16, depth=8, concat=[5, 2, 3, 4])
    assert space.decode(space.params(reordered)).key == reordered.key


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(
        GenNASError, match="width=17 is no whole number in 2 to 4096 in steps of 2"
    ):
        darts(f"sep_conv_3x3 0 sep_conv_3x3 0 {REST}", width=17)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"scale": Scale(width=5)}, "even width"),
        ({"scale": Scale(depth=1)}, "at least 2"),
        ({"input_shape": (3, 30, 32)}, "multiples of 4"),
        ({"input_shape": (32, 32)}, "channels, height, width"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], problem: str) -> None:
    arch = darts(f"sep_conv_3x3 0 sep_conv_3x3 0 {REST}")
    with pytest.raises(GenNASError, match=problem):
        built(get_space("darts"), arch, **options)


def test_sampling_is_uniform() -> None:
    space, rng = get_space("darts-in"), np.random.default_rng(0)
    draws = [space.params(space.sample(rng)) for _ in range(1000)]
    assert {draw["normal_2a_from"] for draw in draws} == {0, 1}
    assert {draw["width"] for draw in draws} == {32, 48, 64, 80, 96}
    assert {draw["depth"] for draw in draws} == {6, 10, 14, 18, 22}
    for op in get_space("darts-in").row.ops:  # type: ignore[attr-defined]
        share = np.mean([draw["reduce_5b_op"] == op for draw in draws])
        assert share == pytest.approx(1 / 8, abs=0.04)
