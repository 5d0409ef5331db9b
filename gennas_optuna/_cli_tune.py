"""``gennas tune-task``: find the signals that rank a space's architectures best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import optuna
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gennas_optuna import _check
from gennas_optuna._cli_options import TRAINING_OPTIONS, chosen_space, with_options
from gennas_optuna._cli_report import note_left_out, print_json
from gennas_optuna._files import write_text
from gennas_optuna._task_bound import STATISTICS
from gennas_optuna._task_result import (
    TaskSearch,
    correlate_losses,
    importances,
    mean_rank,
    score_tasks,
    top_tasks,
)
from gennas_optuna._task_study import completed, finished, open_study
from gennas_optuna.benchmarks import GroundTruth, Trained, load_truth
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.presets import get_task, packaged_tasks
from gennas_optuna.report import correlation_record
from gennas_optuna.samplers import SAMPLERS, make_sampler
from gennas_optuna.score_file import ScoreFile
from gennas_optuna.spaces import SearchSpace
from gennas_optuna.storage import opened_storage
from gennas_optuna.task import ProxyTask
from gennas_optuna.task_search import ProxyTaskObjective, draw_distinct, search_task
from gennas_optuna.task_space import FORMS, ProxyTaskSpace

COMPLETE_ONLY = ("evolution", "cmaes")
"""Samplers that learn nothing from a pruned trial."""

_LIMITS = ("trials", "evaluations", "timeout", "patience")

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
@click.option(
    "--storage",
    metavar="URL",
    help="FILE.journal, a database or grpc://HOST:PORT: what was stopped goes on there, and "
    "several processes share the trials.",
)
@click.option("--study-name", metavar="NAME", help="Of the study in the storage. [the space]")
@click.option(
    "--take-over",
    is_flag=True,
    help="Run again at once what other machines left running.",
)
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
    if all(options[limit] is None for limit in _LIMITS):
        allowed = ", ".join(f"--{limit}" for limit in _LIMITS)
        raise InvalidValueError(f"nothing ends the search: give one or more of {allowed}")
    chosen = chosen_space(space, form)
    objective = _objective(chosen, truth, options)
    # Drawn now, so that too few are told before the search.
    held = None if options["heldout"] is None else _held_out(objective, options)
    if options["cache"] is not None:
        ScoreFile(options["cache"]).check_writable()
    if options["out"] is not None and not options["out"].parent.is_dir():
        raise InvalidValueError(f"--out: there is no folder {options['out'].parent}")
    start = _start(chosen, options)
    sampler = partial(make_sampler, options["sampler"], objective.tasks)
    name = options["study_name"] or space
    with opened_storage(options["storage"]) as place:
        study = open_study(place, name, sampler, seed=options["seed"])
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
        weights = importances(study)
    report: dict[str, Any] = {
        "task": found.task.to_dict(),
        "ensemble": [task.to_dict() for task in top],
        **found.provenance(),
        "importances": weights,
        "skipped": dict(objective.truth.skipped),
    }
    if held is not None:
        report |= _check_on(*held, top, objective, options)
    if options["out"] is not None:
        _write(options["out"], found.task, report)
    _show(found, report, options["out"], options["as_json"])


def _objective(space: SearchSpace, truth: str, options: Mapping[str, Any]) -> ProxyTaskObjective:
    names = ("preset", "steps", "inputs", "seed", "device", "threads", "workers")
    table = load_truth(truth, space)
    note_left_out(table)
    return ProxyTaskObjective(
        space,
        table,
        n_archs=options["archs"],
        statistic=options["statistic"],
        tasks=ProxyTaskSpace.of(space, options["task_space"]),
        prune=options["sampler"] not in COMPLETE_ONLY,
        top=options["ensemble"],  # so that they are not pruned
        **{name: options[name] for name in names},
    )


def _held_out(
    objective: ProxyTaskObjective, options: Mapping[str, Any]
) -> tuple[GroundTruth, list[Trained]]:
    """Architectures that take no part in the search, and the table that they are from."""
    table, name = objective.truth, options["heldout_truth"]
    if name is not None:
        table = load_truth(name, objective.space)
        note_left_out(table)
    return table, draw_distinct(
        table,
        options["heldout"],
        seed=options["seed"],
        what="held-out set",
        without=objective.archs,
    )


def _start(space: SearchSpace, options: Mapping[str, Any]) -> list[ProxyTask]:
    """The tasks to try first."""
    tasks: list[ProxyTask] = []
    for name in options["start"]:
        if name == "packaged":
            tasks += packaged_tasks(space, preset=options["preset"])
        elif name != "none":
            tasks.append(get_task(name, space, preset=options["preset"]))
    return tasks


def _check_on(
    table: GroundTruth,
    records: list[Trained],
    top: Sequence[ProxyTask],
    objective: ProxyTaskObjective,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """How the best tasks, alone and together, rank held-out architectures."""
    losses = score_tasks(
        top,
        objective.make_evaluator,
        records,
        workers=options["workers"],
        cache=options["cache"],
    )
    found = {"heldout": losses[0]}
    if len(top) > 1:
        found["heldout_ensemble"] = mean_rank(losses)
    return {
        "heldout_truth": table.name,
        **{
            key: correlation_record(correlate_losses(ranking, table, records))
            for key, ranking in found.items()
        },
    }


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
            _err.print(f"going on after {_check.amount(begun, 'finished trial')}", style="dim")
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
        print_json(report)
        return
    _out.print(
        f"{_check.amount(found.n_trials, 'trial')} "
        f"({found.n_trials - found.n_completed} pruned), "
        f"{_check.amount(found.n_evaluations, 'architecture')} trained; "
        f"stopped by --{found.stopped.removeprefix('n_')}"
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
