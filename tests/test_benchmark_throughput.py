"""How the throughput of workers is measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def throughput(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.throughput")


def test_numbers_of_workers_take_turns(throughput: Any) -> None:
    runs: list[int] = []

    def run(count: int) -> float:
        runs.append(count)
        return 10.0 * count + len(runs)

    assert throughput.rates(run, (1, 2), 3) == [[11, 22], [14, 23], [15, 26]]
    assert runs == [1, 2, 2, 1, 1, 2]


def test_ratios_are_of_one_repeat(throughput: Any) -> None:
    found = [[100.0, 200.0, 100.0], [50.0, 90.0, 200.0], [80.0, 152.0, 160.0]]  # 2, 1.8, 1.9
    assert throughput.row("x", found) == (
        "| x | 100, 50, 80 | 200, 90, 152 | 100, 200, 160 | 1.90 | 2.00 |"
    )
    line, rule = throughput.head((1, 2, 4)).splitlines()
    assert line == "| what runs | workers: 1 | workers: 2 | workers: 4 | 2 to 1 | 4 to 1 |"
    assert rule.count("---") == 6


def test_one_worker_has_nobody_to_wait_for(throughput: Any) -> None:
    assert throughput.in_a_pool(2, 1, 1) > 0
    assert throughput.in_memory(2, 1, 1) > 0


@pytest.mark.slow
def test_workers_begin_when_all_are_ready(throughput: Any, tmp_path: Path) -> None:
    evaluator = throughput.Together(steps=1, folder=tmp_path, processes=2)
    with throughput.EvaluatorPool(evaluator, workers=2) as pool:
        assert len(list(pool.map(throughput.drawn(3)))) == 3
    assert len(list(tmp_path.iterdir())) == 2
    times = [path.stat().st_mtime for path in tmp_path.iterdir()]
    assert evaluator.begun() == max(times)
