"""``python -m nni_strategy.export EXPERIMENT``: an experiment's trials, each with its own score.

NNI's own export pairs results with the parameters of other trials when several run at a time.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gennas_optuna._files import write_text
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.score_file import finite
from gennas_optuna.task import ProxyTask
from nni_strategy._records import Record, find_database, read_records

__all__ = ["Record", "find_database", "read_records"]


@click.command(name="python -m nni_strategy.export")
@click.argument("experiment")
@click.option(
    "--format", "form", type=click.Choice(("csv", "json")), default="csv", show_default=True
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, .csv or .json; standard output by default.",
)
@click.option(
    "--experiment-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Working directory of the experiments, if not NNI's.",
)
@click.option(
    "--best-task",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Proxy-task search: write the task of the highest correlation to this file.",
)
def command(
    experiment: str,
    form: str,
    out: Path | None,
    experiment_dir: Path | None,
    best_task: Path | None,
) -> None:
    """Write the trials of EXPERIMENT, an ID or a folder, running or stopped.

    Each result stands with the parameters that gave it. How many NNI has under others, and how
    many cannot be told, is said on standard error.
    """
    records = read_records(find_database(experiment, experiment_dir))
    task = _best_task(records) if best_task is not None else None
    if out is not None:
        form = out.suffix.removeprefix(".")
        if form not in ("csv", "json"):
            raise InvalidValueError(f"--out {out}: give a file that ends in .csv or .json")
    text = as_json(records) if form == "json" else as_csv(records)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
    mispaired = sum(record.mispaired for record in records)
    click.echo(
        f"{len(records)} trials, {sum(r.value is not None for r in records)} with a result; "
        f"put right: {mispaired}; not certain: {sum(not r.certain for r in records)}",
        err=True,
    )
    if best_task is not None and task is not None:
        task.save(best_task)


def as_json(records: Sequence[Record]) -> str:
    """The records as a JSON list; a loss that is infinite is ``null``."""
    return json.dumps(_finite([_plain(record) for record in records]), indent=1) + "\n"


def as_csv(records: Sequence[Record]) -> str:
    """The records as CSV: what every trial has, then its parameters, then the other numbers."""
    head = [name for name in _plain(Record("", None, "")) if name not in ("parameters", "details")]
    parameters = list(dict.fromkeys(name for r in records for name in r.parameters))
    rest = dict.fromkeys(
        name
        for record in records
        for name, value in record.details.items()
        if not isinstance(value, (Mapping, list)) and name not in head
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *(f"parameters.{name}" for name in parameters), *rest])
    for record in records:
        plain = _plain(record)
        row = [plain[name] for name in head]
        row += [record.parameters.get(name) for name in parameters]
        writer.writerow(row + [record.details.get(name) for name in rest])
    return text.getvalue()


def _plain(record: Record) -> dict[str, Any]:
    return {**record.__dict__, "parameters": dict(record.parameters)}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _best_task(records: Sequence[Record]) -> ProxyTask:
    done = [r for r in records if r.value is not None and isinstance(r.details.get("task"), dict)]
    if not done:
        raise InvalidValueError("--best-task: no trial of this experiment has found a proxy task")
    best = max(done, key=lambda record: record.value or 0.0)
    return ProxyTask.from_dict(best.details["task"], where="best task")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input ends in one line and exit status 2."""
    try:
        command.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.ClickException, GenNASError) as error:
        told = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"python -m nni_strategy.export: error: {' '.join(told.split())}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
