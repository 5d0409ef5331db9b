"""Proxy tasks: files, forms, what they make."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import parity
from gennas_optuna import ProxyTask, get_space, get_task, list_tasks
from gennas_optuna.errors import GenNASError
from gennas_optuna.signals import Dot, DotGaussian, Resize, Sin1D, Sin2D
from gennas_optuna.taps import TapInfo
from gennas_optuna.task_parts import Noise, Optimizer, SequenceInput, Stage

TAPS = tuple(TapInfo(f"stage {i}", 16 << i, (32 >> i, 32 >> i)) for i in range(3))
PUBLISHED: dict[str, Any] = {
    "batchsize": 16,
    "noise": {"type": "uniform", "noise_level": 0.1},
    "last_channel_l0": 1.0,
    "last_channel_l1": 0.75,
    "last_channel_l2": 0.25,
    "feature": {
        "0": {"sin1d": None, "sin2d": {"level": 1.1, "range": [0.1, 0.2], "local": True}},
        "1": {"dot": {"level": 2.0, "partial": 0.5, "local": False}, "resize": {"level": 2.4}},
        "2": {"dot_gaussian": {"level": 2.1, "partial": 0.25, "local": False}},
    },
}

levels = st.floats(0.01, 10)
frequencies = st.lists(st.floats(0, 0.5), min_size=2, max_size=10).map(tuple)
SIGNALS = (
    st.builds(Sin1D, levels, frequencies, st.booleans()),
    st.builds(Sin2D, levels, frequencies, st.booleans()),
    st.builds(Dot, levels, st.floats(0, 1), st.booleans()),
    st.builds(DotGaussian, levels, st.floats(0, 1), st.booleans()),
    st.builds(Resize, levels),
)


def signal_sets(kinds=SIGNALS) -> st.SearchStrategy[tuple]:
    return st.tuples(*[st.none() | kind for kind in kinds]).map(
        lambda drawn: tuple(s for s in drawn if s is not None)
    )


stages = st.builds(
    Stage,
    signal_sets(),
    channels=st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.25, 1.5]),
    weight=st.floats(0.1, 2),
    train_weight=st.none() | st.floats(0, 2),
)
noises = st.builds(Noise, st.sampled_from(["gaussian", "uniform"]), st.floats(0, 1))
image_tasks = st.builds(
    ProxyTask,
    st.lists(stages, min_size=1, max_size=4).map(tuple),
    noise=noises,
    batch_size=st.integers(2, 64),
    target_size=st.integers(1, 16),
    optimizer=st.builds(Optimizer, st.sampled_from(["sgd", "adam"]), st.floats(1e-4, 1)),
    name=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=10),
)
sequence_tasks = st.builds(
    ProxyTask,
    signal_sets(SIGNALS[:4]).map(lambda s: (Stage(s),)),
    noise=noises,
    sequence=st.builds(SequenceInput, signal_sets(SIGNALS[:4]), st.sampled_from([16, 48, 96])),
)
tasks = image_tasks | sequence_tasks


@settings(max_examples=100, deadline=None)
@given(tasks)
def test_plain_form_round_trips_through_json_and_yaml(task: ProxyTask) -> None:
    for text in (json.dumps(task.to_dict()), yaml.safe_dump(task.to_dict())):
        again = ProxyTask.from_dict(yaml.safe_load(text) if text[0] != "{" else json.loads(text))
        assert again == task
        assert again.name == task.name
        assert again.digest == task.digest


@pytest.mark.parametrize("name", ["task.json", "task.yaml", "task.yml"])
def test_files_round_trip(name: str, tmp_path: Path) -> None:
    task = get_task("generic")
    task.save(tmp_path / name)
    assert ProxyTask.load(tmp_path / name) == task
    assert [p.name for p in tmp_path.iterdir()] == [name]  # no temporary file is left


def test_tasks_are_frozen_and_hashable() -> None:
    task = get_task("generic")
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.batch_size = 3  # type: ignore[misc]
    assert hash(task) == hash(ProxyTask.from_dict(task.to_dict()))


def test_the_digest_is_of_the_content_and_the_same_in_every_process() -> None:
    task = get_task("generic")
    assert dataclasses.replace(task, name="other").digest == task.digest
    assert dataclasses.replace(task, batch_size=8).digest != task.digest
    program = "from gennas_optuna import get_task; print(get_task('generic').digest)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == task.digest


def test_the_published_form_of_an_image_task() -> None:
    task = ProxyTask.from_dict(PUBLISHED)
    assert task.noise == Noise("uniform", 0.1)
    assert [stage.weight for stage in task.stages] == [0.25, 0.5, 1.0]
    assert [stage.head_channels for stage in task.stages] == [64, 48, 16]
    assert task.stages[0].signals == (Sin2D(1.1, (0.1, 0.2), True),)
    assert task.stages[1].signals == (Dot(2.0, 0.5, False), Resize(2.4))
    assert task.optimizer == Optimizer("sgd", 0.1, 0.9, 4e-5, "matrices")


def test_the_published_form_of_a_sequence_task() -> None:
    side = {"sin2d": {"level": 2.6, "range": [0.2], "local": True}, "dot": None}
    data = {"batchsize": 16, "noise": PUBLISHED["noise"], "dimension": 48}
    task = ProxyTask.from_dict({**data, "feature": {"0": side, "1": side}})
    assert task.sequence == SequenceInput((Sin2D(2.6, (0.2,), True),), 48, 8)
    assert len(task.stages) == 1
    assert task.optimizer == Optimizer("adam", 1e-3, 0.0, 1.2e-6, "all")


def test_every_published_task_loads() -> None:
    file = parity.shared("parity/task_configs.json")
    names = list(json.loads(file.read_text())["configs"])
    assert len(names) == 11
    for name in names:
        task = ProxyTask.load(f"{file}#{name}")
        assert task.name == name
        assert len(task.stages) == (1 if "NLP" in name else 3)


def mutated(path: list[Any], value: Any, source: dict[str, Any]) -> dict[str, Any]:
    copy = json.loads(json.dumps(source))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


PLAIN = get_task("generic").to_dict()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (mutated(["stagse"], [], PLAIN), "stagse"),
        (mutated(["stages", 0, "weight"], math.nan, PLAIN), "weight"),
        (mutated(["stages", 0, "weight"], "1", PLAIN), "weight"),
        (mutated(["stages", 0, "chanels"], 1, PLAIN), "chanels.*channels"),
        (mutated(["stages", 1, "signals", 0, "level"], math.inf, PLAIN), r"stages\[1\].*level"),
        (mutated(["stages", 1, "signals", 0, "kind"], "sine", PLAIN), "sine"),
        (mutated(["stages", 1, "signals"], {}, PLAIN), "signals"),
        (mutated(["stages"], [], PLAIN), "at least one"),
        (mutated(["stages"], 3, PLAIN), "stages"),
        (mutated(["noise", "kind"], "pink", PLAIN), "pink"),
        (mutated(["noise", "level"], -1, PLAIN), "level"),
        (mutated(["batch_size"], 1, PLAIN), "batch_size"),
        (mutated(["batch_size"], 16.0, PLAIN), "batch_size"),
        (mutated(["optimizer", "lr"], 0, PLAIN), "lr"),
        (mutated(["optimizer", "kind"], "lion", PLAIN), "lion"),
        (mutated(["sequence"], {"signals": []}, PLAIN), "dimension"),
        (mutated(["sequence"], 5, PLAIN), "sequence"),
        (mutated(["name"], 5, PLAIN), "name"),
        (mutated(["feature", "3"], {}, PUBLISHED), "'3'"),
        (mutated(["feature", "0", "sine"], None, PUBLISHED), "sine"),
        (mutated(["feature", "0", "sin2d", "partial"], 0.5, PUBLISHED), "fraction"),
        (mutated(["noise", "type"], "pink", PUBLISHED), "pink"),
        (mutated(["last_channel_l3"], 1.0, PUBLISHED), "last_channel_l3"),
        ({k: v for k, v in PUBLISHED.items() if k != "noise"}, "noise"),
        ([], "mapping"),
        (None, "mapping"),
    ],
)
def test_bad_tasks_are_explained_in_one_line(data: Any, named: str) -> None:
    with pytest.raises(GenNASError, match=named) as info:
        ProxyTask.from_dict(data)
    assert "\n" not in str(info.value)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["stages", "signals", "kind", "level", "noise", "feature", "sequence"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_data_is_a_task_or_refused(data: Any) -> None:
    with contextlib.suppress(GenNASError):
        assert ProxyTask.from_dict(data).stages


def test_stages_that_ask_for_more_maps_than_there_are() -> None:
    with pytest.raises(GenNASError, match="64 maps"):
        ProxyTask((Stage((Sin1D(1.0, (0.1,), True),), channels=1.5),))


@pytest.mark.parametrize("member", ["#A", "#missing"])
def test_one_of_several_tasks_in_a_file(member: str, tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps({"configs": {"A": PUBLISHED}}))
    if member == "#A":
        assert ProxyTask.load(f"{file}#A").name == "A"
    else:
        with pytest.raises(GenNASError, match="there are: A"):
            ProxyTask.load(f"{file}#missing")


class TestPresets:
    def test_packaged_tasks_load(self) -> None:
        assert "generic" in list_tasks()
        for name in list_tasks():
            assert get_task(name).name == name

    def test_the_default_follows_the_spaces_layout(self) -> None:
        assert get_task("default", get_space("nasbench201")).sequence is None
        assert get_task("default").stages

    def test_a_task_passes_through_and_a_file_is_read(self, tmp_path: Path) -> None:
        task = get_task("generic")
        assert get_task(task) is task
        task.save(tmp_path / "mine.json")
        assert get_task(str(tmp_path / "mine.json")) == task


class TestMaterialize:
    def batch(self, task: ProxyTask, seed: int = 0, taps=TAPS):
        images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(5))
        return task.materialize(images, taps, torch.Generator().manual_seed(seed))

    @pytest.mark.usefixtures("global_random_state_untouched")
    def test_shapes_and_determinism(self) -> None:
        task = ProxyTask.from_dict(PUBLISHED)
        batch = self.batch(task)
        assert [tuple(t.shape) for t in batch.targets] == [
            (16, 64, 8, 8),
            (16, 48, 8, 8),
            (16, 16, 8, 8),
        ]
        again, other = self.batch(task), self.batch(task, seed=1)
        for a, b, c in zip(batch.targets, again.targets, other.targets, strict=True):
            assert torch.equal(a, b)
            assert not torch.equal(a, c)

    def test_targets_are_sums_of_levels_times_signals(self) -> None:
        wave, dots = Sin2D(1.5, (0.1, 0.2), True), DotGaussian(0.7, 0.5, True)

        def target(*signals) -> torch.Tensor:
            task = ProxyTask((Stage(signals), Stage(), Stage()))
            return self.batch(task).targets[0]

        both = target(wave, dots)
        assert torch.allclose(both, target(wave) + target(dots), atol=1e-6)
        louder = target(dataclasses.replace(wave, level=3.0), dots)
        assert torch.allclose(louder - both, target(wave), atol=1e-5)
        assert not target().any()

    def test_sequence_tasks_make_their_own_input(self) -> None:
        task = ProxyTask(
            (Stage((Sin2D(1.0, (0.1,), True),)),),
            sequence=SequenceInput((Dot(1.0, 0.5, True),), dimension=48),
        )
        taps = (TapInfo("output", 400, (8,), "LND"),)
        batch = task.materialize(None, taps, torch.Generator().manual_seed(0))
        assert batch.inputs.shape == (8, 16, 48) == batch.targets[0].shape
        assert int((batch.inputs[:, 0] != 0).sum()) == 8 * 48 // 2

    @pytest.mark.parametrize(
        "taps",
        [TAPS[:2], (), (*TAPS[:2], TapInfo("x", 4, (8,), "LND"))],
        ids=["two", "none", "mixed"],
    )
    def test_taps_that_do_not_fit_are_explained(self, taps) -> None:
        with pytest.raises(GenNASError, match="3 stages"):
            self.batch(get_task("generic"), taps=taps)

    def test_images_that_do_not_fit_are_explained(self) -> None:
        with pytest.raises(GenNASError, match="16, 3, H, W"):
            get_task("generic").materialize(torch.zeros(3, 3, 8, 8), TAPS, torch.Generator())


def test_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    gaussian = Noise("gaussian", 0.5).sample((100_000,), generator)
    uniform = Noise("uniform", 0.5).sample((100_000,), generator)
    assert float(gaussian.std()) == pytest.approx(0.5, rel=0.02)
    assert float(uniform.std()) == pytest.approx(0.5 / math.sqrt(3), rel=0.02)
    assert float(uniform.abs().max()) <= 0.5
