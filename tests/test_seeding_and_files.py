"""The ground everything stands on: seeds, files, checks of values, errors."""

from __future__ import annotations

import json
import math
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gennas_optuna import _check
from gennas_optuna._files import read_data, write_text
from gennas_optuna.errors import (
    DataFileError,
    GenNASError,
    InvalidValueError,
    MissingFileError,
    UnknownNameError,
)
from gennas_optuna.seeding import derive_seed, numpy_generator, torch_generator

# Seeds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "digest"),
    [
        # b2sum -l 64 of the texts joined by the character 0x1f; the lowest bit is dropped
        ((7,), 0xE75017CACE788F82),
        ((0, "weights", "abc"), 0xEB327EE2A03D7BC5),
        ((-3, 1.5), 0xA58C2AA83851A40B),
    ],
)
def test_seeds_are_the_same_everywhere(arguments: tuple[Any, ...], digest: int) -> None:
    assert derive_seed(*arguments) == digest >> 1


def test_seeds_depend_on_every_part() -> None:
    variants = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "b", "a"), (0, "ab"), (0, "")]
    variants += [(seed, "a") for seed in range(1, 1000)]
    assert len({derive_seed(*arguments) for arguments in variants}) == len(variants)


@settings(max_examples=200, deadline=None, database=None)
@given(st.integers(), st.lists(st.text(max_size=5) | st.integers() | st.floats(), max_size=4))
def test_any_seed_fits_the_generators(seed: int, parts: list[Any]) -> None:
    derived = derive_seed(seed, *parts)
    assert 0 <= derived < 2**63
    assert derive_seed(seed, *map(str, parts)) == derived
    assert torch_generator(seed, *parts).initial_seed() == derived


@pytest.mark.usefixtures("global_random_state_untouched")
def test_generators_of_neighbouring_seeds_are_unrelated() -> None:
    makers: list[Callable[[int], Any]] = [
        lambda seed: torch.randn(4000, generator=torch_generator(seed, "x")).numpy(),
        lambda seed: numpy_generator(seed, "x").normal(size=4000),
    ]
    for draw in makers:
        draws = np.stack([draw(seed) for seed in range(5)])
        correlations = np.corrcoef(draws)[~np.eye(5, dtype=bool)]
        assert np.abs(correlations).max() < 5 / math.sqrt(4000)
        assert (draw(0) == draws[0]).all()


# Writing --------------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for text in ("first\n", "second, longer\nüñí\n", ""):
        write_text(tmp_path / "file", text)
        assert (tmp_path / "file").read_bytes() == text.encode()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_written_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "text")
    (tmp_path / "other").write_text("text")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(DataFileError, match="cannot be written"):
        write_text(tmp_path / "file", "no character: \ud800")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    texts = [json.dumps([k] * 20_000) for k in range(2)]
    path = tmp_path / "file.json"
    write_text(path, texts[0])

    def write(text: str) -> None:
        for _ in range(50):
            write_text(path, text)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    seen = [path.read_text() for _ in range(200)]
    for writer in writers:
        writer.join()
    assert set(seen) <= set(texts)
    assert [found.name for found in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    "name", ["nowhere/file", "folder", "plain/file", "a\0b", "x" * 5000, "nowhere/a\nb", "", "."]
)
def test_what_cannot_be_written_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").touch()
    with pytest.raises(DataFileError, match="cannot be written: ") as info:
        write_text(tmp_path / name if name else Path(), "text")
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "plain"]


# Reading --------------------------------------------------------------------------------------

PLAIN = {"a": [1, 2.5, None, True, "x"], "b": {"c": -1e-7}}


def test_the_name_tells_the_format(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps(PLAIN))
    (tmp_path / "file.json").write_text(json.dumps(PLAIN))
    assert read_data(tmp_path / "file") == read_data(tmp_path / "file.json") == PLAIN
    for name in ("file.yaml", "file.yml"):
        (tmp_path / name).write_text("a: [1, 2.5, null, true, x]\nb:\n  c: -1.0e-7\n")
        assert read_data(tmp_path / name) == PLAIN
    (tmp_path / "file.json").write_text("a: 1")
    with pytest.raises(DataFileError, match=r"file\.json': not JSON: .* line 1 column 1"):
        read_data(tmp_path / "file.json")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir [made]",
        "!!python/object/new:os.mkdir [made]",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!!python/tuple [1]",
        "!!timestamp x",
        "!!int ''",
        "!!float ''",
        "!!bool maybe",
        "2001-99-99",
        "!!binary é",
        "*nowhere",
        "\tx: 1",
        "{a: 1, b",
    ],
)
def test_yaml_tags_run_nothing_and_faults_are_explained(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataFileError, match=r"file\.yaml': not YAML: .") as info:
        read_data(tmp_path / "file.yaml")
    assert "\n" not in str(info.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["file.json", "file.yaml"])
def test_damaged_files_are_explained(name: str, tmp_path: Path) -> None:
    for content, reason in (
        (b"\xff\xfe", "not a text file"),
        (b"[" * 20_000, "nested too deeply"),
        (b"9" * 5000, "4300 digits"),
        (b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataFileError, match=reason) as info:
            read_data(tmp_path / name)
        assert name in str(info.value)
        assert "\n" not in str(info.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.json"):
        read_data(tmp_path / "nowhere.json")


# Values in messages ---------------------------------------------------------------------------


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def squared(times: int) -> list[Any]:
    """A small object whose whole text would have ten to the power of ``times`` entries."""
    value: list[Any] = [1] * 10
    for _ in range(times):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", "'a'"),
        (1.5, "1.5"),
        (None, "None"),
        ("a\nb", r"'a\nb'"),
        ([1, {"a": (2, 3)}], "[1, {'a': (2, 3)}]"),
        ("x" * 1000, "'" + "x" * 76 + "..."),
    ],
    ids=range(6),
)
def test_values_are_shown_short(value: object, shown: str) -> None:
    assert _check.shorten(value) == shown


def test_any_value_is_shown_in_one_short_line() -> None:
    for value in (
        np.arange(10_000).reshape(100, 100),
        torch.zeros(3, 3, 3),
        nested(100_000),
        squared(50),
        dict.fromkeys(range(10000), "x" * 1000),
        "x" * 10**7,
        10**5000,
        [10**5000],
        object(),
    ):
        for limit in (20, 80, 400):
            shown = _check.shorten(value, limit)
            assert 0 < len(shown) <= limit
            assert "\n" not in shown


# Checks ---------------------------------------------------------------------------------------


def test_numbers_become_plain_floats() -> None:
    for value in (1, 1.0, np.float64(1)):
        found = _check.number(value, "x")
        assert (type(found), found) == (float, 1.0)
    assert math.copysign(1, _check.number(-0.0, "x", low=0)) == 1
    assert _check.number(0, "x", low=0, high=0) == 0


@pytest.mark.parametrize(
    ("value", "bounds", "allowed"),
    [
        (math.nan, {}, "x=nan: give a finite number"),
        (-math.inf, {}, "x=-inf: give a finite number"),
        (True, {}, "x=True: give a finite number"),
        ("1", {}, "x='1': give a finite number"),
        (1j, {}, "x=1j: give a finite number"),
        (-1, {"low": 0}, "x=-1: give a finite number at least 0"),
        (2, {"low": 0, "high": 1}, "x=2: give a finite number at least 0 and at most 1"),
        (0, {"above": 0}, "x=0: give a finite number above 0"),
    ],
)
def test_what_is_no_such_number(value: object, bounds: dict[str, float], allowed: str) -> None:
    with pytest.raises(InvalidValueError) as info:
        _check.number(value, "x", **bounds)
    assert str(info.value) == allowed


def test_whole_numbers() -> None:
    assert _check.whole(3, "x", low=3, high=3) == 3
    for value in (2, 4, 3.0, True, "3", None):
        with pytest.raises(InvalidValueError, match=r"x=.*: give a whole number from 3 to 3"):
            _check.whole(value, "x", low=3, high=3)
    with pytest.raises(InvalidValueError, match="x=0: give a whole number from 1 up"):
        _check.whole(0, "x", low=1)


def test_mappings() -> None:
    assert _check.mapping({"ab": 1}, "x", allowed=("ab", "c"), required=("ab",)) == {"ab": 1}
    for value, explained in (
        ([], r"x=\[\]: give a mapping with 'ab', 'c'"),
        ({"abb": 1}, "x: unknown key 'abb': allowed are 'ab', 'c'; did you mean 'ab'"),
        ({1: 1}, "x: unknown key 1: allowed are 'ab', 'c'$"),
        ({"c": 1}, "x: 'ab' is missing"),
    ):
        with pytest.raises(InvalidValueError, match=explained):
            _check.mapping(value, "x", allowed=("ab", "c"), required=("ab",))


# Errors ---------------------------------------------------------------------------------------


def test_errors_are_of_the_kinds_that_people_catch() -> None:
    assert issubclass(InvalidValueError, ValueError)
    assert issubclass(UnknownNameError, ValueError)
    assert issubclass(DataFileError, ValueError)
    assert issubclass(MissingFileError, FileNotFoundError)
    for kind in (InvalidValueError, UnknownNameError, DataFileError, MissingFileError):
        assert issubclass(kind, GenNASError)


def test_errors_survive_the_way_between_processes() -> None:
    for error in (
        UnknownNameError("signal", "dott", ["dot", "resize"]),
        InvalidValueError("x"),
        DataFileError("x"),
        MissingFileError("x"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_unknown_names_are_explained() -> None:
    error = UnknownNameError("signal", "dott", ["resize", "dot"])
    assert str(error) == "unknown signal 'dott': choose one of dot, resize; did you mean 'dot'?"
    for given_name in (None, 3, [], nested(100_000), squared(50), 10**5000, "x" * 10**6):
        assert len(str(UnknownNameError("signal", given_name, ["dot"]))) < 200
