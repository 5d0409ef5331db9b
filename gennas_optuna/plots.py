"""Figures: what a proxy task asks for, and how its search went. They need matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import optuna
import torch
from optuna.trial import TrialState

from gennas_optuna._figure import new_figure, save
from gennas_optuna._task_study import trained
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.inputs import load_images
from gennas_optuna.seeding import torch_generator
from gennas_optuna.taps import TapInfo
from gennas_optuna.task import Batch, ProxyTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["best_so_far", "mean_curve", "plot_best_so_far", "plot_task", "save"]

Floats = npt.NDArray[np.float64]

_MAPS = 6


def plot_task(
    task: ProxyTask, *, inputs: str | Path | torch.Tensor = "photos", seed: int = 0
) -> Figure:
    """What a task has networks regress: a row a stage, six maps of its target each.

    The maps are three channels of two samples, so that one sees which signals differ between
    samples. A sequence task has the input as its first row, and six samples in each.

    Args:
        task: the task.
        inputs: the images, for signals that follow them; see :func:`load_images`.
        seed: of the draw; that of an evaluator gives the very targets of that evaluator.

    Raises:
        MissingFileError: matplotlib is not installed.
    """
    batch = _draw(task, inputs, seed)
    rows: list[tuple[str, list[torch.Tensor]]] = []
    if task.sequence is not None:
        size = f"{task.sequence.length} steps x {task.sequence.dimension}"
        rows.append((f"input, {size}\n{_names(task.sequence.signals)}", _maps(batch.inputs)))
    for i, (stage, target) in enumerate(zip(task.stages, batch.targets, strict=True)):
        width = "" if task.sequence is not None else f", {stage.head_channels} channels"
        title = f"stage {i}{width}, weight {stage.weight:g}\n{_names(stage.signals)}"
        rows.append((title, _maps(target)))
    figure = new_figure(9.0, 1.7 * len(rows) + 0.6)
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, maps) in zip(parts, rows, strict=True):
        part.suptitle(title, fontsize=8)
        most = max(float(m.abs().max()) for m in maps) or 1.0
        for axes, values in zip(part.subplots(1, _MAPS), maps, strict=False):
            axes.imshow(values.numpy(), cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
            axes.set_axis_off()
    return figure


def best_so_far(study: optuna.Study) -> tuple[Floats, Floats]:
    """Architectures that were trained until each finished trial, and the best value by then.

    Trials before the first completed one are left out.
    """
    spent, best = 0, -np.inf
    found: list[tuple[float, float]] = []
    for trial in study.get_trials(deepcopy=False):
        spent += trained(trial)
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            best = max(best, trial.value)
        if trial.state.is_finished() and best > -np.inf:
            found.append((spent, best))
    curve = np.array(found, dtype=np.float64).reshape(-1, 2)
    return curve[:, 0], curve[:, 1]


def plot_best_so_far(studies: Mapping[str, Sequence[optuna.Study]]) -> Figure:
    """Best correlation against architectures trained, a colour a method, a line a search.

    The thick line is the mean over a method's searches, from where all of them have a value to
    where the first of them ends.

    Args:
        studies: the searches of each method, by its name.

    Raises:
        InvalidValueError: none of the studies has a completed trial.
        MissingFileError: matplotlib is not installed.
    """
    curves = {name: [best_so_far(study) for study in some] for name, some in studies.items()}
    curves = {name: [c for c in some if len(c[0])] for name, some in curves.items()}
    if not any(curves.values()):
        raise InvalidValueError("there is no completed trial to draw")
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    for number, (name, some) in enumerate(curves.items()):
        if not some:
            continue
        colour = f"C{number}"
        for x, y in some:
            axes.step(x, y, where="post", color=colour, alpha=0.4, linewidth=0.8)
        grid, mean = mean_curve(some)
        axes.step(grid, mean, where="post", color=colour, linewidth=2, label=name)
    axes.set_xlabel("architectures trained")
    axes.set_ylabel("best rank correlation (search set)")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def mean_curve(curves: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """The mean of step functions, where all of them are defined."""
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[(grid >= low) & (grid <= high)]
    at = [y[np.searchsorted(x, grid, side="right") - 1] for x, y in curves]
    return grid, np.mean(at, axis=0)


def _draw(task: ProxyTask, inputs: str | Path | torch.Tensor, seed: int) -> Batch:
    """The batch that an evaluator with this seed trains on."""
    images = None
    taps = [TapInfo(f"stage {i}", 1, (1,), "LND") for i in range(len(task.stages))]
    if task.sequence is None:
        images = load_images(
            inputs, count=task.batch_size, generator=torch_generator(seed, "images")
        )
        taps = [TapInfo(tap.name, 1, (1, 1)) for tap in taps]
    return task.materialize(images, taps, torch_generator(seed, "targets"))


def _maps(values: torch.Tensor) -> list[torch.Tensor]:
    if values.dim() == 3:  # (T, B, D): one map (D, T) a sample
        return [values[:, i].T for i in range(min(_MAPS, values.shape[1]))]
    half = _MAPS // 2
    return [maps[c] for maps in values[:2] for c in range(min(half, values.shape[1]))]


def _names(signals: Sequence[Any]) -> str:
    return " + ".join(f"{s.level:g} {s.kind}" for s in signals) or "zeros"
