"""The Optuna strategy by itself: what it makes of a model space and of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest

pytest.importorskip("nni")
pytest.importorskip("pytorch_lightning")

from gennas_optuna.errors import InvalidValueError
from nni_strategy._nas_identity import ModelResult, sample_key
from nni_strategy._nas_search import SampleCodec
from nni_strategy.strategy import OptunaStrategy

# isort: split
from nni.mutable import Categorical, CategoricalMultiple, MutableDict, Numerical
from nni.nas.execution.event import FinalMetricEvent
from nni.nas.hub.pytorch import NasBench201
from nni.nas.space import SimplifiedModelSpace


def nasbench201() -> Any:
    return NasBench201(stem_out_channels=4, num_modules_per_stack=1)


def value_of(sample: dict[str, Any]) -> float:
    return sum(len(op) * (i + 1) for i, op in enumerate(sample.values())) % 17


class Engine:
    """Evaluates models two at a time, and delivers their results to each other."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.pair: list[Any] = []
        self.callbacks: list[Callable[[Any], None]] = []

    def register_model_event_callback(self, kind: Any, callback: Any) -> None:
        self.callbacks.append(callback)

    def unregister_model_event_callback(self, kind: Any, callback: Any) -> None:
        self.callbacks.remove(callback)

    def idle_worker_available(self) -> bool:
        return True

    def budget_available(self) -> bool:
        return self.budget > 0

    def submit_models(self, model: Any) -> None:
        self.budget -= 1
        self.pair.append(model)
        if len(self.pair) == 2:
            for one, other in (self.pair, self.pair[::-1]):
                result = ModelResult(one.sample, value_of(one.sample), "ok", 1, 1, 0.0)
                event = FinalMetricEvent(other, result.to_metric())
                for callback in self.callbacks:
                    callback(event)
                if not event._default_canceled:  # what NNI's engines do
                    other.metrics.final = event.metric
            self.pair = []

    def wait_models(self) -> None:
        pass


def test_results_under_another_model_are_put_right() -> None:
    strategy = OptunaStrategy("random", seed=0)
    strategy(SimplifiedModelSpace.from_model(nasbench201()), Engine(6))
    assert strategy.misfiled == 6
    models = list(strategy.list_models())
    assert len(models) == 6
    assert all(model.metric == -value_of(model.sample) for model in models)
    assert [m.metric for m in models] == sorted((m.metric for m in models), reverse=True)
    assert all(trial.value == -value_of(trial.params) for trial in strategy.study.trials)


def test_a_model_without_result_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nni_strategy.strategy._GRACE", 0.1)
    strategy = OptunaStrategy("random", seed=0)
    strategy(SimplifiedModelSpace.from_model(nasbench201()), Engine(3))
    states = [trial.state.name for trial in strategy.study.trials]
    assert states == ["COMPLETE", "COMPLETE", "FAIL"]


def test_resumed_it_knows_what_it_had() -> None:
    first = OptunaStrategy("random", seed=0)
    first(SimplifiedModelSpace.from_model(nasbench201()), Engine(4))
    resumed, engine = OptunaStrategy("random", seed=0), Engine(4)
    resumed.initialize(SimplifiedModelSpace.from_model(nasbench201()), engine)
    resumed.load_state_dict(first.state_dict())
    resumed.run()
    assert len(resumed.study.trials) >= 8
    old = {sample_key(model.sample) for model in first.list_models()}
    assert not old & {sample_key(model.sample) for model in resumed.list_models()}

    again = OptunaStrategy(study=resumed.study)
    again(SimplifiedModelSpace.from_model(nasbench201()), Engine(2))
    assert all(sample_key(model.sample) not in old for model in again.list_models())


@pytest.mark.parametrize(
    "mutable",
    [
        Categorical(["a", "b"], label="x"),
        Categorical([(1, 2), (3, 4)], label="x"),
        CategoricalMultiple(range(5), label="x"),
        CategoricalMultiple(range(5), n_chosen=2, label="x"),
        CategoricalMultiple(range(20), n_chosen=10, label="x"),
        Numerical(0, 1, label="x"),
        Numerical(1e-4, 1e-1, log_distributed=True, label="x"),
        Numerical(0, 10, quantize=2.5, label="x"),
        Numerical(mu=0, sigma=2, low=-1, high=1, label="x"),
        Numerical(mu=0, sigma=1, log_distributed=True, label="x"),
    ],
    ids=str,
)
def test_every_kind_of_choice_is_covered(mutable: Any) -> None:
    codec = SampleCodec({"x": mutable})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(500):
        sample = codec.decode(study.ask(codec.distributions).params)
        mutable.validate(sample)
        seen.add(str(sample["x"]))
    size = {"Categorical": 2, "Numerical": 5}.get(type(mutable).__name__)
    if size is None:
        subsets = {None: 2**5, 2: 10, 10: 150}  # of the last, most draws are new
        size = subsets[mutable.n_chosen]
    assert len(seen) >= size


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(InvalidValueError, match="'x' is a MutableDict"):
        SampleCodec({"x": MutableDict({})})
