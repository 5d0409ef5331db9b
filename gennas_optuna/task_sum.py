"""Several proxy tasks in one, at the cost of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.signals import Signal
from gennas_optuna.task import ProxyTask
from gennas_optuna.task_parts import BASE_CHANNELS, Noise, Stage

_DEVIATION = {"gaussian": 1.0, "uniform": math.sqrt(1 / 3)}
"""Standard deviation of the noise at level 1."""


def superpose(tasks: Sequence[ProxyTask], *, name: str = "superposed") -> ProxyTask:
    """The task whose targets are the sums of those of several tasks.

    A network that regresses the sum must regress every part of it, so its loss is much like a mean
    of the losses on the parts, which errs less than each of them. Levels are divided by the root
    of the number of tasks, so that a target's variance is the mean of the tasks'; so is that of
    the noise, of the first task's kind. Channels and weights of the stages are means. Signals of
    the same kind are drawn independently of each other.

    Args:
        tasks: at least one; the order decides which draws a signal gets.
        name: of the new task.

    Returns:
        The task; of one task, that task under its own name.

    Raises:
        InvalidValueError: they differ in their number of stages, their kind or shape of input,
            the size of the targets, the batch or the optimiser.
    """
    if not tasks:
        raise InvalidValueError("tasks: give at least one")
    first = tasks[0]
    if len(tasks) == 1:
        return first
    for task in tasks[1:]:
        for what in ("batch_size", "target_size", "optimizer"):
            _equal(what, getattr(first, what), getattr(task, what))
        _equal("number of stages", len(first.stages), len(task.stages))
        _equal("shape of sequences", _shape(first), _shape(task))
    sequence = first.sequence
    if sequence is not None:
        inputs = [task.sequence.signals for task in tasks if task.sequence is not None]
        sequence = replace(sequence, signals=_sum(inputs))
    stages = tuple(map(_stage, zip(*(task.stages for task in tasks), strict=True)))
    variances = [(task.noise.level * _DEVIATION[task.noise.kind]) ** 2 for task in tasks]
    level = math.sqrt(fmean(variances)) / _DEVIATION[first.noise.kind]
    noise = Noise(first.noise.kind, level)
    return replace(first, stages=stages, noise=noise, sequence=sequence, name=name)


def _stage(stages: Sequence[Stage]) -> Stage:
    signals = _sum([stage.signals for stage in stages])
    wanted = [round(fmean(stage.head_channels for stage in stages))]
    wanted += [most for signal in signals if (most := signal.max_channels()) is not None]
    train = [stage.train_weight for stage in stages]
    return Stage(
        signals,
        channels=min(wanted) / BASE_CHANNELS,
        weight=fmean(stage.weight for stage in stages),
        train_weight=None
        if set(train) == {None}
        else fmean(stage.training_weight for stage in stages),
    )


def _sum(parts: Sequence[tuple[Signal, ...]]) -> tuple[Signal, ...]:
    share = 1 / math.sqrt(len(parts))
    return tuple(
        replace(signal, level=signal.level * share) for signals in parts for signal in signals
    )


def _shape(task: ProxyTask) -> tuple[int, int] | None:
    return None if task.sequence is None else task.sequence.shape


def _equal(what: str, ours: object, other: object) -> None:
    if ours != other:
        raise InvalidValueError(
            f"tasks of different {what} have no sum: {_check.shorten(ours)} and "
            f"{_check.shorten(other)}"
        )
