"""The figure of a ranking: scores against true qualities. It needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gennas_optuna._figure import new_figure
from gennas_optuna._scored import Scored
from gennas_optuna.errors import InvalidValueError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_scatter(scored: Scored) -> Figure:
    """A point an architecture: its true quality over its loss, or over the proxy that ranks.

    Trainings that diverged count in the correlations, as the last, but have no place on the axis:
    the caption tells how many there are.

    Raises:
        InvalidValueError: there is no finite loss.
        MissingFileError: matplotlib is not installed.
    """
    losses, qualities = np.array(scored.losses), np.array(scored.qualities)
    drawn = np.isfinite(losses)
    if not drawn.any():
        raise InvalidValueError("all trainings diverged: nothing to draw")
    trained = scored.proxy == "gennas"
    figure = new_figure(5.2, 4.4)
    axes = figure.subplots()
    shown = losses if trained else -losses
    axes.plot(shown[drawn], qualities[drawn], "o", ms=4, alpha=0.6, color="tab:blue")
    axes.set_xlabel("loss (lower is better)" if trained else f"{scored.proxy} (higher is better)")
    axes.set_ylabel(scored.metric)
    axes.grid(alpha=0.3)
    axes.set_title(caption(scored), fontsize=8, loc="left")
    return figure


def caption(scored: Scored) -> str:
    """What was ranked, and how well, in three lines."""
    found = scored.correlation
    diverged = sum(not np.isfinite(loss) for loss in scored.losses)
    truth = scored.truth.rsplit("/", 1)[-1]  # a path may be long
    lines = [f"{scored.proxy} on {found.n} architectures of {scored.space}, against {truth}"]
    for name, value, (low, high) in (
        ("Spearman", found.spearman, found.spearman_ci),
        ("Kendall", found.kendall, found.kendall_ci),
    ):
        interval = "" if np.isnan(low) else f" (95 % interval {low:.3f} to {high:.3f})"
        lines.append(f"{name} {value:.3f}{interval}")
    if diverged:
        lines[0] += f" ({diverged} diverged, not drawn)"
    return "\n".join(lines)
