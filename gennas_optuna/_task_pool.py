"""Scoring a fixed set of architectures on one proxy task after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gennas_optuna import _check
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna._processes import process_context
from gennas_optuna.cost import Cost
from gennas_optuna.evaluator import GenNASEvaluator
from gennas_optuna.settings import DEFAULT_PRESET, Preset
from gennas_optuna.spaces import Architecture
from gennas_optuna.task import ProxyTask

MakeEvaluator = Callable[[ProxyTask], Evaluator]


@dataclass(frozen=True)
class EvaluatorFactory:
    """Makes the evaluator of a task; for the settings see :class:`GenNASEvaluator`."""

    preset: str | Preset = DEFAULT_PRESET
    steps: int | None = None
    inputs: str | Path | torch.Tensor = "photos"
    seed: int = 0
    device: str = "auto"
    threads: int = 1

    def __call__(self, task: ProxyTask) -> GenNASEvaluator:
        """The evaluator; it looks at final losses only."""
        return GenNASEvaluator(task, report_steps=(), **self.__dict__)


class _Scorer:
    """Evaluators of one task at a time, which share what does not depend on the task."""

    def __init__(self, make: MakeEvaluator, archs: Sequence[Architecture]) -> None:
        self.archs = archs
        self._make = make
        self._task: ProxyTask | None = None
        self._evaluator: Evaluator | None = None
        self._costs: dict[tuple[int, ...], dict[tuple[Architecture, bool], Cost]] = {}

    def score(self, task: ProxyTask, index: int) -> Score:
        arch = self.archs[index]
        if self._evaluator is None or self._task != task:
            self._evaluator, self._task = self._make(task), task
            # Counting the cost of a network takes as long as a few of its training steps.
            shape = self._evaluator.input_shape(arch.space)
            self._evaluator._costs = self._costs.setdefault(shape, {})
        return self._evaluator.evaluate(arch)


_scorer: _Scorer | None = None  # of a worker process


def _start_worker(make: MakeEvaluator, archs: Sequence[Architecture]) -> None:
    global _scorer  # noqa: PLW0603 - a worker process has one for its lifetime
    _scorer = _Scorer(make, archs)


def _work(task: ProxyTask, index: int) -> Score:
    assert _scorer is not None
    return _scorer.score(task, index)


class TaskPool:
    """Scores of the same architectures on many tasks, in this process or several.

    :class:`gennas_optuna.pool.EvaluatorPool` serves one evaluator, that is one task; these worker
    processes outlive the task, since what they know of the architectures serves all tasks.
    Scores are the same bit for bit whatever the number of workers.

    Args:
        make: makes the evaluator of a task; with several workers it must be picklable.
        archs: the architectures, in the order in which they are scored.
        workers: number of processes; they start when they are first needed.
    """

    def __init__(
        self, make: MakeEvaluator, archs: Sequence[Architecture], workers: int = 1
    ) -> None:
        self.make = make
        self.archs = tuple(archs)
        self.workers = _check.whole(workers, "workers", low=1, high=1024)
        self._here = _Scorer(make, self.archs)
        self._processes: ProcessPoolExecutor | None = None

    def scores(self, task: ProxyTask, start: int = 0) -> Generator[Score, None, None]:
        """The scores of the architectures from number ``start`` on, in their order.

        No more architectures are begun than there are workers before the first score is taken,
        so that little is wasted when the caller stops early (and closes the iterator).
        """
        if self.workers == 1:
            for index in range(start, len(self.archs)):
                yield self._here.score(task, index)
            return
        if self._processes is None:
            self._processes = ProcessPoolExecutor(
                self.workers,
                mp_context=process_context(),
                initializer=_start_worker,
                initargs=(self.make, self.archs),
            )
        begun: deque[Future[Score]] = deque()
        try:
            for index in range(start, len(self.archs)):
                begun.append(self._processes.submit(_work, task, index))
                if len(begun) == self.workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()

    def close(self) -> None:
        """End the worker processes; they start again if they are needed again."""
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)
            self._processes = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_processes": None, "_here": _Scorer(self.make, self.archs)}
