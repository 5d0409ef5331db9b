"""Shared studies: the count is exact, and whatever happens to a worker, the study goes on."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import ClassVar

import optuna
import pytest
import torch
from optuna.trial import TrialState, create_trial
from worker_helpers import (
    Scripted,
    closed_storages,  # noqa: F401 - it is used by all tests here
    hanging_worker,
    join,
    opened,
    scripted,
    states,
    work_in_threads,
)

from gennas_optuna import Architecture, _lease, get_space, search
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.workers import found_in, work

SPACE = get_space("nasbench201")
CODES = ("421211", "334131", "000444", "111111", "300000", "333333")


def live_params(arch: Architecture) -> int:
    """Of what can reach a tap: minus the value of the proxy that the tests search by."""
    return sum(p.numel() for p in SPACE.skeleton(arch, canonical=True).parameters())


def params(code: str) -> dict:
    return SPACE.params(SPACE.parse(code))


def key(code: str) -> str:
    return SPACE.parse(code).key


def running(worker: dict | None, **attrs) -> optuna.trial.FrozenTrial:
    """A trial as another process has it."""
    more = {} if worker is None else {_lease.WORKER: worker}
    return create_trial(
        state=TrialState.RUNNING,
        params=params("421211"),
        distributions=SPACE.distributions(),
        user_attrs={**more, **attrs},
    )


class TestCount:
    def test_workers_together_finish_exactly_the_trials(self, tmp_path: Path) -> None:
        study = work_in_threads(str(tmp_path / "s.journal"), count=4, n_trials=23)
        assert states(study)["COMPLETE"] == 23
        assert set(states(study)) <= {"COMPLETE", "PRUNED"}
        for trial in study.get_trials(states=(TrialState.COMPLETE,)):
            arch = SPACE.parse(trial.user_attrs["gennas:arch"])
            assert trial.value == -live_params(arch)
            assert SPACE.decode(trial.params).key == arch.key

    def test_a_study_that_has_enough_is_left_alone(self) -> None:
        objective = scripted()
        study = join(None, objective)
        work(objective, study, n_trials=4)
        work(objective, study, n_trials=3)
        assert states(study) == {"COMPLETE": 4}
        work(objective, study, n_trials=6)
        assert states(study) == {"COMPLETE": 6}

    def test_a_trial_that_comes_too_late_gives_way(self) -> None:
        """Two workers saw 1 of 2 finished and began a trial each: the later one is not run."""
        objective = scripted()
        study = join(None, objective)
        work(objective, study, n_trials=1)
        study.add_trial(running(_lease.this_worker()))
        late: list[str] = []

        class Late(Scripted):
            def _measure(self, arch, on_eval):
                late.append(arch.key)
                return super()._measure(arch, on_eval)

        objective.evaluator = Late()
        from gennas_optuna.workers import _run_one

        _run_one(objective, study, 2, None)
        assert not late
        assert study.trials[2].state == TrialState.PRUNED

    def test_networks_of_other_workers_are_not_scored_again(self) -> None:
        first, second = scripted(), scripted()
        study = join(None, first)
        for code in ("000300", "300300"):  # one network
            study.enqueue_trial(params(code))
        work(first, study, n_trials=1)
        work(second, study, n_trials=2)
        assert second.evaluator.seen == []
        assert study.trials[1].user_attrs["gennas:duplicate_of"] == 0
        assert study.trials[1].value == study.trials[0].value

    def test_found_networks_are_those_of_the_study(self) -> None:
        objective = scripted()
        study = join(None, objective)
        for code in CODES:
            study.enqueue_trial(params(code))
        work(objective, study, n_trials=len(CODES))
        found = found_in(scripted(), study)
        assert [f.score.loss for f in found] == sorted(-live_params(f.arch) for f in found)
        assert {f.arch.key for f in found} == {key(code) for code in CODES}

    def test_a_study_of_another_search_is_refused(self) -> None:
        study = join(None, scripted())
        work(scripted(), study, n_trials=1)
        with pytest.raises(InvalidValueError, match="limits"):
            work(scripted(constraints={"params": 1e6}), study, n_trials=2)
        with pytest.raises(InvalidValueError, match="minimises loss, flops"):
            work(scripted(extra_objectives=("flops",)), study, n_trials=2)

    def test_so_is_one_that_study_optimize_filled(self) -> None:
        """No search is noted in it, but its trials say what they are of."""
        study = join(None, scripted())
        study.optimize(scripted(constraints={"params": 1e9}), n_trials=1)
        with pytest.raises(InvalidValueError, match="trial 0 is of another search"):
            work(scripted(), study, n_trials=2)
        strange = optuna.create_study()
        strange.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        with pytest.raises(InvalidValueError, match="trial 0 is of no search"):
            work(scripted(), strange, n_trials=2)
        assert not strange.user_attrs
        own = optuna.create_study()
        own.optimize(scripted(), n_trials=1)
        work(scripted(), own, n_trials=2)
        assert len(own.trials) == 2


class TestLost:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["s.journal", "sqlite:///s.db"])
    def test_a_killed_workers_trial_is_run_by_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        objective = scripted()
        with hanging_worker(kind, "s"):
            study = join(kind, objective)
            assert states(study) == {"RUNNING": 1}
            assert _lease.put_back_lost(study) == 0  # it lives
        work(objective, study, n_trials=5)
        lost, again = study.trials[0], study.trials[1]
        assert lost.state == TrialState.FAIL
        assert lost.params == again.params
        assert again.system_attrs["retry_history"] == [0]
        assert states(study) == {"COMPLETE": 5, "FAIL": 1}

    def test_who_is_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        me = _lease.this_worker()
        away = {**me, "host": "another"}
        cases = [
            (running(me), False),
            (running({**me, "pid": 2**22 + 1}), True),  # beyond Linux's largest number
            (running({**me, "start": "0"}), sys.platform == "linux"),  # the number was used again
            (running(away), False),
            (running(None), False),
        ]
        assert [_lease._is_gone(trial, heartbeats=False) for trial, _ in cases] == [
            gone for _, gone in cases
        ]
        monkeypatch.setattr(_lease, "GRACE", 0.0)
        time.sleep(0.01)
        assert _lease._is_gone(running(away), heartbeats=False)
        assert not _lease._is_gone(running(away), heartbeats=True)  # they decide
        alive = {_lease.ALIVE: time.time() + 60}
        assert not _lease._is_gone(running(away, **alive), heartbeats=False)
        assert not _lease._is_gone(running(me), heartbeats=False)
        assert _lease._is_gone(running(None), heartbeats=True)  # it never began
        assert not _lease._is_gone(running(None, other="tool"), heartbeats=False)

    def test_long_trials_show_that_they_live(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_lease, "BEAT", 0.01)
        study = join(None, scripted())
        trial, before = study.ask(), time.time()
        with _lease.SignsOfLife(study, trial):
            while _lease.ALIVE not in study.trials[0].user_attrs:
                time.sleep(0.01)
        assert before <= study.trials[0].user_attrs[_lease.ALIVE] <= time.time()

    def test_what_ends_its_workers_is_not_tried_for_ever(self) -> None:
        study = join(None, scripted())
        gone = {**_lease.this_worker(), "pid": 2**22 + 1}
        study.add_trial(running(gone))
        for count in range(1, _lease.RETRIES + 1):
            assert _lease.put_back_lost(study) == 1
            trial = study.ask()
            assert trial.number == count
            assert {**trial.params} == params("421211")
            assert _lease.WORKER not in trial.user_attrs
            trial.set_user_attr(_lease.WORKER, gone)
        assert _lease.put_back_lost(study) == 1
        assert states(study) == {"FAIL": _lease.RETRIES + 1}

    def test_a_trial_is_put_back_by_one_worker_only(self) -> None:
        study = join(None, scripted())
        study.add_trial(running({**_lease.this_worker(), "pid": 2**22 + 1}))
        trial = study.trials[0]
        assert _lease.put_back(study, trial)
        assert not _lease.put_back(study, trial)
        assert states(study) == {"FAIL": 1, "WAITING": 1}

    def test_a_worker_that_was_taken_for_dead_counts_nothing_twice(self) -> None:
        objective = scripted()
        study = join(None, objective)

        class Taken(Scripted):
            def _measure(self, arch, on_eval):
                if not self.seen:
                    _lease.put_back(study, study.get_trials(states=(TrialState.RUNNING,))[0])
                return super()._measure(arch, on_eval)

        objective.evaluator = Taken()
        work(objective, study, n_trials=3)
        assert states(study) == {"FAIL": 1, "COMPLETE": 3}
        assert study.trials[0].params == study.trials[1].params


class TestArchitecturesThatFail:
    trouble: ClassVar[dict[str, Exception]] = {
        key("334131"): RuntimeError("mat1 and mat2 shapes\ncannot be multiplied"),
        key("000444"): torch.cuda.OutOfMemoryError("CUDA out of memory"),
        key("111111"): MemoryError(),
    }

    def check(self, study: optuna.Study) -> None:
        assert states(study) == {"COMPLETE": 3, "FAIL": 3}
        reasons = {
            t.user_attrs["gennas:key"]: t.user_attrs.get("gennas:error") for t in study.trials
        }
        expected = "RuntimeError: mat1 and mat2 shapes cannot be multiplied"
        assert reasons[key("334131")] == expected
        assert reasons[key("000444")] == "OutOfMemoryError: CUDA out of memory"
        assert reasons[key("111111")].startswith("MemoryError")
        assert reasons[key("333333")] is None

    def test_in_a_shared_study(self) -> None:
        objective = scripted(self.trouble)
        study = join(None, objective)
        for code in CODES:
            study.enqueue_trial(params(code))
        work(objective, study, n_trials=len(CODES))
        self.check(study)

    def test_in_a_search_alone(self) -> None:
        study = optuna.create_study()
        for code in CODES:
            study.enqueue_trial(params(code))
        seen = []
        found = search(
            scripted(self.trouble), study, n_trials=6, on_trial=lambda a, s: seen.append(s is None)
        )
        self.check(study)
        assert len(found) == 3
        assert seen == [code in ("334131", "000444", "111111") for code in CODES]

    def test_a_space_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A user's module with a shape error shows itself when its cost is counted."""

        def broken(*args, **kwargs):
            raise RuntimeError("expected input[1, 3] to have 4 channels")

        monkeypatch.setattr(type(SPACE), "skeleton", broken)
        objective = scripted(constraints={"params": 1e9})
        study = join(None, objective)
        work(objective, study, n_trials=2)
        assert search(objective, study, n_trials=2) == []
        assert states(study) == {"FAIL": 4}
        assert all("4 channels" in t.user_attrs["gennas:error"] for t in study.trials)

    @pytest.mark.parametrize("run", [work, search])
    def test_a_wrong_setting_ends_the_search(self, run) -> None:
        objective = scripted({key("421211"): InvalidValueError("no images")})
        study = join(None, objective)
        study.enqueue_trial(params("421211"))
        with pytest.raises(GenNASError, match="no images"):
            run(objective, study, n_trials=3)
        assert not states(study)["RUNNING"]
        assert not states(study)["COMPLETE"]


class TestCommands:
    def test_the_same_command_goes_on(self, tmp_path: Path, run) -> None:
        url = f"journal://{tmp_path / 'study'}"
        args = ["search", "nasbench201", "--steps", "1", "--storage", url, "--json", "--trials"]
        for trials, count in (("2", 2), ("3", 3), ("2", 3)):
            status, out, err = run(*args, trials)
            assert status == 0, err
            study = join(url, scripted(), "gennas-nasbench201")
            assert states(study) == {"COMPLETE": count}
            assert json.loads(out)["best"][0]["loss"] == study.best_value
        status, _, err = run(*args, "4", "--seed", "1")
        assert status == 2
        assert "another search" in err

    @pytest.mark.slow
    def test_local_processes_and_a_worker(self, tmp_path: Path, run) -> None:
        url = str(tmp_path / "study.log")
        args = ["search", "nasbench201", "--steps", "1", "--storage", url, "--trials", "4"]
        status, out, err = run(*args, "--workers", "2", "--json")
        assert status == 0, err
        study = join(url, scripted(), "gennas-nasbench201")
        assert states(study)["COMPLETE"] == json.loads(out)["n_trials"] == 4
        # A worker knows from the study alone what to do; take one trial away to give it some.
        study.set_user_attr("gennas:command", {**study.user_attrs["gennas:command"], "trials": 5})
        status, _, err = run("worker", url, "gennas-nasbench201")
        assert status == 0, err
        assert states(study)["COMPLETE"] == 5

    def test_a_worker_without_a_study(self, tmp_path: Path, run) -> None:
        url = str(tmp_path / "study.log")
        opened(url)
        status, _, err = run("worker", url, "nothing")
        assert status == 2
        assert "nothing" in err
        assert len(err.strip().splitlines()) == 1

    @pytest.mark.parametrize("kind", ["{}/z.journal", "journal://{}/z", "sqlite:///{}/z.db"])
    def test_a_worker_makes_no_storage(self, kind: str, tmp_path: Path, run) -> None:
        url = kind.format(tmp_path)
        status, _, err = run("worker", url, "s")
        assert status == 2
        assert "no such file" in err
        assert "gennas search" in err
        assert not list(tmp_path.iterdir())

    def test_a_worker_that_finds_all_done(self, tmp_path: Path, run) -> None:
        url = str(tmp_path / "study.log")
        args = ["search", "nasbench201", "--steps", "1", "--storage", url, "--trials", "1"]
        status, _, err = run(*args)
        assert status == 0, err
        args = ["worker", url, "gennas-nasbench201", "--json"]
        status, out, err = run(*args)
        assert (status, err) == (0, "")
        assert json.loads(out) == {
            "study": "gennas-nasbench201",
            "space": "nasbench201",
            "form": None,
            "n_trials": 1,
            "n_failed": 0,
        }
