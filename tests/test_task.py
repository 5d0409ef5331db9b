"""Proxy tasks: files, forms, what they make."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import parity
from contracts.signal_contract import STRATEGIES
from gennas_optuna import ProxyTask
from gennas_optuna.errors import DataFileError, GenNASError, InvalidValueError, MissingFileError
from gennas_optuna.signals import Dot, DotGaussian, Resize, Signal, Sin1D, Sin2D
from gennas_optuna.taps import TapInfo
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import Noise, Optimizer, SequenceInput, Stage

TAPS = tuple(TapInfo(f"stage {i}", 16 << i, (32 >> i, 32 >> i)) for i in range(3))
WAVE = Sin2D(1.5, (0.1, 0.2), True)
TASK = ProxyTask(
    (
        Stage((WAVE,), channels=1.0, weight=0.25),
        Stage((Dot(2.0, 0.5, False), Resize(2.4)), channels=0.75, weight=0.5, train_weight=1.0),
        Stage((), channels=0.25),
    ),
    noise=Noise("uniform", 0.1),
    name="mine",
)
SEQUENCE_TASK = ProxyTask(
    (Stage((Sin2D(1.0, (0.1,), True),)),),
    sequence=SequenceInput((Dot(1.0, 0.5, True),), dimension=48),
)
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
PUBLISHED_SEQUENCE: dict[str, Any] = {
    "batchsize": 64,
    "noise": {"type": "gaussian", "noise_level": 0.0},
    "dimension": 48,
    "feature": {
        "0": {"sin2d": {"level": 2.6, "range": [0.2], "local": True}, "dot": None},
        "1": {"dot_gaussian": {"level": 0.7, "partial": 0.5, "local": True}, "resize": None},
    },
}
DECODED = {"plain": TASK.to_dict(), "sequence": SEQUENCE_TASK.to_dict()} | {
    "published": PUBLISHED,
    "published sequence": PUBLISHED_SEQUENCE,
}

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


# What is refused ------------------------------------------------------------------------------

DELETE = object()


def changed(source: dict[str, Any], *path: Any, to: Any = DELETE) -> dict[str, Any]:
    """A copy of plain data with one entry replaced or deleted."""
    result = copy.deepcopy(source)
    place: Any = result
    for step in path[:-1]:
        place = place[step]
    if to is DELETE:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return result


PLAIN, SEQUENCE = DECODED["plain"], DECODED["sequence"]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (changed(PLAIN, "stagse", to=[]), "T: unknown key 'stagse'.*did you mean 'stages'"),
        (changed(PLAIN, "stages"), "T: 'stages' is missing"),
        (changed(PLAIN, "stages", to=[]), "T: stages: give at least one"),
        (changed(PLAIN, "stages", to=3), "T stages=3: give a list"),
        (changed(PLAIN, "stages", 0, to=3), r"T stages\[0\]=3: give a mapping"),
        (changed(PLAIN, "stages", 0, "weight", to=math.nan), r"T stages\[0\].*weight=nan"),
        (changed(PLAIN, "stages", 0, "weight", to="1"), r"T stages\[0\].*weight='1'"),
        (changed(PLAIN, "stages", 0, "weight", to=True), r"T stages\[0\].*weight=True"),
        (changed(PLAIN, "stages", 0, "weight", to=-1), r"T stages\[0\].*weight=-1.*at least 0"),
        (changed(PLAIN, "stages", 0, "weight", to=1e300), r"T stages\[0\].*weight=1e\+300"),
        (
            changed(PLAIN, "stages", 1, "train_weight", to=math.inf),
            r"T stages\[1\].*train_weight=inf",
        ),
        (changed(PLAIN, "stages", 0, "chanels", to=1), r"T stages\[0\].*'chanels'.*'channels'"),
        (changed(PLAIN, "stages", 0, "channels", to=0), r"T stages\[0\].*channels=0"),
        (changed(PLAIN, "stages", 0, "channels", to=10**400), r"T stages\[0\].*channels=1000"),
        (changed(PLAIN, "stages", 1, "signals", to={}), r"T stages\[1\] signals={}: give a list"),
        (
            changed(PLAIN, "stages", 1, "signals", 0, "level", to=math.inf),
            r"T stages\[1\] signals\[0\].*dot level=inf",
        ),
        (
            changed(PLAIN, "stages", 1, "signals", 0, "kind", to="sin3d"),
            r"T stages\[1\] signals\[0\] kind 'sin3d'.*did you mean",
        ),
        (
            changed(PLAIN, "stages", 1, "signals", 0, to=PLAIN["stages"][1]["signals"][1]),
            r"T stages\[1\].*twice in resize, resize",
        ),
        (changed(PLAIN, "noise", to=None), "T noise=None: give a mapping"),
        (changed(PLAIN, "noise", "kind", to="pink"), "T noise.*'pink'.*gaussian, uniform"),
        (changed(PLAIN, "noise", "level", to=-1), "T noise.*level=-1"),
        (changed(PLAIN, "batch_size", to=1), "T: batch_size=1.*from 2 to"),
        (changed(PLAIN, "batch_size", to=16.0), r"T: batch_size=16\.0.*whole"),
        (changed(PLAIN, "batch_size", to=10**12), "T: batch_size=10"),
        (changed(PLAIN, "target_size", to="8"), "T: target_size='8'"),
        (changed(PLAIN, "optimizer", "lr", to=0), "T optimizer.*lr=0.*above 0"),
        (changed(PLAIN, "optimizer", "momentum", to=2), "T optimizer.*momentum=2.*at most 1"),
        (changed(PLAIN, "optimizer", "kind", to="lion"), "T optimizer.*'lion'.*sgd, adam"),
        (changed(PLAIN, "optimizer", "decay", to=[]), "T optimizer.*decay"),
        (changed(PLAIN, "name", to=5), "T: name=5: give a text"),
        (changed(PLAIN, "sequence", to=5), "T sequence=5"),
        (changed(SEQUENCE, "sequence", "dimension"), "T sequence: 'dimension' is missing"),
        (changed(SEQUENCE, "sequence", "signals"), "T sequence: 'signals' is missing"),
        (changed(SEQUENCE, "sequence", "length", to=0), "T sequence.*length=0"),
        (changed(PUBLISHED, "noise"), "T: 'noise' is missing"),
        (changed(PUBLISHED, "noise", "noise_level"), "T noise: 'noise_level' is missing"),
        (changed(PUBLISHED, "noise", "type", to="pink"), "T noise.*'pink'"),
        (changed(PUBLISHED, "feature", "2"), "T feature: '2' is missing"),
        (changed(PUBLISHED, "feature", "3", to={}), "T feature: unknown key '3'"),
        (changed(PUBLISHED, "feature", "0", "sine", to=None), "T feature 0: unknown key 'sine'"),
        (changed(PUBLISHED, "feature", "0", to=[]), "T feature 0=.*mapping"),
        (
            changed(PUBLISHED, "feature", "0", "sin2d", "partial", to=1),
            r"T stages\[0\].*'sin2d'.*'fraction'",
        ),
        (
            changed(PUBLISHED, "feature", "0", "sin2d", "level"),
            r"T stages\[0\].*'level' is missing",
        ),
        (changed(PUBLISHED, "last_channel_l3", to=1.0), "T: unknown key 'last_channel_l3'"),
        (changed(PUBLISHED, "last_channel_l1", to="1"), r"T stages\[1\].*channels='1'"),
        (changed(PUBLISHED_SEQUENCE, "dimension", to=0), "T sequence.*dimension=0"),
        ([], "T=.*mapping"),
        (None, "T=None.*mapping"),
    ],
)
def test_bad_tasks_are_explained_in_one_line(data: Any, named: str) -> None:
    with pytest.raises(GenNASError, match=f"^(unknown )?{named}") as info:
        ProxyTask.from_dict(data, where="T")
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 300


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all entries in nested data."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in inner:
        yield (*path, key)
        if isinstance(entry, (dict, list)):
            yield from places(entry, (*path, key))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("source", DECODED.values(), ids=list(DECODED))
def test_any_change_of_a_task_is_a_task_or_refused(source: dict[str, Any]) -> None:
    @settings(max_examples=150, deadline=None, database=None)
    @given(st.sampled_from(list(places(source))), anything | st.just(DELETE))
    def check(path: tuple[Any, ...], value: Any) -> None:
        data = changed(source, *path, to=value)
        try:
            task = ProxyTask.from_dict(data)
        except GenNASError:
            with pytest.raises(GenNASError, match=r"\A[^\n]+\Z"):
                ProxyTask.from_dict(data)
        else:
            assert ProxyTask.from_dict(task.to_dict()) == task

    check()


@settings(max_examples=100, deadline=None, database=None)
@given(anything)
def test_any_data_is_refused_with_an_explanation(data: Any) -> None:
    with pytest.raises(GenNASError):
        ProxyTask.from_dict(data)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"stages": (1,)}, r"stages\[0\]=1: give a Stage"),
        ({"stages": Stage()}, "stages=Stage.*give a list"),
        ({"stages": (Stage(weight=0), Stage(weight=0))}, "one weight must be above 0"),
        ({"stages": (Stage(train_weight=0),)}, "one train_weight must be above 0"),
        ({"noise": 0.1}, "noise=0.1: give a Noise"),
        ({"optimizer": "sgd"}, "optimizer='sgd': give a Optimizer"),
        ({"sequence": 48}, "sequence=48: give a SequenceInput"),
        ({"name": None}, "name=None: give a text"),
    ],
)
def test_tasks_made_in_code_are_checked_too(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        ProxyTask(**{"stages": (Stage(),), **options})


def test_stages_are_made_of_signals() -> None:
    for signals, named in (
        (("dot",), "'dot' is no Signal"),
        (WAVE, "give a list"),
        ((WAVE, WAVE), "a kind stands twice in sin2d, sin2d"),
    ):
        with pytest.raises(InvalidValueError, match=named):
            Stage(signals)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError, match=named):
            SequenceInput(signals, 48)  # type: ignore[arg-type]


def test_stages_that_ask_for_more_maps_than_there_are() -> None:
    with pytest.raises(GenNASError, match=r"stages\[0\]: sin1d offers 64 maps.*96 channels"):
        ProxyTask((Stage((Sin1D(1.0, (0.1,), True),), channels=1.5),))
    with pytest.raises(GenNASError, match="resize offers 1000 maps"):
        ProxyTask((Stage((Resize(1.0),), channels=16),))
    assert ProxyTask((Stage((Sin2D(1.0, (0.1, 0.2), True),), channels=4),)).stages


# Files that cannot be read --------------------------------------------------------------------

NO_FILES = {
    "task.json": ("", "[", '{"stages": ', "nonsense", "[" * 100_000, "9" * 5000, '{"a\\nb": 1}')
    + ('{"stages": NaN}', "null", '"x"', '{"feature": {}}', "\ufeff{}"),
    "task.yaml": ("[", "a: *b", "%", "\x01", "{" * 5000, "9" * 5000, "a: [\n", "2001-99-99")
    + ("!!python/object/apply:os.system ['exit 1']", "!!python/name:os.system", f"!{'t' * 5000} 1")
    + ("!!timestamp x", "!!int ''", "!!bool x", "!!float ''", "? [a]\n: 1", "!!set [1]")
    + ("stages: &a [*a]", "x: &a {a: *a}", "--- 1\n--- 2"),
}


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, texts in NO_FILES.items() for text in texts],
    ids=[f"{name} {text[:20]!r}" for name, texts in NO_FILES.items() for text in texts],
)
def test_files_that_hold_no_task_are_explained(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GenNASError, match=name) as info:
        ProxyTask.load(tmp_path / name)
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 700


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    TASK.save(tmp_path / "task.json")
    whole = (tmp_path / "task.json").read_bytes().rstrip()
    for stop in range(0, len(whole), 37):
        (tmp_path / "task.json").write_bytes(whole[:stop])
        with pytest.raises(DataFileError, match=r"task\.json"):
            ProxyTask.load(tmp_path / "task.json")


def test_yaml_cut_within_a_line_is_refused(tmp_path: Path) -> None:
    TASK.save(tmp_path / "task.yaml")
    whole = (tmp_path / "task.yaml").read_text()
    for end in ("stages:", "- kind: sin2d", "{kind: dot, level", "frequencies: [0.1"):
        stop = whole.index(end) + len(end)
        (tmp_path / "task.yaml").write_text(whole[:stop])
        with pytest.raises(GenNASError, match=r"task\.yaml"):
            ProxyTask.load(tmp_path / "task.yaml")


def test_files_of_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFileError, match="not a text file"):
        ProxyTask.load(tmp_path / "task.json")


@pytest.mark.parametrize("depth", [10, 40])
def test_small_files_that_stand_for_huge_data_are_refused_at_once(
    depth: int, tmp_path: Path
) -> None:
    """Lists of references to lists of references: ten to the power of ``depth`` entries."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, depth)]
    lines += [f"stages: [*a{depth - 1}]"]
    (tmp_path / "task.yaml").write_text("\n".join(lines))
    with pytest.raises(GenNASError, match="unknown key 'a0'"):
        ProxyTask.load(tmp_path / "task.yaml")
    (tmp_path / "task.yaml").write_text("\n".join([*lines[:-1], f"stages: *a{depth - 1}"]))
    with pytest.raises(GenNASError, match=r"#stages'=\[\[.*give a mapping"):
        ProxyTask.load(f"{tmp_path / 'task.yaml'}#stages")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.json"):
        ProxyTask.load(tmp_path / "nowhere.json")
    with pytest.raises(DataFileError, match="is a folder"):
        ProxyTask.load(tmp_path)
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(DataFileError, match="cannot be read"):
            ProxyTask.load(name)


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


# Making it concrete ---------------------------------------------------------------------------


def materialize(task: ProxyTask, seed: int = 0, taps: tuple[TapInfo, ...] = TAPS) -> Batch:
    images = torch.randn(task.batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    return task.materialize(images, taps, torch.Generator().manual_seed(seed))


@pytest.mark.usefixtures("global_random_state_untouched")
def test_shapes_and_determinism() -> None:
    task = ProxyTask.from_dict(PUBLISHED)
    batch, again, other = materialize(task), materialize(task), materialize(task, seed=1)
    shapes = [(16, 64, 8, 8), (16, 48, 8, 8), (16, 16, 8, 8)]
    assert [tuple(target.shape) for target in batch.targets] == shapes
    assert all(target.dtype == torch.float32 for target in batch.targets)
    assert batch.noise == task.noise
    for a, b, c in zip(batch.targets, again.targets, other.targets, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_other_sizes() -> None:
    batch = materialize(dataclasses.replace(TASK, batch_size=2, target_size=5))
    shapes = [(2, 64, 5, 5), (2, 48, 5, 5), (2, 16, 5, 5)]
    assert [tuple(target.shape) for target in batch.targets] == shapes


def first_target(*signals: Signal) -> torch.Tensor:
    return materialize(ProxyTask((Stage(signals), Stage(), Stage()))).targets[0]


def test_a_stage_without_signals_is_all_zeros() -> None:
    assert not first_target().any()


def test_targets_are_sums_of_levels_times_signals() -> None:
    dots = Dot(0.5, 0.25, True)
    both = first_target(WAVE, dots)
    assert torch.allclose(both, first_target(WAVE) + first_target(dots), atol=1e-6)
    assert set(first_target(dots).unique().tolist()) == {-0.5, 0.0, 0.5}
    assert float(first_target(WAVE).abs().max()) == pytest.approx(1.5, rel=1e-3)
    louder = first_target(dataclasses.replace(WAVE, level=3.0), dots)
    assert torch.allclose(louder - both, first_target(WAVE), atol=1e-5)


@pytest.mark.parametrize("position", range(5))
def test_changing_one_signal_leaves_the_others_as_they_were(position: int) -> None:
    signals: list[Signal] = [
        WAVE,
        Sin1D(1.0, (0.1, 0.3), False),
        Dot(2.0, 0.5, True),
        DotGaussian(0.7, 0.5, False),
        Resize(1.2),
    ]
    without = [signal for i, signal in enumerate(signals) if i != position]
    alone = first_target(signals[position])
    assert alone.any()
    assert torch.allclose(first_target(*signals) - first_target(*without), alone, atol=1e-5)


def test_signals_of_a_stage_draw_independently_of_each_other() -> None:
    """The blurred dots of a stage are not its other dots, blurred."""
    dots, blurred = first_target(Dot(1, 0.25, True)), first_target(DotGaussian(1, 0.25, True))
    pairs = torch.stack([dots.flatten(), blurred.flatten()])
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.05


def test_stages_draw_independently_of_each_other() -> None:
    signals = (WAVE, Dot(2.0, 0.5, True))
    alike = materialize(ProxyTask((Stage(signals), Stage(signals), Stage(signals)))).targets
    assert not torch.allclose(alike[0], alike[1])
    other = materialize(ProxyTask((Stage(), Stage(signals), Stage((WAVE,))))).targets
    assert torch.equal(alike[1], other[1])


@pytest.mark.usefixtures("global_random_state_untouched")
def test_sequence_tasks_make_their_own_input() -> None:
    taps = (TapInfo("output", 400, (8,), "LND"),)
    task = dataclasses.replace(SEQUENCE_TASK, batch_size=4)
    batch = task.materialize(None, taps, torch.Generator().manual_seed(0))
    assert tuple(batch.inputs.shape) == tuple(batch.targets[0].shape) == (8, 4, 48)
    assert ((batch.inputs != 0).sum((0, 2)) == 8 * 48 // 2).all()  # half of the cells, per sample
    assert torch.isfinite(batch.targets[0]).all()
    assert not torch.equal(batch.inputs, batch.targets[0])
    again = task.materialize(None, taps, torch.Generator().manual_seed(0))
    assert torch.equal(batch.inputs, again.inputs)


def test_the_input_and_target_of_a_sequence_are_drawn_apart() -> None:
    signals = (Dot(1.0, 0.5, True),)
    task = ProxyTask((Stage(signals),), sequence=SequenceInput(signals, dimension=48))
    taps = (TapInfo("output", 400, (8,), "LND"),)
    batch = task.materialize(None, taps, torch.Generator().manual_seed(0))
    assert not torch.equal(batch.inputs, batch.targets[0])


@pytest.mark.parametrize(
    ("task", "taps"),
    [
        (TASK, TAPS[:2]),
        (TASK, ()),
        (TASK, (*TAPS, TAPS[0])),
        (TASK, (*TAPS[:2], TapInfo("x", 4, (8,), "LND"))),
        (SEQUENCE_TASK, TAPS[:1]),
        (SEQUENCE_TASK, TAPS),
    ],
    ids=["too few", "none", "too many", "mixed", "image for sequence", "images for sequence"],
)
def test_taps_that_do_not_fit_are_explained(task: ProxyTask, taps: tuple[TapInfo, ...]) -> None:
    explained = f"{task.name!r} has {len(task.stages)} stages.*the network has {len(taps)}"
    with pytest.raises(InvalidValueError, match=explained):
        materialize(task, taps=taps)


@pytest.mark.parametrize("images", [None, torch.zeros(3, 3, 8, 8), torch.zeros(16, 3, 8)])
def test_images_that_do_not_fit_are_explained(images: torch.Tensor | None) -> None:
    with pytest.raises(InvalidValueError, match=r"'mine' needs \(16, 3, H, W\)"):
        TASK.materialize(images, TAPS, torch.Generator())


def test_batches_move_to_a_device_in_the_faster_layout() -> None:
    batch = materialize(TASK)
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.inputs, batch.inputs)
    assert moved.inputs.is_contiguous(memory_format=torch.channels_last)
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in moved.targets)
    assert batch.to(torch.device("meta")).targets[1].device.type == "meta"


def test_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    gaussian = Noise("gaussian", 0.5).sample((100_000,), generator)
    uniform = Noise("uniform", 0.5).sample((100_000,), generator)
    assert float(gaussian.std()) == pytest.approx(0.5, rel=0.02)
    assert float(uniform.std()) == pytest.approx(0.5 / math.sqrt(3), rel=0.02)
    assert float(uniform.abs().max()) <= 0.5
    assert float(gaussian.abs().max()) > 1.5
    for noise in (gaussian, uniform):
        assert abs(float(noise.mean())) < 0.01
    assert not Noise().sample((10,), generator).any()
