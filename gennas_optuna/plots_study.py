"""The figure of one study: what became of its trials. It needs matplotlib."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import TrialState

from gennas_optuna import _check
from gennas_optuna._figure import new_figure
from gennas_optuna._studies import counted
from gennas_optuna._task_result import importances
from gennas_optuna.plots_pareto import LABELS
from gennas_optuna.plots_search import convergence
from gennas_optuna.report import value_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 8
"""Parameters whose importances are drawn."""


def plot_study(study: optuna.Study) -> Figure:
    """Panels of a study: its history, what its networks cost, which parameters matter.

    The history has a dot a completed trial and the best so far as a line. Networks are drawn
    where the trials keep their costs, importances (PED-ANOVA) where a study with one value has
    enough completed trials.

    Raises:
        InvalidValueError: no trial has a finite value.
        MissingFileError: matplotlib is not installed.
    """
    curve = convergence(study)
    trials = counted(study)
    name = value_names(study)[0]
    places = np.array([n for n, t in enumerate(trials, 1) if t.state == TrialState.COMPLETE])
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = np.array([trial.values[0] for trial in done])
    drawn = np.isfinite(values)
    costs = [cost for cost in ("params", "flops") if _has(done, cost)]
    matters = importances(study) if len(study.directions) == 1 else {}

    count = 1 + len(costs) + bool(matters)
    rows, columns = (2, 2) if count == 4 else (1, count)
    figure = new_figure(4.2 * columns, 3.4 * rows + 0.3)
    panels = iter(figure.subplots(rows, columns, squeeze=False).ravel())
    history = next(panels)
    _dots(history, places[drawn], values[drawn])
    history.step(curve.trials, curve.best, where="post", color="tab:blue", label="best so far")
    history.set_xlabel("trials")
    history.set_ylabel(name)
    history.legend()
    for cost in costs:
        panel = next(panels)
        sizes = [trial.user_attrs.get("gennas:cost", {}).get(cost, np.nan) for trial in done]
        _dots(panel, np.array(sizes)[drawn], values[drawn])
        _sizes(panel)
        panel.set_xlabel(LABELS[cost])
        panel.set_ylabel(name)
    if matters:
        panel = next(panels)
        first = list(matters.items())[:_SHOWN][::-1]
        panel.barh([n for n, _ in first], [share for _, share in first], color="tab:blue")
        panel.set_xlabel("importance (PED-ANOVA)")
    figure.suptitle(title(study), fontsize=9)
    return figure


def title(study: optuna.Study) -> str:
    """The study's name and how many of its trials ended in which state."""
    trials = counted(study)
    states = Counter(trial.state.name.lower() for trial in trials)
    ended = ", ".join(f"{number} {state}" for state, number in states.items())
    return f"{study.study_name}: {_check.amount(len(trials), 'trial')} ({ended})"


def _has(trials: list[optuna.trial.FrozenTrial], cost: str) -> bool:
    return any(cost in trial.user_attrs.get("gennas:cost", {}) for trial in trials)


def _sizes(axes: Axes) -> None:
    """A logarithmic axis with ticks such as 200 k and 1 M."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter  # noqa: PLC0415

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _dots(axes: Axes, x: object, y: object) -> None:
    axes.plot(x, y, "o", ms=4, alpha=0.6, color="0.6")  # type: ignore[arg-type]
    axes.grid(alpha=0.3)
