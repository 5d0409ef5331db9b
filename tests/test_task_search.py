"""The proxy-task search: its bound, its objective, its study, what it writes."""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from scipy import stats
from task_search_helpers import SPACE, Fake, FakeEvaluator, fake_objective, quality, table

from gennas_optuna import GenNASEvaluator, ProxyTask, Scale, get_space, get_task
from gennas_optuna._task_bound import upper_bound
from gennas_optuna._task_result import importances, losses_of, mean_rank, score_tasks, top_tasks
from gennas_optuna._task_study import (
    evaluations,
    finished,
    load_study,
    open_study,
    requeue_stopped,
    since_best,
    trained,
)
from gennas_optuna.benchmarks import GroundTruth, Trained
from gennas_optuna.errors import GenNASError, InvalidValueError, UnknownNameError
from gennas_optuna.samplers import make_sampler
from gennas_optuna.settings import Preset
from gennas_optuna.task_search import ProxyTaskObjective, draw_distinct, search_task

TINY = Preset("tiny", steps=2, scale=Scale(width=4, depth=1))
STATISTICS = ("spearman", "kendall")


def scipy_correlation(a: Any, b: Any, statistic: str) -> float:
    if len(set(a)) == 1 or len(set(b)) == 1:
        return 0.0  # by the package's definition; SciPy says NaN
    function = stats.spearmanr if statistic == "spearman" else stats.kendalltau
    return float(function(a, b).statistic)


def study_of(sampler: Any = None, **options: Any) -> optuna.Study:
    sampler = sampler or optuna.samplers.RandomSampler(seed=0)
    pruner = optuna.pruners.NopPruner()
    return optuna.create_study(
        **{"direction": "maximize", "sampler": sampler, "pruner": pruner, **options}
    )


# The bound ------------------------------------------------------------------------------------


def best_of_all(known: list[float], truth: list[float], statistic: str) -> float:
    """The largest correlation over every way to place the others, ties included."""
    free = len(truth) - len(known)
    levels = sorted(set(known))
    at = [(levels.index(value) + 1) * (free + 1) for value in known]
    places = range((len(levels) + 1) * (free + 1))  # between and on the known ones
    return max(
        scipy_correlation([*at, *others], truth, statistic)
        for others in itertools.product(places, repeat=free)
    )


@pytest.mark.parametrize("statistic", STATISTICS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_bound_is_the_best_of_all_completions(statistic: str, data: Any) -> None:
    n = data.draw(st.integers(2, 6), label="n")
    k = data.draw(st.integers(max(0, n - 2), n), label="k")
    truth = data.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n), label="truth")
    scores = st.sampled_from([-math.inf, -2.0, -1.0, 0.5])
    known = data.draw(st.lists(scores, min_size=k, max_size=k), label="known")
    assert upper_bound(known, truth, statistic) == pytest.approx(
        best_of_all(known, truth, statistic), abs=1e-12
    )


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("k", [0, 2, 3, 4, 6])
def test_the_bound_is_the_best_of_all_permutations(statistic: str, k: int) -> None:
    rng = np.random.default_rng(k)
    n, truth = 6, rng.permutation(6).tolist()
    known = rng.permutation(n)[:k].tolist()
    by_order: dict[tuple[int, ...], float] = {}
    for ranks in itertools.permutations(range(n)):
        order = tuple(np.argsort(ranks[:k]).tolist())
        if order == tuple(np.argsort(known).tolist()):
            value = scipy_correlation(ranks, truth, statistic)
            by_order[order] = max(by_order.get(order, -1.0), value)
    assert upper_bound(known, truth, statistic) == pytest.approx(max(by_order.values()))


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_bound_falls_to_the_value(statistic: str) -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.normal(size=20), rng.normal(size=20)
    scores[[3, 5, 11]] = -math.inf
    bounds = [upper_bound(scores[:k].tolist(), truth, statistic) for k in range(21)]
    assert bounds[0] == bounds[1] == pytest.approx(1.0)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(bounds))
    assert bounds[20] == pytest.approx(scipy_correlation(scores, truth, statistic))


def test_several_that_diverged_may_hide_a_middling_one() -> None:
    """Two that diverged are the first and third of the truth; best is to tie the second, too."""
    truth, known = [1.0, 3.0, 2.0, 4.0], [-math.inf, -math.inf]
    tied = stats.spearmanr([0, 0, 0, 1], truth).statistic
    assert upper_bound(known, truth, "spearman") == pytest.approx(tied)
    assert tied > stats.spearmanr([0, 0, 1, 2], truth).statistic


# The objective --------------------------------------------------------------------------------


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("higher", [True, False])
def test_the_value_is_the_signed_rank_correlation(statistic: str, higher: bool) -> None:
    objective = fake_objective(
        statistic=statistic, truth=table(higher_is_better=higher), prune=False
    )
    study = study_of()
    study.optimize(objective, n_trials=3)
    for trial in study.trials:
        task = objective.tasks.decode(trial.params)
        losses = [FakeEvaluator(task).loss(record.arch) for record in objective.archs]
        sign = 1 if higher else -1
        truth = [sign * quality(record.arch) for record in objective.archs]
        expected = scipy_correlation([-loss for loss in losses], truth, statistic)
        assert trial.value == pytest.approx(expected)
        assert list(losses_of(trial)) == losses
        assert sorted(trial.intermediate_values) == list(range(2, 11))
        for step, value in trial.intermediate_values.items():
            part = [-loss for loss in losses[:step]]
            assert value == pytest.approx(scipy_correlation(part, truth[:step], statistic))


@pytest.mark.parametrize("name", ["nasbench201", "nasbench-nlp"])
def test_the_value_is_what_a_user_of_the_task_gets(name: str) -> None:
    """Images and sequences alike: the task, saved and loaded, ranks as the search said."""
    space, rng = get_space(name), np.random.default_rng(0)
    records = []
    while len(records) < 3:
        arch = space.sample(rng)
        if arch.key not in {record.arch.key for record in records}:
            records.append(Trained(arch, float(len(records))))
    truth = GroundTruth("toy", space, "rank", True, tuple(records), {}, "0" * 64)
    objective = ProxyTaskObjective(space, truth, n_archs=3, preset=TINY, seed=4)
    study = study_of()
    study.enqueue_trial(objective.tasks.params(get_task("default", space)))
    found = search_task(objective, study, n_trials=1)
    assert found.task == get_task("default", space)
    evaluator = GenNASEvaluator("default", preset=TINY, seed=4)
    losses = [evaluator.evaluate(record.arch).loss for record in objective.archs]
    assert list(found.losses) == losses
    expected = stats.spearmanr([-loss for loss in losses], objective.goodness).statistic
    assert study.best_value == pytest.approx(expected)


def test_the_bound_loses_no_best_and_saves_evaluations() -> None:
    """The same trials with and without it: the same bests at the same trials."""
    studies = {}
    for prune in (True, False):
        studies[prune] = study_of()
        studies[prune].optimize(fake_objective(prune=prune), n_trials=40)
    everything, pruned = studies[False], studies[True]
    best = -math.inf
    for full, short in zip(everything.trials, pruned.trials, strict=True):
        assert full.params == short.params
        assert full.state == TrialState.COMPLETE
        if short.state == TrialState.COMPLETE:
            assert short.value == full.value
        else:
            assert short.state == TrialState.PRUNED
            assert full.value <= best
            assert losses_of(short) == losses_of(full)[: len(losses_of(short))]
        best = max(best, full.value)
    assert pruned.best_value == everything.best_value
    assert pruned.best_trial.number == everything.best_trial.number
    assert evaluations(everything) == 400
    assert evaluations(pruned) < 0.75 * 400


def test_all_that_may_still_be_among_the_top_are_completed() -> None:
    studies = {}
    for top in (1, 5):
        studies[top] = study_of()
        studies[top].optimize(fake_objective(top=top), n_trials=40)
    everything = study_of()
    everything.optimize(fake_objective(prune=False), n_trials=40)
    best = sorted((trial.value for trial in everything.trials), reverse=True)[:5]
    found = sorted(t.value for t in studies[5].trials if t.state == TrialState.COMPLETE)[-5:]
    assert found[::-1] == best
    assert evaluations(studies[1]) < evaluations(studies[5]) < evaluations(everything)


class Always(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: Any) -> bool:
        return True


def test_the_studys_pruner_is_asked_from_half_on_and_no_part_is_returned() -> None:
    study = study_of(pruner=Always())
    study.optimize(fake_objective(), n_trials=2)
    for trial in study.trials:
        assert trial.state == TrialState.PRUNED
        assert len(losses_of(trial)) == 5
        assert max(trial.intermediate_values) == 5


class Diverging(FakeEvaluator):
    def _measure(self, arch: Any, on_eval: Any) -> Any:
        bad = quality(arch) < 0.4
        return math.inf if bad else -quality(arch), None, "diverged" if bad else "ok"


def test_what_diverged_ranks_last() -> None:
    objective = fake_objective(make_evaluator=Fake(kind=Diverging))
    study = study_of()
    study.optimize(objective, n_trials=1)
    truth = [quality(record.arch) for record in objective.archs]
    ranked = [0.0 if value < 0.4 else value for value in truth]
    assert 1 < ranked.count(0.0) < 9
    assert study.best_value == pytest.approx(stats.spearmanr(ranked, truth).statistic)
    assert json.loads(json.dumps(study.trials[0].user_attrs, allow_nan=False))


class AllDiverge(FakeEvaluator):
    def _measure(self, arch: Any, on_eval: Any) -> Any:
        return math.inf, None, "diverged"


def test_if_all_diverge_the_correlation_is_zero() -> None:
    study = study_of()
    study.optimize(fake_objective(make_evaluator=Fake(kind=AllDiverge)), n_trials=1)
    assert study.best_value == 0


class OutOfMemory(FakeEvaluator):
    def _measure(self, arch: Any, on_eval: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")


class Bug(FakeEvaluator):
    def _measure(self, arch: Any, on_eval: Any) -> Any:
        raise RuntimeError("a bug")


def test_memory_prunes_and_bugs_show() -> None:
    study = study_of()
    study.optimize(fake_objective(make_evaluator=Fake(kind=OutOfMemory)), n_trials=1)
    assert study.trials[0].state == TrialState.PRUNED
    with pytest.raises(RuntimeError, match="a bug"):
        study.optimize(fake_objective(make_evaluator=Fake(kind=Bug)), n_trials=1)


def test_a_task_is_never_trained_twice(tmp_path: Path) -> None:
    objective = fake_objective(make_evaluator=Fake(tmp_path / "log"), prune=False)
    study = study_of()
    params = objective.tasks.params(get_task("generic"))
    for _ in range(3):
        study.enqueue_trial(params)
    study.optimize(objective, n_trials=2)
    study.optimize(fake_objective(make_evaluator=Fake(tmp_path / "log")), n_trials=1)
    assert len((tmp_path / "log").read_text().splitlines()) == 10
    assert len({trial.value for trial in study.trials}) == 1
    assert [trained(trial) for trial in study.trials] == [10, 0, 0]


def test_fixed_trials_and_copies_give_the_same_value() -> None:
    objective = fake_objective()
    params = objective.tasks.params(get_task("generic"))
    study = study_of()
    study.enqueue_trial(params)
    study.optimize(pickle.loads(pickle.dumps(objective)), n_trials=1)
    assert objective(optuna.trial.FixedTrial(params)) == study.best_value


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    values = []
    for workers in (1, 2):
        objective = ProxyTaskObjective(SPACE, table(), n_archs=4, preset=TINY, workers=workers)
        study = study_of()
        search_task(objective, study, n_trials=3)
        values.append([(t.state, t.value, losses_of(t)) for t in study.trials])
    assert values[0] == values[1]


def test_global_random_state_is_left_alone(global_random_state_untouched: None) -> None:
    study = study_of(make_sampler("tpe", fake_objective().tasks, seed=0))
    search_task(fake_objective(), study, n_trials=12)


# The search -----------------------------------------------------------------------------------


def test_it_stops_where_it_is_told() -> None:
    study = study_of()
    seen: list[int] = []
    found = search_task(
        fake_objective(), study, n_trials=5, on_trial=lambda trial: seen.append(trial.number)
    )
    assert (found.stopped, found.n_trials, seen) == ("n_trials", 5, list(range(5)))
    found = search_task(fake_objective(), study, n_trials=5)
    assert found.n_trials == 5
    found = search_task(fake_objective(), study, n_evaluations=evaluations(study) + 1)
    assert (found.stopped, found.n_trials) == ("n_evaluations", 6)
    found = search_task(fake_objective(), study, patience=8)
    assert found.stopped == "patience"
    assert since_best(study) == found.n_trials - 1 - study.best_trial.number == 8
    found = search_task(fake_objective(), study, n_trials=1000, timeout=0)
    assert found.stopped == "timeout"


def test_a_timeout_without_a_result_is_explained() -> None:
    with pytest.raises(InvalidValueError, match="no trial was completed"):
        search_task(fake_objective(), study_of(), timeout=0)


def test_it_finds_what_matters() -> None:
    """The fake losses follow the truth the more, the wider stage 0 is."""
    study = study_of(make_sampler("tpe", fake_objective().tasks, seed=0))
    found = search_task(fake_objective(prune=False), study, n_trials=60)
    assert found.task.stages[0].channels == 1.5
    assert found.correlation.spearman == pytest.approx(1.0)
    weights = importances(study)
    assert next(iter(weights)) == "stage0_channels"
    assert sum(weights.values()) == pytest.approx(1.0)


def test_importances_need_trials() -> None:
    study = study_of()
    study.optimize(fake_objective(prune=False), n_trials=9)
    assert importances(study) == {}


def test_it_starts_from_the_tasks_given() -> None:
    study = study_of()
    objective = fake_objective()
    search_task(objective, study, n_trials=2, start=[get_task("generic")])
    assert objective.tasks.decode(study.trials[0].params) == get_task("generic")
    search_task(objective, study, n_trials=3, start=[get_task("generic")])
    assert objective.tasks.decode(study.trials[2].params) != get_task("generic")


def test_what_was_found_says_where_it_came_from(tmp_path: Path) -> None:
    objective = fake_objective()
    study = study_of()
    found = search_task(objective, study, n_trials=6)
    record = json.loads(json.dumps(found.provenance(), allow_nan=False))
    assert record["truth_digest"] == "0" * 64
    assert record["sampler"] == "RandomSampler"
    assert record["search"]["spearman"] == study.best_value
    assert [SPACE.parse(text).key for text in record["archs"]] == [
        trained.arch.key for trained in objective.archs
    ]
    found.task.save(tmp_path / "task.json")
    assert ProxyTask.load(tmp_path / "task.json").digest == record["task_digest"]
    assert top_tasks(objective, study, 2)[0] == found.task


def test_a_study_of_another_search_is_refused() -> None:
    study = study_of()
    search_task(fake_objective(), study, n_trials=1)
    for other in (
        fake_objective(n_archs=9),
        fake_objective(statistic="kendall"),
        fake_objective(seed=1),
        fake_objective(truth=table(digest="1" * 64)),
    ):
        with pytest.raises(InvalidValueError, match="is another search"):
            search_task(other, study, n_trials=2)


def test_a_study_that_minimises_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="maximize"):
        optuna.create_study().optimize(fake_objective(), n_trials=1)
    with pytest.raises(InvalidValueError, match="maximize"):
        search_task(fake_objective(), optuna.create_study(), n_trials=1)


# Stopped and gone on --------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("owner", "gone", "if_taken_over"),
    [
        ({"host": "elsewhere", "pid": 1}, False, True),
        ({"pid": os.getppid()}, False, False),
        ({"pid": os.getpid()}, True, True),  # of an earlier process that had this number
        ({}, True, True),
    ],
)
def test_only_trials_of_processes_that_are_gone_are_run_again(
    owner: dict[str, Any], gone: bool, if_taken_over: bool
) -> None:
    import socket

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for take_over, expected in ((False, gone), (True, if_taken_over)):
        study = study_of()
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        who = {"host": socket.gethostname(), "pid": ended.pid, "token": "t", **owner}
        trial.set_user_attr("gennas:process", who)
        assert requeue_stopped(study, take_over=take_over) == expected
        states = [other.state for other in study.trials]
        if expected:
            assert states == [TrialState.FAIL, TrialState.WAITING]
            assert study.ask().suggest_float("x", 0, 1) == study.trials[0].params["x"]
        else:
            assert states == [TrialState.RUNNING]


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
    before = load_study(place, "s").trials
    states = Counter(trial.state.name for trial in before)
    assert states == {"COMPLETE": 2, "RUNNING": 1}
    assert len(losses_of(before[2])) >= 4

    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    study = load_study(place, "s")
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


def test_a_missing_study_is_explained(tmp_path: Path) -> None:
    place = str(tmp_path / "s.journal")
    open_study(place, "there", optuna.samplers.RandomSampler, seed=0)
    with pytest.raises(UnknownNameError, match="there"):
        load_study(place, "their")


# Draws, ensembles -----------------------------------------------------------------------------


def test_draws_are_of_different_networks_and_apart() -> None:
    truth = table(30)
    doubled = replace(truth, records=truth.records + truth.records)
    search = draw_distinct(doubled, 12, seed=0, what="a")
    others = draw_distinct(doubled, 18, seed=0, what="b", without=search)
    assert len({record.arch.key for record in search + others}) == 30
    assert draw_distinct(doubled, 5, seed=0, what="a") == search[:5]
    assert draw_distinct(doubled, 12, seed=1, what="a") != search
    with pytest.raises(InvalidValueError, match="18 different networks for the b: 19"):
        draw_distinct(doubled, 19, seed=0, what="b", without=search)


def test_an_ensemble_is_the_mean_of_ranks() -> None:
    losses = [[0.1, 0.2, math.inf, math.inf], [9.0, 7.0, 8.0, 6.0]]
    assert mean_rank(losses) == [(1 + 4) / 2, (2 + 2) / 2, (3.5 + 3) / 2, (3.5 + 1) / 2]


def test_scores_of_others_are_kept(tmp_path: Path) -> None:
    make = Fake(tmp_path / "log")
    tasks = [get_task("generic"), replace(get_task("generic"), batch_size=8)]
    records = table().records[:5]
    first = score_tasks(tasks, make, records, cache=tmp_path / "scores")
    assert first == [[FakeEvaluator(task).loss(r.arch) for r in records] for task in tasks]
    assert score_tasks(tasks, make, records, cache=tmp_path / "scores") == first
    assert len((tmp_path / "log").read_text().splitlines()) == 10


# Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n_archs": 1}, "n_archs=1"),
        ({"n_archs": 41}, "40 different networks"),
        ({"statistic": "pearson"}, "statistic='pearson'"),
        ({"top": 0}, "top=0"),
        ({"workers": 0}, "workers=0"),
        ({"prune": 1}, "prune=1"),
        ({"seed": -1}, "seed=-1"),
        ({"archs": []}, "at least two"),
        ({"archs": [Trained(table()[0].arch, 1.0)] * 2}, "each network once"),
        ({"archs": [replace(r, truth=1.0) for r in table()[:3]]}, "nothing to rank"),
        ({"make_evaluator": None, "preset": "papre"}, "papre"),
        ({"make_evaluator": None, "steps": 0}, "steps=0"),
    ],
)
def test_bad_settings_are_explained(options: dict[str, Any], named: str) -> None:
    with pytest.raises(GenNASError, match=named):
        fake_objective(**options)


def test_a_table_of_another_space_is_explained() -> None:
    with pytest.raises(InvalidValueError, match="toy is a table of"):
        ProxyTaskObjective("nasbench101", table())


@pytest.mark.parametrize(
    ("limits", "named"),
    [({}, "give n_trials"), ({"n_trials": 0}, "n_trials=0"), ({"timeout": -1}, "timeout=-1")],
)
def test_bad_limits_are_explained(limits: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        search_task(fake_objective(), study_of(), **limits)


def test_no_warnings_under_a_plain_study() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = optuna.create_study(direction="maximize")
        study.optimize(fake_objective(), n_trials=12)
    assert study.best_value <= 1
