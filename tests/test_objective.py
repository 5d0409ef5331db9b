"""The Optuna side, on real studies."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable

import optuna
import pytest
from optuna.trial import TrialState
from plain_modules import Stages

from gennas_optuna import (
    GenNASObjective,
    RegularizedEvolutionSampler,
    Scale,
    get_space,
    with_score,
)
from gennas_optuna.errors import GenNASError
from gennas_optuna.samplers import make_sampler
from gennas_optuna.settings import Preset

SPACE = get_space("nasbench201")
MIXED = pytest.mark.filterwarnings("ignore:study .* was scored in another space or with other")
TINY = Preset("tiny", steps=2, scale=Scale(width=4, depth=1))


def tiny(**options) -> GenNASObjective:
    return GenNASObjective(SPACE, **{"preset": TINY, **options})


def params(code: str) -> dict:
    return SPACE.params(SPACE.parse(code))


def test_trials_carry_their_architecture() -> None:
    objective = tiny()
    study = optuna.create_study()
    study.enqueue_trial(params("334131"))
    study.optimize(objective, n_trials=1)
    trial = study.trials[0]
    arch = SPACE.parse("334131")
    assert trial.user_attrs["gennas:arch"] == str(arch)
    assert trial.user_attrs["gennas:key"] == arch.key
    assert trial.user_attrs["gennas:task"] == objective.evaluator.identity(SPACE)
    assert trial.user_attrs["gennas:seconds"] >= 0
    assert trial.value == tiny().evaluator.evaluate(arch).loss
    assert sorted(trial.intermediate_values) == [1, 2]


def test_fixed_and_frozen_trials_work() -> None:
    objective = tiny()
    fixed = optuna.trial.FixedTrial(params("334131"))
    study = optuna.create_study()
    study.enqueue_trial(params("334131"))
    study.optimize(objective, n_trials=1)
    assert objective(fixed) == objective(study.trials[0]) == study.trials[0].value


@pytest.mark.parametrize("duplicates", ["cached", "prune", "evaluate"])
def test_duplicates(duplicates: str) -> None:
    objective = tiny(duplicates=duplicates)
    study = optuna.create_study()
    for code in ("000300", "300300", "333333"):  # the first two are one network
        study.enqueue_trial(params(code))
    study.optimize(objective, n_trials=3)
    first, second, third = study.trials
    assert third.state == TrialState.COMPLETE
    if duplicates == "prune":
        assert second.state == TrialState.PRUNED
    else:
        assert second.value == first.value
    expected = None if duplicates == "evaluate" else 0
    assert second.user_attrs.get("gennas:duplicate_of") == expected


class Prune(optuna.pruners.BasePruner):
    """Whatever it is asked about."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return True


@MIXED
def test_what_is_finished_is_not_pruned() -> None:
    study = optuna.create_study(pruner=Prune())
    study.optimize(tiny(report_steps=[2]), n_trials=1)
    assert study.trials[0].state == TrialState.COMPLETE
    study.optimize(tiny(report_steps=[1], seed=1), n_trials=1)
    assert study.trials[1].state == TrialState.PRUNED


@MIXED
def test_networks_of_other_spaces_and_forms_are_no_duplicates() -> None:
    """Their keys may be equal: of these two they are."""
    study = optuna.create_study()
    for space in (get_space("nasbench201"), get_space("nasbench201", form="benchmark")):
        study.enqueue_trial(params("334131"))
        study.optimize(GenNASObjective(space, preset=TINY), n_trials=1)
    first, second = study.trials
    assert first.user_attrs["gennas:key"] == second.user_attrs["gennas:key"]
    assert "gennas:duplicate_of" not in second.user_attrs
    assert first.value != second.value


@pytest.mark.parametrize("objective", [tiny(), with_score(lambda trial: Stages(), steps=2)])
def test_no_study_keeps_the_worst(objective: Callable[[optuna.Trial], float]) -> None:
    """One that maximises losses would, and its pruner would prune the best."""
    study = optuna.create_study(direction="maximize")
    with pytest.raises(GenNASError, match=r"directions maximize; this search minimises loss"):
        study.optimize(objective, n_trials=1)
    turned = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    turned.optimize(lambda trial: -objective(trial), n_trials=1)
    assert turned.best_value < 0


def test_losses_that_do_not_compare_are_told() -> None:
    study = optuna.create_study()
    study.optimize(tiny(), n_trials=1)
    with pytest.warns(UserWarning, match=r"trial 0 was scored .*with other settings") as told:
        study.optimize(tiny(seed=1), n_trials=2)
    assert len(told) == 1


@MIXED
def test_duplicates_are_looked_up_in_the_study_of_another_process() -> None:
    """A fresh objective has an empty cache, but the storage knows."""
    study = optuna.create_study()
    for code in ("000300", "300300"):
        study.enqueue_trial(params(code))
    study.optimize(tiny(), n_trials=1)
    study.optimize(tiny(), n_trials=1)
    assert study.trials[1].user_attrs["gennas:duplicate_of"] == 0
    other = tiny(seed=1)
    study.enqueue_trial(params("000300"))
    study.optimize(other, n_trials=1)
    assert "gennas:duplicate_of" not in study.trials[2].user_attrs
    assert study.trials[2].value != study.trials[0].value


def test_the_studys_pruner_prunes() -> None:
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0))
    study.optimize(tiny(), n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED] * 2


def test_several_objectives_report_nothing_and_prune_nothing() -> None:
    objective = tiny(extra_objectives=("flops", "params"))
    study = optuna.create_study(directions=objective.directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(objective.metric_names)
    study.enqueue_trial(params("111111"))
    study.optimize(objective, n_trials=2)
    assert study.metric_names == ["loss", "flops", "params"]
    # Facts of the network without convolutions in its cells, at the paper's size.
    assert study.trials[0].values[1:] == [7_782_400, 72_528]


def test_out_of_memory_prunes_and_bugs_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = tiny()
    study = optuna.create_study()

    def fail_with(error: Exception) -> None:
        def evaluate(*args: object, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(objective.evaluator, "evaluate", evaluate)

    fail_with(
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: not enough memory")
    )
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state == TrialState.PRUNED
    fail_with(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        study.optimize(objective, n_trials=1)
    assert study.trials[1].state == TrialState.FAIL


def test_divergence_gives_infinity() -> None:
    task = tiny().evaluator.task_for(SPACE).to_dict()
    task["optimizer"] = {"lr": 1e30}
    objective = tiny(task=type(tiny().evaluator.task_for(SPACE)).from_dict(task), steps=10)
    study = optuna.create_study()
    study.enqueue_trial(params("334131"))
    study.optimize(objective, n_trials=1)
    assert study.trials[0].value == math.inf


@pytest.mark.slow
def test_a_study_with_two_threads_finds_the_same_losses() -> None:
    one, two = optuna.create_study(), optuna.create_study()
    for code in ("421211", "334131", "000444", "111111", "300000", "333333"):
        one.enqueue_trial(params(code))
        two.enqueue_trial(params(code))
    one.optimize(tiny(), n_trials=6)
    two.optimize(tiny(), n_trials=6, n_jobs=2)

    def by_key(study: optuna.Study) -> dict[str, float | None]:
        return {
            t.user_attrs["gennas:key"]: t.value
            for t in study.get_trials(states=(TrialState.COMPLETE,))
        }

    shared = by_key(one).keys() & by_key(two).keys()
    assert len(shared) >= 4
    assert all(by_key(one)[key] == by_key(two)[key] for key in shared)


@pytest.mark.slow
def test_the_ready_made_objective_in_a_plain_study() -> None:
    """The one line a newcomer types first."""
    program = (
        "import optuna; from gennas_optuna import gennas_objective; "
        "s = optuna.create_study(); s.optimize(gennas_objective, n_trials=1); print(len(s.trials))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"duplicates": "drop"}, "duplicates"),
        ({"report_steps": 5}, "report_steps"),
        ({"extra_objectives": 5}, "extra_objectives"),
        ({"extra_objectives": ("latencies",)}, "extra_objectives"),
        ({"task": "nothing"}, "nothing"),
    ],
)
def test_bad_settings_are_named(options: dict, named: str) -> None:
    with pytest.raises(GenNASError, match=named):
        tiny(**options)


@pytest.mark.parametrize("space", [42, None, SPACE.parse("334131")])
def test_what_is_no_space_is_refused(space) -> None:
    with pytest.raises(GenNASError, match="give a SearchSpace"):
        GenNASObjective(space)


class TestRegularizedEvolution:
    def counting(self, trial: optuna.Trial) -> float:
        """Number of operations that are no 3x3 convolution: 0 is best."""
        return sum(op != 3 for op in SPACE.suggest(trial).code)  # type: ignore[union-attr]

    def sampler(self, **options) -> RegularizedEvolutionSampler:
        settings = {"population_size": 20, "tournament_size": 5, "seed": 0}
        return RegularizedEvolutionSampler(SPACE, **{**settings, **options})

    def test_it_finds_what_random_search_does_not(self) -> None:
        def best(sampler: optuna.samplers.BaseSampler) -> float:
            study = optuna.create_study(sampler=sampler)
            study.optimize(self.counting, n_trials=150)
            return study.best_value

        evolution = [best(self.sampler(seed=seed)) for seed in range(3)]
        random = [best(optuna.samplers.RandomSampler(seed=seed)) for seed in range(3)]
        assert sum(evolution) < sum(random)
        assert min(evolution) == 0

    def test_a_child_differs_from_a_member_of_the_population_by_a_mutation(self) -> None:
        study = optuna.create_study(sampler=self.sampler(population_size=5, tournament_size=5))
        study.optimize(self.counting, n_trials=40)
        for trial in study.trials[5:]:
            population = study.trials[trial.number - 5 : trial.number]
            parent = min(population, key=lambda t: t.value)
            changed = sum(trial.params[k] != v for k, v in parent.params.items())
            assert changed <= 5  # six of six would be a redraw of the whole cell

    def test_a_resumed_study_goes_on_as_if_it_had_not_stopped(self) -> None:
        def codes(*parts: int) -> list[dict]:
            storage = optuna.storages.InMemoryStorage()
            for n in parts:
                study = optuna.create_study(
                    storage=storage, study_name="s", load_if_exists=True, sampler=self.sampler()
                )
                study.optimize(self.counting, n_trials=n)
            return [trial.params for trial in study.trials]

        assert codes(40) == codes(25, 15)

    def test_it_searches_any_objective_without_a_space(self) -> None:
        def objective(trial: optuna.Trial) -> float:
            x = trial.suggest_float("x", -10, 10)
            n = trial.suggest_int("n", 0, 20)
            kind = trial.suggest_categorical("kind", ["a", "b"])
            return -((x - 1) ** 2) - (n - 7) ** 2 - (kind == "a")

        sampler = RegularizedEvolutionSampler(population_size=20, tournament_size=5, seed=0)
        study = optuna.create_study(sampler=sampler, direction="maximize")
        study.optimize(objective, n_trials=200)
        assert study.best_value > -2

    def test_it_refuses_several_objectives(self) -> None:
        study = optuna.create_study(directions=["minimize"] * 2, sampler=self.sampler())
        with pytest.raises(GenNASError, match="one objective"):
            study.ask(SPACE.distributions())

    def test_bad_sizes_are_refused(self) -> None:
        with pytest.raises(GenNASError, match="tournament_size"):
            RegularizedEvolutionSampler(population_size=5, tournament_size=6)

    def test_samplers_by_name(self) -> None:
        assert isinstance(make_sampler("tpe", SPACE, seed=0), optuna.samplers.TPESampler)
        with pytest.raises(GenNASError, match="evolution"):
            make_sampler("evolve", SPACE, seed=0)

    def test_it_can_be_pickled(self) -> None:
        again = pickle.loads(pickle.dumps(self.sampler()))
        assert again.population_size == 20
