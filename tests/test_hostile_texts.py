"""Bad architectures and command lines end in an error of one line: no crash, hang or code run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hostile import guarded, hostile, quick, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from gennas_optuna import get_space, list_spaces
from gennas_optuna.cli import cli
from gennas_optuna.errors import GenNASError

# Architectures -------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=80),
    st.text("0123456789[](){}|~+,:;_-. \"'abnor", max_size=120),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=15,
    ).map(json.dumps),
)


@pytest.mark.parametrize("name", list_spaces())
def test_architectures(name: str, count: Counter[str], canary: Path) -> None:
    space = get_space(name)
    for text in hostile(canary).values():
        # A zero byte decodes; what is no text at all cannot come from a command line.
        count["architecture, corpus"] += 1
        assert refusal(lambda text=text: space.parse(text.decode(errors="replace"))) is not None

    good = [str(space.sample(np.random.default_rng(seed))) for seed in range(3)]

    @quick
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        text = data.draw(TEXTS | damaged(good))
        count["architecture, fuzzed"] += 1
        if refusal(lambda: space.parse(text)) is None:
            again = space.parse(str(space.parse(text)))  # it is one of the space, then
            assert again.key == space.parse(text).key

    fuzz()


def damaged(good: list[str]) -> st.SearchStrategy[str]:
    """Good texts with a piece cut out, doubled or replaced."""

    @st.composite
    def draw(draw: Callable[..., Any]) -> str:
        text = draw(st.sampled_from(good))
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        piece = draw(st.sampled_from(["", text[start:end] * 2, "0", "99", "-1", "[", "|", "\0"]))
        return text[:start] + piece + text[end:]

    return draw()


# The command line ----------------------------------------------------------------------------

VALUES = [
    "",
    " ",
    "-1",
    "1e999",
    "nan",
    "-inf",
    "9" * 5000,
    "0x10",
    "None",
    "[]",
    "../../../etc/passwd",
    "/dev/zero",
    "/proc/self/mem",
    ".",
    "{7*7}",
    "%s%s%n",
    "a\0b",
    "\ud800",
    "\x1b[31m",
    "x" * 100_000,
    "meta",
    "cuda:99",
    "hpo-bench:",
    "hpo-bench:../../x",
    "file:///etc/passwd",
    "-h-",
]
BASE = {
    "score": ["nasbench201", "421211", "--steps", "1"],
    "rank": ["nasbench201", "--truth", "missing.json", "--samples", "2"],
    "search": ["nasbench201", "--trials", "1", "--steps", "1"],
    "tune-task": ["nasbench201", "--truth", "missing.json", "--trials", "1"],
    "worker": ["missing.journal", "s"],
}
FREE = {"--cache", "--out", "--figure", "--study-name", "--name", "--seed", "--json", "--storage"}
"""Options for which many of the values are good: names of files to write, names, large numbers."""


def call(args: list[str]) -> int:
    """The exit status; anything but a clean refusal or success is raised."""
    with guarded():
        try:
            result = CliRunner().invoke(cli, args, standalone_mode=False)
            error = result.exception
            if error is not None:
                raise error
        except GenNASError as refused:
            return 2 if len(str(refused).splitlines()) == 1 else 1
        except click.ClickException as refused:
            return 2 if refused.format_message() else 1
    return 0


def options_of(command: str) -> list[str]:
    found = cli.commands[command]
    return [
        parameter.opts[0]
        for parameter in found.params
        if isinstance(parameter, click.Option) and not parameter.is_flag
    ]


@pytest.mark.parametrize("command", sorted(BASE))
def test_option_values(
    command: str,
    count: Counter[str],
    canary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for option in options_of(command):
        if option in FREE:
            continue
        for value in [*VALUES, f"$(touch {canary})", f"; touch {canary}"]:
            args = [command, *BASE[command], option, value]
            count["command line, option values"] += 1
            assert call(args) == 2, [arg[:80] for arg in args[-4:]]


def test_arguments(count: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in VALUES:
        calls = (
            [value],
            ["score", value, "421211"],
            ["score", "nasbench201", value],
            ["search", value],
            ["rank", value, "--truth", value],
            ["rank", "nasbench201", "--truth", value],
            ["worker", value, value],
            ["search", "nasbench201", "--storage", value],
            ["search", "nasbench201", "--trials", "1", "--steps", "1", "--seed", value + "x"],
        )
        for args in calls:
            count["command line, arguments"] += 1
            assert call(args) == 2, [arg[:80] for arg in args[-4:]]


def test_any_words(count: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = st.one_of(
        st.sampled_from(
            ["score", "rank", "search", "nasbench201", "--json", "--steps", "--", "-h"]
        ),
        st.text(st.characters(codec="utf-8"), max_size=12),
    )

    @settings(quick, max_examples=300)
    @given(st.lists(words, max_size=5))
    def fuzz(args: list[str]) -> None:
        if args[:1] == ["search"] and "nasbench201" in args:
            return  # that may well be a search
        count["command line, any words"] += 1
        call(args)

    fuzz()
