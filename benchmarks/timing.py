"""What methods cost: seconds per architecture of processes that are warm.

On a processor it is the processor time of one thread. Elsewhere it is wall time from when the
device has nothing left to do until it has nothing left to do again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import click
import torch

from benchmarks.methods import DEAR, PLAIN, Method
from benchmarks.plain import plain_loss, plain_network
from benchmarks.script import Decorated
from gennas_optuna import Architecture, GenNASEvaluator
from gennas_optuna.settings import get_preset
from gennas_optuna.task import Batch

FewSteps = tuple[int, int]
"""Two numbers of steps, from which the cost of all of them is extrapolated."""

WHOLE = "all"


def _checked(_context: click.Context, _option: click.Parameter, value: FewSteps | None) -> Any:
    most = get_preset("paper").steps
    if value is not None and not 1 <= value[0] < value[1] <= most:
        raise click.BadParameter(f"give two numbers from 1 to {most}, the first one smaller")
    return value


_OPTIONS = (
    click.option(
        "--timed", type=click.IntRange(2), default=5, show_default=True, help="How many to time."
    ),
    click.option(
        "--repeat", type=click.IntRange(1), default=3, show_default=True, help="How often, each."
    ),
    click.option(
        "--steps",
        type=(int, int),
        metavar="SHORT LONG",
        callback=_checked,
        help="Time paper and plain for so many steps only, and extrapolate.",
    ),
    click.option("--device", default="cpu", show_default=True, help="A PyTorch device."),
)


def timing_options(command: Decorated) -> Decorated:
    """``--timed``, ``--repeat``, ``--steps`` and ``--device``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Times:
    """What was timed of one method.

    Attributes:
        raw: seconds by optimiser steps, or ``"all"``: a row per architecture, in it a number per
            repeat.
        steps: optimiser steps of a whole evaluation; 0 where nothing is trained.
    """

    raw: dict[str, list[list[float]]]
    steps: int

    @property
    def each(self) -> list[float]:
        """Seconds of a whole evaluation of each architecture: the median of its repeats.

        Where two numbers of steps were timed, it lies on the line through both.
        """
        if WHOLE in self.raw:
            return [median(row) for row in self.raw[WHOLE]]
        return [fixed + slope * self.steps for fixed, slope in self._lines]

    @property
    def seconds(self) -> float:
        """The median over the architectures."""
        return median(self.each)

    @property
    def _lines(self) -> Iterator[tuple[float, float]]:
        """Seconds before the first step and for every step, of each architecture."""
        short, long = sorted(map(int, self.raw))
        for few, more in zip(self.raw[str(short)], self.raw[str(long)], strict=True):
            slope = (median(more) - median(few)) / (long - short)
            yield median(few) - slope * short, slope

    def record(self) -> dict[str, Any]:
        """For JSON; where it was extrapolated with both parts, medians over architectures."""
        found: dict[str, Any] = {"seconds": self.seconds, "raw_seconds": self.raw}
        if WHOLE not in self.raw:
            fixed, slope = (median(parts) for parts in zip(*self._lines, strict=True))
            found |= {"fixed_seconds": fixed, "seconds_per_step": slope}
        return found


def time_methods(
    compared: list[Method],
    archs: list[Architecture],
    *,
    repeats: int,
    few_steps: FewSteps | None = None,
) -> list[Times]:
    """Seconds of each method, in order.

    Each is run once unseen, for one step if it trains: that pays for imports, photos and targets.
    Then the methods take turns on each architecture, every other time in reverse.

    Args:
        compared: the methods.
        archs: of one space.
        repeats: how often each architecture is timed.
        few_steps: time ``paper`` and the plain loop for so many steps only.
    """
    torch.set_num_threads(1)
    turns: list[tuple[_Run, int | None, list[list[float]]]] = []
    found = []
    for method in compared:
        run = _Run(method)
        few = few_steps if method.kind in DEAR else None
        rows: dict[str, list[list[float]]] = {}
        for steps in few or (None,):
            rows[str(steps or WHOLE)] = [[] for _ in archs]
            turns.append((run, steps, rows[str(steps or WHOLE)]))
        found.append(Times(rows, run.evaluator.steps_for(archs[0].space) or 0))
    for run in dict.fromkeys(run for run, _, _ in turns):
        run(archs[0], 1)
    for repeat in range(repeats):
        for i, arch in enumerate(archs):
            for run, steps, times in turns if repeat % 2 == 0 else turns[::-1]:
                times[i].append(run.timed(arch, steps))
    return found


class _Run:
    """Evaluations of a method, nothing of which is remembered but images and targets."""

    def __init__(self, method: Method) -> None:
        self.evaluator = method.evaluator()
        self.plain = method.kind == PLAIN
        self.batch: Batch | None = None  # of the plain loop

    def __call__(self, arch: Architecture, steps: int | None = None) -> None:
        """Evaluate, for ``steps`` steps if the method trains and not all are wanted."""
        evaluator = self.evaluator
        evaluator._costs.clear()  # so that it is counted anew, as of an unknown network
        if isinstance(evaluator, GenNASEvaluator):
            evaluator.steps = steps
        if self.plain:
            self._train_plainly(arch)
        else:
            evaluator.evaluate(arch, reuse=False)

    def timed(self, arch: Architecture, steps: int | None) -> float:
        """The same, in seconds."""
        start = now(self.evaluator.device)
        self(arch, steps)
        return now(self.evaluator.device) - start

    def _train_plainly(self, arch: Architecture) -> float:
        paper = self.evaluator
        assert isinstance(paper, GenNASEvaluator)
        task = paper.task_for(arch.space)
        if self.batch is None:
            taps = arch.space.skeleton(arch)
            self.batch = paper._batch(task, taps, paper.input_shape(arch.space))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(paper.seed)
            model = plain_network(arch).to(paper.device)
            return plain_loss(model, self.batch, task, paper.steps_for(arch.space))


def now(device: torch.device) -> float:
    """Seconds: of this thread on a processor, else on the clock when the device has finished."""
    if device.type == "cpu":
        return time.thread_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    else:
        getattr(torch, device.type).synchronize()
    return time.perf_counter()


def run_once(method: Method, arch: Architecture) -> None:
    """One evaluation."""
    _Run(method)(arch)
