from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import parity
from contracts.space_contract import SpaceContract
from gennas_optuna import load_truth
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import Scale, get_space, list_spaces
from gennas_optuna.spaces.nds import STAGE_SPACES

SMALL = Scale(width=16, depth=1)
FORMS = ("gennas", "groups-as-count", "benchmark")

RESNEXT = (
    '{"block_type": "res_bottleneck_block", "bot_muls": [1.0, 0.25, 0.5, 0.25], '
    '"ds": [1, 2, 2, 2], "num_gs": [1, 2, 4, 2], "ss": [8, 1, 2, 2], "ws": [64, 16, 128, 128]}'
)
RESNET = (
    '{"block_type": "res_basic_block", "bot_muls": [], "ds": [1, 2, 3, 3], "num_gs": [], '
    '"ss": [1, 1, 2, 2], "ws": [16, 32, 128, 160]}'
)
VANILLA = (
    '{"block_type": "double_plain_block", "bot_muls": [], "ds": [1, 3, 2, 2], "num_gs": [], '
    '"ss": [1, 1, 2, 2], "ws": [16, 40, 160, 256]}'
)
FIVE = (
    '{"block_type": "res_basic_block", "bot_muls": [], "ds": [1, 16, 5, 10, 8], "num_gs": [], '
    '"ss": [4, 1, 2, 2, 2], "ws": [32, 64, 128, 128, 32]}'
)


class TestResNeXtB(SpaceContract):
    space = get_space("resnext-b")
    small = SMALL
    build_examples = 5
    malformed = (
        *SpaceContract.malformed,
        "[" * 100_000,
        RESNEXT.replace("[1, 2, 2, 2]", "[1, 2, 2]"),
        RESNEXT.replace("[1, 2, 2, 2]", "[1, 2, 2, 0]"),
        RESNEXT.replace("[1, 2, 2, 2]", "[1, 2, 2, 2.0]"),
        RESNEXT.replace("[1, 2, 2, 2]", "3"),
        RESNEXT.replace("[1, 2, 2, 2]", f"[1, 2, 2, {'9' * 5000}]"),
        RESNEXT.replace("[8, 1, 2, 2]", "[2, 1, 2, 2]"),
        RESNEXT.replace("[8, 1, 2, 2]", "[]"),
        RESNEXT.replace("[1.0, 0.25, 0.5, 0.25]", "[]"),
        RESNEXT.replace("0.25, 0.5", "0, 0.5"),
        RESNEXT.replace("0.25, 0.5", "NaN, 0.5"),
        RESNEXT.replace("0.25, 0.5", "1e400, 0.5"),
        RESNEXT.replace("res_bottleneck_block", "dense_block"),
        RESNEXT.replace("res_bottleneck_block", '", "x": "'),
        RESNEXT.replace('"num_gs"', '"groups"'),
        '{"block_type": ["res_basic_block"]}',
    )


class TestResNet(SpaceContract):
    space = get_space("resnet")
    small = SMALL
    build_examples = 3


class TestResNeXtAOwnNetworks(SpaceContract):
    space = get_space("resnext-a-in", form="benchmark")
    small = SMALL
    build_examples = 2


def built(space: Any, arch: Any, **options: Any) -> Any:
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet", 1_259_712),
        ("resnext-a", 11_390_625),
        ("resnext-a-in", 11_390_625),
        ("resnext-b", 52_734_375),
        ("resnext-b-in", 52_734_375),
    ],
)
def test_sizes_of_the_spaces(name: str, size: int) -> None:
    """As NDS counts them: (9 * 12)^3, (5 * 5 * 3 * 3)^3 and (5 * 5 * 3 * 5)^3."""
    assert set(STAGE_SPACES) <= set(list_spaces())
    distributions = get_space(name).distributions().values()
    assert np.prod([len(d.choices) for d in distributions]) == size  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STAGE_SPACES)
def test_every_space_and_form(name: str, form: str) -> None:
    """Each set of parameters builds in full size, with three taps of halving size."""
    space, rng = get_space(name, form=form), np.random.default_rng(0)
    for _ in range(15):
        arch = space.mutate(space.sample(rng), rng)
        assert space.parse(str(arch)) == space.decode(space.params(arch)) == arch
        sides = [tap.size[0] for tap in space.skeleton(arch).taps]
        assert sides == ([28, 14, 7] if space.input_shape[1] == 224 else [32, 16, 8])
    taps = built(space, arch, scale=SMALL)(torch.ones(2, 3, 64, 64))
    assert [tap.shape[1] for tap in taps] == [16, 16, 16]


@pytest.mark.parametrize(
    ("name", "net", "classes", "params"),
    [
        ("resnext-a-in", RESNEXT, 1000, 277_592),
        ("resnext-b-in", RESNEXT.replace("16, 128, 128", "64, 64, 64")
         .replace("[1, 2, 2, 2]", "[1, 8, 4, 2]").replace("[1, 2, 4, 2]", "[1, 2, 8, 8]")
         .replace("0.25, 0.5, 0.25", "1.0, 0.25, 0.5"), 1000, 367_112),
        ("resnet", RESNET, 10, 2_174_234),
        ("resnet", RESNET.replace("2, 3, 3", "24, 2, 24").replace("32, 128, 160", "24, 32, 32"),
         10, 732_810),
        ("resnet", VANILLA, 10, 2_971_514),
        ("resnet", FIVE, 1000, 5_768_264),
    ],
)  # fmt: skip
def test_sizes_of_the_benchmarks_own_networks(
    name: str, net: str, classes: int, params: int
) -> None:
    """The sizes of the benchmark's records, with its linear layer on top."""
    space = get_space(name, form="benchmark")
    model = space.skeleton(space.parse(net))
    assert parity.parameters(model) + classes * (model.taps[-1].channels + 1) == params


def test_the_stem_of_the_imagenet_resnexts() -> None:
    space = get_space("resnext-a-in", form="benchmark")
    assert parity.parameters(space.skeleton(space.parse(RESNEXT)).stem) == 56_480  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "name", "count"),
    [
        ("ResNeXt-A_in.json", "resnext-a-in", 65),
        ("ResNeXt-B_in.json", "resnext-b-in", 82),
        ("ResNet_reruns.json", "resnet", 10),
    ],
)
def test_all_records(file: str, name: str, count: int) -> None:
    """Each parses, comes back, lies in the sampled space, and has the benchmark's size."""
    records = parity.load(f"benchmarks/nds/{file}")
    if isinstance(records, dict):
        records = records["top"] + records["mid"]
    assert len(records) == count
    space, own = get_space(name), get_space(name, form="benchmark")
    for record in records:
        text = json.dumps(record["net"])
        arch = space.parse(text)
        assert json.loads(str(arch)) == record["net"]
        assert space.parse(str(arch)) == space.decode(space.params(arch)) == arch
        model = own.skeleton(own.parse(text))
        classes = 1000 if name.endswith("-in") else 10
        classifier = classes * (model.taps[-1].channels + 1)
        assert parity.parameters(model) + classifier == record["params"]


def test_groups_in_the_three_forms() -> None:
    """GenNAS takes the benchmark's number of groups for the width of each."""

    def groups(form: str) -> list[int]:
        space = get_space("resnext-a-in", form=form)
        modules = space.skeleton(space.parse(RESNEXT)).stages.modules()
        convs = [m for m in modules if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        return [conv.groups for conv in convs]

    # inner channels 64 (stem entry), 4, 64 and 32, with num_gs 1, 2, 4 and 2
    assert groups("gennas") == [64, 2, 2, 16, 16, 16, 16]
    assert groups("groups-as-count") == [1, 2, 2, 4, 4, 2, 2]
    assert groups("benchmark") == [2, 2, 4, 4, 2, 2]


def test_residual_taps_are_before_the_last_relu_and_vanilla_ones_after() -> None:
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    space = get_space("resnet")
    for net, negative in ((RESNET, True), (RESNEXT, True), (VANILLA, False)):
        taps = built(space, space.parse(net), scale=SMALL)(x)
        assert all((tap.min() < 0) == negative for tap in taps)


def test_the_trunk_is_that_of_blocks_with_their_closing_relu() -> None:
    """The last tap is the same if every block's ReLU is in its place."""
    space = get_space("resnet")
    net = built(space, space.parse(RESNET), scale=Scale(width=16, depth=2)).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        taps = net(x)
        x = net.stem(x)
        for stage in net.stages:
            for block in stage.blocks:
                x = torch.relu(block(x))
    assert torch.equal(torch.relu(taps[-1]), x)


def test_five_entries_are_five_stages_tapped_after_the_last_three() -> None:
    space = get_space("resnet")
    model = space.skeleton(space.parse(FIVE))
    assert [tap.name for tap in model.taps] == ["stages.2", "stages.3", "stages.4"]
    assert [tap.channels for tap in model.taps] == [128, 128, 32]
    assert [tap.size for tap in model.taps] == [(16, 16), (8, 8), (4, 4)]
    with pytest.raises(GenNASError, match="outside of what resnet samples"):
        space.params(space.parse(FIVE))


def test_keys_name_what_is_built() -> None:
    space, own = get_space("resnext-a"), get_space("resnext-a", form="benchmark")
    strided = RESNEXT.replace("[8,", "[1,")
    no_stem = strided.replace("[1.0,", "[0.0,")
    assert space.parse(RESNEXT).key == space.parse(strided).key == space.parse(no_stem).key
    assert space.parse(strided) == space.parse(no_stem)
    assert own.parse(RESNEXT).key != own.parse(strided).key
    deeper = strided.replace("[1, 2, 2, 2]", "[2, 2, 2, 2]")
    assert space.parse(deeper).key != space.parse(strided).key
    assert own.parse(deeper).key == own.parse(strided).key  # the stem has no depth
    aliased = VANILLA.replace("double_plain_block", "vanilla_block")
    assert space.parse(aliased) == space.parse(VANILLA)


def test_a_table_is_looked_up_by_what_the_benchmark_trained(tmp_path: Path) -> None:
    """With strides of 8 and of 1 in the stem: one network in GenNAS's form."""
    strided, plain = RESNEXT, RESNEXT.replace("[8,", "[1,")
    (tmp_path / "t").write_text(json.dumps([[json.loads(strided), 60.0], [RESNET, 70.0]]))
    for form in FORMS:
        truth = load_truth(tmp_path / "t", get_space("resnext-a-in", form=form))
        for other in FORMS:
            space = get_space("resnext-a-in", form=other)
            assert truth.find(space.parse(strided)) is truth[0]
            assert truth.find(space.parse(plain)) is None
            deeper = strided.replace("[1, 2, 2, 2]", "[2, 2, 2, 2]")  # a stem has no depth
            assert truth.find(space.parse(deeper)) is truth[0]


@pytest.mark.parametrize(("groups", "built"), [("[1, 8, 2, 2]", True), ("[1, 3, 1, 4]", False)])
def test_outside_of_the_sampled_space(groups: str, built: bool) -> None:
    """What is said of it holds: it can be built, or has groups that do not divide."""
    space = get_space("resnext-a", form="groups-as-count")
    net = (
        RESNEXT.replace("[8,", "[1,").replace("[1, 2, 4, 2]", groups).replace("16, 128", "32, 128")
    )
    arch = space.parse(net)
    with pytest.raises(GenNASError, match="outside of what resnext-a samples") as info:
        space.params(arch)
    assert ("can be built and scored, but has no parameters" in str(info.value)) == built
    assert "has no parameters" in str(info.value)
    if built:
        space.skeleton(arch)
    else:
        with pytest.raises(GenNASError, match="8 inner channels cannot be cut into 3 groups"):
            space.skeleton(arch)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (RESNEXT.replace("[1, 2, 4, 2]", "[1, 3, 4, 2]"), "4 inner channels .* into 3 groups"),
        (RESNEXT.replace("0.25, 0.5", "0.01, 0.5"), "0 inner channels"),
    ],
)
def test_groups_that_do_not_divide_are_refused(text: str, problem: str) -> None:
    space = get_space("resnext-a-in", form="groups-as-count")
    arch = space.parse(text)
    assert arch.key
    with pytest.raises(GenNASError, match=problem):
        built(space, arch)


@pytest.mark.parametrize(
    ("shape", "problem"), [((3, 0, 32), "height=0"), ((32, 32), "channels, height, width")]
)
def test_shapes_that_are_no_images_are_refused(shape: tuple[int, ...], problem: str) -> None:
    with pytest.raises(GenNASError, match=problem):
        built(get_space("resnet"), get_space("resnet").parse(RESNET), input_shape=shape)


def test_scale_caps_width_and_depth() -> None:
    """Depth and width are what is searched, so a smaller scale keeps their differences."""
    space = get_space("resnext-b")
    arch = space.parse(RESNEXT)
    model = space.skeleton(arch, scale=Scale(width=32, depth=1))
    assert [tap.channels for tap in model.taps] == [16, 32, 32]
    assert [len(stage.blocks) for stage in model.stages] == [1, 1, 1, 1]  # type: ignore[union-attr, arg-type]
    assert str(space.skeleton(arch)) == str(space.skeleton(arch, scale=Scale(1024, 16)))


def test_factors_keep_the_differences_between_stages() -> None:
    space = get_space("resnext-b")
    arch = space.parse(RESNEXT)
    own = space.skeleton(arch)
    half = space.skeleton(arch, scale=Scale(width_factor=0.5, depth_factor=0.5))
    for small, large in zip(half.taps, own.taps, strict=True):
        assert small.channels == max(large.channels // 2, 8)
    blocks = [[len(stage.blocks) for stage in net.stages] for net in (half, own)]  # type: ignore[union-attr, arg-type]
    assert blocks[0] == [max(1, round(n / 2)) for n in blocks[1]]


def test_initial_weights_are_normal_by_fan_out() -> None:
    space = get_space("resnet")
    net = built(space, space.parse(VANILLA))
    conv = net.stages[3].blocks[1][0]
    assert float(conv.weight.detach().std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
