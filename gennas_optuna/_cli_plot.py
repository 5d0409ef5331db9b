"""``gennas plot``: figures."""

from __future__ import annotations

from pathlib import Path

import click

from gennas_optuna import plots
from gennas_optuna._task_study import load_study
from gennas_optuna.presets import get_task
from gennas_optuna.spaces import get_space

_OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The figure: .png, .svg or .pdf.",
)


@click.group()
def plot() -> None:
    """Draw figures (needs the extra "plot")."""


@plot.command(name="task")
@click.argument("task", default="default")
@click.option("--space", help="Whose default task, if TASK is 'default'.")
@click.option("--inputs", default="photos", show_default=True, help="Unlabelled images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_OUT
def plot_task(task: str, space: str | None, inputs: str, seed: int, out: Path) -> None:
    """What TASK (a name, or FILE) has networks regress."""
    chosen = get_task(task, None if space is None else get_space(space))
    plots.save(plots.plot_task(chosen, inputs=inputs, seed=seed), out)
    click.echo(f"{out}: task {chosen.name}")


@plot.command(name="tuning")
@click.argument("storage")
@click.argument("study", nargs=-1, required=True)
@_OUT
def plot_tuning(storage: str, study: tuple[str, ...], out: Path) -> None:
    """Best correlation so far of the studies STUDY... of `tune-task` in STORAGE."""
    opened = {name: [load_study(storage, name)] for name in study}
    plots.save(plots.plot_best_so_far(opened), out)
    click.echo(f"{out}: {len(study)} searches")
