"""The objective of the proxy-task search, and the bound by which it ends trials early."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from scipy import stats
from task_search_helpers import (
    SPACE,
    Fake,
    FakeEvaluator,
    fake_objective,
    quality,
    study_of,
    table,
)

from gennas_optuna import GenNASEvaluator, Scale, get_space, get_task
from gennas_optuna._task_bound import upper_bound
from gennas_optuna._task_result import losses_of
from gennas_optuna._task_study import (
    evaluations,
    trained,
)
from gennas_optuna.benchmarks import GroundTruth, Trained
from gennas_optuna.samplers import make_sampler
from gennas_optuna.settings import Preset
from gennas_optuna.task_search import ProxyTaskObjective, search_task

TINY = Preset("tiny", steps=2, scale=Scale(width=4, depth=1))
STATISTICS = ("spearman", "kendall")


def scipy_correlation(a: Any, b: Any, statistic: str) -> float:
    if len(set(a)) == 1 or len(set(b)) == 1:
        return 0.0  # by the package's definition; SciPy says NaN
    function = stats.spearmanr if statistic == "spearman" else stats.kendalltau
    return float(function(a, b).statistic)


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


def test_the_best_and_the_worst_architectures_come_first() -> None:
    """For a table of errors the best has the least."""
    for higher in (True, False):
        objective = fake_objective(truth=table(higher_is_better=higher), n_archs=5)
        order = np.argsort(np.argsort(objective.goodness))
        assert order.tolist() == [4, 0, 3, 1, 2]
        sign = 1 if higher else -1
        assert objective.goodness == tuple(sign * quality(r.arch) for r in objective.archs)


def test_the_order_of_the_architectures_rules_bad_tasks_out_sooner() -> None:
    """Against evaluating the same ones in a random order, over tasks that rank badly."""
    truth = np.array(fake_objective(n_archs=12).goodness)
    rng = np.random.default_rng(0)

    def needed(order: Any, scores: Any) -> int:
        """How many are evaluated before 0.85 is out of reach."""
        known, true = scores[order].tolist(), truth[order].tolist()
        reach = (upper_bound(known[:k], true, "spearman") for k in range(2, 12))
        return next((k for k, most in enumerate(reach, start=2) if most <= 0.85), 12)

    own = random = 0
    for _ in range(40):
        scores = 0.4 * stats.zscore(truth) + rng.normal(size=12)
        own += needed(np.arange(12), scores)
        random += needed(rng.permutation(12), scores)
    assert own < 0.9 * random
