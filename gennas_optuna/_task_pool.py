"""Scoring a fixed set of architectures on one proxy task after another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from gennas_optuna import _check
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna._processes import process_context
from gennas_optuna.cost import Cost
from gennas_optuna.errors import worker_died
from gennas_optuna.evaluator import GenNASEvaluator
from gennas_optuna.inputs import Inputs
from gennas_optuna.settings import DEFAULT_PRESET, Preset
from gennas_optuna.spaces import Architecture
from gennas_optuna.task import ProxyTask

MakeEvaluator = Callable[[ProxyTask], Evaluator]


@dataclass(frozen=True)
class EvaluatorFactory:
    """Makes the evaluator of a task; for the settings see :class:`GenNASEvaluator`."""

    preset: str | Preset = DEFAULT_PRESET
    steps: int | None = None
    inputs: Inputs = "photos"
    seed: int = 0
    device: str = "auto"
    threads: int = 1

    def __call__(self, task: ProxyTask) -> GenNASEvaluator:
        """The evaluator; it looks at final losses only, and images are loaded once for all."""
        evaluator = self._evaluator(task)
        evaluator.share_images(self._first)
        return evaluator

    @cached_property
    def _first(self) -> GenNASEvaluator:
        return self._evaluator("default")

    def _evaluator(self, task: str | ProxyTask) -> GenNASEvaluator:
        return GenNASEvaluator(task, report_steps=(), **self._settings)

    @property
    def _settings(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone: other processes load their own images."""
        return self._settings


class _Scorer:
    """Evaluators of one task at a time, which share what does not depend on the task."""

    def __init__(self, make: MakeEvaluator, archs: Sequence[Architecture]) -> None:
        self.archs = archs
        self._make = make
        self._last: tuple[ProxyTask, Evaluator] | None = None
        self._costs: dict[tuple[int, ...], dict[tuple[Architecture, bool], Cost]] = {}

    def score(self, task: ProxyTask, index: int) -> Score:
        arch = self.archs[index]
        last = self._last  # other threads may go on to tasks of their own
        if last is None or last[0] != task:
            evaluator = self._make(task)
            # Counting the cost of a network takes as long as a few of its training steps.
            shape = evaluator.input_shape(arch.space)
            evaluator._costs = self._costs.setdefault(shape, {})
            last = self._last = task, evaluator
        return last[1].evaluate(arch)


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
        numbers = range(start, len(self.archs))
        if self.workers == 1:
            for index in numbers:
                yield self._here.score(task, index)
            return
        begun: dict[int, Future[Score]] = {}
        try:
            for index in numbers:
                begun[index] = self._submit(task, index)
                if len(begun) == self.workers:
                    yield self._first_of(begun, task)
            while begun:
                yield self._first_of(begun, task)
        finally:
            for future in begun.values():
                future.cancel()

    def _first_of(self, begun: dict[int, Future[Score]], task: ProxyTask) -> Score:
        """The score of the first, which is taken out.

        A worker that died is replaced. Whose evaluation it was cannot be known, so all that were
        not finished are tried again, one at a time.
        """
        first = next(iter(begun))
        if _died(begun[first]):
            for index in [index for index, future in begun.items() if _died(future)]:
                begun[index] = self._submit(task, index)
                if _died(begun[index]):
                    raise worker_died(self.archs[index])
        return begun.pop(first).result()

    def _submit(self, task: ProxyTask, index: int) -> Future[Score]:
        try:
            return self._started().submit(_work, task, index)
        except BrokenProcessPool:
            self.close()
            return self._started().submit(_work, task, index)

    def _started(self) -> ProcessPoolExecutor:
        if self._processes is None:
            self._processes = ProcessPoolExecutor(
                self.workers,
                mp_context=process_context(),
                initializer=_start_worker,
                initargs=(self.make, self.archs),
            )
        return self._processes

    def close(self) -> None:
        """End the worker processes; they start again if they are needed again."""
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)
            self._processes = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_processes": None, "_here": _Scorer(self.make, self.archs)}


def _died(future: Future[Score]) -> bool:
    """Whether a worker died before the evaluation was finished; it is waited for."""
    return isinstance(future.exception(), BrokenProcessPool)
