"""The processes that score architectures on one task after another."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from task_search_helpers import Fake, FakeEvaluator, fake_objective, study_of, table

from gennas_optuna import GenNASEvaluator, Scale, evaluator, get_task
from gennas_optuna._task_pool import EvaluatorFactory, TaskPool
from gennas_optuna.errors import GenNASError
from gennas_optuna.settings import Preset
from gennas_optuna.task_search import search_task

TINY = Preset("tiny", steps=1, scale=Scale(width=4, depth=1))
ARCHS = [record.arch for record in table(6)]
TASKS = [get_task(name) for name in ("generic", "nasbench201-fast", "nasbench101-fast")]
LOSSES = [[FakeEvaluator(task).loss(arch) for arch in ARCHS] for task in TASKS]


class Mortal(FakeEvaluator):
    """One architecture ends its process, as often as the log says."""

    def _measure(self, arch: Any, on_eval: Any) -> Any:
        assert self.log is not None
        times = int(self.log.read_text())
        if arch == ARCHS[2] and times:
            self.log.write_text(str(times - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return self.loss(arch), None, "ok"


@pytest.fixture
def mortal(tmp_path: Path) -> Any:
    """A pool of two whose workers die so often."""
    pools: list[TaskPool] = []

    def make(times: int) -> TaskPool:
        log = tmp_path / "log"
        log.write_text(str(times))
        pools.append(TaskPool(Fake(log, kind=Mortal), ARCHS, workers=2))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def found_by(pool: TaskPool, task: Any) -> list[float]:
    return [score.loss for score in pool.scores(task)]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(mortal: Any) -> None:
    pool = mortal(times=1)
    assert [found_by(pool, task) for task in TASKS] == LOSSES
    for process in pool._processes._processes.values():  # while there is nothing to do
        process.kill()
        process.join(5)  # the pool waits for it too, and may have seen its end first
    assert found_by(pool, TASKS[0]) == LOSSES[0]


@pytest.mark.slow
def test_what_ends_its_worker_twice_is_told_and_the_pool_goes_on(mortal: Any) -> None:
    pool = mortal(times=2)
    with pytest.raises(GenNASError, match="died, twice") as told:
        found_by(pool, TASKS[0])
    assert str(ARCHS[2]) in str(told.value)
    assert found_by(pool, TASKS[0]) == LOSSES[0]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """The batches of images that were loaded: their numbers and sizes."""
    calls: list[tuple[int, Any]] = []
    load = evaluator.load_images

    def counted(source: Any, **options: Any) -> torch.Tensor:
        calls.append((options["count"], options["size"]))
        return load(source, **options)

    monkeypatch.setattr(evaluator, "load_images", counted)
    return calls


def test_images_are_loaded_once_for_all_tasks(loaded: list[tuple[int, Any]]) -> None:
    tasks = [*TASKS, replace(TASKS[1], batch_size=4), TASKS[0]]
    pool = TaskPool(EvaluatorFactory(TINY, seed=3), ARCHS[:2])
    found = [found_by(pool, task) for task in tasks]
    assert loaded == [(16, (32, 32)), (4, (32, 32))]
    alone = [GenNASEvaluator(task, preset=TINY, seed=3) for task in tasks]
    assert found == [[one.evaluate(arch).loss for arch in ARCHS[:2]] for one in alone]


def test_a_search_loads_its_images_once(loaded: list[tuple[int, Any]]) -> None:
    objective = fake_objective(make_evaluator=None, preset=TINY, n_archs=2)
    search_task(objective, study_of(), n_trials=4)
    assert len(loaded) == 1


def test_other_processes_load_images_of_their_own() -> None:
    make = EvaluatorFactory(TINY, inputs=torch.randn(16, 3, 32, 32))
    score = make(TASKS[0]).evaluate(ARCHS[0])
    assert make._first._images
    copy = pickle.loads(pickle.dumps(make))
    assert set(vars(copy)) == {"preset", "steps", "inputs", "seed", "device", "threads"}
    assert copy(TASKS[0]).evaluate(ARCHS[0]).loss == score.loss


class Slow(FakeEvaluator):
    def input_shape(self, space: Any) -> tuple[int, ...]:
        time.sleep(0.01)  # others go on while an evaluator is made
        return super().input_shape(space)


def test_threads_may_score_different_tasks_at_once() -> None:
    pool = TaskPool(Fake(kind=Slow), ARCHS)
    found: dict[int, list[float]] = {}

    def run(number: int) -> None:
        found[number] = found_by(pool, TASKS[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(TASKS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(TASKS))] == LOSSES
