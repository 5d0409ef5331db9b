from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from gennas_optuna import cli
from gennas_optuna.benchmarks import GroundTruth, load_truth

RunCommand = Callable[..., tuple[int, str, str]]

_PARITY = "parity "
"""How properties of tests that count rows of parity begin."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """NNI's experiments, which mostly wait, run beside all the rest if they come first."""
    items.sort(key=lambda item: item.path.stem != "test_nni_experiment")


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def global_random_state_untouched() -> Iterator[None]:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Runs ``gennas`` with the arguments given: its status, and what it printed."""

    def gennas(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gennas", *map(str, args)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return gennas


@pytest.fixture
def matched(record_property: Callable[[str, object], None]) -> Iterator[Callable[[str], None]]:
    """To be called with the name of a table of parity for each row that agrees with it."""
    rows: Counter[str] = Counter()
    yield lambda table: rows.update([table])
    for table, number in rows.items():
        record_property(f"{_PARITY}{table}", number)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Below pytest's report: how many rows of parity agree, by table."""
    rows: Counter[str] = Counter()
    for report in terminalreporter.getreports(""):
        for name, number in report.user_properties if report.when == "teardown" else ():
            if str(name).startswith(_PARITY):
                rows[str(name).removeprefix(_PARITY)] += number
    if rows:
        terminalreporter.write_sep("=", "networks that agree with the reference")
        for table, number in sorted(rows.items()):
            terminalreporter.write_line(f"{table:<40}{number:>4}")


@pytest.fixture(scope="session")
def cifar10_truth() -> GroundTruth:
    return load_truth("hpo-bench:cifar10", "nasbench201")


# Bad input (test_hostile_*.py) ----------------------------------------------------------------


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """The file that hostile input would make if its code ran."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code of the input ran"


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Iterator[Counter[str]]:
    """How many inputs a test tried, by kind; ``benchmarks.bad_input`` adds them up."""
    counter: Counter[str] = Counter()
    yield counter
    for kind, number in counter.items():
        record_property(kind, number)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Paths that are no files."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    paths = {name: tmp_path / name for name in ("folder", "pipe.json", "pipe.npz", "loop")}
    return {
        **paths,
        "dangling": tmp_path / "dangling.yaml",
        "missing": tmp_path / "missing.json",
        "below a file": Path(__file__) / "x",
        "a device": Path("/dev/zero"),
        "a null byte": Path("a\0b"),
        "a long name": Path("x" * 5000),
        "a surrogate": Path("\ud800"),
        "nothing": Path(),
    }
