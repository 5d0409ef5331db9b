"""The score of a foreign module."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gennas_optuna import _check
from gennas_optuna._ambient import default_settings
from gennas_optuna._evaluator import Score
from gennas_optuna._module_copy import (
    check_module,
    one_line,
    private_copy,
    redraw,
    seeded_globals,
)
from gennas_optuna._module_taps import ModuleTaps
from gennas_optuna.cost import Cost, count_cost
from gennas_optuna.errors import GenNASError, InvalidValueError, out_of_memory
from gennas_optuna.latency import latency
from gennas_optuna.memory import peak_memory
from gennas_optuna.presets import get_task
from gennas_optuna.regression import OnEval, Trace, fit, make_heads
from gennas_optuna.seeding import derive_seed, torch_generator
from gennas_optuna.taps import TapInfo
from gennas_optuna.task import Batch, ProxyTask

if TYPE_CHECKING:
    from gennas_optuna.evaluator import GenNASEvaluator

OnCost = Callable[[Callable[[str], float]], None]
"""Called before the training with what gives each of the module's costs by name; may raise."""


@dataclass(frozen=True)
class ModuleScore(Score):
    """What is said of a module; ``print`` shows it with its taps.

    Attributes:
        taps: the feature maps that the regression read, early to late.
        kept: parameters that were not drawn anew, because no method of the module does it. If
            their values are random, so is the loss: seed PyTorch before building the module.

    ``params`` and ``flops`` are those of the whole module as given, classifier included.
    """

    taps: tuple[TapInfo, ...] = ()
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"loss {self.loss:.4f} ({self.status}), {self.params:,} parameters, "
            f"{self.flops:,} multiply-accumulates, {self.seconds:.1f} s"
        ]
        lines += [f"  tap {describe(tap)}" for tap in self.taps]
        if self.kept:
            lines.append(f"  as given, not drawn anew: {', '.join(self.kept)}")
        return "\n".join(lines)


def describe(tap: TapInfo) -> str:
    """Name, channels and size of a tap."""
    return f"{tap.name or 'output'}: {' x '.join(map(str, (tap.channels, *tap.size)))}"


def score_module(
    evaluator: GenNASEvaluator,
    model: nn.Module,
    on_eval: OnEval | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    taps: Sequence[str] | None = None,
    init: str = "redraw",
    batch_first: bool | None = None,
    on_cost: OnCost | None = None,
) -> ModuleScore:
    """Score a module with an evaluator's settings; see :func:`gennas_optuna.score`."""
    check_module(model)
    _check.one_of(init, "init", ("redraw", "as_given"))
    if batch_first is not None:
        _check.boolean(batch_first, "batch_first")
    task, shape = _task(evaluator, input_shape)
    if taps is not None:
        taps = _tap_names(taps, task)
    device = evaluator.device
    clock = time.thread_time if evaluator.threads == 1 else time.process_time
    start, cpu_start = time.perf_counter(), clock()
    with (
        # First: its lock keeps other modules' threads from settings that the process has once.
        seeded_globals(derive_seed(evaluator.seed, "module"), device),
        default_settings(device, evaluator.threads),
        _plain_transformers(),
    ):
        clone = private_copy(model)
        width = 1 if task.sequence is None else task.sequence.dimension
        # Before the weights are drawn: lazy layers get theirs in the first pass.
        tapped = ModuleTaps(
            clone,
            shape,
            count=len(task.stages),
            taps=taps,
            batch_first=batch_first,
            width=width,
        )
        with seeded_globals(derive_seed(evaluator.seed, "weights", "module"), device):
            kept = redraw(clone) if init == "redraw" else ()
        params = sum(parameter.numel() for parameter in clone.parameters())
        shape_of_one = shape if len(shape) > 1 else (*shape, width)
        cost = Cost(params, _flops(tapped, shape_of_one))
        if on_cost is not None:
            on_cost(partial(_measure, tapped, shape_of_one, evaluator, cost))
        with seeded_globals(derive_seed(evaluator.seed, "dropout"), device):
            trace = _fit(evaluator, tapped, task, shape, cost, on_eval)
    seconds, cpu_seconds = time.perf_counter() - start, clock() - cpu_start
    return ModuleScore(
        trace.loss,
        trace,
        trace.status,
        *cost,
        seconds,
        cpu_seconds,
        tapped.taps,
        kept,
    )


def _measure(
    tapped: ModuleTaps,
    input_shape: tuple[int, ...],
    evaluator: GenNASEvaluator,
    cost: Cost,
    name: str,
) -> float:
    """One of :data:`gennas_optuna.constraints.MEASURES`."""
    if name == "latency":
        return latency(
            tapped,
            input_shape,
            device=evaluator.device,
            threads=evaluator.threads,
            channels_last=False,  # foreign modules ``view`` their maps
        )
    return float(peak_memory(tapped, input_shape) if name == "memory" else getattr(cost, name))


def _flops(tapped: ModuleTaps, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates, counted where fused kernels do not hide them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mkldnn.flags speaks of Intel GPUs where there are none
        with torch.backends.mkldnn.flags(enabled=False):
            flops = count_cost(tapped, input_shape).flops
    if tapped.tokens is not None:  # not a part of the module
        flops -= input_shape[0] * tapped.tokens.linear.weight.numel()
    return flops


@contextmanager
def _plain_transformers() -> Iterator[None]:
    """Let ``nn.TransformerEncoder`` run its parts in evaluation mode too, not one fused kernel."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _fit(
    evaluator: GenNASEvaluator,
    tapped: ModuleTaps,
    task: ProxyTask,
    shape: tuple[int, ...],
    cost: Cost,
    on_eval: OnEval | None,
) -> Trace:
    batch = _batch(evaluator, tapped, task, shape)
    generator = torch_generator(evaluator.seed, "heads", "module")
    heads = make_heads(tapped, batch, generator=generator).to(evaluator.device)
    tapped.to(evaluator.device)
    raised: list[BaseException] = []

    def report(step: int, loss: float) -> None:
        try:
            if on_eval is not None:
                on_eval(step, loss)
        except BaseException as error:
            raised.append(error)
            raise

    try:
        return fit(
            tapped,
            heads,
            batch,
            task.stages,
            optimizer=task.optimizer,
            steps=evaluator.steps_for(None),
            eval_steps=evaluator.reports_for(None),
            window=evaluator.preset.window,
            factor=evaluator.preset.size.factor(cost),
            seed=evaluator.seed,
            on_eval=report,
        )
    except GenNASError:
        raise
    except RuntimeError as error:
        if error in raised or out_of_memory(error):
            raise
        raise InvalidValueError(f"the module cannot be trained: {one_line(error)}") from error


def _batch(
    evaluator: GenNASEvaluator, tapped: ModuleTaps, task: ProxyTask, shape: tuple[int, ...]
) -> Batch:
    """The evaluator's batch, contiguous (foreign modules ``view`` it), with C channels."""
    if task.sequence is not None:
        return evaluator._batch(task, tapped, task.sequence.shape)
    given, channels = evaluator.inputs, shape[0]
    own = isinstance(given, torch.Tensor) and given.shape[1:2] == (channels,)
    batch = evaluator._batch(task, tapped, shape if own else (3, *shape[1:]))
    images = batch.inputs
    if images.shape[1] != channels:
        colours = [i % 3 for i in range(channels)]
        images = images.mean(1, keepdim=True) if channels == 1 else images[:, colours]
    return Batch(images.contiguous(), batch.targets, batch.noise)


def _task(
    evaluator: GenNASEvaluator, input_shape: Sequence[int] | None
) -> tuple[ProxyTask, tuple[int, ...]]:
    """The task and the shape of one input, each by default what suits the other."""
    task = evaluator._task
    if input_shape is None:
        sequence = None if task is None else task.sequence
        input_shape = (3, 32, 32) if sequence is None else sequence.shape
    shape = tuple(_check.sequence(input_shape, "input_shape"))
    if not 1 <= len(shape) <= 3:
        raise InvalidValueError(
            f"input_shape={shape}: give (C, H, W) for images, (L, D) for sequences or (L,) for "
            "tokens"
        )
    for size in shape:
        _check.whole(size, "input_shape", low=1, high=65536)
    images = len(shape) == 3
    if task is None:
        name = "default" if images else "generic-sequence"
        task = get_task(name, preset=evaluator._task_preset)
    if images != (task.sequence is None):
        kind = "images, (C, H, W)" if task.sequence is None else "sequences, (L, D) or (L,)"
        raise InvalidValueError(f"input_shape={shape}: task {task.name!r} is for {kind}")
    if task.sequence is not None:
        sizes: dict[str, Any] = dict(zip(("length", "dimension"), shape, strict=False))
        task = replace(task, sequence=replace(task.sequence, **sizes))
    return evaluator._as_run(task), shape


def _tap_names(taps: Sequence[str], task: ProxyTask) -> list[str]:
    names = list(_check.sequence(taps, "taps"))
    for name in names:
        _check.instance(name, "taps", str)
    if len(names) != len(task.stages):
        raise InvalidValueError(
            f"taps={_check.shorten(names)}: task {task.name!r} has {len(task.stages)} stages, so "
            "give as many paths"
        )
    if len(set(names)) < len(names):
        raise InvalidValueError(f"taps={_check.shorten(names)}: one stands twice")
    return names
