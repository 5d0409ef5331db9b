"""Data and files that are no proxy task, each refused with one line that explains it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_examples import (
    DECODED,
    PLAIN,
    PUBLISHED,
    PUBLISHED_SEQUENCE,
    SEQUENCE,
    TASK,
    WAVE,
)

from gennas_optuna import ProxyTask
from gennas_optuna.errors import DataFileError, GenNASError, InvalidValueError, MissingFileError
from gennas_optuna.signals import Resize, Sin1D, Sin2D
from gennas_optuna.task_parts import SequenceInput, Stage

# Data that is refused -------------------------------------------------------------------------

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
        ({"optimizer": "sgd"}, "optimizer='sgd': give an Optimizer"),
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
