"""The NAS evaluator and strategy, under NNI's sequential engine and alone."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from torch import nn

pytest.importorskip("nni")
pytest.importorskip("pytorch_lightning")

from gennas_optuna import GenNASError, get_task, score
from gennas_optuna.errors import InvalidValueError, MissingFileError
from nni_strategy._nas_identity import ModelResult, sample_key
from nni_strategy._nas_taps import StageEnds, hub_taps
from nni_strategy.evaluator import GenNASEvaluator, best_models
from nni_strategy.strategy import OptunaStrategy

# isort: split
import nni
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.hub import pytorch as hub
from nni.nas.nn.pytorch import LayerChoice, ModelSpace, MutableConv2d
from nni.nas.space import SimplifiedModelSpace, model_context
from nni.nas.strategy import RegularizedEvolution
from numpy.random import RandomState

ROOT = Path(__file__).parents[1]

# NNI forgets to close its log.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


class Custom(ModelSpace):
    """Small, with a choice of layers and of a kernel size, and weights that nothing redraws."""

    def __init__(self) -> None:
        super().__init__()
        kernel = nni.choice("kernel", [1, 3])
        self.first = MutableConv2d(3, 4, kernel, padding=kernel // 2)
        pools = {"max": nn.MaxPool2d(2), "average": nn.AvgPool2d(2)}
        self.second = nn.Sequential(LayerChoice(pools, label="pool"), nn.ReLU(inplace=True))
        self.third = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.Dropout(0.5))
        self.shift = nn.Parameter(torch.randn(8, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(self.second(self.first(x))) + self.shift


TAPS = ["first", "second", "third"]


def nasbench201() -> Any:
    return hub.NasBench201(stem_out_channels=4, num_modules_per_stack=1)


def darts() -> Any:
    return hub.DARTS(width=4, num_cells=3, dataset="cifar")


def frozen(space: Any, seed: int = 0) -> Any:
    """A random model of the space, as the training would get it."""
    return SimplifiedModelSpace.from_model(space).random(random_state=RandomState(seed))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Runs an experiment under the sequential engine; it is stopped in any case."""
    monkeypatch.setenv("HOME", str(tmp_path))
    started: list[Any] = []

    def start(space: Any, evaluator: Any, strategy: Any, count: int = 3) -> Any:
        config = NasExperimentConfig("sequential", "simplified", "local")
        config.max_trial_number = count
        config.experiment_working_directory = str(tmp_path / "nni")
        experiment = NasExperiment(space, evaluator, strategy, config)
        started.append(experiment)
        experiment.run()
        return experiment

    yield start
    for experiment in started:
        experiment.stop()


# Taps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "paths"),
    [
        (hub.NasBench201(4, 2), ("cells.1", "cells.4", "cells.7")),
        (hub.NasBench101(8, 3, 2), ("features.1", "features.4", "features.7")),
        (darts(), ("stages.0", "stages.1", "stages.2")),
        (hub.ENAS(width=4, num_cells=3), ("stages.0", "stages.1", "stages.2")),
        (hub.MobileNetV3Space(base_widths=(8,) * 9), ("blocks.2", "blocks.4", "blocks.5")),
        (hub.ProxylessNAS(base_widths=(8,) * 9), ("blocks.2", "blocks.4", "blocks.6")),
        (hub.ShuffleNetSpace(), ("features.7", "features.15", "features.19")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_stage_ends_of_hub_spaces(space: Any, paths: tuple[str, ...]) -> None:
    default = SimplifiedModelSpace.from_model(space).default()
    assert hub_taps(default.executable_model(), 3) == paths


def test_taps_are_the_maps_between_stages() -> None:
    x = torch.randn(2, 3, 16, 16)
    model = frozen(nasbench201()).executable_model()
    feature, wanted = model.stem(x), []
    for i, cell in enumerate(model.cells):
        feature = cell(feature)
        wanted += [feature] if i in (0, 2, 4) else []
    for got, want in zip(StageEnds(model, hub_taps(model, 3))(x), wanted, strict=True):
        assert torch.equal(got, want)

    model = frozen(darts()).executable_model()
    previous = current = model.stem(x)
    for i, tap in enumerate(StageEnds(model, hub_taps(model, 3))(x)):
        previous, current = model.stages[i]([previous, current])
        assert torch.equal(tap, current)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_tap_is_not_changed_by_what_follows_in_place() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(StageEnds(model, ["0", "2"])(x)[0], model[0](x))


# One model --------------------------------------------------------------------------------------


def test_loss_depends_on_architecture_and_seed_alone(global_random_state_untouched: None) -> None:
    with torch.random.fork_rng():
        one, same, other = (frozen(nasbench201(), seed).executable_model() for seed in (0, 0, 1))
    assert not torch.equal(one.stem[0].weight, same.stem[0].weight)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    evaluator = GenNASEvaluator(steps=2)
    score = evaluator.evaluate(one)
    assert math.isfinite(score.loss)
    assert GenNASEvaluator(steps=2).evaluate(same).loss == score.loss
    assert evaluator.score(other).loss != score.loss
    assert GenNASEvaluator(steps=2, seed=1).score(one).loss != score.loss
    assert one.training
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())
    assert not evaluator.results  # nothing is reported outside of NNI


def test_a_model_is_built_from_a_seed() -> None:
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        evaluator = GenNASEvaluator(steps=1, taps=TAPS)
        model = SimplifiedModelSpace.from_model(Custom(), evaluator)
        losses.append(model.freeze({"kernel": 3, "pool": "max"}).execute().loss)
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("preset", "steps"), [("paper", 100), ("balanced", 40), ("fast", 25)])
def test_presets_are_those_of_the_package(preset: str, steps: int) -> None:
    model = frozen(nasbench201()).executable_model()
    evaluator = GenNASEvaluator(preset=preset)
    assert f"preset={preset}, steps={steps}" in evaluator.extra_repr()
    shown = nni.load(nni.dump(evaluator)).extra_repr()
    assert shown == evaluator.extra_repr()
    if preset == "balanced":
        assert GenNASEvaluator().extra_repr() == shown
    # With the default task rounding grows a hundredfold a step in so narrow a network.
    for more in ({"steps": 3}, {"steps": 10, "task": "generic"}):
        settings: dict[str, Any] = {"preset": preset, **more}
        alone = score(model, taps=hub_taps(model, 3), verbose=False, **settings)
        # The size that counts is that up to the last tap here, and of the whole module there.
        close = pytest.approx(alone.loss, rel=1e-4)
        assert GenNASEvaluator(**settings).score(model).loss == close


def test_a_task_by_the_name_of_a_space_has_its_stages() -> None:
    with pytest.raises(InvalidValueError, match="give 3 module paths"):
        GenNASEvaluator("nasbench101", taps=["first"])


def test_bad_arguments_are_named() -> None:
    model = frozen(Custom()).executable_model()
    with pytest.raises(InvalidValueError, match="Custom is not a space of NNI's hub"):
        GenNASEvaluator(steps=1).evaluate(model)
    with pytest.raises(InvalidValueError, match=r"no module 'fourth'.*first, second, third"):
        GenNASEvaluator(steps=1, taps=["first", "second", "fourth"]).evaluate(model)
    with pytest.raises(InvalidValueError, match="give 3 module paths"):
        GenNASEvaluator(taps=["first"])
    with pytest.raises(InvalidValueError, match="stands twice"):
        GenNASEvaluator(taps=["first", "first", "second"])
    with pytest.raises(GenNASError, match="input_size=3"):
        GenNASEvaluator(input_size=3)
    with pytest.raises(GenNASError, match="unknown preset 'fastest'"):
        GenNASEvaluator(preset="fastest")
    with pytest.raises(GenNASError, match="steps=0"):
        GenNASEvaluator(steps=0)
    with pytest.raises(GenNASError, match="model='x'"):
        GenNASEvaluator(steps=1).evaluate("x")
    with pytest.raises(GenNASError, match=r"'annealing'.*tpe, evolution, random"):
        OptunaStrategy("annealing")
    with pytest.raises(GenNASError, match="maximize"):
        OptunaStrategy(study=optuna.create_study())


def test_settings_survive_nnis_serialization() -> None:
    task = replace(get_task("generic"), batch_size=4)
    evaluator = GenNASEvaluator(task, steps=3, taps=TAPS, seed=5)
    model = SimplifiedModelSpace.from_model(Custom(), evaluator).default()
    loaded = nni.load(nni.dump(model))
    assert loaded.sample == model.sample
    assert loaded.evaluator.taps == tuple(TAPS)
    assert loaded.execute().loss == model.execute().loss


def test_without_nni_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nni_strategy._nas_import")
    monkeypatch.setitem(sys.modules, "nni.nas.nn.pytorch", None)
    with pytest.raises(MissingFileError, match=r"gennas-optuna\[nni-nas\]"):
        importlib.import_module("nni_strategy._nas_import")


# Results ----------------------------------------------------------------------------------------


def test_a_result_carries_its_model() -> None:
    result = ModelResult({"b": [1], "a": "x"}, 0.5, "ok", 10, 20, 0.1)
    metric = nni.load(nni.dump(result.to_metric()))
    assert metric["default"] == -0.5
    assert ModelResult.from_metric(metric) == result
    assert metric["key"] == sample_key({"a": "x", "b": (1,)})
    assert ModelResult.from_metric({**metric, "sample": {"a": "y"}}) is None
    assert ModelResult.from_metric(-0.5) is None
    assert ModelResult.from_metric({"default": 1, "key": "k"}) is None


@pytest.mark.slow
@pytest.mark.parametrize(("space", "taps"), [(nasbench201, None), (darts, None), (Custom, TAPS)])
def test_sequential_experiment(run: Callable[..., Any], space: Any, taps: Any) -> None:
    evaluator = GenNASEvaluator(steps=2, taps=taps)
    strategy = OptunaStrategy(seed=1)
    experiment = run(space(), evaluator, strategy)
    ranking = best_models(experiment)
    assert len({result.key for result in ranking}) == 3
    assert [r.loss for r in ranking] == sorted(r.loss for r in ranking)
    assert {-r.loss for r in ranking} == {trial.value for trial in strategy.study.trials}
    best = experiment.export_top_models(1)[0]
    assert (best.sample, best.metric) == (ranking[0].sample, -ranking[0].loss)
    assert best_models(experiment, top_k=1) == ranking[:1]
    if space is not Custom:  # its parameter `shift` has the values that it is built with
        for result in ranking:
            with model_context(result.sample):
                model = space()
            again = GenNASEvaluator(steps=2, taps=taps).score(model)
            assert (again.loss, again.params, again.flops) == (
                result.loss,
                result.params,
                result.flops,
            )


@pytest.mark.slow
def test_strategies_of_nni_and_divergence(run: Callable[..., Any]) -> None:
    generic = get_task("generic")
    fast = replace(generic, optimizer=replace(generic.optimizer, lr=1e30))
    strategy = RegularizedEvolution(population_size=2, sample_size=2, seed=0)
    experiment = run(Custom(), GenNASEvaluator(fast, steps=2, taps=TAPS), strategy)
    ranking = best_models(experiment)
    assert len(ranking) == 3
    assert {(result.loss, result.status) for result in ranking} == {(math.inf, "diverged")}


def test_nothing_to_rank(run: Callable[..., Any]) -> None:
    def zero(model: Any) -> None:
        nni.report_final_result(0.0)

    experiment = run(Custom(), FunctionalEvaluator(zero), OptunaStrategy(), count=1)
    with pytest.raises(InvalidValueError, match="no results"):
        best_models(experiment)


# Strategy ---------------------------------------------------------------------------------------


def value_of(sample: dict[str, Any]) -> float:
    return sum(len(str(op)) * (i + 1) for i, op in enumerate(sample.values())) % 17


def report_value(model: Any) -> None:
    nni.report_final_result(value_of(nni.get_current_parameter().sample))


def test_the_same_search_as_a_plain_study(run: Callable[..., Any]) -> None:
    space = nasbench201()
    strategy = OptunaStrategy("tpe", seed=3)
    run(space, FunctionalEvaluator(report_value), strategy, count=20)

    def objective(trial: optuna.Trial) -> float:
        return value_of(
            {k: trial.suggest_categorical(k, v.values) for k, v in space.simplify().items()}
        )

    plain = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=3))
    plain.optimize(objective, n_trials=len(strategy.study.trials))
    assert [t.params for t in strategy.study.trials] == [t.params for t in plain.trials]
    assert [t.value for t in strategy.study.trials] == [t.value for t in plain.trials]


@pytest.mark.parametrize("sampler", ["tpe", "evolution", "random"])
def test_a_small_space_is_exhausted(run: Callable[..., Any], sampler: str) -> None:
    strategy = OptunaStrategy(sampler, patience=100)
    run(Custom(), FunctionalEvaluator(report_value), strategy, count=50)
    models = list(strategy.list_models(sort=False))
    assert {sample_key(m.sample) for m in models} == {
        sample_key({"kernel": kernel, "pool": pool})
        for kernel in (1, 3)
        for pool in ("max", "average")
    }
    assert len(models) == 4


def test_constraints_are_kept(run: Callable[..., Any]) -> None:
    strategy = OptunaStrategy("random")
    evaluator = FunctionalEvaluator(lambda model: nni.report_final_result(0.0))
    run(hub.NasBench101(4, 3, 1), evaluator, strategy, count=3)
    assert len(list(strategy.list_models())) == 3
    failed = strategy.study.get_trials(states=(optuna.trial.TrialState.FAIL,))
    assert all(trial.user_attrs["nni:invalid"] for trial in failed)


# Examples ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("example", sorted((ROOT / "examples" / "nni").glob("nas_*.py")), ids=str)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, example],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    losses = [float(line.split()[1]) for line in done.stdout.splitlines() if line[:4] == "loss"]
    assert len(losses) >= 4
    assert losses == sorted(losses)
