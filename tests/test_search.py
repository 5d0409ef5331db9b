"""Searches with several trials under way: what the study knows, and what ends them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from gennas_optuna import Architecture, GenNASObjective, ProxyEvaluator, Scale, get_space, search
from gennas_optuna.errors import GenNASError
from gennas_optuna.samplers import make_sampler
from gennas_optuna.search import WINDOW
from gennas_optuna.settings import Preset

SPACE = get_space("nasbench201")
TINY = Preset("tiny", steps=2, scale=Scale(width=4, depth=1))


def tiny(**options: Any) -> GenNASObjective:
    return GenNASObjective(SPACE, **{"preset": TINY, **options})


def params(code: str) -> dict[str, Any]:
    return SPACE.params(SPACE.parse(code))


class Slow(ProxyEvaluator):
    """One architecture is scored when so many others are begun."""

    def __init__(self, log: Path, key: str, others: int) -> None:
        super().__init__("params")
        self.log, self.key, self.others = log, key, others

    def _measure(self, arch: Architecture, on_eval: Any) -> Any:
        if arch.key != self.key:
            with self.log.open("a") as log:
                log.write(f"{arch}\n")
        else:
            deadline = time.monotonic() + 60
            while not self.log.exists() or len(self.log.read_text().split()) < self.others:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self.others} others were not begun")
                time.sleep(0.01)
        return super()._measure(arch, on_eval)


@pytest.mark.slow
def test_workers_do_not_change_the_result() -> None:
    def run(workers: int) -> list[tuple[str, float]]:
        study = optuna.create_study(sampler=make_sampler("evolution", SPACE, seed=3, population=5))
        found = search(tiny(), study, n_trials=14, workers=workers)
        assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 14
        return [(f.arch.key, f.score.loss) for f in found]

    assert run(1) == run(2)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_study_always_knows_all_but_the_last_trials(workers: int) -> None:
    known: list[int] = []

    class Spy(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            known.append(len(finished))
            assert [t.number for t in finished] == list(range(len(finished)))

    told: list[Architecture | None] = []
    objective = GenNASObjective(SPACE, evaluator=ProxyEvaluator("params"))
    study = optuna.create_study(sampler=Spy(seed=0))
    search(
        objective, study, n_trials=9, workers=workers, on_trial=lambda arch, _: told.append(arch)
    )
    assert known == [max(0, number - WINDOW + 1) for number in range(9)]
    assert [str(arch) for arch in told] == [t.user_attrs["gennas:arch"] for t in study.trials]


@pytest.mark.slow
def test_a_slow_architecture_does_not_hold_up_the_others(tmp_path: Path) -> None:
    study = optuna.create_study()
    codes = ("334131", "421211", "000444", "111111", "300000", "333333", "222222")
    for code in codes:
        study.enqueue_trial(params(code))
    slow = SPACE.parse(codes[0]).key
    objective = GenNASObjective(SPACE, evaluator=Slow(tmp_path / "log", slow, others=WINDOW - 1))
    assert len(search(objective, study, n_trials=len(codes), workers=2)) == len(codes)


def test_found_networks_are_distinct_and_sorted() -> None:
    study = optuna.create_study(sampler=make_sampler("random", SPACE, seed=0))
    study.enqueue_trial(params("000300"))
    study.enqueue_trial(params("300300"))
    found = search(tiny(), study, n_trials=6)
    losses = [f.score.loss for f in found]
    assert losses == sorted(losses)
    assert len({f.arch.key for f in found}) == len(found) < 6
    assert study.trials[1].user_attrs["gennas:duplicate_of"] == 0
    assert losses[0] == study.best_value


def test_no_trial_is_left_running_when_it_is_stopped() -> None:
    study = optuna.create_study()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    objective = tiny()
    with pytest.raises(KeyboardInterrupt):
        search(objective, study, n_trials=9, on_trial=stop)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE] + [TrialState.FAIL] * (WINDOW - 1)
    archs = [SPACE.parse(trial.user_attrs["gennas:arch"]) for trial in study.trials]
    scored = {arch.key for arch in archs if objective.evaluator.cached(arch) is not None}
    assert scored == {archs[0].key}  # nothing is trained in vain


def test_duplicates_are_pruned_where_the_objective_prunes_them() -> None:
    study = optuna.create_study()
    for _ in range(2):
        study.enqueue_trial(params("334131"))
    assert len(search(tiny(duplicates="prune"), study, n_trials=2)) == 1
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]


@pytest.mark.parametrize(
    "study",
    [
        optuna.create_study(direction="maximize"),
        optuna.create_study(directions=["minimize", "minimize"]),
    ],
)
def test_the_study_must_have_the_objectives_directions(study: optuna.Study) -> None:
    with pytest.raises(GenNASError, match=r"objective\.directions"):
        search(tiny(), study, n_trials=2)
    assert not study.trials


@pytest.mark.parametrize("n_trials", ["a", -1, 2.0])
def test_a_number_of_trials_is_wanted(n_trials: Any) -> None:
    with pytest.raises(GenNASError, match="n_trials"):
        search(tiny(), optuna.create_study(), n_trials=n_trials)
