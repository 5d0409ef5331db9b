"""The figure of a search with several objectives. It needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from gennas_optuna._figure import new_figure
from gennas_optuna.constraints import feasible
from gennas_optuna.errors import InvalidValueError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {
    "loss": "loss",
    "flops": "multiply-accumulates",
    "params": "parameters",
    "latency": "latency [ms]",
    "memory": "memory [bytes]",
}


def pareto_front(study: optuna.Study) -> list[FrozenTrial]:
    """The trials within all limits that no other is better than in everything, lowest loss first.

    Of trials with one network, the first. A study of one objective has one.
    """
    front: dict[str, FrozenTrial] = {}
    for trial in study.best_trials:
        if feasible(trial):
            front.setdefault(trial.user_attrs.get("gennas:key", str(trial.number)), trial)
    return sorted(front.values(), key=lambda trial: (*trial.values, trial.number))


def plot_pareto(
    study: optuna.Study,
    names: Sequence[str],
    constraints: Mapping[str, float] | None = None,
) -> Figure:
    """The loss against each other objective: a panel each, all trials in grey, the front in blue.

    With three objectives and more, a trial of the front need not look like one in a panel: it may
    be there for what another panel shows. Architectures beyond a limit have no loss and are not
    drawn; limits are dashed lines.

    Args:
        study: its trials.
        names: of its objectives, loss first (``GenNASObjective.metric_names``).
        constraints: the limits.

    Raises:
        InvalidValueError: there is but one objective, or no trial to draw.
        MissingFileError: matplotlib is not installed.
    """
    if len(names) < 2 or len(names) != len(study.directions):
        raise InvalidValueError(
            f"names={list(names)!r}: name the study's {len(study.directions)} objectives, two or "
            "more"
        )
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = np.array([trial.values for trial in complete if feasible(trial)])
    values = values[np.isfinite(values).all(axis=1)] if len(values) else values
    if not len(values):
        raise InvalidValueError("no trial within the limits has a finite loss: nothing to draw")
    front = np.array([trial.values for trial in pareto_front(study)])
    figure = new_figure(4.5 * (len(names) - 1), 3.6)
    panels = figure.subplots(1, len(names) - 1, squeeze=False, sharey=True)[0]
    panels[0].set_ylabel(LABELS[names[0]])
    for place, (panel, name) in enumerate(zip(panels, names[1:], strict=True), start=1):
        panel.plot(values[:, place], values[:, 0], "o", ms=4, color="0.7", label="all")
        order = np.argsort(front[:, place], kind="stable")
        line = "o-" if len(names) == 2 else "o"
        panel.plot(
            front[order, place],
            front[order, 0],
            line,
            ms=5,
            color="tab:blue",
            drawstyle="steps-post",
            label="Pareto front",
        )
        if constraints and name in constraints:
            panel.axvline(constraints[name], color="0.4", ls="--", lw=1, label="limit")
        panel.set_xlabel(LABELS[name])
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].legend(frameon=False)
    return figure
