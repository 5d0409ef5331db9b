"""Scoring many architectures, in this process or several, with equal results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from types import TracebackType

from gennas_optuna import _check
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna._processes import process_context
from gennas_optuna.errors import worker_died
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
            self._start()
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
        """The scores, in the order of ``archs``, each as soon as it and those before are there.

        What an evaluation raises ends it.

        Raises:
            GenNASError: a worker died over an architecture, twice.
        """
        for arch, outcome in zip(archs, self.outcomes(archs), strict=True):
            if isinstance(outcome, BrokenProcessPool):
                raise worker_died(arch) from outcome
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    def outcomes(self, archs: Sequence[Architecture]) -> Iterator[Score | Exception]:
        """Like :meth:`map`, with the exception in place of a score that could not be found.

        A worker that dies (killed, out of memory) is replaced. Whose evaluation it was cannot be
        known, so those that were not finished are tried again one at a time, and the one whose
        worker dies then as well gets the :class:`BrokenProcessPool`.
        """
        futures = self._submit(archs)
        broken = False
        for arch in archs:
            if arch.key not in futures or self.evaluator.cached(arch) is not None:
                yield _outcome(partial(self.evaluator.evaluate, arch))
                continue
            outcome = _outcome(futures[arch.key].result)
            if isinstance(outcome, BrokenProcessPool):
                if not broken:
                    self._start()
                    broken = True
                outcome = self._alone(arch)
            if isinstance(outcome, Score):
                self.evaluator.remember(arch, outcome)
            yield outcome

    def _submit(self, archs: Sequence[Architecture]) -> dict[str, Future[Score]]:
        futures: dict[str, Future[Score]] = {}
        if self._processes is None:
            return futures
        for arch in archs:
            if self.evaluator.cached(arch) is None and arch.key not in futures:
                try:
                    futures[arch.key] = self._processes.submit(_work, arch)
                except BrokenProcessPool:  # a worker died when it had nothing to do
                    self._start()
                    futures[arch.key] = self._processes.submit(_work, arch)
        return futures

    def _alone(self, arch: Architecture) -> Score | Exception:
        assert self._processes is not None
        outcome = _outcome(self._processes.submit(_work, arch).result)
        if isinstance(outcome, BrokenProcessPool):
            self._start()
        return outcome

    def _start(self) -> None:
        """Start the workers, in place of those of a pool that is broken."""
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)
        self._processes = ProcessPoolExecutor(
            self.workers,
            mp_context=process_context(),
            initializer=_start_worker,
            initargs=(self.evaluator,),
        )


def _outcome(find: Callable[[], Score]) -> Score | Exception:
    try:
        return find()
    except Exception as error:  # whatever PyTorch or a user's module raises
        return error
