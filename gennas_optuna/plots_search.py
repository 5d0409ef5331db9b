"""Figures of architecture searches, from their studies. They need matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from gennas_optuna._figure import new_figure
from gennas_optuna._studies import counted, cpu_seconds
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.plots import mean_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]


class Convergence(NamedTuple):
    """The best of a study after each of its trials, from the first that has a value on.

    Attributes:
        trials: how many trials there were by then.
        cpu_seconds: processor time of the completed ones by then, each network counted once;
            ``None`` if the trials do not keep it.
        best: lowest loss by then, or highest value of a study that maximises.
    """

    trials: Floats
    cpu_seconds: Floats | None
    best: Floats


def convergence(study: optuna.Study) -> Convergence:
    """How the best value (the first, if there are several) of a study came down with its trials.

    Raises:
        InvalidValueError: no trial has a finite value.
    """
    sign = 1.0 if study.directions[0] == StudyDirection.MINIMIZE else -1.0
    best, spent = np.inf, 0.0
    known = False
    rows: list[tuple[float, float, float]] = []
    for number, trial in enumerate(counted(study), start=1):
        cost = cpu_seconds(trial)
        known = known or bool(cost)
        spent += cost or 0.0
        if trial.state == TrialState.COMPLETE:
            best = min(best, sign * trial.values[0])
        if np.isfinite(best):
            rows.append((number, spent, sign * best))
    if not rows:
        raise InvalidValueError(
            f"study {study.study_name!r}: no completed trial has a finite value to draw"
        )
    trials, seconds, values = np.array(rows).T
    return Convergence(trials, seconds if known else None, values)


def plot_convergence(
    studies: Mapping[str, optuna.Study], baselines: Mapping[str, optuna.Study] | None = None
) -> Figure:
    """Lowest loss so far over the trials, and over CPU-seconds if all studies keep them.

    Losses compare where task, steps, images and seed are the same.

    Args:
        studies: a colour each.
        baselines: studies to compare with, such as random searches, all in grey; of several the
            thick line is the mean, where all of them have a value.

    Raises:
        InvalidValueError: there is no study, one maximises, or one has no finite loss.
        MissingFileError: matplotlib is not installed.
    """
    given = {**studies, **(baselines or {})}
    if not studies:
        raise InvalidValueError("there is no study to draw: give one or more")
    for name, study in given.items():
        if study.directions[0] != StudyDirection.MINIMIZE:
            raise InvalidValueError(
                f"study {name!r} maximises: this figure is of losses. `gennas plot tuning` draws "
                "searches for a proxy task"
            )
    curves = {name: convergence(study) for name, study in given.items()}
    timed = all(curve.cpu_seconds is not None for curve in curves.values())
    figure = new_figure(8.4 if timed else 5.2, 3.8)
    panels = figure.subplots(1, 1 + timed, squeeze=False, sharey=True)[0]
    _draw(panels[0], {name: (c.trials, c.best) for name, c in curves.items()}, baselines or {})
    panels[0].set_xlabel("trials")
    panels[0].set_ylabel("lowest loss so far")
    if timed:
        spent = {
            name: (c.cpu_seconds, c.best)
            for name, c in curves.items()
            if c.cpu_seconds is not None
        }
        _draw(panels[1], spent, baselines or {})
        panels[1].set_xlabel("CPU-seconds of completed trials")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _draw(
    axes: Axes, curves: Mapping[str, tuple[Floats, Floats]], baselines: Mapping[str, object]
) -> None:
    grey = [curves[name] for name in baselines]
    for x, y in grey if len(grey) > 1 else []:
        axes.step(x, y, where="post", color="0.6", linewidth=0.8)
    if grey:
        x, y = mean_curve(grey)
        label = next(iter(baselines)) if len(grey) == 1 else f"mean of {len(grey)} baselines"
        axes.step(x, y, where="post", color="0.4", linewidth=2, label=label)
    for number, (name, (x, y)) in enumerate(curves.items()):
        if name not in baselines:
            axes.step(x, y, where="post", color=f"C{number}", linewidth=2, label=name)
    axes.grid(alpha=0.3)
