"""Where studies of the task search are kept, and what may go wrong there."""

from __future__ import annotations

import json
import os
import socket
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from task_search_helpers import Fake, FakeEvaluator, fake_objective, table
from worker_helpers import (
    age_heartbeat,
    closed_storages,  # noqa: F401 - it is used by all tests here
    opened,
)

from gennas_optuna import _lease, cli
from gennas_optuna import storage as gennas_storage
from gennas_optuna._lease import WORKER, put_back, this_worker
from gennas_optuna._task_study import open_study
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.task_search import search_task

POSTGRES = os.environ.get("GENNAS_TEST_POSTGRES", "")


def study_at(place: str) -> optuna.Study:
    return open_study(
        opened(place), "s", lambda *, seed: optuna.samplers.RandomSampler(seed), seed=0
    )


@pytest.mark.parametrize(
    "place", ["{}/s.journal", "{}/s.log", "journal:///{}/t", "sqlite:///{}/s"]
)
def test_a_search_goes_on_wherever_it_is_kept(place: str, tmp_path: Path) -> None:
    place = place.format(tmp_path)
    search_task(fake_objective(), study_at(place), n_trials=1)
    found = search_task(fake_objective(), study_at(place), n_trials=2)
    assert (found.n_trials, found.stopped) == (2, "n_trials")


def test_a_journal_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    search_task(fake_objective(), study_at(str(path)), n_trials=2)
    with path.open("ab") as file:
        file.write(b'{"op_code":8,"wor')  # as a crash in the middle of a write leaves it
    for n_trials in (3, 4):
        found = search_task(fake_objective(), study_at(str(path)), n_trials=n_trials)
        assert found.n_trials == n_trials
    assert [json.loads(line) for line in path.read_text().splitlines()]


def test_a_journal_of_optunas_own_class_goes_on(tmp_path: Path) -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "s.journal"))
    theirs = optuna.create_study(
        study_name="s",
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize",
        pruner=optuna.pruners.NopPruner(),
    )
    search_task(fake_objective(), theirs, n_trials=2)
    ours = study_at(str(tmp_path / "s.journal"))
    assert search_task(fake_objective(), ours, n_trials=3).n_trials == 3
    assert len(theirs.trials) == 3


def test_a_proxy_before_the_storage(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    from optuna.storages._grpc.server import make_server

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = make_server(opened(str(tmp_path / "s.journal")), "127.0.0.1", port)
    server.start()
    try:
        for n_trials in (1, 2):
            study = study_at(f"grpc://127.0.0.1:{port}")
            assert search_task(fake_objective(), study, n_trials=n_trials).n_trials == n_trials
    finally:
        server.stop(5).wait()


def test_no_message_shows_a_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr(gennas_storage, "OPENING", 0.3)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps([[str(record.arch), record.truth] for record in table(3)]))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"postgresql://u:SECRET@127.0.0.1:{sock.getsockname()[1]}/x"
        with pytest.raises(InvalidValueError, match=r"u:\*\*\*@") as told:
            study_at(url)
        assert "SECRET" not in str(told.value)
        options = ("--truth", str(truth), "--archs", "3", "--trials", "1", "--storage", url)
        monkeypatch.setattr(sys, "argv", ["gennas", "tune-task", "nasbench201", *options])
        with pytest.raises(SystemExit):
            cli.main()
    err = capsys.readouterr().err
    assert err.startswith("gennas: error: storage 'postgresql://u:***@")
    assert err.count("\n") == 1


def test_a_worker_elsewhere_that_falls_silent_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lease, "GRACE", 0.0)
    study = study_at(str(tmp_path / "s.journal"))
    objective = fake_objective(make_evaluator=Fake(tmp_path / "log"), prune=False)
    search_task(objective, study, n_trials=1)
    silent = study.ask()
    params = objective.tasks.params(objective.tasks.suggest(silent))
    silent.set_user_attr(WORKER, {**this_worker(), "host": "elsewhere"})
    search_task(objective, study, n_trials=2)
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert [trial.state for trial in study.trials] == states
    assert objective.tasks.params(objective.tasks.decode(study.trials[2].params)) == params


@pytest.mark.slow
@pytest.mark.skipif(not POSTGRES, reason="GENNAS_TEST_POSTGRES names no server")
def test_heartbeats_tell_that_a_worker_elsewhere_is_gone() -> None:
    storage = opened(POSTGRES, heartbeat=1, grace=600)
    name = f"test-{uuid.uuid4().hex}"
    study = open_study(storage, name, lambda *, seed: optuna.samplers.RandomSampler(seed), seed=0)
    objective = fake_objective(prune=False)
    search_task(objective, study, n_trials=1)
    silent = optuna.Trial(study, storage.create_new_trial(study._study_id))
    storage.record_heartbeat(silent._trial_id)
    silent.set_user_attr(WORKER, {**this_worker(), "host": "elsewhere"})
    params = objective.tasks.params(objective.tasks.suggest(silent))
    search_task(objective, study, n_trials=2)
    assert study.trials[1].state == TrialState.RUNNING
    age_heartbeat(POSTGRES, silent, 700)
    search_task(objective, study, n_trials=3)
    assert study.trials[1].state == TrialState.FAIL
    assert objective.tasks.params(objective.tasks.decode(study.trials[3].params)) == params


class Late(FakeEvaluator):
    """While it runs its third trial, another worker takes that for lost."""

    study: optuna.Study
    left = 25

    def _measure(self, arch: Any, on_eval: Any) -> Any:
        Late.left -= 1
        if Late.left == 0:
            assert put_back(self.study, self.study.trials[-1])
        return super()._measure(arch, on_eval)


def test_the_result_of_a_trial_that_another_took_over_is_dropped(tmp_path: Path) -> None:
    Late.study = study = study_at(str(tmp_path / "s.journal"))
    objective = fake_objective(make_evaluator=Fake(tmp_path / "log", kind=Late), prune=False)
    numbers: list[int] = []
    found = search_task(
        objective, study, n_trials=4, on_trial=lambda trial: numbers.append(trial.number)
    )
    assert found.n_trials == 4
    assert Counter(trial.state.name for trial in study.trials) == {"COMPLETE": 4, "FAIL": 1}
    assert numbers == [0, 1, 3, 4]
    assert study.trials[3].params == study.trials[2].params


class Unsound(FakeEvaluator):
    def _measure(self, arch: Any, on_eval: Any) -> Any:
        raise InvalidValueError("inputs: there are none")


def test_what_ends_a_search_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    study = study_at("sqlite://")
    with pytest.raises(InvalidValueError, match="there are none"):
        search_task(fake_objective(make_evaluator=Fake(kind=Unsound)), study, n_trials=1)
    assert "Traceback" not in capsys.readouterr().err
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]
