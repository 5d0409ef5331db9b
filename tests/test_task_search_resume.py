"""Proxy-task searches that are interrupted or killed, and go on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from task_search_helpers import (
    Fake,
    FakeEvaluator,
    fake_objective,
    study_of,
)

from gennas_optuna._lease import WORKER, this_worker
from gennas_optuna._task_result import losses_of
from gennas_optuna._task_study import evaluations, finished, open_study, requeue_stopped
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.samplers import make_sampler
from gennas_optuna.storage import open_storage
from gennas_optuna.task_search import search_task


class Interrupt(FakeEvaluator):
    left = 14

    def _measure(self, arch: Any, on_eval: Any) -> Any:
        Interrupt.left -= 1
        if Interrupt.left == 0:
            raise KeyboardInterrupt
        return super()._measure(arch, on_eval)


def test_an_interrupt_loses_nothing(tmp_path: Path) -> None:
    make = Fake(tmp_path / "log", kind=Interrupt)
    study = study_of()
    with pytest.raises(KeyboardInterrupt):
        search_task(fake_objective(make_evaluator=make, prune=False), study, n_trials=4)
    assert Counter(t.state.name for t in study.trials) == {"COMPLETE": 1, "FAIL": 1, "WAITING": 1}
    search_task(fake_objective(make_evaluator=make, prune=False), study, n_trials=4)
    assert Counter(t.state.name for t in study.trials) == {"COMPLETE": 4, "FAIL": 1}
    assert study.trials[2].params == study.trials[1].params
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 40
    assert evaluations(study) == 40


def run_by(worker: dict[str, Any], attribute: str = WORKER) -> optuna.Study:
    """A study with one trial that is running."""
    study = study_of()
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr(attribute, worker)
    return study


@pytest.mark.parametrize(
    ("worker", "gone", "if_taken_over"),
    [
        ({"host": "elsewhere", "pid": 1}, False, True),
        ({}, False, False),
        ({"start": "0"}, True, True),  # an earlier process with this number
    ],
)
def test_only_trials_of_processes_that_are_gone_are_run_again(
    worker: dict[str, Any], gone: bool, if_taken_over: bool
) -> None:
    for take_over, expected in ((False, gone), (True, if_taken_over)):
        study = run_by({**this_worker(), **worker})
        assert requeue_stopped(study, take_over=take_over) == expected
        states = [other.state for other in study.trials]
        if expected:
            assert states == [TrialState.FAIL, TrialState.WAITING]
            assert study.ask().suggest_float("x", 0, 1) == study.trials[0].params["x"]
        else:
            assert states == [TrialState.RUNNING]


def test_a_trial_left_in_an_older_study_is_run_again() -> None:
    study = run_by({"host": "here", "pid": 1, "token": "t"}, "gennas:process")
    assert requeue_stopped(study) == 1
    assert requeue_stopped(study) == 0


def opened_again(place: str) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=open_storage(place))


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_killed_search_goes_on(storage: str, tmp_path: Path) -> None:
    """``kill -9`` in the middle of a trial; the next run ends as if nothing had happened."""
    path, log = tmp_path / "study.journal", tmp_path / "log"
    place = str(path) if storage == "journal" else f"sqlite:///{tmp_path}/study.db"
    script = Path(__file__).with_name("task_search_helpers.py")
    command = [sys.executable, str(script), place, str(log), "6", "evolution"]

    def evaluated() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(evaluated()) < 25:
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = opened_again(place).trials
    states = Counter(trial.state.name for trial in before)
    assert states == {"COMPLETE": 2, "RUNNING": 1}
    assert len(losses_of(before[2])) >= 4

    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    study = opened_again(place)
    after = study.trials
    assert Counter(trial.state.name for trial in after) == {"COMPLETE": 6, "FAIL": 1}
    assert len(finished(study)) == 6
    assert after[3].params == before[2].params
    assert losses_of(after[3])[: len(losses_of(before[2]))] == losses_of(before[2])
    assert [t.value for t in after[:2]] == [t.value for t in before[:2]]
    # Of the 60 evaluations at most the one that was under way when it was killed is repeated.
    assert len(set(evaluated())) == 60
    assert len(evaluated()) <= 61


@pytest.mark.parametrize("sampler", ["random", "evolution"])
def test_a_study_that_goes_on_does_not_begin_anew(sampler: str, tmp_path: Path) -> None:
    """A sampler with the seed that it began with would propose its first trials once more."""

    def opened(place: str) -> optuna.Study:
        tasks = fake_objective().tasks
        return open_study(place, "s", partial(make_sampler, sampler, tasks), seed=0)

    place = f"sqlite:///{tmp_path}/s.db"
    for n_trials in (2, 4):
        search_task(fake_objective(prune=False), opened(place), n_trials=n_trials)
    parallel = [opened(place), opened(place)]
    trials = [study.ask() for study in parallel]
    for trial in trials:
        fake_objective().tasks.suggest(trial)
    found = [tuple(trial.params.items()) for trial in opened(place).trials]
    assert len(set(found)) == 6
    if sampler == "evolution":  # as if it had not been stopped
        whole = opened(f"sqlite:///{tmp_path}/t.db")
        search_task(fake_objective(prune=False), whole, n_trials=6)
        assert [tuple(trial.params.items()) for trial in whole.trials] == found


@pytest.mark.parametrize(
    "place", ["nonsense://x", "sqlite:////nowhere/x/y.db", "/nowhere/a.journal"]
)
def test_unusable_storages_are_explained(place: str) -> None:
    with pytest.raises(InvalidValueError, match="cannot be used") as info:
        open_study(place, "s", optuna.samplers.RandomSampler, seed=0)
    assert "\n" not in str(info.value)
