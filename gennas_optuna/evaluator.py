"""The GenNAS evaluator: from architecture to regression loss."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn

from gennas_optuna import _check
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna._input_identity import input_identity
from gennas_optuna._module_score import ModuleScore, score_module
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.inputs import Inputs, load_images
from gennas_optuna.presets import get_task
from gennas_optuna.regression import OnEval, Status, Trace, fit, make_heads
from gennas_optuna.seeding import torch_generator
from gennas_optuna.settings import DEFAULT_PRESET, PRESETS, Preset, Size, get_preset
from gennas_optuna.spaces import Architecture, Scale, SearchSpace
from gennas_optuna.taps import StagedModel
from gennas_optuna.task import Batch, ProxyTask

__all__ = ["GenNASEvaluator", "Score"]

REPORTS = (0.6, 0.7, 0.8, 0.9, 1.0)
"""When the loss is reported by default, as shares of all steps."""


def _size(scale: Scale) -> dict[str, Any]:
    """A scale for identities, as it was before there were factors if it has none."""
    return {k: v for k, v in asdict(scale).items() if v != 1 or not k.endswith("_factor")}


class GenNASEvaluator(Evaluator):
    """Scores architectures by the regression loss they reach (GenNAS sections 3.1 and 3.2).

    Every architecture sees the same images, targets and noise. Its initial weights derive from
    ``seed`` and its key alone, so its loss depends neither on what was scored before it nor on
    the process; and no network is trained to the end twice by one evaluator.

    Args:
        task: ``"default"`` (the space's own task for the preset, see
            :func:`gennas_optuna.get_task`; presets of your own that read training losses take
            that of ``balanced``), the name of a packaged task or of a space (for its default), a
            file, or a :class:`ProxyTask`.
        preset: ``"fast"``, ``"balanced"``, ``"paper"`` or a :class:`Preset`: how long, at what
            size and how it is read.
        steps: optimiser steps, if not the preset's, which may depend on the space.
        report_steps: steps after which the loss is evaluated besides the last, for pruning; by
            default five from 60 % on, since earlier losses rank architectures poorly in some
            spaces. They do not change the final loss.
        inputs: see :func:`gennas_optuna.inputs.load_images`.
        seed: of everything that is drawn.
        device: ``"auto"`` (a GPU if there is one) or a name that PyTorch knows.
        threads: PyTorch threads during an evaluation. One is the most efficient for networks of
            this size, and losses to the last bit depend on it.

    Raises:
        GenNASError: any of these is wrong; the message says what is allowed.
    """

    def __init__(
        self,
        task: str | Path | ProxyTask = "default",
        *,
        preset: str | Preset = DEFAULT_PRESET,
        steps: int | None = None,
        report_steps: Sequence[int] | None = None,
        inputs: Inputs = "photos",
        seed: int = 0,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        super().__init__(seed=seed, device=device, threads=threads)
        self.preset = get_preset(preset)
        self.steps = None if steps is None else _check.whole(steps, "steps", low=1)
        self._reports = None
        if report_steps is not None:
            most = self.steps or max([self.preset.steps, *dict(self.preset.steps_of).values()])
            self._reports = tuple(
                _check.whole(step, "report_steps", low=1, high=most)
                for step in _check.sequence(report_steps, "report_steps")
            )
        self.inputs = inputs
        self._task = None if task == "default" else get_task(task, preset=self._task_preset)
        self._batches: dict[tuple[ProxyTask, tuple[int, ...]], Batch] = {}
        self._images: dict[tuple[int, ...], torch.Tensor] = {}
        self._batch_lock = threading.Lock()

    @overload
    def evaluate(
        self, arch: Architecture, on_eval: OnEval | None = None, *, reuse: bool = True
    ) -> Score: ...

    @overload
    def evaluate(
        self, arch: nn.Module, on_eval: OnEval | None = None, **options: Any
    ) -> ModuleScore: ...

    def evaluate(
        self,
        arch: Architecture | nn.Module,
        on_eval: OnEval | None = None,
        *,
        reuse: bool = True,
        **options: Any,
    ) -> Score:
        """Score an architecture, or any module, whose scores are not remembered.

        Args:
            arch: from any search space, or a module.
            on_eval: see :meth:`Evaluator.evaluate`.
            reuse: likewise.
            options: for modules: ``input_shape``, ``taps``, ``init`` and ``batch_first``, see
                :func:`gennas_optuna.score`.
        """
        if isinstance(arch, nn.Module) or options:
            return score_module(self, arch, on_eval, **options)  # type: ignore[arg-type]
        return super().evaluate(arch, on_eval, reuse=reuse)

    def steps_for(self, space: SearchSpace | None) -> int:
        """How many steps architectures of ``space`` are trained; ``None``: any module."""
        if self.steps is not None:
            return self.steps
        return self.preset.steps if space is None else self.preset.steps_for(space.name)

    def reports_for(self, space: SearchSpace | None) -> tuple[int, ...]:
        """After which of these steps the loss is reported."""
        steps = self.steps_for(space)
        if self._reports is not None:
            if max(self._reports, default=0) > steps:
                what = "modules" if space is None else f"networks of {space.name}"
                raise InvalidValueError(
                    f"report_steps={list(self._reports)}: give steps from 1 to {steps}, for which "
                    f"{what} are trained here"
                )
            return self._reports
        return tuple(sorted({max(1, round(steps * share)) for share in REPORTS}))

    def task_for(self, space: SearchSpace) -> ProxyTask:
        """The proxy task that architectures of ``space`` are scored on."""
        task = self._task or get_task("default", space, preset=self._task_preset)
        if (task.sequence is None) != (space.layout == "NCHW"):
            kinds = ("images", "sequences")
            has, needs = kinds if task.sequence is None else kinds[::-1]
            raise InvalidValueError(
                f"task {task.name!r} is for {has}, and {space.name} takes {needs}: give a task "
                f"for {needs}, such as {get_task('default', space).name!r}"
            )
        return self._as_run(task)

    @property
    def _task_preset(self) -> str | None:
        """The preset whose default tasks are taken."""
        if PRESETS.get(self.preset.name) == self.preset:
            return self.preset.name
        # The default one reads the loss in the same way.
        return DEFAULT_PRESET if self.preset.window is not None else None

    def _as_run(self, task: ProxyTask) -> ProxyTask:
        """The task with the preset's batch and optimiser."""
        if self.preset.batch_size is not None:
            task = replace(task, batch_size=self.preset.batch_size)
        if self.preset.optimizer is not None and task.sequence is None:
            task = replace(task, optimizer=self.preset.optimizer)
        return task

    def identity(self, space: SearchSpace) -> str:
        """Twelve hexadecimal digits for all that a loss depends on besides the architecture.

        That is: task, steps, size, inputs, seed, threads and kind of device.
        """
        scale = self.preset.scale_for(space.name)
        size = None if scale is None else _size(scale)
        parts = [
            self.task_for(space).digest,
            self.steps_for(space),
            size,
            self._inputs_seen,
            self.seed,
        ]
        # Named, so that presets without them keep the identity they had.
        extra = {"init": self.preset.init, "window": self.preset.window}
        parts += [f"{name} {value}" for name, value in extra.items() if value is not None]
        counts = self.preset.size_for(space.name)
        by_params = f" {counts.params}" if counts.params else ""
        parts += [f"size {counts.flops}{by_params}"] if counts != Size() else []
        parts += [self.threads, self.device.type]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @cached_property
    def _inputs_seen(self) -> str:
        """Looked up once: a folder may hold a million images."""
        return input_identity(self.inputs)

    def input_shape(self, space: SearchSpace) -> tuple[int, ...]:
        """(3, H, W) of the space's images, or (T, D) of the task's sequences."""
        sequence = self.task_for(space).sequence
        return space.input_shape if sequence is None else sequence.shape

    def _measure(
        self, arch: Architecture, on_eval: OnEval | None
    ) -> tuple[float, Trace | None, Status]:
        task, shape = self.task_for(arch.space), self.input_shape(arch.space)
        scale = self.preset.scale_for(arch.space.name)
        model = arch.space.build(
            arch,
            generator=torch_generator(self.seed, "weights", arch.key),
            scale=scale,
            canonical=True,
            input_shape=shape,
            init=self.preset.init if task.sequence is None else None,
        )
        factor = self._size_factor(arch, model if scale is None else None)
        batch = self._batch(task, model, shape)
        heads = make_heads(model, batch, generator=torch_generator(self.seed, "heads", arch.key))
        for module in (model, heads):
            # Channels last is the faster layout for convolutions on every device.
            module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        trace = fit(
            model,
            heads,
            batch,
            task.stages,
            optimizer=task.optimizer,
            steps=self.steps_for(arch.space),
            eval_steps=self.reports_for(arch.space),
            window=self.preset.window,
            factor=factor,
            seed=self.seed,
            on_eval=on_eval,
        )
        return trace.loss, trace, trace.status

    def _size_factor(self, arch: Architecture, network: StagedModel | None) -> float:
        """By the one network that all encodings with the architecture's key share."""
        counts = self.preset.size_for(arch.space.name)
        if counts == Size():
            return 1.0
        return counts.factor(self._cost(arch, canonical=True, network=network))

    def _batch(self, task: ProxyTask, model: StagedModel, shape: tuple[int, ...]) -> Batch:
        """Drawn once per task and input shape, whatever the architecture."""
        with self._batch_lock:
            if (task, shape) not in self._batches:
                images = None if task.sequence is not None else self._load(task, shape)
                generator = torch_generator(self.seed, "targets")
                batch = task.materialize(images, model.taps, generator)
                self._batches[task, shape] = batch.to(self.device)
            return self._batches[task, shape]

    def _load(self, task: ProxyTask, shape: tuple[int, ...]) -> torch.Tensor:
        """The images, which depend on the task by its batch size alone."""
        wanted = (task.batch_size, *shape)
        if wanted not in self._images:
            self._images[wanted] = load_images(
                self.inputs,
                count=task.batch_size,
                size=(shape[1], shape[2]),
                channels=shape[0],
                generator=torch_generator(self.seed, "images"),
            )
        return self._images[wanted]

    def share_images(self, other: GenNASEvaluator) -> None:
        """Use what an evaluator with equal inputs and seed has of them, whatever its task."""
        self._images, self._inputs_seen = other._images, other._inputs_seen

    def __getstate__(self) -> dict[str, Any]:
        """Settings and finished scores; locks and batches are made anew."""
        state = super().__getstate__()
        del state["_batch_lock"]
        return {**state, "_batches": {}, "_images": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._batch_lock = threading.Lock()
