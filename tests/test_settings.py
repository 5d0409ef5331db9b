"""Presets: how long, at what size and from what start an architecture is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from gennas_optuna import GenNASEvaluator, ProxyEvaluator, Scale, get_space, list_spaces
from gennas_optuna.errors import GenNASError
from gennas_optuna.settings import PRESETS, Preset, Size, get_preset
from gennas_optuna.spaces.nds import CELL_SPACES, STAGE_SPACES
from gennas_optuna.task_parts import Optimizer

NB101 = get_space("nasbench101")
NB201 = get_space("nasbench201")
CELL = NB201.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|none~2|")
TINY = Preset("tiny", steps=2, scale=Scale(width=8, depth=1), batch_size=2)


def loss(preset: Preset, arch: Any) -> float:
    return GenNASEvaluator("generic", preset=preset, inputs="noise").evaluate(arch).loss


def test_the_initial_weights_of_a_preset_are_those_of_the_form_that_has_them() -> None:
    """GenNAS's first release started NAS-Bench-101 as PyTorch does, its revision by fan-out."""
    text = '[[[0,1,0],[0,0,1],[0,0,0]],["input","conv3x3-bn-relu","output"]]'
    arch = NB101.parse(text)
    first = get_space("nasbench101", form="first-release").parse(text)
    assert loss(replace(TINY, init="pytorch"), arch) == loss(TINY, first)
    assert loss(replace(TINY, init="pytorch"), arch) != loss(TINY, arch)
    assert loss(replace(TINY, init="fan-out"), arch) == loss(TINY, arch)


def test_a_size_for_one_space_leaves_the_others_alone() -> None:
    small = Scale(width=4, depth=1)
    preset = replace(TINY, scales=(("nasbench201", small),))
    assert loss(preset, CELL) == loss(replace(TINY, scale=small), CELL)
    assert preset.scale_for("nasbench101") == TINY.scale


def test_batch_size_and_optimizer_replace_the_tasks() -> None:
    given = replace(TINY, batch_size=5, optimizer=Optimizer("adam", lr=0.01))
    task = GenNASEvaluator("generic", preset=given).task_for(NB201)
    assert (task.batch_size, task.optimizer) == (5, given.optimizer)
    plain = GenNASEvaluator("generic", preset=replace(TINY, batch_size=None)).task_for(NB201)
    assert (plain.batch_size, plain.optimizer) == (16, Optimizer())


def test_whatever_changes_the_loss_changes_the_identity() -> None:
    """Scores kept in a file are found again by it."""
    changes: list[dict[str, Any]] = [
        {"steps": 3},
        {"steps_of": (("nasbench201", 5),)},
        {"scale": None},
        {"scales": (("nasbench201", Scale(depth=2)),)},
        {"init": "pytorch"},
        {"batch_size": 3},
        {"optimizer": Optimizer(lr=0.2)},
        {"window": 1},
        {"size": Size(flops=0.1)},
        {"size": Size(params=0.1)},
        {"size": Size(flops=0.1, params=0.1)},
        {"sizes": (("nasbench201", Size(flops=0.2)),)},
    ]
    presets = [TINY, *(replace(TINY, **change) for change in changes)]
    identities = {GenNASEvaluator("generic", preset=p).identity(NB201) for p in presets}
    assert len(identities) == len(presets)
    other = replace(TINY, scales=(("nasbench101", Scale(depth=2)),))
    assert GenNASEvaluator("generic", preset=other).identity(NB201) == GenNASEvaluator(
        "generic", preset=TINY
    ).identity(NB201)


@pytest.mark.parametrize("proxy", ["naswot", "zico"])
def test_proxies_that_look_at_images_tell_them_apart(proxy: str) -> None:
    photos = ProxyEvaluator(proxy).identity(NB201)
    assert photos == f"{proxy}-0"  # of all score files so far
    others = [
        ProxyEvaluator(proxy, inputs="noise"),
        ProxyEvaluator(proxy, inputs=torch.zeros(256, 3, 32, 32)),
        ProxyEvaluator(proxy, seed=1),
        ProxyEvaluator(proxy, threads=2),
    ]
    identities = {photos, *(other.identity(NB201) for other in others)}
    assert len(identities) == 1 + len(others)


def test_proxies_that_only_count_depend_on_nothing_else() -> None:
    changed = ProxyEvaluator("params", inputs="noise", threads=2)
    assert changed.identity(NB201) == ProxyEvaluator("params").identity(NB201)


def test_steps_may_depend_on_the_space() -> None:
    preset = replace(TINY, steps_of=(("nasbench201", 5),))
    evaluator = GenNASEvaluator("generic", preset=preset, inputs="noise")
    trace = evaluator.evaluate(LIVE).trace
    assert trace is not None
    assert trace.steps == (3, 4, 5)
    assert evaluator.steps_for(get_space("nasbench101")) == TINY.steps
    given = GenNASEvaluator("generic", preset=preset, inputs="noise", steps=1)
    assert given.steps_for(NB201) == 1
    GenNASEvaluator(preset=preset, report_steps=[5])
    with pytest.raises(GenNASError, match="report_steps"):
        GenNASEvaluator(preset=preset, report_steps=[6])
    with pytest.raises(GenNASError, match="steps"):
        replace(preset, steps_of=(("nasbench201", 0),))


DEAD = NB201.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|")
LIVE = NB201.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
LIVE_FLOPS = 7_782_400
"""Of NAS-Bench-201's network whose cells pass their input on (the benchmark's own figure)."""
LIVE_PARAMS = 73_306 - 650 - 128
"""Likewise, without the classifier and the batch norm before it."""


def test_losses_are_divided_by_a_power_of_the_size() -> None:
    seen: list[tuple[int, float]] = []
    preset = replace(TINY, size=Size(flops=0.5))
    evaluator = GenNASEvaluator("generic", preset=preset, inputs="noise", report_steps=(1,))
    score = evaluator.evaluate(LIVE, on_eval=lambda *read: seen.append(read))
    factor = (LIVE_FLOPS / 1e8) ** -0.5
    plain = GenNASEvaluator("generic", preset=TINY, inputs="noise", report_steps=(1,))
    expected = plain.evaluate(LIVE)
    assert expected.trace is not None
    assert score.trace is not None
    assert score.flops == LIVE_FLOPS
    assert score.loss == pytest.approx(expected.loss * factor, rel=1e-12)
    losses = [loss * factor for loss in expected.trace.losses]
    assert score.trace.losses == pytest.approx(losses, rel=1e-12)
    assert seen == [*zip(score.trace.steps, score.trace.losses, strict=True)]


def test_parameters_may_count_beside_flops_or_instead() -> None:
    plain = loss(TINY, LIVE)
    by_params = loss(replace(TINY, size=Size(params=0.5)), LIVE)
    assert by_params == pytest.approx(plain * (LIVE_PARAMS / 1e6) ** -0.5, rel=1e-12)
    by_both = loss(replace(TINY, size=Size(flops=0.5, params=0.5)), LIVE)
    assert by_both == pytest.approx(by_params * (LIVE_FLOPS / 1e8) ** -0.5, rel=1e-12)


def test_sizes_that_are_equal_give_one_identity() -> None:
    whole, real = Size(flops=1, params=2), Size(flops=1.0, params=2.0)
    identities = {
        GenNASEvaluator("generic", preset=replace(TINY, size=size)).identity(NB201)
        for size in (whole, real)
    }
    assert whole == real
    assert len(identities) == 1


@pytest.mark.parametrize("power", ["much", float("nan"), float("inf"), True])
def test_powers_of_the_size_are_numbers(power: Any) -> None:
    for name in ("flops", "params"):
        with pytest.raises(GenNASError, match=f"preset size: {name}"):
            Size(**{name: power})


def test_the_size_that_counts_is_that_of_what_can_be_reached() -> None:
    """Two encodings of one network have one loss, whichever is scored first."""
    assert DEAD.key == LIVE.key
    preset = replace(TINY, size=Size(flops=0.5))
    evaluator = GenNASEvaluator("generic", preset=preset, inputs="noise")
    score = evaluator.evaluate(DEAD)
    assert score.loss == loss(preset, LIVE)
    assert score.flops > LIVE_FLOPS


def test_the_size_of_a_module_counts_as_well() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 1)
    )
    macs = 32 * 32 * 8 * 27 + 16 * 16 * 8 * (72 + 8)
    plain, sized = (
        GenNASEvaluator("generic", preset=preset, inputs="noise").evaluate(model).loss
        for preset in (TINY, replace(TINY, size=Size(flops=0.5)))
    )
    assert sized == pytest.approx(plain * (macs / 1e8) ** -0.5, rel=1e-12)


def test_size_counts_by_the_kind_of_space() -> None:
    by_cell = {"nasbench101", "nasbench201", "nasbench-nlp"}
    expected = {space: Size(flops=0.1) for space in ("", *list_spaces())}  # "": a module
    expected |= dict.fromkeys(by_cell, Size(flops=0.02))
    expected |= dict.fromkeys((*CELL_SPACES, *STAGE_SPACES), Size(params=0.1))
    for name in ("fast", "balanced"):
        assert {space: PRESETS[name].size_for(space) for space in expected} == expected
    assert {PRESETS["paper"].size_for(space) for space in expected} == {Size()}


def test_a_factor_is_part_of_what_a_loss_depends_on() -> None:
    presets = [
        replace(TINY, scale=Scale(width=8, depth_factor=factor)) for factor in (1, 0.5, 0.4)
    ]
    identities = {GenNASEvaluator("generic", preset=p).identity(NB201) for p in presets}
    assert len(identities) == 3


@pytest.mark.parametrize("factor", [0, -1, 1.5, float("nan"), "half", None, True])
@pytest.mark.parametrize("name", ["width_factor", "depth_factor"])
def test_factors_are_shares(name: str, factor: Any) -> None:
    with pytest.raises(GenNASError, match=f"scale {name}"):
        Scale(**{name: factor})


@pytest.mark.parametrize("name", ["width", "depth"])
def test_a_size_and_a_factor_contradict_each_other(name: str) -> None:
    with pytest.raises(GenNASError, match=f"give {name} or {name}_factor, not both"):
        Scale(**{name: 4, f"{name}_factor": 0.5})


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_of_the_package_are_found_by_name(name: str) -> None:
    assert get_preset(name).name == name
    assert get_preset(get_preset(name)) == PRESETS[name]


def test_the_papers_preset_is_the_papers() -> None:
    assert PRESETS["paper"] == Preset("paper", steps=100)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 1}, "batch_size"),
        ({"window": 3}, "window"),
        ({"window": 0}, "window"),
        ({"init": "zeros"}, "init"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"scale": 3}, "scale"),
        ({"size": 0.1}, "size"),
        ({"sizes": (("nasbench201", 0.1),)}, "size"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(GenNASError, match=words):
        replace(TINY, **values)


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(GenNASError, match=r"slow.*balanced, fast, paper"):
        get_preset("slow")
