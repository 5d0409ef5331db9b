"""The proxy-task search: where it stops, what it finds, which input it refuses."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from task_search_helpers import (
    SPACE,
    Fake,
    FakeEvaluator,
    fake_objective,
    study_of,
    table,
)

from gennas_optuna import ProxyTask, get_task
from gennas_optuna._task_result import importances, mean_rank, score_tasks, top_tasks
from gennas_optuna._task_study import (
    evaluations,
    since_best,
)
from gennas_optuna.benchmarks import Trained
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.samplers import make_sampler
from gennas_optuna.settings import DEFAULT_PRESET, get_preset
from gennas_optuna.task_search import ProxyTaskObjective, draw_distinct, search_task

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


@pytest.mark.parametrize("plain", [False, True])
def test_a_study_of_another_search_is_refused(plain: bool) -> None:
    """Begun and gone on with by `search_task` or by Optuna alone."""

    def run(objective: ProxyTaskObjective, n_trials: int) -> None:
        if plain:
            study.optimize(objective, n_trials=n_trials)
        else:
            search_task(objective, study, n_trials=n_trials)

    study = study_of()
    run(fake_objective(), 1)
    for other in (
        fake_objective(n_archs=9),
        fake_objective(statistic="kendall"),
        fake_objective(seed=1),
        fake_objective(truth=table(digest="1" * 64)),
        fake_objective(archs=table().records[:10]),
    ):
        with pytest.raises(InvalidValueError, match="is another search"):
            run(other, 2)
    run(fake_objective(), 2)


def test_losses_of_an_unknown_search_are_not_taken() -> None:
    theirs, study = study_of(), study_of()
    search_task(fake_objective(), theirs, n_trials=1)
    study.add_trials(theirs.trials)
    with pytest.raises(InvalidValueError, match="does not tell of which search"):
        study.optimize(fake_objective(archs=table().records[:10]), n_trials=1)


def test_a_fixed_trial_is_evaluated_by_each_objective_anew() -> None:
    ours, other = fake_objective(), fake_objective(archs=table().records[:10])
    params = ours.tasks.params(get_task("generic"))
    trial = optuna.trial.FixedTrial(params)
    assert ours(trial) != other(trial) == other(optuna.trial.FixedTrial(params))


def test_conditions_name_the_steps_that_are_run() -> None:
    for steps in (None, 7):
        made = fake_objective(make_evaluator=None, steps=steps).conditions["steps"]
        assert made == (steps or get_preset(DEFAULT_PRESET).steps_for(SPACE.name))


def test_a_study_that_minimises_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="maximize"):
        optuna.create_study().optimize(fake_objective(), n_trials=1)
    with pytest.raises(InvalidValueError, match="maximize"):
        search_task(fake_objective(), optuna.create_study(), n_trials=1)


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
        ({"archs": 5}, "archs=5: give a list"),
        ({"archs": [5, 6]}, r"archs=\[5, 6\]: give a list of Trained"),
        ({"tasks": 5}, "tasks=5: give a ProxyTaskSpace"),
        ({"tasks": 0}, "tasks=0: give a ProxyTaskSpace"),
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
    [
        ({}, "give n_trials"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"n_trials": 1, "start": get_task("generic")}, "start=ProxyTask"),
        ({"n_trials": 1, "start": ["generic"]}, "task='generic': give a ProxyTask"),
    ],
)
def test_bad_limits_are_explained(limits: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        search_task(fake_objective(), study_of(), **limits)


def test_what_is_no_study_is_explained() -> None:
    with pytest.raises(InvalidValueError, match="study=5: give a Study"):
        search_task(fake_objective(), 5, n_trials=1)


def test_no_warnings_under_a_plain_study() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = optuna.create_study(direction="maximize")
        study.optimize(fake_objective(), n_trials=12)
    assert study.best_value <= 1
