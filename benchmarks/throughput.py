"""Architectures per minute of several processes, with and without a study."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from gennas_optuna import Architecture, GenNASEvaluator, GenNASObjective, get_space, search
from gennas_optuna._processes import process_context
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.regression import OnEval, Status, Trace
from gennas_optuna.search import WINDOW
from gennas_optuna.storage import open_storage

SPACE = "nasbench201"

Rate = Callable[[int], float]
"""Architectures per minute of so many processes."""


def rates(run: Rate, counts: Sequence[int], repeats: int) -> list[list[float]]:
    """A row per repeat, a column per number of processes.

    The numbers take turns, every other time in reverse, since what else a machine does changes
    from minute to minute.
    """
    rows = []
    for repeat in range(repeats):
        order = counts if repeat % 2 == 0 else counts[::-1]
        found = {count: run(count) for count in order}
        rows.append([found[count] for count in counts])
    return rows


def head(counts: Sequence[int]) -> str:
    """Of a Markdown table of :func:`row`."""
    cells = [f"workers: {count}" for count in counts]
    cells += [f"{count} to {counts[0]}" for count in counts[1:]]
    return f"| what runs | {' | '.join(cells)} |\n|{'---|' * (len(cells) + 1)}"


def row(what: str, found: list[list[float]]) -> str:
    """All figures, and the medians of the ratios of those that were measured in turn."""
    cells = [", ".join(f"{rate:.0f}" for rate in column) for column in zip(*found, strict=True)]
    others = range(1, len(cells))
    cells += [f"{median(line[place] / line[0] for line in found):.2f}" for place in others]
    return f"| {what} | {' | '.join(cells)} |"


def drawn(count: int) -> list[Architecture]:
    """Different networks, the same ones for every number of processes."""
    rng, found = np.random.default_rng(0), dict[str, Architecture]()
    while len(found) < count:
        arch = get_space(SPACE).sample(rng)
        found.setdefault(arch.key, arch)
    return list(found.values())


def without_study(trials: int, steps: int, processes: int) -> float:
    """Of processes that know nothing of each other: what can be had."""
    context = process_context()
    barrier = context.Barrier(processes + 1, timeout=1200)
    archs = drawn(trials)
    started = [
        context.Process(target=_evaluate, args=(archs[first::processes], steps, barrier))
        for first in range(processes)
    ]
    for process in started:
        process.start()
    barrier.wait()
    begin = time.monotonic()
    barrier.wait()
    seconds = time.monotonic() - begin
    for process in started:
        process.join()
    return 60 * trials / seconds


def _evaluate(archs: list[Architecture], steps: int, barrier: Barrier) -> None:
    evaluator = GenNASEvaluator(steps=steps)
    evaluator.evaluate(archs[0])  # what is made once is made before the clock runs
    barrier.wait()
    for arch in archs:
        evaluator.evaluate(arch, reuse=False)
    barrier.wait()


class Together(GenNASEvaluator):
    """Processes that make what is made once, and begin when all of them have."""

    def __init__(self, steps: int, folder: Path, processes: int) -> None:
        super().__init__(steps=steps)
        self.folder, self.processes = folder, processes

    def _measure(
        self, arch: Architecture, on_eval: OnEval | None
    ) -> tuple[float, Trace | None, Status]:
        own = self.folder / str(os.getpid())
        if not own.exists():
            super()._measure(arch, None)
            own.touch()
            while len(self._ready()) < self.processes:
                time.sleep(0.001)
        return super()._measure(arch, on_eval)

    def begun(self) -> float:
        """The time, in seconds, when the last process was ready."""
        return max(path.stat().st_mtime for path in self._ready())

    def _ready(self) -> list[Path]:
        return list(self.folder.iterdir())


@contextmanager
def together(steps: int, processes: int) -> Iterator[Together]:
    """An evaluator for one measurement."""
    with tempfile.TemporaryDirectory() as folder:
        yield Together(steps, Path(folder), processes)


def in_a_pool(trials: int, steps: int, workers: int) -> float:
    """Of what ranks and scores, from when all workers are ready."""
    with (
        together(steps, min(workers, trials)) as evaluator,
        EvaluatorPool(evaluator, workers) as pool,
    ):
        done = sum(1 for _ in pool.map(drawn(trials)))
        return 60 * done / (time.time() - evaluator.begun())


def in_memory(trials: int, steps: int, workers: int) -> float:
    """Of a search without a storage, from when all workers are ready."""
    ends: list[float] = []
    at_work = min(workers, trials, WINDOW)
    with together(steps, at_work) as evaluator:
        objective = GenNASObjective(SPACE, evaluator=evaluator)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for arch in drawn(trials):
            study.enqueue_trial(objective.space.params(arch))

        def on_trial(*_: object) -> None:
            ends.append(time.time())

        search(objective, study, n_trials=trials, workers=workers, on_trial=on_trial)
        return 60 * len(ends) / (ends[-1] - evaluator.begun())


def in_a_storage(url: str, trials: int, steps: int, workers: int) -> float:
    """Of a search that processes share, from the first trial's start to the last one's end."""
    name = new_name("throughput")
    args = f"search {SPACE} --trials {trials} --steps {steps} --sampler random --workers {workers}"
    gennas = [sys.executable, "-m", "gennas_optuna.cli", *args.split()]
    storage = ["--storage", url, "--study-name", name]
    subprocess.run([*gennas, *storage], check=True, capture_output=True)
    done = [t for t in trials_of(url, name) if t.state == TrialState.COMPLETE]
    begin = min(t.datetime_start for t in done if t.datetime_start)
    end = max(t.datetime_complete for t in done if t.datetime_complete)
    return 60 * len(done) / (end - begin).total_seconds()


def searches(urls: dict[str, str | None], trials: int, steps: int) -> dict[str, Rate]:
    """By the kind of storage; the URL ``None`` is none."""
    return {
        f"search, {kind}": partial(in_memory, trials, steps)
        if url is None
        else partial(in_a_storage, url, trials, steps)
        for kind, url in urls.items()
    }


def new_name(what: str) -> str:
    """For a study."""
    return f"{what}-{uuid.uuid4().hex[:8]}"


def trials_of(storage: str, name: str) -> list[FrozenTrial]:
    """What a study holds."""
    return optuna.load_study(study_name=name, storage=open_storage(storage)).trials
