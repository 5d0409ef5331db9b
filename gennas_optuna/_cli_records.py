"""``gennas report``: records as a table for people and other programs."""

from __future__ import annotations

from pathlib import Path

import click

from gennas_optuna._cli_options import JSON_OPTION
from gennas_optuna._cli_report import print_json
from gennas_optuna._files import check_writable
from gennas_optuna._studies import opened_studies
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.report import (
    ENDINGS,
    Report,
    as_data,
    as_markdown,
    read_report,
    study_report,
    write,
)


@click.command(name="report")
@click.argument("source")
@click.argument("study", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File to write: {', '.join(ENDINGS)}. Without it Markdown goes to standard output.",
)
@JSON_OPTION
def report_command(source: str, study: str | None, out: Path | None, as_json: bool) -> None:
    """Report a study, a ranking or a search as CSV, JSON or Markdown.

    SOURCE is a storage with the study STUDY in it, or a file with what `gennas rank`, `search` or
    `score` printed with --json.
    """
    if out is not None:
        check_writable(out, ENDINGS)
    report = _read(source, study)
    if out is not None:
        write(report, out)
    if as_json:
        written = {} if out is None else {"file": str(out)}
        print_json({**written, **as_data(report)})
    elif out is None:
        click.echo(as_markdown(report), nl=False)
    else:
        click.echo(f"{out}: {report.title}, {len(report.records)} records")


def _read(source: str, study: str | None) -> Report:
    if study is not None:
        with opened_studies(source, [study]) as (opened,):
            return study_report(opened)
    if not source.endswith(".json"):
        raise InvalidValueError(
            f"{source!r}: name a study in this storage, or give a .json file that a command made"
        )
    return read_report(Path(source))
