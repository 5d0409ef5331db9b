"""The tuner, driven as NNI's dispatcher drives it: against Optuna's studies and mixed-up results."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest

pytest.importorskip("nni")

import yaml
from nni.tools.nnictl.algo_management import read_reg_meta_list, verify_algo_import

import nni_strategy
from gennas_optuna import GenNASObjective, get_space
from gennas_optuna.errors import GenNASError
from gennas_optuna.samplers import make_sampler
from gennas_optuna.settings import Preset
from gennas_optuna.spaces import Scale
from gennas_optuna.task_space import ProxyTaskSpace
from nni_strategy.searchspace import to_nni
from nni_strategy.tuner import OptunaTuner, OptunaTunerArguments

TINY = Preset("tiny", steps=1, batch_size=2, scale=Scale(width=4, depth=1))
SPACE = get_space("nasbench201")
JSON = to_nni(SPACE.distributions())


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def result(parameters: dict[str, Any], value: float, **more: Any) -> dict[str, Any]:
    """As the trial reports it."""
    reported = {"default": value, "key": SPACE.decode(parameters).key, "parameters": parameters}
    return through_json({**reported, **more})


def make_tuner(**arguments: Any) -> OptunaTuner:
    tuner = OptunaTuner(**{"seed": 0, **arguments})
    tuner.update_search_space(through_json(JSON))
    return tuner


def states(tuner: OptunaTuner) -> list[str]:
    return [trial.state.name for trial in tuner.study.trials]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "named"),
    [("tpe", True), ("tpe", False), ("nsga2", False), ("random", False), ("evolution", True)],
)  # without the space evolution has other moves
def test_same_architectures_as_the_study(sampler: str, named: bool) -> None:
    objective = GenNASObjective(SPACE, preset=TINY, seed=0)
    if sampler == "nsga2":
        own: Any = optuna.samplers.NSGAIISampler(population_size=5, seed=0)
    else:
        own = make_sampler(sampler, SPACE, seed=0, population=5)
    study = optuna.create_study(sampler=own, pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=20)

    arguments = {"space": "nasbench201"} if named else {}
    tuner = make_tuner(sampler=sampler, population=5, **arguments)
    for number in range(20):
        parameters = through_json(tuner.generate_parameters(number))
        score = objective.evaluator.evaluate(SPACE.decode(parameters))
        tuner.receive_trial_result(number, parameters, result(parameters, score.loss))
        tuner.trial_end(number, True)
    assert [t.params for t in tuner.study.trials] == [t.params for t in study.trials]
    assert [t.value for t in tuner.study.trials] == [t.value for t in study.trials]
    assert (
        tuner.study.best_trial.user_attrs["gennas:key"]
        == (study.best_trial.user_attrs["gennas:key"])
    )
    assert tuner.mispaired == 0


def test_mixed_up_results_are_put_right(caplog: pytest.LogCaptureFixture) -> None:
    tuner = make_tuner(sampler="random")
    a, b, c = tuner.generate_multiple_parameters([0, 1, 2])
    tuner.receive_trial_result(1, b, result(a, 10.0))
    tuner.receive_trial_result(2, c, result(b, 20.0))
    tuner.receive_trial_result(0, a, result(c, 30.0))
    pairs = [(trial.params, trial.value) for trial in tuner.study.trials]
    assert pairs == [(a, 10.0), (b, 20.0), (c, 30.0)]
    assert tuner.mispaired == 3
    assert "So far: 3" in caplog.text


def test_equal_proposals_get_a_result_each() -> None:
    tuner = OptunaTuner(sampler="random", seed=0)
    tuner.update_search_space({"x": {"_type": "choice", "_value": [1]}})
    for number in range(3):
        tuner.generate_parameters(number)
    for number, value in ((2, 0.5), (0, 0.25), (1, 0.125)):
        tuner.receive_trial_result(number, {"x": 1}, {"default": value, "parameters": {"x": 1}})
    assert sorted(t.value for t in tuner.study.trials) == [0.125, 0.25, 0.5]
    assert len(tuner.study.trials) == 3


def test_results_of_other_trials_are_taken_as_delivered() -> None:
    tuner = make_tuner(sampler="random", optimize_mode="maximize")
    a, b = tuner.generate_multiple_parameters([0, 1])
    tuner.receive_trial_result(1, b, 0.75)
    tuner.receive_trial_result(0, a, {"default": 0.5, "epochs": 3})
    assert [t.value for t in tuner.study.trials] == [0.5, 0.75]
    assert tuner.study.best_params == b


def test_divergence_counts_as_the_worst() -> None:
    tuner = make_tuner(sampler="tpe")
    for number, value in enumerate([math.inf, 3.0, 2.0]):
        parameters = tuner.generate_parameters(number)
        reported = json.loads(json.dumps(result(parameters, value)))  # NNI writes Infinity, too
        tuner.receive_trial_result(number, parameters, reported)
    assert tuner.study.best_value == 2.0
    assert states(tuner) == ["COMPLETE"] * 3


def test_a_failure_is_told_once_it_is_certain_whose_it_is() -> None:
    tuner = make_tuner(sampler="random")
    a, b = tuner.generate_multiple_parameters([0, 1])
    tuner.trial_end(0, False)  # NNI says a, but it may have been b
    assert states(tuner) == ["RUNNING", "RUNNING"]
    tuner.receive_trial_result(0, a, result(a, 1.0))
    assert states(tuner) == ["COMPLETE", "FAIL"]
    # Someone was wrong: its result comes after all.
    tuner.receive_trial_result(1, b, result(b, 2.0))
    assert states(tuner) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert tuner.study.trials[2].params == b
    tuner.generate_parameters(2)
    tuner.trial_end(2, False)
    assert states(tuner)[3] == "FAIL"


def test_nan_is_a_failure() -> None:
    tuner = make_tuner()
    parameters = tuner.generate_parameters(0)
    tuner.receive_trial_result(0, parameters, result(parameters, math.nan))
    assert states(tuner) == ["FAIL"]


def test_a_resumed_experiment_goes_on() -> None:
    first = make_tuner(sampler="tpe")
    tried = first.generate_multiple_parameters(list(range(4)))
    # As NNI 3.0 imports them: under the parameters of others, as text for values, one half done.
    data = [
        {"parameter": tried[(i + 1) % 4], "value": result(tried[i], float(i)), "trialJobId": "x"}
        for i in range(4)
    ]
    unknown = dict.fromkeys(JSON, "conv")
    foreign = [{"parameter": unknown, "value": 1.0}, {"parameter": tried[0], "value": None}]
    tuner = make_tuner(sampler="tpe")
    tuner.import_data([*data, *foreign])
    assert [(t.params, t.value) for t in tuner.study.trials] == [
        (params, float(i)) for i, params in enumerate(tried)
    ]
    assert tuner.mispaired == 4
    new = tuner.generate_parameters(9)
    assert new not in tried  # the same random numbers again would repeat the first one
    tuner.import_data([{"parameter": tried[0], "value": 7.0}])  # while a trial is running
    tuner.receive_trial_result(9, new, result(new, 5.0))
    assert [t.value for t in tuner.study.trials[4:]] == [5.0, 7.0]


def test_proxy_tasks_are_searched_too() -> None:
    tasks = ProxyTaskSpace.of(SPACE)
    tuner = OptunaTuner(
        "evolution", optimize_mode="maximize", seed=0, space="nasbench201", search="task"
    )
    tuner.update_search_space(through_json(to_nni(tasks.distributions())))
    for number in range(3):
        tasks.decode(tuner.generate_parameters(number))


def test_any_search_space_of_nni() -> None:
    tuner = OptunaTuner(seed=0)
    tuner.update_search_space(
        {
            "lr": {"_type": "loguniform", "_value": [1e-4, 0.1]},
            "batch": {"_type": "choice", "_value": [32, 64]},
            "drop": {"_type": "quniform", "_value": [0, 0.5, 0.1]},
        }
    )
    for number in range(15):
        p = tuner.generate_parameters(number)
        assert 1e-4 <= p["lr"] <= 0.1
        assert p["batch"] in (32, 64)
        tuner.receive_trial_result(number, p, p["lr"])
    assert tuner.study.best_value == min(t.params["lr"] for t in tuner.study.trials)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "tpee"}, "sampler='tpee': choose one of tpe, evolution"),
        ({"sampler": 3}, "sampler=3: choose one of"),
        ({"optimize_mode": "max"}, "optimize_mode='max': choose one of minimize, maximize"),
        ({"seed": -1}, "seed=-1: give a whole number"),
        ({"seed": "0"}, "seed='0': give a whole number"),
        ({"population": 1}, "population=1"),
        ({"space": "nasbench2"}, "unknown search space 'nasbench2': choose one of"),
        ({"space": "nasbench201", "form": "x"}, "unknown form of nasbench201 'x'"),
        ({"space": "nasbench201", "search": "both"}, "search='both'"),
        ({"space": "nasbench201", "search": "task", "task_space": "x"}, "form='x'"),
        ({"search": "task"}, "go with space"),
        ({"samplr": "tpe"}, "unknown key 'samplr'.*did you mean 'sampler'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(GenNASError, match=message):
        OptunaTuner(**arguments)
    with pytest.raises(GenNASError, match=message):
        OptunaTunerArguments().validate_class_args(**arguments)


def test_wrong_search_spaces() -> None:
    with pytest.raises(GenNASError, match=r"'op_0_1' is .* but .* in the space 'nasbench201'"):
        OptunaTuner(space="nasbench201").update_search_space(
            {**JSON, "op_0_1": {"_type": "choice", "_value": ["none"]}}
        )
    with pytest.raises(GenNASError, match="'more' is"):
        OptunaTuner(space="nasbench201").update_search_space({**JSON, "more": {}})
    with pytest.raises(GenNASError, match="choose _type from"):
        OptunaTuner().update_search_space({"x": {"_type": "normal", "_value": [0, 1]}})


@pytest.mark.parametrize(
    ("reported", "message"),
    [
        ("0.5", "a trial reported '0.5'"),
        (True, "a trial reported True"),
        ({"accuracy": 0.5}, "a number, or a mapping with one under 'default'"),
        ({"error": "no such space"}, "trials cannot run: no such space"),
        ({"default": 0.5, "optimize_mode": "maximize"}, "results are to maximize"),
    ],
)
def test_wrong_results(reported: Any, message: str) -> None:
    tuner = make_tuner()
    parameters = tuner.generate_parameters(0)
    with pytest.raises(GenNASError, match=message):
        tuner.receive_trial_result(0, parameters, reported)


def test_nni_can_register_it() -> None:
    path = Path(nni_strategy.__file__).with_name("meta.yml")
    (meta,) = read_reg_meta_list(str(path))
    assert (meta.name, meta.algo_type) == ("OptunaTuner", "tuner")
    verify_algo_import(meta)
    assert yaml.safe_load(path.read_text())["classArgsValidator"].endswith("OptunaTunerArguments")
