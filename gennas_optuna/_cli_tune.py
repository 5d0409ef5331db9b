"""``gennas tune-task``: find the signals that rank a space's architectures best."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click
import optuna
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gennas_optuna._cli_options import TRAINING_OPTIONS, with_options
from gennas_optuna._files import write_text
from gennas_optuna._task_bound import STATISTICS
from gennas_optuna._task_result import (
    TaskSearch,
    correlate_losses,
    correlation_record,
    importances,
    mean_rank,
    score_tasks,
    top_tasks,
)
from gennas_optuna._task_study import completed, finished, open_study
from gennas_optuna.benchmarks import load_truth
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.presets import get_task, packaged_tasks
from gennas_optuna.samplers import SAMPLERS, make_sampler
from gennas_optuna.spaces import get_space
from gennas_optuna.task import ProxyTask
from gennas_optuna.task_search import ProxyTaskObjective, draw_distinct, search_task
from gennas_optuna.task_space import FORMS, ProxyTaskSpace

COMPLETE_ONLY = ("evolution", "cmaes")
"""Samplers that learn nothing from a pruned trial."""

_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, highlight=False)
_COUNT = click.IntRange(min=1)


@click.command(name="tune-task")
@click.argument("space")
@click.option("--form", metavar="FORM", help="Which network of the space; see `spaces`.")
@click.option("--truth", required=True, help="Known qualities: hpo-bench:cifar10, or a file.")
@click.option("--archs", type=click.IntRange(min=2), default=20, help="Drawn from TRUTH. [20]")
@click.option("--trials", type=_COUNT, help="Finished trials that the study is to have.")
@click.option("--evaluations", type=_COUNT, help="Trained architectures it is to have.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds; then no trial begins.")
@click.option("--patience", type=_COUNT, help="Stop after so many trials without a new best.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the task, .json or .yaml; where it came from goes to *.provenance.json.",
)
@click.option("--sampler", default="tpe", show_default=True, help=f"{', '.join(SAMPLERS)}.")
@click.option("--task-space", type=click.Choice(FORMS), default="flat", show_default=True)
@click.option("--statistic", type=click.Choice(STATISTICS), default="spearman", show_default=True)
@click.option(
    "--start",
    multiple=True,
    default=("packaged",),
    show_default=True,
    metavar="TASK",
    help="Task to try first: a name or FILE, may be repeated; 'packaged' for all that come with "
    "the package, 'none' for none.",
)
@click.option("--heldout", type=click.IntRange(min=3), help="Other architectures to check on.")
@click.option("--heldout-truth", metavar="TRUTH", help="Where those are from, if not TRUTH.")
@click.option("--ensemble", type=_COUNT, default=1, help="Rank by so many best tasks, too. [1]")
@click.option("--storage", help="sqlite:///FILE, FILE.journal or any Optuna URL; goes on there.")
@click.option("--study-name", metavar="NAME", help="Of the study in the storage. [the space]")
@click.option("--take-over", is_flag=True, help="Run again what other machines left running.")
@with_options(*TRAINING_OPTIONS)
@click.option("--workers", type=_COUNT, default=1, help="Processes; no effect on results. [1]")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of finished scores of held-out architectures.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def tune_task(space: str, form: str | None, truth: str, **options: Any) -> None:
    """Find the proxy task that ranks a few trained architectures of SPACE best.

    The search goes on where it was if it was stopped and a --storage is given.
    """
    chosen = get_space(space) if form is None else get_space(space, form=form)
    table = load_truth(truth, chosen)
    tasks = ProxyTaskSpace.of(chosen, options["task_space"])
    settings = {
        name: options[name]
        for name in ("preset", "steps", "inputs", "seed", "device", "threads", "workers")
    }
    objective = ProxyTaskObjective(
        chosen,
        table,
        n_archs=options["archs"],
        statistic=options["statistic"],
        tasks=tasks,
        prune=options["sampler"] not in COMPLETE_ONLY,
        top=options["ensemble"],  # so that they are not pruned
        **settings,
    )
    held = None
    if options["heldout"] is not None:  # drawn now, so that too few are told before the search
        other = table
        if options["heldout_truth"] is not None:
            other = load_truth(options["heldout_truth"], chosen)
        held = (
            other,
            draw_distinct(
                other,
                options["heldout"],
                seed=options["seed"],
                what="held-out set",
                without=objective.archs,
            ),
        )
    if options["out"] is not None and not options["out"].parent.is_dir():
        raise InvalidValueError(f"--out: there is no folder {options['out'].parent}")
    preset = options["preset"]
    start: list[ProxyTask] = []
    for name in options["start"]:
        if name == "packaged":
            start += packaged_tasks(chosen, preset=preset)
        elif name != "none":
            start.append(get_task(name, chosen, preset=preset))
    study = open_study(
        options["storage"],
        options["study_name"] or space,
        partial(make_sampler, options["sampler"], tasks),
        seed=options["seed"],
    )
    with _Watch(study, options["trials"]) as watch:
        found = search_task(
            objective,
            study,
            n_trials=options["trials"],
            n_evaluations=options["evaluations"],
            timeout=options["timeout"],
            patience=options["patience"],
            start=start,
            take_over=options["take_over"],
            on_trial=watch.see,
        )
    top = top_tasks(objective, study, options["ensemble"])
    report: dict[str, Any] = {
        "task": found.task.to_dict(),
        "ensemble": [task.to_dict() for task in top],
        **found.provenance(),
        "importances": importances(study),
    }
    if held is not None:
        other, records = held
        losses = score_tasks(
            top,
            objective.make_evaluator,
            records,
            workers=options["workers"],
            cache=options["cache"],
        )
        report["heldout_truth"] = other.name
        report["heldout"] = correlation_record(correlate_losses(losses[0], other, records))
        if len(top) > 1:
            together = correlate_losses(mean_rank(losses), other, records)
            report["heldout_ensemble"] = correlation_record(together)
    if options["out"] is not None:
        _write(options["out"], found.task, report)
    _show(found, report, options["out"], options["as_json"])


class _Watch:
    """Progress on standard error: a bar in a terminal, else a line per improvement."""

    def __init__(self, study: optuna.Study, total: int | None) -> None:
        self._study = study
        best = completed(study)[:1]
        self._best = best[0].value if best else None
        self._bar = Progress(
            TextColumn("tuning the task"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[best]}"),
            console=_err,
            transient=True,
            disable=not _err.is_terminal,
        )
        begun = len(finished(study))
        if begun:
            _err.print(f"going on after {begun} finished trials", style="dim")
        self._task = self._bar.add_task("", total=total, completed=begun, best="")

    def __enter__(self) -> _Watch:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def see(self, trial: FrozenTrial) -> None:
        """A trial is finished."""
        value = trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None
        if value is not None and (self._best is None or value > self._best):
            self._best = value
            self._bar.update(self._task, best=f"best {value:.3f}")
            if not _err.is_terminal:
                _err.print(f"trial {trial.number}: correlation {value:.4f}, the best so far")
        self._bar.update(self._task, completed=len(finished(self._study)))


def _write(path: Path, task: ProxyTask, report: dict[str, Any]) -> None:
    object.__setattr__(task, "name", path.stem)  # a task's name is not part of what it is
    report["task"]["name"] = path.stem
    task.save(path)
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    write_text(path.with_suffix(".provenance.json"), text)


def _show(found: TaskSearch, report: dict[str, Any], out: Path | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report, indent=2, allow_nan=False))
        return
    _out.print(
        f"{found.n_trials} trials ({found.n_trials - found.n_completed} pruned), "
        f"{found.n_evaluations} architectures trained; stopped by {found.stopped}"
    )
    _out.print(f"best task: trial {found.trial}, {found.task.digest}")
    for key, what in (
        ("search", "best task on the search's own"),
        ("heldout", "best task on others"),
        ("heldout_ensemble", "ensemble on others"),
    ):
        if key in report:
            _out.print(f"{what}: {_text(report[key])}")
    if report["importances"]:
        first = list(report["importances"].items())[:5]
        _out.print("matters most: " + ", ".join(f"{k} {v:.2f}" for k, v in first))
    if out is not None:
        _out.print(f"written: {out} and {out.with_suffix('.provenance.json')}")


def _text(record: dict[str, Any]) -> str:
    """A record of :func:`correlation_record`, for people."""
    parts = [f"n = {record['n']}"]
    for name in STATISTICS:
        low, high = record[f"{name}_ci"]
        interval = "" if low is None else f" (95 % {low:.3f} to {high:.3f})"
        parts.append(f"{name.capitalize()} {record[name]:.3f}{interval}")
    return ", ".join(parts)
