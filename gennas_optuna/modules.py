"""Scoring any ``nn.Module``, and studies that build one."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import BaseTrial
from torch import nn

from gennas_optuna import _check
from gennas_optuna._module_copy import seeded_globals
from gennas_optuna._module_score import ModuleScore, describe
from gennas_optuna._several import SeveralObjectives
from gennas_optuna._trial import pruned_without_memory, reporter
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.evaluator import GenNASEvaluator
from gennas_optuna.inputs import Inputs
from gennas_optuna.regression import OnEval
from gennas_optuna.seeding import derive_seed
from gennas_optuna.settings import DEFAULT_PRESET, Preset
from gennas_optuna.task import ProxyTask

__all__ = ["ModuleObjective", "ModuleScore", "score", "with_score"]


def score(
    model: nn.Module,
    input_shape: Sequence[int] = (3, 32, 32),
    taps: Sequence[str] | None = None,
    task: str | Path | ProxyTask = "default",
    *,
    preset: str | Preset = DEFAULT_PRESET,
    steps: int | None = None,
    init: str = "redraw",
    inputs: Inputs = "photos",
    batch_first: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
    on_eval: OnEval | None = None,
    verbose: bool = True,
) -> ModuleScore:
    """Score any module by the regression loss that a copy of it reaches.

    The module itself stays as it is: parameters, buffers, mode, hooks and gradients. The same
    module, seed and settings give the same loss in every process, unless parameters in
    ``ModuleScore.kept`` hold random values.

    Examples:
        >>> from torch import nn
        >>> from gennas_optuna import score
        >>> net = nn.Sequential(*(nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(3)))
        >>> result = score(net, steps=2, verbose=False)
        >>> [tap.name for tap in result.taps]
        ['0', '1', '2']

    Args:
        model: maps a batch of images, sequences or tokens to anything. It runs in training mode
            and in evaluation mode.
        input_shape: of one input. (C, H, W): images (N, C, H, W). (L, D): sequences (N, L, D) or
            (L, N, D). (L,): tokens (N, L) or (L, N), for an ``nn.Embedding``. Architectures that
            are compared should have the same.
        taps: module paths of the feature maps to read, as many as the task has stages, early to
            late; ``path#2`` is what a module's second call returns. By default the last map of
            each of the last resolutions, or of each share of the depth.
        task: ``"default"`` (``generic-sequence`` for sequences; for images ``generic-fast``, or
            ``generic`` if the preset is ``paper``), a name, a file, or a :class:`ProxyTask`. A
            sequence task takes its sizes from ``input_shape``.
        preset: how long and how it is read, see :class:`GenNASEvaluator`; sizes and initial
            weights are the module's own.
        steps: optimiser steps, if not the preset's.
        init: ``"redraw"``: weights are drawn anew from ``seed``, layers by PyTorch's own rule
            (``reset_parameters``), other parameters by the model's (``_init_weights``), so that
            the score is the architecture's.
            ``"as_given"``: the copy starts from the module's weights.
        inputs: see :func:`gennas_optuna.inputs.load_images`.
        batch_first: whether sequences are (N, L, D). By default they are, unless a part of the
            module has an attribute ``batch_first`` that is false.
        seed: of everything that is drawn.
        device: ``"auto"`` (a GPU if there is one) or a name that PyTorch knows.
        threads: PyTorch threads.
        on_eval: called with (step, loss) at five steps from 60 % on; it may raise to stop.
        verbose: print the taps to standard error.

    Raises:
        GenNASError: a setting is wrong, the module's forward fails, or no taps are found.
    """
    evaluator = GenNASEvaluator(
        task,
        preset=preset,
        steps=steps,
        inputs=inputs,
        seed=seed,
        device=device,
        threads=threads,
    )
    result = evaluator.evaluate(
        model,
        on_eval,
        input_shape=input_shape,
        taps=taps,
        init=init,
        batch_first=batch_first,
    )
    if verbose:
        print("taps:", "; ".join(map(describe, result.taps)), file=sys.stderr)
    return result


class ModuleObjective(SeveralObjectives):
    """An Optuna objective that builds a module from a trial and minimises its loss.

    Each trial gets the attributes ``gennas:cost`` (what was counted and measured), ``gennas:taps``
    and ``gennas:seconds``; if the module cannot be scored, ``gennas:error`` with the reason, and
    the trial fails: ``study.optimize(objective, catch=GenNASError)`` goes on with the next. In a
    study with one objective the loss is reported along the way, so the study's pruner acts.
    Running out of memory prunes the trial. A module beyond a constraint is not trained: its trial
    is complete, with the loss ``inf``, as in :class:`gennas_optuna.GenNASObjective`.

    Args:
        build_model: makes the module; PyTorch's global generator is seeded while it runs.
        input_shape: see :func:`score`, like the other settings not listed here.
        extra_objectives: further values to minimise, of ``"flops"``, ``"params"``, ``"latency"``
            and ``"memory"``, see :class:`gennas_optuna.GenNASObjective`; of the whole module.
        constraints: upper limits on any of these, such as ``{"flops": 3e8, "params": 1e6}``.

    Raises:
        GenNASError: a setting is wrong; the message says what is allowed.
    """

    def __init__(
        self,
        build_model: Callable[[Any], nn.Module],
        input_shape: Sequence[int] = (3, 32, 32),
        taps: Sequence[str] | None = None,
        task: str | Path | ProxyTask = "default",
        *,
        preset: str | Preset = DEFAULT_PRESET,
        steps: int | None = None,
        init: str = "redraw",
        inputs: Inputs = "photos",
        batch_first: bool | None = None,
        extra_objectives: Sequence[str] = (),
        constraints: Mapping[str, float] | None = None,
        seed: int = 0,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        if not callable(build_model) or isinstance(build_model, nn.Module):
            raise InvalidValueError(
                f"build_model={_check.shorten(build_model)}: give a function from trial to module"
            )
        self.build_model = build_model
        super().__init__(extra_objectives, constraints)
        self.evaluator = GenNASEvaluator(
            task,
            preset=preset,
            steps=steps,
            inputs=inputs,
            seed=seed,
            device=device,
            threads=threads,
        )
        self.settings: dict[str, Any] = {
            "input_shape": input_shape,
            "taps": taps,
            "init": init,
            "batch_first": batch_first,
        }

    def __call__(self, trial: BaseTrial) -> float | tuple[float, ...]:
        """Build and score the module that the trial proposes."""
        self.check_trial(trial)
        evaluator = self.evaluator
        with seeded_globals(derive_seed(evaluator.seed, "build"), evaluator.device):
            model = self.build_model(trial)
        several, last = bool(self.extra_objectives), evaluator.steps_for(None)
        report = reporter(trial, several=several, last=last)
        cost: dict[str, float] = {}

        def on_cost(measure: Callable[[str], float]) -> None:
            cost.update(self._costs(measure))
            trial.set_user_attr("gennas:cost", cost)
            if not self._admit(trial, cost.__getitem__):
                raise _BeyondLimitsError

        loss = math.inf
        try:
            with pruned_without_memory():
                result = evaluator.evaluate(model, report, on_cost=on_cost, **self.settings)
            loss = result.loss
            trial.set_user_attr("gennas:taps", [describe(tap) for tap in result.taps])
            trial.set_user_attr("gennas:seconds", round(result.seconds, 3))
        except _BeyondLimitsError:
            pass
        except GenNASError as error:
            trial.set_user_attr("gennas:error", str(error))
            raise
        return self._values(loss, cost.__getitem__)


class _BeyondLimitsError(Exception):
    """The module is not to be trained."""


def with_score(build_model: Callable[[Any], nn.Module], **settings: Any) -> ModuleObjective:
    """Turn a function from trial to module into an objective of an Optuna study.

    Settings are those of :func:`score` but for ``verbose`` and ``on_eval``, and
    ``extra_objectives`` and ``constraints`` as of :class:`GenNASObjective`.

    Examples:
        >>> import optuna
        >>> from torch import nn
        >>> from gennas_optuna import with_score
        >>> def build(trial):
        ...     width = trial.suggest_int("width", 2, 8)
        ...     sizes = [3, width, width, width]
        ...     return nn.Sequential(*(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(sizes, sizes[1:])))
        >>> study = optuna.create_study()
        >>> study.optimize(with_score(build, steps=2), n_trials=2)

    Raises:
        GenNASError: a setting is wrong; the message says what is allowed.
    """
    return ModuleObjective(build_model, **settings)
