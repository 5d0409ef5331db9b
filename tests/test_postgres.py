"""Many workers on a real PostgreSQL, and on Optuna's gRPC proxy before it.

``GENNAS_TEST_POSTGRES`` is the URL of a server for tests; ``GENNAS_TEST_POSTGRES_CTL`` a command
that takes ``stop`` and ``start`` of it. Continuous integration starts one (``.ci/postgres``).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from optuna.trial import TrialState
from worker_helpers import (
    Scripted,
    age_heartbeat,
    closed_storages,  # noqa: F401 - it is used by all tests here
    hanging_worker,
    join,
    opened,
    scripted,
    states,
    work_in_threads,
)

from gennas_optuna import _lease, get_space
from gennas_optuna.workers import share, work

URL = os.environ.get("GENNAS_TEST_POSTGRES", "")
CONTROL = os.environ.get("GENNAS_TEST_POSTGRES_CTL", "")
SPACE = get_space("nasbench201")

pytestmark = [
    pytest.mark.skipif(not URL, reason="GENNAS_TEST_POSTGRES names no server"),
    pytest.mark.slow,
]


@pytest.fixture(autouse=True)
def one_at_a_time() -> Iterator[None]:
    """Some tests restart the server that those in other processes of the run use as well."""
    with FileLock(Path(tempfile.gettempdir()) / "gennas-test-postgres.lock"):
        yield


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def proxy() -> Iterator[str]:
    """The URL of a gRPC proxy before the database."""
    pytest.importorskip("grpc")
    import socket

    from optuna.storages._grpc.server import make_server

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = make_server(opened(URL), "127.0.0.1", port)
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(None).wait()


def check_values(study: optuna.Study) -> None:
    """Each finished value is that of its architecture."""
    quiet = Scripted()
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        if "gennas:duplicate_of" not in trial.user_attrs:
            arch = SPACE.parse(trial.user_attrs["gennas:arch"])
            assert trial.value == quiet.evaluate(arch).loss


def test_workers_together_finish_exactly_the_trials(name: str) -> None:
    study = work_in_threads(URL, count=4, n_trials=21, name=name)
    assert states(study)["COMPLETE"] == 21
    assert set(states(study)) <= {"COMPLETE", "PRUNED"}
    check_values(study)


def test_workers_behind_the_proxy(proxy: str, name: str) -> None:
    study = work_in_threads(proxy, count=3, n_trials=12, name=name)
    assert states(study)["COMPLETE"] == 12
    assert set(states(study)) <= {"COMPLETE", "PRUNED"}
    check_values(study)
    assert study.trials == optuna.load_study(study_name=name, storage=opened(URL)).trials


@pytest.mark.parametrize("where", ["database", "proxy"])
def test_a_killed_workers_trial_is_run_by_another(
    where: str, name: str, request: pytest.FixtureRequest
) -> None:
    url = URL if where == "database" else request.getfixturevalue("proxy")
    objective = scripted()
    with hanging_worker(url, name):
        study = join(url, objective, name)
        assert states(study) == {"RUNNING": 1}
        assert _lease.put_back_lost(study) == 0
    work(objective, study, n_trials=5)
    assert states(study) == {"COMPLETE": 5, "FAIL": 1}
    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[0].params == study.trials[1].params


def test_heartbeats_of_other_machines(name: str) -> None:
    """A worker elsewhere falls silent: Optuna's heartbeats tell, and its trial is run again."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    objective = scripted()
    storage = opened(URL, heartbeat=1, grace=600)
    study = share(storage, name, objective, sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        silent, alive = study.ask(SPACE.distributions()), study.ask(SPACE.distributions())
    away = {**_lease.this_worker(), "host": "another machine"}
    for trial in (silent, alive):
        trial.set_user_attr(_lease.WORKER, away)
        storage.record_heartbeat(trial._trial_id)
    _lease.put_back_lost(study)
    assert states(study) == {"RUNNING": 2}
    for trial in (silent, alive):
        age_heartbeat(URL, trial, 700)
    with _lease.SignsOfLife(study, alive):
        deadline = time.monotonic() + 60
        while alive._trial_id in storage._get_stale_trial_ids(study._study_id):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        _lease.put_back_lost(study)
        assert study.trials[0].state == TrialState.FAIL
        assert study.trials[1].state == TrialState.RUNNING
    again = study.trials[2]
    assert again.state == TrialState.WAITING
    assert again.params == study.trials[0].params
    assert _lease.WORKER not in again.user_attrs


@pytest.mark.skipif(not CONTROL, reason="GENNAS_TEST_POSTGRES_CTL names no command")
@pytest.mark.parametrize("where", ["database", "proxy"])
def test_the_database_restarts(where: str, name: str, request: pytest.FixtureRequest) -> None:
    """At any moment: four times during a search whose workers notice nothing but a pause."""
    url = URL if where == "database" else request.getfixturevalue("proxy")
    done = threading.Event()

    def restart() -> None:
        for _ in range(4):
            done.wait(1.0)
            for action in ("stop -m immediate", "start"):
                command = [*shlex.split(CONTROL), *action.split()]
                subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL)

    join(url, scripted(), name)
    thread = threading.Thread(target=restart)
    thread.start()
    n_trials = 20
    try:
        while True:  # for as long as it takes to have them all
            study = work_in_threads(url, count=2, n_trials=n_trials, name=name)
            if not thread.is_alive():
                break
            n_trials += 10
    finally:
        done.set()
        thread.join()
    assert states(study)["COMPLETE"] == n_trials
    assert not states(study)["WAITING"]
    check_values(study)
