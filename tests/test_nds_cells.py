from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import parity
from contracts.space_contract import SpaceContract
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import Scale, get_space, list_spaces
from gennas_optuna.spaces.nds import CELL_SPACES

SMALL = Scale(width=4, depth=5)

# Records 0 of the benchmark's files: (file, space, net, params with a 1000-class linear layer).
RECORDS = [
    (
        "DARTS_in.json",
        "darts-in",
        '{"aux":false,"depth":14,"drop_prob":0.0,"genotype":{"normal":[["none",0],'
        '["max_pool_3x3",0],["skip_connect",0],["avg_pool_3x3",0],["max_pool_3x3",2],'
        '["sep_conv_5x5",0],["max_pool_3x3",1],["avg_pool_3x3",3]],"normal_concat":[2,3,4,5],'
        '"reduce":[["none",0],["sep_conv_5x5",1],["max_pool_3x3",0],["skip_connect",1],'
        '["avg_pool_3x3",1],["none",0],["none",1],["max_pool_3x3",0]],'
        '"reduce_concat":[2,3,4,5]},"width":48}',
        3_041_248,
    ),
    (
        "DARTS_fix-w-d_in.json",
        "darts-fix-w-d-in",
        '{"aux":false,"depth":22,"drop_prob":0.0,"genotype":{"normal":[["avg_pool_3x3",1],'
        '["sep_conv_3x3",1],["sep_conv_5x5",1],["dil_conv_5x5",1],["none",0],["dil_conv_3x3",2],'
        '["dil_conv_3x3",2],["sep_conv_3x3",1]],"normal_concat":[2,3,4,5],"reduce":['
        '["sep_conv_3x3",0],["dil_conv_3x3",0],["skip_connect",0],["dil_conv_3x3",0],["none",1],'
        '["dil_conv_5x5",1],["dil_conv_3x3",4],["skip_connect",4]],"reduce_concat":[2,3,4,5]},'
        '"width":32}',
        3_435_864,
    ),
    (
        "ENAS_in.json",
        "enas-in",
        '{"aux":false,"depth":14,"drop_prob":0.0,"genotype":{"normal":[["sep_conv_3x3",0],'
        '["avg_pool_3x3",1],["skip_connect",2],["sep_conv_5x5",0],["max_pool_3x3",3],'
        '["sep_conv_3x3",2],["skip_connect",3],["sep_conv_5x5",4],["max_pool_3x3",5],'
        '["sep_conv_5x5",5]],"normal_concat":[6],"reduce":[["max_pool_3x3",1],["avg_pool_3x3",0],'
        '["avg_pool_3x3",1],["sep_conv_5x5",0],["sep_conv_5x5",0],["sep_conv_3x3",0],'
        '["sep_conv_3x3",2],["sep_conv_5x5",2],["sep_conv_5x5",2],["avg_pool_3x3",3]],'
        '"reduce_concat":[4,5,6]},"width":32}',
        1_752_376,
    ),
    (
        "PNAS_in.json",
        "pnas-in",
        '{"aux":false,"depth":10,"drop_prob":0.0,"genotype":{"normal":[["dil_conv_3x3",1],'
        '["dil_conv_3x3",0],["max_pool_3x3",2],["sep_conv_5x5",1],["avg_pool_3x3",0],'
        '["avg_pool_3x3",3],["skip_connect",4],["max_pool_3x3",1],["max_pool_3x3",5],'
        '["avg_pool_3x3",1]],"normal_concat":[2,3,4,5,6],"reduce":[["dil_conv_3x3",0],'
        '["dil_conv_3x3",1],["avg_pool_3x3",2],["avg_pool_3x3",0],["avg_pool_3x3",3],'
        '["dil_conv_3x3",1],["skip_connect",2],["sep_conv_7x7",4],["sep_conv_7x7",1],'
        '["sep_conv_3x3",2]],"reduce_concat":[2,3,4,5,6]},"width":32}',
        1_823_608,
    ),
    (
        "Amoeba_in.json",
        "amoeba-in",
        '{"aux":false,"depth":10,"drop_prob":0.0,"genotype":{"normal":[["skip_connect",0],'
        '["max_pool_3x3",0],["sep_conv_5x5",0],["sep_conv_3x3",1],["sep_conv_5x5",3],'
        '["sep_conv_5x5",0],["max_pool_3x3",2],["sep_conv_7x7",3],["conv_7x1_1x7",3],'
        '["dil_sep_conv_3x3",0]],"normal_concat":[4,5,6],"reduce":[["skip_connect",1],'
        '["sep_conv_7x7",1],["max_pool_3x3",2],["skip_connect",1],["conv_7x1_1x7",0],'
        '["avg_pool_3x3",3],["avg_pool_3x3",1],["max_pool_3x3",1],["sep_conv_7x7",2],'
        '["skip_connect",0]],"reduce_concat":[4,5,6]},"width":32}',
        3_019_768,
    ),
    (
        "NASNet_in.json",
        "nasnet-in",
        '{"aux":false,"depth":6,"drop_prob":0.0,"genotype":{"normal":[["dil_conv_3x3",1],'
        '["sep_conv_7x7",1],["sep_conv_5x5",2],["dil_conv_3x3",0],["max_pool_3x3",3],'
        '["max_pool_7x7",2],["conv_3x1_1x3",2],["conv_1x1",0],["conv_7x1_1x7",2],'
        '["skip_connect",1]],"normal_concat":[4,5,6],"reduce":[["max_pool_7x7",1],["conv_3x3",0],'
        '["sep_conv_5x5",2],["skip_connect",0],["max_pool_7x7",0],["max_pool_7x7",3],'
        '["dil_conv_3x3",3],["conv_7x1_1x7",3],["dil_conv_3x3",0],["avg_pool_3x3",2]],'
        '"reduce_concat":[4,5,6]},"width":48}',
        3_724_192,
    ),
]
NET = RECORDS[0][2]


class TestDARTS(SpaceContract):
    space = get_space("darts")
    small = SMALL
    decode_examples = 300
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
        NET.replace('"width":48', '"width":NaN'),
        NET.replace('"depth":14', '"depth":2'),
        NET.replace('"genotype"', '"genes"'),
    )


class TestNASNetImageNet(SpaceContract):
    space = get_space("nasnet-in")
    small = SMALL
    decode_examples = 200
    build_examples = 4


class TestENASFirstRelease(SpaceContract):
    space = get_space("enas-in", form="first-release")
    small = SMALL
    decode_examples = 200
    build_examples = 2


class TestFixedWidthAndDepth(SpaceContract):
    """In the benchmark's own form, on images that its strides leave something of."""

    space = get_space("darts-fix-w-d-in", form="benchmark")
    small = SMALL
    decode_examples = 200
    build_examples = 2

    def test_width_and_depth_are_no_parameters(self) -> None:
        rng = np.random.default_rng(0)
        assert len(self.space.distributions()) == 32
        for _ in range(20):
            fields = json.loads(str(self.space.mutate(self.space.sample(rng), rng)))
            assert (fields["width"], fields["depth"]) == (32, 22)


def built(space: Any, arch: Any, **options: Any) -> Any:
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


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


# Encodings of one network


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


def darts(normal: str, **fields: Any) -> Any:
    """A DARTS architecture whose normal cell is given as ``op source op source ...``."""
    words = normal.split()
    net = json.loads(NET)
    net["genotype"]["normal"] = [
        [op, int(source)] for op, source in zip(words[::2], words[1::2], strict=True)
    ]
    net["genotype"]["normal_concat"] = fields.pop("concat", [2, 3, 4, 5])
    return get_space("darts").parse(json.dumps({**net, **fields}))


REST = "skip_connect 2 none 0 sep_conv_3x3 3 none 1 max_pool_3x3 4 skip_connect 0"


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


def test_outside_of_the_sampled_space() -> None:
    """Such architectures are built and named, but have no parameters."""
    space = get_space("darts")
    cell = f"sep_conv_3x3 0 sep_conv_3x3 0 {REST}"
    for arch, problem in (
        (darts(cell, width=20), "width 20"),
        (darts(cell, depth=5), "depth 5"),
        (darts(cell, width=16, depth=8, concat=[5]), r"normal_concat \[5\]"),
    ):
        assert space.parse(str(arch)) == arch
        with pytest.raises(GenNASError, match=problem):
            space.params(arch)
    reordered = darts(cell, width=16, depth=8, concat=[5, 2, 3, 4])
    assert space.decode(space.params(reordered)).key == reordered.key


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
