"""From architecture to score."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gennas_optuna import _check
from gennas_optuna.cost import count_cost
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.inputs import load_images
from gennas_optuna.presets import get_task
from gennas_optuna.regression import OnEval, Status, Trace, fit, make_heads
from gennas_optuna.seeding import torch_generator
from gennas_optuna.settings import Preset, get_preset
from gennas_optuna.spaces import Architecture, SearchSpace
from gennas_optuna.task import Batch, ProxyTask

REPORTS = 5
"""Evaluations along the way, evenly spaced: enough to prune by, cheap enough to store."""


@dataclass(frozen=True)
class Score:
    """What an evaluator says of an architecture.

    Attributes:
        loss: lower is better; ``inf`` if the training diverged.
        trace: the loss along the way; ``None`` where nothing is trained.
        status: ``"ok"`` or ``"diverged"``.
        params: learnable scalars of the backbone, parts that cannot reach a tap left out.
        flops: its multiply-accumulates for one input.
        seconds: wall time of the evaluation.
        cpu_seconds: processor time of the evaluation.
    """

    loss: float
    trace: Trace | None
    status: Status
    params: int
    flops: int
    seconds: float
    cpu_seconds: float


class GenNASEvaluator:
    """Scores architectures by the regression loss they reach (GenNAS sections 3.1 and 3.2).

    Every architecture sees the same images, targets and noise. Its initial weights derive from
    ``seed`` and its key alone, so its loss depends neither on what was scored before it nor on
    the process; and no architecture is trained twice by one evaluator.

    Args:
        task: ``"default"`` (the space's preset), the name of a preset task, a file, or a
            :class:`ProxyTask`.
        preset: ``"paper"``, or a :class:`Preset`: how long and at what size.
        steps: optimiser steps, if not the preset's.
        report_steps: steps after which the loss is evaluated besides the last; by default five
            in all, evenly spaced. They do not change the final loss.
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
        preset: str | Preset = "paper",
        steps: int | None = None,
        report_steps: Sequence[int] | None = None,
        inputs: str | Path | torch.Tensor = "photos",
        seed: int = 0,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        self.preset = get_preset(preset)
        self.steps = self.preset.steps if steps is None else _check.whole(steps, "steps", low=1)
        if report_steps is None:
            count = min(REPORTS, self.steps)
            report_steps = [round(self.steps * i / count) for i in range(1, count + 1)]
        self.report_steps = tuple(
            _check.whole(step, "report_steps", low=1, high=self.steps) for step in report_steps
        )
        self.seed = _check.whole(seed, "seed", low=0)
        self.threads = _check.whole(threads, "threads", low=1)
        self.device = _device(device)
        self.inputs = inputs
        self._task = task if task == "default" else get_task(task)
        self._batches: dict[tuple[ProxyTask, tuple[int, ...]], Batch] = {}
        self._scores: dict[tuple[SearchSpace, str], Score] = {}
        self._locks: defaultdict[tuple[SearchSpace, str], threading.Lock]
        self._locks = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def task_for(self, space: SearchSpace) -> ProxyTask:
        """The proxy task that architectures of ``space`` are scored on."""
        return self._task if isinstance(self._task, ProxyTask) else get_task("default", space)

    def identity(self, space: SearchSpace) -> str:
        """Twelve hexadecimal digits for all that a loss depends on besides the architecture.

        That is: task, preset, steps, inputs, seed, threads and kind of device.
        """
        inputs = self.inputs
        if isinstance(inputs, torch.Tensor):
            inputs = hashlib.sha256(inputs.cpu().contiguous().numpy().tobytes()).hexdigest()
        scale = None if self.preset.scale is None else asdict(self.preset.scale)
        parts = [self.task_for(space).digest, self.steps, scale, str(inputs), self.seed]
        parts += [self.threads, self.device.type]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    def cached(self, arch: Architecture) -> Score | None:
        """The score of an architecture (or one with its key) that was evaluated before."""
        return self._scores.get((arch.space, arch.key))

    def remember(self, arch: Architecture, score: Score) -> None:
        """Take over a score that an equal evaluator in another process found."""
        self._scores[arch.space, arch.key] = score

    def evaluate(self, arch: Architecture, on_eval: OnEval | None = None) -> Score:
        """Score an architecture.

        Args:
            arch: from any search space.
            on_eval: called with (step, loss) at each of ``report_steps``; it may raise to stop,
                and then nothing is cached. For a cached score it sees the recorded losses.
        """
        identity = (arch.space, arch.key)
        with self._lock:
            lock = self._locks[identity]
        with lock:
            score = self._scores.get(identity)
            if score is None:
                score = self._scores[identity] = self._train(arch, on_eval)
                return score
        if on_eval is not None and score.trace is not None:
            for step, loss in zip(score.trace.steps, score.trace.losses, strict=True):
                on_eval(step, loss)
        return score

    def _train(self, arch: Architecture, on_eval: OnEval | None) -> Score:
        start = time.perf_counter()
        clock = time.thread_time if self.threads == 1 else time.process_time
        cpu_start = clock()
        space, task, scale = arch.space, self.task_for(arch.space), self.preset.scale
        shape = space.input_shape if task.sequence is None else task.sequence.shape
        with intra_op_threads(self.threads):
            model = space.build(
                arch,
                generator=torch_generator(self.seed, "weights", arch.key),
                scale=scale,
                canonical=True,
                input_shape=shape,
            )
            batch = self._batch(task, model, shape)
            heads = make_heads(
                model, batch, generator=torch_generator(self.seed, "heads", arch.key)
            )
            for module in (model, heads):
                # The faster layout for convolutions on every device.
                module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            trace = fit(
                model,
                heads,
                batch,
                task.stages,
                optimizer=task.optimizer,
                steps=self.steps,
                eval_steps=self.report_steps,
                seed=self.seed,
                on_eval=on_eval,
            )
        skeleton = space.skeleton(arch, scale=scale, canonical=True, input_shape=shape)
        cost = count_cost(skeleton, shape)
        seconds, cpu_seconds = time.perf_counter() - start, clock() - cpu_start
        return Score(trace.loss, trace, trace.status, *cost, seconds, cpu_seconds)

    def _batch(self, task: ProxyTask, model: Any, shape: tuple[int, ...]) -> Batch:
        """Drawn once per task and input shape, whatever the architecture."""
        with self._lock:
            if (task, shape) not in self._batches:
                images = None
                if task.sequence is None:
                    images = load_images(
                        self.inputs,
                        count=task.batch_size,
                        size=(shape[1], shape[2]),
                        generator=torch_generator(self.seed, "images"),
                    )
                generator = torch_generator(self.seed, "targets")
                batch = task.materialize(images, model.taps, generator)
                self._batches[task, shape] = batch.to(self.device)
            return self._batches[task, shape]

    def __getstate__(self) -> dict[str, Any]:
        """Settings and finished scores; locks and batches are made anew."""
        state = self.__dict__.copy()
        del state["_lock"], state["_locks"], state["_batches"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._locks = defaultdict(threading.Lock)
        self._batches = {}


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Set the number of PyTorch's threads, and put back what it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise InvalidValueError(
            f"device={name!r} is not available here: {_check.shorten(reason, 160)}"
        ) from None
    return device
