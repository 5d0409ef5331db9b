"""Scoring many architectures, in this process or several, with equal results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from gennas_optuna import _check
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna._processes import process_context
from gennas_optuna.errors import worker_died
from gennas_optuna.spaces import Architecture, SearchSpace

_evaluator: Evaluator | None = None  # of a worker process


def _start_worker(evaluator: Evaluator) -> None:
    global _evaluator  # noqa: PLW0603 - a worker process has one evaluator for its lifetime
    _evaluator = evaluator


def _work(arch: Architecture) -> Score:
    assert _evaluator is not None
    return _evaluator.evaluate(arch)


@dataclass
class _Job:
    """A network that the workers score, under the first encoding that was submitted."""

    arch: Architecture
    future: Future[Score]
    alone: bool = False
    """Whether nothing else is scored at the time; then it is what its worker dies of."""

    def is_lost(self) -> bool:
        """Whether its workers ended before it was done, and it may be tried again. It waits."""
        if self.alone:
            return False
        return self.future.cancelled() or isinstance(self.future.exception(), BrokenProcessPool)


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
        self._jobs: dict[tuple[SearchSpace, str], _Job] = {}  # by network, oldest first

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
            self._jobs.clear()

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
        """Like :meth:`map`, with the exception in place of a score that could not be found."""
        for outcome in [self.submit(arch) for arch in archs]:
            yield outcome()

    def submit(self, arch: Architecture) -> Callable[[], Score | Exception]:
        """Have an architecture scored; the outcome is what the returned function returns.

        Workers begin what is submitted first. With one worker an architecture is scored when its
        outcome is asked for, so that none is scored in vain.

        A worker that dies (killed, out of memory) is replaced, and what it may have been scoring
        is tried again, alone. If it ends a worker then as well, its outcome is the
        :class:`BrokenProcessPool`.
        """
        if self._processes is None or self.evaluator.cached(arch) is not None:
            return partial(_outcome, partial(self.evaluator.evaluate, arch))
        network = arch.space, arch.key
        if network not in self._jobs:
            try:
                future = self._processes.submit(_work, arch)
            except BrokenProcessPool:
                self._recover()
                future = self._send(arch)
            self._jobs[network] = _Job(arch, future)
        return partial(self._result, arch, self._jobs[network])

    def _result(self, arch: Architecture, job: _Job) -> Score | Exception:
        """Of an architecture whose network the job scores, maybe in another encoding."""
        if self.evaluator.cached(arch) is None:
            network = arch.space, arch.key
            if self._jobs.get(network) is job:  # otherwise its end was seen before
                while job.is_lost():
                    self._recover()
                del self._jobs[network]
            outcome = _outcome(job.future.result)
            if isinstance(outcome, Exception):
                return outcome
            self.evaluator.remember(job.arch, outcome)
        return _outcome(partial(self.evaluator.evaluate, arch))

    def _recover(self) -> None:
        """Start new workers in place of those that ended with one that died, and their jobs.

        Whose evaluation killed it cannot be known. Jobs are begun in order, so it is one of the
        ``workers`` oldest that were not finished: those are tried one at a time.
        """
        self._start()
        lost = [job for job in self._jobs.values() if job.is_lost()]
        for job in lost[: self.workers]:
            job.future, job.alone = self._send(job.arch), True
            if isinstance(job.future.exception(), BrokenProcessPool):
                self._start()
        for job in lost[self.workers :]:
            job.future = self._send(job.arch)

    def _send(self, arch: Architecture) -> Future[Score]:
        assert self._processes is not None
        try:
            return self._processes.submit(_work, arch)
        except BrokenProcessPool:  # a worker died when it had nothing to do
            self._start()
            return self._processes.submit(_work, arch)

    def _start(self) -> None:
        """Start the workers, in place of those there are; jobs these have not done are lost."""
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
