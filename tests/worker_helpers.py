"""What the tests of shared studies have in common."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from gennas_optuna import GenNASObjective, ProxyEvaluator, RegularizedEvolutionSampler
from gennas_optuna._patience import PatientStorage
from gennas_optuna.regression import OnEval, Status, Trace
from gennas_optuna.spaces import Architecture
from gennas_optuna.storage import open_storage
from gennas_optuna.workers import share, work


class Scripted(ProxyEvaluator):
    """Scores by the number of parameters, quickly; some architectures are trouble."""

    def __init__(self, trouble: dict[str, Exception] | None = None) -> None:
        super().__init__("params")
        self.trouble = trouble or {}
        self.seen: list[str] = []

    def _measure(
        self, arch: Architecture, on_eval: OnEval | None
    ) -> tuple[float, Trace | None, Status]:
        self.seen.append(arch.key)
        if arch.key in self.trouble:
            raise self.trouble[arch.key]
        return super()._measure(arch, on_eval)


OPENED: list[optuna.storages.BaseStorage] = []


def opened(url: str | None, **options) -> optuna.storages.BaseStorage:
    """A storage that `closed_storages` closes."""
    OPENED.append(open_storage(url, **options))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def closed_storages() -> Iterator[None]:
    """For modules that import it: no test leaves connections open."""
    yield
    while OPENED:
        storage = OPENED.pop()
        if isinstance(storage, PatientStorage):
            storage.close()


def age_heartbeat(url: str, trial: optuna.Trial, seconds: int) -> None:
    """As if the last sign of life of a trial in a PostgreSQL database were older."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        aged = connection.execute(
            sqlalchemy.text(
                "UPDATE trial_heartbeats SET heartbeat = heartbeat - make_interval(secs => :age)"
                " WHERE trial_id = :trial"
            ),
            {"age": seconds, "trial": trial._trial_id},
        )
    engine.dispose()
    assert aged.rowcount == 1


def scripted(trouble: dict[str, Exception] | None = None, **options) -> GenNASObjective:
    return GenNASObjective("nasbench201", evaluator=Scripted(trouble), **options)


def join(url: str | None, objective: GenNASObjective, name: str = "s") -> optuna.Study:
    sampler = RegularizedEvolutionSampler(
        objective.space, population_size=5, tournament_size=3, seed=0
    )
    return share(opened(url), name, objective, sampler)


def states(study: optuna.Study) -> Counter[str]:
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


HANG = """
import sys, time, warnings
sys.path.insert(0, sys.argv[3])
from worker_helpers import Scripted, join, scripted
from gennas_optuna.workers import work

class Hanging(Scripted):
    def _measure(self, arch, on_eval):
        print("training", flush=True)
        time.sleep(600)

objective = scripted()
objective.evaluator = Hanging()
study = join(sys.argv[1], objective, sys.argv[2])
work(objective, study, n_trials=5)
"""


@contextmanager
def hanging_worker(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun its trial and never ends it. It is dead after the block."""
    with subprocess.Popen(
        [sys.executable, "-c", HANG, url, name, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip() == "training"
            yield process
        finally:
            process.kill()


def work_in_threads(url: str, count: int, n_trials: int, name: str = "s") -> optuna.Study:
    """Several workers of their own, each with its own storage object."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            objective = scripted()
            work(objective, join(url, objective, name), n_trials=n_trials)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 300
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        assert not thread.is_alive()
    assert not errors, errors
    return join(url, scripted(), name)
