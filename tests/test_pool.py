"""Pools of workers: each network is scored once, and workers that die are replaced."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import optuna
import pytest
from worker_helpers import Scripted, scripted, states

from gennas_optuna import Architecture, get_space, search
from gennas_optuna._evaluator import Score
from gennas_optuna.errors import GenNASError
from gennas_optuna.pool import EvaluatorPool

pytestmark = pytest.mark.slow

SPACE = get_space("nasbench201")
CODES = ("421211", "334131", "000444", "111111", "300000", "333333")
ARCHS = [SPACE.parse(code) for code in CODES]


class Deadly(Scripted):
    """One architecture takes its process with it, as the kernel does when memory runs out."""

    def _measure(self, arch: Architecture, on_eval: Any) -> Any:
        if arch.key == SPACE.parse("000444").key:
            os._exit(137)
        return super()._measure(arch, on_eval)


class Ensemble(Scripted):
    """The first architecture dies once the second is under way; two others need each other."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _measure(self, arch: Architecture, on_eval: Any) -> Any:
        name = NAMES.get(arch.key, "another")
        with (self.folder / "log").open("a") as log:
            log.write(f"{name} begins\n")
        if name == "dying":
            self.wait_for("held begins")
            os._exit(137)
        if name == "held" and self.log().count("held begins") == 1:
            time.sleep(120)  # it is ended with the worker that dies
        if name in ("left", "right"):
            self.wait_for("right begins" if name == "left" else "left begins")
        with (self.folder / "log").open("a") as log:
            log.write(f"{name} ends\n")
        return super()._measure(arch, on_eval)

    def log(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    def wait_for(self, line: str) -> None:
        for _ in range(6000):
            if line in self.log():
                return
            time.sleep(0.01)
        raise TimeoutError(line)


NAMES = dict(zip((arch.key for arch in ARCHS), ("dying", "held", "left", "right"), strict=False))


def test_encodings_of_one_network_are_scored_once(tmp_path: Path) -> None:
    evaluator = Ensemble(tmp_path)
    archs = [SPACE.parse(code) for code in ("000300", "300300")]  # a convolution nobody reads
    with EvaluatorPool(evaluator, workers=2) as pool:
        plain, dead = pool.map(archs)
    assert evaluator.log() == ["another begins", "another ends"]
    assert plain.loss == dead.loss
    assert plain.params < dead.params  # as encoded


def test_one_that_dies_is_replaced() -> None:
    with EvaluatorPool(Deadly(), workers=2) as pool:
        outcomes = list(pool.outcomes(ARCHS))
        again = list(pool.map([SPACE.parse("221221")]))
        with pytest.raises(GenNASError, match=r"worker that scored .* died, twice"):
            list(pool.map(ARCHS))
    dead = [isinstance(outcome, BrokenProcessPool) for outcome in outcomes]
    assert dead == [code == "000444" for code in CODES]
    alone = Scripted()
    for arch, outcome in zip(ARCHS, outcomes, strict=True):
        if not isinstance(outcome, Exception):
            assert outcome.loss == alone.evaluate(arch).loss
    assert again[0].loss == alone.evaluate(SPACE.parse("221221")).loss


def test_only_what_may_have_been_under_way_is_tried_alone(tmp_path: Path) -> None:
    evaluator = Ensemble(tmp_path)
    with EvaluatorPool(evaluator, workers=2) as pool:
        outcomes = list(pool.outcomes(ARCHS[:4]))
    assert isinstance(outcomes[0], BrokenProcessPool)
    assert not any(isinstance(outcome, Exception) for outcome in outcomes[1:])
    log = evaluator.log()
    assert sorted(log[:2]) == ["dying begins", "held begins"]
    assert log[2:5] == ["dying begins", "held begins", "held ends"]
    assert sorted(log[5:7]) == ["left begins", "right begins"]
    assert sorted(log[7:]) == ["left ends", "right ends"]


def test_one_that_dies_with_nothing_to_do_is_replaced() -> None:
    with EvaluatorPool(Scripted(), workers=2) as pool:
        first = pool.submit(ARCHS[0])()
        processes = pool._processes
        assert processes is not None
        for process in list(processes._processes.values()):
            os.kill(process.pid, signal.SIGKILL)  # whoever waits for it as well may hang
        for _ in range(6000):
            if processes._broken:
                break
            time.sleep(0.01)
        scores = list(pool.map(ARCHS))
    assert scores[0] == first
    assert len(scores) == len(ARCHS)


def test_what_kills_is_not_tried_for_each_that_asked_for_it() -> None:
    dead, fine = SPACE.parse("000444"), SPACE.parse("421211")
    with EvaluatorPool(Deadly(), workers=2) as pool:
        first, second = pool.submit(dead), pool.submit(dead)
        assert isinstance(first(), BrokenProcessPool)
        third, last = pool.submit(dead), pool.submit(fine)  # anew: it may have been chance
        outcome = second()
        assert outcome is first()
        assert isinstance(third(), BrokenProcessPool)
        assert third() is not outcome
        assert not isinstance(last(), Exception)


def test_what_was_not_begun_when_the_pool_ended_has_no_score() -> None:
    with EvaluatorPool(Scripted(), workers=2) as pool:
        outcomes = [pool.submit(arch) for arch in ARCHS]
    found = [outcome() for outcome in outcomes]
    assert all(isinstance(outcome, Score | CancelledError) for outcome in found)
    assert isinstance(found[-1], CancelledError)


def test_a_search_goes_on() -> None:
    objective = scripted()
    objective.evaluator = Deadly()
    study = optuna.create_study()
    for arch in ARCHS:
        study.enqueue_trial(SPACE.params(arch))
    found = search(objective, study, n_trials=len(CODES), workers=2)
    assert states(study) == {"COMPLETE": 5, "FAIL": 1}
    assert len(found) == 5
    assert study.trials[2].user_attrs["gennas:error"].startswith("BrokenProcessPool")
