"""GenNAS as the evaluator of an NNI NAS experiment, and the right ranking of what it found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nni_strategy import _nas_import  # noqa: F401 - first: it explains a missing NNI

# isort: split
import nni
from nni.nas.evaluator import Evaluator
from nni.nas.space import ExecutableModelSpace, ModelStatus
from torch import nn

import gennas_optuna
from gennas_optuna import _check, get_task
from gennas_optuna._module_copy import check_module, seeded_globals
from gennas_optuna._module_score import ModuleScore
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.regression import OnEval
from gennas_optuna.seeding import derive_seed
from gennas_optuna.settings import DEFAULT_PRESET, Preset
from gennas_optuna.task import ProxyTask
from nni_strategy._nas_identity import ModelResult, sample_key
from nni_strategy._nas_taps import StageEnds, hub_taps

__all__ = ["GenNASEvaluator", "ModelResult", "best_models"]

_logger = logging.getLogger(__name__)


@nni.trace
class GenNASEvaluator(Evaluator):  # type: ignore[misc] # NNI has no types
    """Scores the models of an NNI model space by the regression loss they reach.

    NNI's strategies maximise, so minus the loss is reported; see :func:`best_models` for the
    losses. The model that NNI built is left as it is: a copy is trained, whose initial weights
    are drawn anew from ``seed`` (see :func:`gennas_optuna.score`). So a loss depends on the
    architecture and ``seed`` alone, not on the order or the process.

    Examples:
        >>> from nni.nas.experiment import NasExperiment  # doctest: +SKIP
        >>> from nni.nas.hub.pytorch import NasBench201  # doctest: +SKIP
        >>> experiment = NasExperiment(  # doctest: +SKIP
        ...     NasBench201(), GenNASEvaluator(), OptunaStrategy()
        ... )

    Args:
        task: ``"default"`` (``generic-fast``, or ``generic`` if the preset is ``paper``), the name
            of a packaged task or of a space (for its default), a file, or a :class:`ProxyTask`.
        preset: ``"fast"``, ``"balanced"``, ``"paper"`` or a
            :class:`~gennas_optuna.settings.Preset`: how long it is trained and how the loss is
            read. Sizes and initial weights are the model's own.
        steps: optimiser steps, if not the preset's.
        report_steps: steps after which minus the loss is reported as an intermediate result; by
            default five from 60 % on.
        inputs: ``"photos"``, ``"noise"``, or a folder or ``.npz`` file of images.
        input_size: height and width of the images.
        taps: paths of the modules whose outputs (N, C, H, W) are regressed from, early to late,
            one per stage of the task; of a module that returns several tensors the last counts.
            They are known for NAS-Bench-101 and 201, DARTS, ENAS, NASNet, PNAS, AmoebaNet,
            MobileNetV3, ProxylessNAS and ShuffleNet of NNI's hub. For all others name them: what
            is found without names could differ from one architecture to the next.
        seed: of everything that is drawn.
        device: ``"auto"`` (a GPU if there is one) or a name that PyTorch knows.
        threads: PyTorch threads during an evaluation.

    Attributes:
        results: what was evaluated in this process under NNI, by model key.

    Raises:
        GenNASError: a setting is wrong; the message says what is allowed.
    """

    def __init__(
        self,
        task: str | Path | ProxyTask = "default",
        *,
        preset: str | Preset = DEFAULT_PRESET,
        steps: int | None = None,
        report_steps: Sequence[int] | None = None,
        inputs: str | Path = "photos",
        input_size: int = 32,
        taps: Sequence[str] | None = None,
        seed: int = 0,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        # Settings, checks and the batch are those of the evaluator for the package's own spaces.
        self._core = gennas_optuna.GenNASEvaluator(
            task,
            preset=preset,
            steps=steps,
            report_steps=report_steps,
            inputs=inputs,
            seed=seed,
            device=device,
            threads=threads,
        )
        self._stages = len((self._core._task or get_task("default")).stages)
        size = _check.whole(input_size, "input_size", low=8, high=4096)
        self.input_shape = (3, size, size)
        self.taps = None if taps is None else _paths(taps, self._stages)
        self.results: dict[str, ModelResult] = {}

    def evaluate(self, model: nn.Module) -> ModuleScore:
        """Score a model; under NNI, report minus its loss along with its identity.

        Raises:
            InvalidValueError: see :meth:`score`.
        """
        current = nni.get_current_parameter()
        # The sequential engine leaves its last model there; in a trial the status is a text.
        if (
            not isinstance(current, ExecutableModelSpace)
            or ModelStatus(current.status).completed()
        ):
            return self.score(model)

        def report(step: int, loss: float) -> None:
            nni.report_intermediate_result({"default": -loss, "step": step})

        score = self.score(model, report)
        result = ModelResult(
            sample=dict(current.sample or {}),
            loss=score.loss,
            status=score.status,
            params=score.params,
            flops=score.flops,
            seconds=score.seconds,
        )
        self.results[result.key] = result
        nni.report_final_result(result.to_metric())
        return score

    def score(self, model: nn.Module, on_eval: OnEval | None = None) -> ModuleScore:
        """What :meth:`evaluate` finds, without reporting it.

        Args:
            model: what a model space was frozen to, or a construction of it under
                ``model_context(sample)``. It is not changed.
            on_eval: sees (step, loss) at each of ``report_steps``.

        Raises:
            InvalidValueError: the taps do not fit the model, or the task the taps.
        """
        check_module(model)
        tapped = StageEnds(model, self.taps or hub_taps(model, self._stages))
        return self._core.evaluate(
            tapped, on_eval, input_shape=self.input_shape, taps=tapped.names
        )

    def _execute(self, model: ExecutableModelSpace) -> ModuleScore:
        """Have NNI build the model from a seed of its own.

        Parameters that no method of their module draws keep the values that they are built with.
        """
        seed = derive_seed(self._core.seed, "build", sample_key(model.sample or {}))
        with seeded_globals(seed, self._core.device):
            built = model.executable_model()
        return self.evaluate(built)

    def extra_repr(self) -> str:
        """For NNI's logs."""
        core = self._core
        steps = core.steps_for(None)
        return f"preset={core.preset.name}, steps={steps}, seed={core.seed}, taps={self.taps}"


def _paths(taps: Sequence[str], count: int) -> tuple[str, ...]:
    paths = tuple(_check.sequence(taps, "taps"))
    if len(paths) != count or not all(isinstance(path, str) for path in paths):
        raise InvalidValueError(
            f"taps={_check.shorten(taps)}: give {count} module paths, one per stage of the task"
        )
    if len(set(paths)) < len(paths):
        raise InvalidValueError(f"taps={_check.shorten(taps)}: a path stands twice")
    return paths


def best_models(experiment: Any, top_k: int | None = None) -> list[ModelResult]:
    """The models of an experiment, best first, each with the loss that is its own.

    With more than one trial at a time NNI 3.0 files results under the wrong models, and so does
    ``experiment.export_top_models``. Here each result is taken with the architecture that it
    carries, whatever NNI filed it under; how many were misfiled is logged.

    Args:
        experiment: a ``NasExperiment`` with a :class:`GenNASEvaluator`. With the training
            service its manager must still run: ask before ``experiment.stop()``.
        top_k: how many; all by default.

    Returns:
        One result per architecture; ``model_context(result.sample)`` builds it. Models that
        failed have none.

    Raises:
        InvalidValueError: there is nothing to rank.
    """
    if top_k is not None:
        _check.whole(top_k, "top_k", low=1)
    if getattr(experiment, "port", None) is not None:
        found = _reported(experiment)
    else:  # the sequential engine evaluates in this process
        found = dict(getattr(experiment.evaluator, "results", {}))
    if not found:
        raise InvalidValueError(
            "no results of a GenNASEvaluator in this experiment: ask after it has run and, with "
            "the training service, before experiment.stop(); if its trials failed, the reason "
            "stands in the trial.stderr files of its working directory"
        )
    return sorted(found.values(), key=lambda result: (result.loss, result.key))[:top_k]


def _reported(experiment: Any) -> dict[str, ModelResult]:
    """What the trials reported, by the identity that it carries."""
    found: dict[str, ModelResult] = {}
    misfiled = 0
    for trial in experiment.list_trial_jobs():
        for metric in trial.finalMetricData:
            result = ModelResult.from_metric(metric.data)
            if result is not None:
                found[result.key] = result
                misfiled += any(
                    sample_key(parameters.parameters.get("sample") or {}) != result.key
                    for parameters in trial.hyperParameters
                )
    if misfiled:
        _logger.warning(
            "NNI filed %d of %d results under another model; put right", misfiled, len(found)
        )
    return found
