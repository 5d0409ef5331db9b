"""Scoring many architectures, in this process or several, with equal results."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType

from gennas_optuna import _check
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna.spaces import Architecture

_evaluator: Evaluator | None = None  # of a worker process


def _start_worker(evaluator: Evaluator) -> None:
    global _evaluator  # noqa: PLW0603 - a worker process has one evaluator for its lifetime
    _evaluator = evaluator


def _work(arch: Architecture) -> Score:
    assert _evaluator is not None
    return _evaluator.evaluate(arch)


class EvaluatorPool:
    """Runs one evaluator in ``workers`` processes; with one worker, in this process.

    Each worker evaluates with the evaluator's own number of threads, so losses are the same bit
    for bit whatever the number of workers. Use it as a context manager.

    Args:
        evaluator: gets all scores that are found, so that none is computed again.
        workers: number of processes.
    """

    def __init__(self, evaluator: Evaluator, workers: int = 1) -> None:
        self.evaluator = evaluator
        self.workers = _check.whole(workers, "workers", low=1, high=1024)
        self._processes: ProcessPoolExecutor | None = None

    def __enter__(self) -> EvaluatorPool:
        if self.workers > 1:
            self._processes = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self.evaluator,),
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)
            self._processes = None

    def map(self, archs: Sequence[Architecture]) -> Iterator[Score]:
        """The scores, in the order of ``archs``, each as soon as it and those before are there."""
        futures: dict[str, Future[Score]] = {}
        if self._processes is not None:
            for arch in archs:
                if self.evaluator.cached(arch) is None and arch.key not in futures:
                    futures[arch.key] = self._processes.submit(_work, arch)
        for arch in archs:
            if arch.key in futures and self.evaluator.cached(arch) is None:
                score = futures[arch.key].result()
                self.evaluator.remember(arch, score)
                yield score
            else:
                yield self.evaluator.evaluate(arch)
