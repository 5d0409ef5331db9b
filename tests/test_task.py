"""Proxy tasks: plain forms and files, identity, the published form."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from task_examples import (
    PLAIN,
    PUBLISHED,
    PUBLISHED_SEQUENCE,
    SEQUENCE_TASK,
    TASK,
    WAVE,
)

import parity
from contracts.signal_contract import STRATEGIES
from gennas_optuna import ProxyTask
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.signals import Dot, DotGaussian, Resize, Signal, Sin1D, Sin2D
from gennas_optuna.task_parts import Noise, Optimizer, SequenceInput, Stage

# Any task -------------------------------------------------------------------------------------

MAPS = [STRATEGIES[kind] for kind in (Sin1D, Sin2D, Dot, DotGaussian)]


def signal_sets(kinds: list[st.SearchStrategy[Signal]]) -> st.SearchStrategy[tuple[Signal, ...]]:
    return st.tuples(*[st.none() | kind for kind in kinds]).map(
        lambda drawn: tuple(signal for signal in drawn if signal is not None)
    )


optimizers = st.builds(
    Optimizer,
    st.sampled_from(["sgd", "adam"]),
    st.floats(1e-6, 1e3),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["matrices", "all"]),
)
common: dict[str, st.SearchStrategy[Any]] = {
    "noise": st.builds(Noise, st.sampled_from(["gaussian", "uniform"]), st.floats(0, 1e6)),
    "batch_size": st.integers(2, 65536),
    "target_size": st.integers(1, 1024),
    "optimizer": optimizers,
    "name": st.text(max_size=10),
}
stages = st.builds(
    Stage,
    signal_sets([*MAPS, STRATEGIES[Resize]]),
    channels=st.floats(1 / 64, 2),
    weight=st.floats(0.001, 1e6),
    train_weight=st.none() | st.floats(0.001, 1e6),
)
image_tasks = st.builds(ProxyTask, st.lists(stages, min_size=1, max_size=4).map(tuple), **common)
sequence_tasks = st.builds(
    ProxyTask,
    signal_sets(MAPS).map(lambda signals: (Stage(signals),)),
    sequence=st.builds(
        SequenceInput, signal_sets(MAPS), st.integers(1, 4096), st.integers(1, 4096)
    ),
    **common,
)


@settings(max_examples=60, deadline=None, database=None)
@given(image_tasks | sequence_tasks)
def test_plain_forms_round_trip(task: ProxyTask) -> None:
    data = task.to_dict()
    for again in (
        ProxyTask.from_dict(data),
        ProxyTask.from_dict(json.loads(json.dumps(data))),
        ProxyTask.from_dict(yaml.safe_load(yaml.safe_dump(data))),
    ):
        assert again == task
        assert hash(again) == hash(task)
        assert again.digest == task.digest
        assert again.name == task.name


@pytest.mark.parametrize("name", ["task.json", "task.yaml", "task.yml", "task"])
@pytest.mark.parametrize("task", [TASK, SEQUENCE_TASK], ids=["images", "sequence"])
def test_files_round_trip(task: ProxyTask, name: str, tmp_path: Path) -> None:
    task.save(str(tmp_path / name))
    assert ProxyTask.load(tmp_path / name) == task
    assert [p.name for p in tmp_path.iterdir()] == [name]  # no temporary file is left
    task.save(tmp_path / name)
    assert ProxyTask.load(str(tmp_path / name)) == task


def test_yaml_files_are_readable_and_json_files_are_json(tmp_path: Path) -> None:
    TASK.save(tmp_path / "task.yaml")
    TASK.save(tmp_path / "task.json")
    assert "batch_size: 16" in (tmp_path / "task.yaml").read_text()
    assert json.loads((tmp_path / "task.json").read_text()) == TASK.to_dict()


def test_a_file_names_its_task_unless_it_has_a_name(tmp_path: Path) -> None:
    TASK.save(tmp_path / "other.json")
    assert ProxyTask.load(tmp_path / "other.json").name == "mine"
    (tmp_path / "this.json").write_text(json.dumps(PUBLISHED))
    assert ProxyTask.load(tmp_path / "this.json").name == "this"


# Identity -------------------------------------------------------------------------------------


def test_tasks_are_frozen_and_hashable() -> None:
    for part, name in (
        (TASK, "batch_size"),
        (TASK.stages[0], "weight"),
        (TASK.noise, "level"),
        (TASK.optimizer, "lr"),
        (WAVE, "level"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, 3)
        assert hash(part) == hash(copy.deepcopy(part))
    assert len({TASK, copy.deepcopy(TASK), SEQUENCE_TASK}) == 2


def test_the_digest_is_of_the_content() -> None:
    assert dataclasses.replace(TASK, name="other").digest == TASK.digest
    assert dataclasses.replace(TASK, name="other") == TASK
    variants = [
        dataclasses.replace(TASK, **{name: value})
        for name, value in (
            ("batch_size", 8),
            ("target_size", 4),
            ("noise", Noise()),
            ("optimizer", Optimizer(lr=0.2)),
            ("stages", TASK.stages[:2]),
        )
    ]
    assert len({task.digest for task in (TASK, SEQUENCE_TASK, *variants)}) == 7


def test_numbers_that_are_equal_give_one_digest() -> None:
    def task(one: float, zero: float) -> ProxyTask:
        signals = (Dot(one, one, True), Sin1D(one, (zero, one), True))
        stage = Stage(signals, channels=one, weight=one, train_weight=one)
        optimizer = Optimizer(lr=one, momentum=one, weight_decay=zero)
        return ProxyTask((stage,), noise=Noise(level=zero), optimizer=optimizer)

    tasks = [task(1, 0), task(1.0, 0.0), task(1.0, -0.0)]
    assert len(set(tasks)) == len({task.digest for task in tasks}) == 1


def test_the_digest_is_the_same_in_every_process() -> None:
    program = (
        "import json, sys; from gennas_optuna import ProxyTask; "
        "print(ProxyTask.from_dict(json.load(sys.stdin)).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(TASK.to_dict()),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert done.stdout.strip() == TASK.digest


# The published form ---------------------------------------------------------------------------


def test_the_published_form_of_an_image_task() -> None:
    task = ProxyTask.from_dict(PUBLISHED)
    assert task.noise == Noise("uniform", 0.1)
    assert task.batch_size == 16
    assert task.target_size == 8
    assert task.sequence is None
    assert [stage.weight for stage in task.stages] == [0.25, 0.5, 1.0]
    assert [stage.training_weight for stage in task.stages] == [0.25, 0.5, 1.0]
    assert [stage.head_channels for stage in task.stages] == [64, 48, 16]
    assert [stage.signals for stage in task.stages] == [
        (Sin2D(1.1, (0.1, 0.2), True),),
        (Dot(2.0, 0.5, False), Resize(2.4)),
        (DotGaussian(2.1, 0.25, False),),
    ]
    assert task.optimizer == Optimizer("sgd", 0.1, 0.9, 4e-5, "matrices")


def test_the_published_form_of_a_sequence_task() -> None:
    task = ProxyTask.from_dict(PUBLISHED_SEQUENCE)
    assert task.sequence == SequenceInput((Sin2D(2.6, (0.2,), True),), dimension=48, length=8)
    assert task.stages == (Stage((DotGaussian(0.7, 0.5, True),)),)
    assert (task.noise, task.batch_size) == (Noise(), 64)
    assert task.optimizer == Optimizer("adam", 1e-3, 0.0, 1.2e-6, "all")


def test_every_published_task_loads() -> None:
    file = parity.shared("parity/task_configs.json")
    configs = json.loads(file.read_text())["configs"]
    assert len(configs) == 11
    for name, config in configs.items():
        task = ProxyTask.load(f"{file}#{name}")
        assert task.name == name
        assert task.batch_size == config["batchsize"]
        assert (task.sequence is not None) == ("dimension" in config)
        on = [[s for s in side.values() if s is not None] for side in config["feature"].values()]
        found = [stage.signals for stage in task.stages]
        if task.sequence is not None:
            found = [task.sequence.signals, *found]
        assert [len(signals) for signals in found] == [len(side) for side in on]
        for signals, side in zip(found, on, strict=True):
            assert [s.level for s in signals] == [s["level"] for s in side]


def test_levels_and_frequencies_of_a_published_task() -> None:
    """Numbers of CONF_RESNET, from the paper's repository."""
    task = ProxyTask.load(f"{parity.shared('parity/task_configs.json')}#CONF_RESNET")
    assert task.noise == Noise("gaussian", 0.9)
    assert [stage.channels for stage in task.stages] == [0.25, 0.25, 0.5]
    wave, dot = task.stages[0].signals
    assert isinstance(wave, Sin1D)
    assert wave.frequencies[0] == 0.3792370317500072
    assert len(wave.frequencies) == 10
    assert dot == Dot(0.5, 0.09375, False)


# Files of several tasks -----------------------------------------------------------------------


def test_one_of_several_tasks_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    for content in ({"configs": {"A": PUBLISHED, "B": PLAIN}}, {"A": PUBLISHED, "B": PLAIN}):
        file.write_text(json.dumps(content))
        task = ProxyTask.load(f"{file}#A")
        assert (task, task.name) == (ProxyTask.from_dict(PUBLISHED), "A")
        task = ProxyTask.load(f"{file}#B")
        assert (task, task.name) == (TASK, "mine")
        with pytest.raises(InvalidValueError, match=r"tasks\.json.*no task 'C'.*'A', 'B'"):
            ProxyTask.load(f"{file}#C")


def test_a_list_has_no_tasks_by_name(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(InvalidValueError, match="no task 'A'"):
        ProxyTask.load(f"{tmp_path / 'list.json'}#A")


def test_the_names_in_a_file_are_shown_shortened(tmp_path: Path) -> None:
    (tmp_path / "many.json").write_text(json.dumps({f"task\n{i}": 0 for i in range(10_000)}))
    with pytest.raises(InvalidValueError, match="no task 'xxx") as info:
        ProxyTask.load(f"{tmp_path / 'many.json'}#{'x' * 1000}")
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 800


def test_folders_and_files_may_have_the_mark_in_their_names(tmp_path: Path) -> None:
    for folder, name in (("c#", "task.json"), ("d", "task#1.json")):
        (tmp_path / folder).mkdir()
        TASK.save(tmp_path / folder / name)
        assert ProxyTask.load(tmp_path / folder / name) == TASK
