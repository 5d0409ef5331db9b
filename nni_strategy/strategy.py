"""An exploration strategy for NNI: an Optuna sampler over an NNI model space."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from nni_strategy import _nas_import  # noqa: F401 - first: it explains a missing NNI

# isort: split
import optuna
from nni.mutable import SampleValidationError
from nni.nas.execution import ExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, ModelEventType
from nni.nas.space import ExecutableModelSpace
from nni.nas.strategy import Strategy
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from gennas_optuna import RegularizedEvolutionSampler, _check
from gennas_optuna.errors import InvalidValueError
from nni_strategy._nas_identity import ModelResult, sample_key
from nni_strategy._nas_search import SampleCodec

__all__ = ["OptunaStrategy"]

_logger = logging.getLogger(__name__)

_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "evolution": lambda seed: RegularizedEvolutionSampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}

_GRACE = 5.0
"""Seconds that results may come later than the end of their trials."""


class OptunaStrategy(Strategy):  # type: ignore[misc] # NNI has no types
    """Explores a model space with an Optuna sampler, to maximise the metric.

    A model is evaluated once: a proposal that came before gets the value it had. Results of a
    :class:`~nni_strategy.evaluator.GenNASEvaluator` are attributed by the identity that they
    carry, since NNI may deliver them under another model; those of other evaluators are taken
    as NNI delivers them.

    Args:
        sampler: ``"tpe"``, ``"evolution"``, ``"random"`` or a sampler.
        seed: of a sampler that is named.
        study: explore in this study (to keep it in a database, say), which must have one
            direction, ``"maximize"``. It brings its own sampler. Its finished trials count.
        patience: this many proposals in a row that are no new model end the exploration.

    Attributes:
        study: what was asked and told.
        misfiled: results that NNI delivered under another model.

    Raises:
        GenNASError: an argument is wrong; the message says what is allowed.
    """

    def __init__(
        self,
        sampler: str | BaseSampler = "tpe",
        *,
        seed: int = 0,
        study: optuna.Study | None = None,
        patience: int = 500,
    ) -> None:
        super().__init__()
        if not isinstance(sampler, BaseSampler):
            _check.one_of(sampler, "sampler", _SAMPLERS)
            sampler = _SAMPLERS[sampler](_check.whole(seed, "seed", low=0))
        if study is not None and study.directions != [StudyDirection.MAXIMIZE]:
            raise InvalidValueError('study: give one with direction="maximize" and no other')
        self.study = study or optuna.create_study(direction="maximize", sampler=sampler)
        self.patience = _check.whole(patience, "patience", low=1)
        self.misfiled = 0
        self._lock = threading.Lock()  # results come in another thread
        self._models: dict[str, ExecutableModelSpace] = {}
        self._values: dict[str, float] = {}
        self._waiting: dict[str, list[int]] = {}  # trials of a model that is being evaluated

    def extra_repr(self) -> str:
        """For NNI's logs."""
        return f"sampler={type(self.study.sampler).__name__}, trials={len(self.study.trials)}"

    def _initialize(
        self, model_space: ExecutableModelSpace, engine: ExecutionEngine
    ) -> ExecutableModelSpace:
        self._codec = SampleCodec(model_space.simplify())
        if not self._codec.distributions:
            raise InvalidValueError("model space: there is nothing to choose in it")
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if trial.distributions == self._codec.distributions:
                self._recall(model_space, trial.params, trial.values[0])
        engine.register_model_event_callback(ModelEventType.FinalMetric, self._on_final)
        return model_space

    def _run(self) -> None:
        while self.wait_for_resource():
            model = self._propose()
            if model is None:
                _logger.warning("No new model in %d proposals: exploration ends", self.patience)
                break
            self.engine.submit_models(model)
        self.engine.wait_models()
        deadline = time.monotonic() + _GRACE
        while self._waiting and self._missing() and time.monotonic() < deadline:
            time.sleep(0.1)
        with self._lock:
            for numbers in self._waiting.values():
                for number in numbers:
                    self.study.tell(number, state=TrialState.FAIL)
            self._waiting.clear()
        if self.misfiled:
            _logger.warning(
                "NNI delivered %d of %d results under another model; put right",
                self.misfiled,
                len(self._values),
            )

    def _missing(self) -> bool:
        """Whether a model without result may still get one."""
        return any(self._models[key].metric is None for key in list(self._waiting))

    def _propose(self) -> ExecutableModelSpace | None:
        """The next model that was not evaluated yet."""
        for _ in range(self.patience):
            with self._lock:
                trial = self.study.ask(self._codec.distributions)
                try:
                    model = self.model_space.freeze(self._codec.decode(trial.params))
                except SampleValidationError as error:
                    trial.set_user_attr("nni:invalid", " ".join(str(error).split())[:200])
                    self.study.tell(trial, state=TrialState.FAIL)
                    continue
                key = sample_key(model.sample)
                trial.set_user_attr("gennas:key", key)
                if key in self._values:
                    self._tell(trial.number, self._values[key])
                elif key in self._waiting:
                    self._waiting[key].append(trial.number)
                else:
                    self._waiting[key] = [trial.number]
                    self._models[key] = model  # NNI itself keeps weak references only
                    return model
        return None

    def _on_final(self, event: FinalMetricEvent) -> None:
        result = ModelResult.from_metric(event.metric)
        key = sample_key(event.model.sample)
        with self._lock:
            if result is None:
                metric = event.metric
                value = float(metric["default"] if isinstance(metric, dict) else metric)
            else:
                value = -result.loss
                if result.key != key:
                    self.misfiled += 1
                    event.prevent_default()
                    key = result.key
                    if key in self._models:
                        self._models[key].metrics.final = value
            self._values[key] = value
            for number in self._waiting.pop(key, []):
                self._tell(number, value)

    def _tell(self, number: int, value: float) -> None:
        if math.isnan(value):
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, value)

    def _cleanup(self) -> None:
        self.engine.unregister_model_event_callback(ModelEventType.FinalMetric, self._on_final)

    def list_models(
        self, sort: bool = True, limit: int | None = None
    ) -> Iterator[ExecutableModelSpace]:
        """The models that were submitted; sorted: those with a metric, best first."""
        models = list(self._models.values())
        if sort:
            models = [model for model in models if model.metric is not None]
            models.sort(key=lambda model: float(model.metric), reverse=True)
        yield from models[:limit]

    # Checkpoints: what is known, not the sampler's random state -----------------------------

    def state_dict(self) -> dict[str, Any]:
        """Parameters and values of the finished trials."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {"trials": [[dict(trial.params), trial.values[0]] for trial in trials]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from these trials, unless the study has them already."""
        if self.study.get_trials(deepcopy=False):
            return
        for params, value in state_dict["trials"]:
            self.study.add_trial(
                optuna.create_trial(
                    params=params, distributions=self._codec.distributions, value=value
                )
            )
            self._recall(self.model_space, params, value)
        self.study.sampler.reseed_rng()  # not to propose the same again

    def _recall(
        self, model_space: ExecutableModelSpace, params: dict[str, Any], value: float
    ) -> None:
        sample = model_space.freeze(self._codec.decode(params)).sample
        self._values[sample_key(sample)] = value
