"""``gennas plot``: figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gennas_optuna import _check, plots
from gennas_optuna._cli_options import JSON_OPTION, with_options
from gennas_optuna._cli_report import print_json
from gennas_optuna._figure import ENDINGS, check_figure
from gennas_optuna._scored import match_scores, read_ranking
from gennas_optuna._studies import opened_studies
from gennas_optuna._task_study import check_direction
from gennas_optuna.plots_ranking import caption, plot_scatter
from gennas_optuna.plots_search import convergence, plot_convergence
from gennas_optuna.plots_study import plot_study, title
from gennas_optuna.presets import get_task
from gennas_optuna.report import correlation_record, study_report
from gennas_optuna.spaces import get_space


def _checked(_context: click.Context, _option: click.Parameter, path: Path) -> Path:
    check_figure(path)
    return path


_written = with_options(
    click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        callback=_checked,
        help=f"The figure: {', '.join(ENDINGS)}.",
    ),
    JSON_OPTION,
)
"""Where the figure goes, and what is printed."""


@click.group()
def plot() -> None:
    """Draw figures (needs the extra "plot")."""


@plot.command(name="task")
@click.argument("task", default="default")
@click.option("--space", help="Whose default task, if TASK is 'default'.")
@click.option("--inputs", default="photos", show_default=True, help="Unlabelled images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_written
def task_command(
    task: str, space: str | None, inputs: str, seed: int, out: Path, as_json: bool
) -> None:
    """What TASK (a name, or FILE) has networks regress."""
    chosen = get_task(task, None if space is None else get_space(space))
    plots.save(plots.plot_task(chosen, inputs=inputs, seed=seed), out)
    _say(out, f"task {chosen.name}", {"task": chosen.to_dict(), "seed": seed}, as_json)


@plot.command(name="tuning")
@click.argument("storage")
@click.argument("study", nargs=-1, required=True)
@_written
def tuning_command(storage: str, study: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Best correlation so far of the studies STUDY... of `tune-task` in STORAGE."""
    with opened_studies(storage, study) as opened:
        for one in opened:
            check_direction(one)
        plots.save(plots.plot_best_so_far({s.study_name: [s] for s in opened}), out)
        curves = {s.study_name: plots.best_so_far(s) for s in opened}
    numbers = {
        name: {"architectures": x.tolist(), "best": y.tolist()} for name, (x, y) in curves.items()
    }
    _say(out, _check.amount(len(study), "search", "searches"), {"studies": numbers}, as_json)


@plot.command(name="convergence")
@click.argument("storage")
@click.argument("study", nargs=-1, required=True)
@click.option(
    "--baseline",
    multiple=True,
    metavar="STUDY",
    help="Study to compare with, such as a random search; may be repeated.",
)
@_written
def convergence_command(
    storage: str, study: tuple[str, ...], baseline: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Lowest loss so far of the studies STUDY... of `search` in STORAGE.

    Over the trials, and over CPU-seconds if all of the studies keep them.
    """
    with opened_studies(storage, (*study, *baseline)) as opened:
        by_name = {one.study_name: one for one in opened}
        shown = {name: by_name[name] for name in study if name not in baseline}
        grey = {name: by_name[name] for name in baseline}
        plots.save(plot_convergence(shown, grey), out)
        curves = {name: convergence(one) for name, one in by_name.items()}
    numbers = {
        name: {
            "trials": curve.trials.tolist(),
            "cpu_seconds": None if curve.cpu_seconds is None else curve.cpu_seconds.tolist(),
            "best": curve.best.tolist(),
        }
        for name, curve in curves.items()
    }
    best = ", ".join(f"{name} {curve.best[-1]:.4f}" for name, curve in curves.items())
    said = {"studies": numbers, "baselines": list(grey)}
    _say(out, f"lowest loss of {best}", said, as_json)


@plot.command(name="scatter")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--truth", metavar="TRUTH", help="FILE is a --cache file; what its scores meet.")
@click.option("--space", help="Which scores of a --cache file, if there are several spaces'.")
@click.option("--identity", help="Which of them, if they were made in several ways.")
@_written
def scatter_command(
    file: Path,
    truth: str | None,
    space: str | None,
    identity: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Scores against true qualities, with the rank correlations.

    FILE is what `gennas rank --json` printed. With --truth it is the --cache file of any command.
    """
    if truth is None:
        scored = read_ranking(file)
    else:
        scored = match_scores(file, truth, space=space, identity=identity)
    plots.save(plot_scatter(scored), out)
    numbers: dict[str, Any] = {
        "space": scored.space,
        "proxy": scored.proxy,
        "truth": scored.truth,
        "metric": scored.metric,
        **correlation_record(scored.correlation),
    }
    _say(out, "; ".join(caption(scored).splitlines()), numbers, as_json)


@plot.command(name="study")
@click.argument("storage")
@click.argument("study")
@_written
def study_command(storage: str, study: str, out: Path, as_json: bool) -> None:
    """The study STUDY in STORAGE: history, costs of its networks, importances.

    `gennas report` writes its trials as a table.
    """
    with opened_studies(storage, [study]) as (opened,):
        plots.save(plot_study(opened), out)
        best, what = float(convergence(opened).best[-1]), title(opened)
        facts = study_report(opened).facts
    _say(out, f"{what}, best {best:.4f}", {**facts, "best_value": best}, as_json)


def _say(out: Path, text: str, numbers: dict[str, Any], as_json: bool) -> None:
    """The file that was written, and what is to be seen in it."""
    if as_json:
        print_json({"file": str(out), **numbers})
    else:
        click.echo(f"{out}: {text}")
