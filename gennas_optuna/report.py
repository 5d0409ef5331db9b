"""Reports: the records of rankings, searches and studies as CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gennas_optuna._check import shorten
from gennas_optuna._evaluator import Score
from gennas_optuna._files import check_writable, read_data, write_text
from gennas_optuna._studies import counted, cpu_seconds
from gennas_optuna.correlation import RankCorrelation
from gennas_optuna.errors import DataFileError
from gennas_optuna.ranking import Ranking
from gennas_optuna.score_file import finite
from gennas_optuna.search import Found
from gennas_optuna.spaces import Architecture

ENDINGS = (".csv", ".json", ".md")
"""The formats of reports, by the ending of the file's name."""

_LISTS = ("records", "best", "front")
"""Where the commands put their records."""


@dataclass(frozen=True)
class Report:
    """Records with what holds for all of them. All values are what JSON has; no NaN, no infinity.

    Attributes:
        title: what it is of.
        facts: settings and results of the whole.
        records: one mapping an architecture or trial; they need not have the same keys.
    """

    title: str
    facts: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]


# What is reported -----------------------------------------------------------------------------


def record(arch: Architecture, score: Score) -> dict[str, Any]:
    """An architecture and its score; a loss that is infinite is ``None``."""
    return {
        "arch": str(arch),
        "key": arch.key,
        "loss": finite(score.loss),
        "status": score.status,
        "params": score.params,
        "flops": score.flops,
        "cpu_seconds": round(score.cpu_seconds, 4),
    }


def correlation_record(found: RankCorrelation) -> dict[str, Any]:
    """A correlation; what is not a number is ``None``."""
    return {
        "n": found.n,
        "spearman": finite(found.spearman),
        "spearman_ci": [finite(end) for end in found.spearman_ci],
        "kendall": finite(found.kendall),
        "kendall_ci": [finite(end) for end in found.kendall_ci],
    }


def ranking_report(ranking: Ranking, facts: Mapping[str, Any] | None = None) -> Report:
    """Correlations with their intervals, and a record an architecture with its ``truth``.

    Args:
        ranking: the outcome of :func:`gennas_optuna.rank`.
        facts: what else holds for all of it, such as the settings.
    """
    results = {
        **correlation_record(ranking.correlation),
        "cpu_seconds_per_arch": ranking.cpu_seconds_per_arch,
    }
    records = [
        {**record(r.trained.arch, r.score), "truth": r.trained.truth} for r in ranking.records
    ]
    return Report("Ranking", {**(facts or {}), **results}, records)


def search_report(found: Sequence[Found], facts: Mapping[str, Any] | None = None) -> Report:
    """A record an architecture that a search scored, in the order given.

    Args:
        found: the outcome of :func:`gennas_optuna.search`.
        facts: what else holds for all of it, such as the settings.
    """
    results = {
        "n_unique": len(found),
        "cpu_seconds": sum(item.score.cpu_seconds for item in found),
    }
    records = [record(item.arch, item.score) for item in found]
    return Report("Search", {**(facts or {}), **results}, records)


def study_report(study: optuna.Study) -> Report:
    """A record a trial that came to something, with its values, architecture and cost.

    Trials without an architecture (a proxy task, a module of one's own) have their parameters.
    Works for any study; those of this package say more.
    """
    trials = counted(study)
    names = value_names(study)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    facts: dict[str, Any] = {"study": study.study_name}
    for attribute in ("gennas:search", "gennas:command"):  # what is searched, and how
        given = study.user_attrs.get(attribute, {})
        facts.update({name: value for name, value in given.items() if value is not None})
    facts["directions"] = [direction.name.lower() for direction in study.directions]
    facts["n_trials"] = len(trials)
    facts["states"] = dict(Counter(trial.state.name.lower() for trial in trials))
    facts["cpu_seconds"] = round(sum(cpu_seconds(trial) or 0.0 for trial in trials), 4)
    if complete:
        facts["best"] = [trial.number for trial in study.best_trials]
    return Report(f"Study {study.study_name}", facts, [_trial(trial, names) for trial in trials])


def value_names(study: optuna.Study) -> list[str]:
    """What the values of a study's trials are."""
    if study.metric_names is not None:
        return list(study.metric_names)
    objectives = study.user_attrs.get("gennas:command", {}).get("objectives")
    if objectives is not None:
        return [name.strip() for name in objectives.split(",")]
    attributes = {name for trial in study.get_trials(deepcopy=False) for name in trial.user_attrs}
    first = "loss" if "gennas:cost" in attributes else "value"
    first = "correlation" if "gennas:losses" in attributes else first
    return [first, *(f"value_{n}" for n in range(1, len(study.directions)))]


def _trial(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    attributes = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    values = map(finite, trial.values) if complete else [None] * len(names)
    row: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state.name.lower(),
        **dict(zip(names, values, strict=True)),
    }
    for name in ("arch", "key", "duplicate_of", "seconds", "error"):
        if f"gennas:{name}" in attributes:
            row[name] = attributes[f"gennas:{name}"]
    cost = attributes.get("gennas:cost", {})
    row.update({name: finite(value) for name, value in cost.items() if name not in row})
    if "arch" not in row:
        row["parameters"] = dict(trial.params)
    return row


def read_report(path: Path) -> Report:
    """What a command printed with ``--json`` into a file: ``rank``, ``search`` or ``score``.

    Raises:
        MissingFileError: there is no such file.
        DataFileError: it holds something else.
    """
    data = read_data(path)
    facts = dict(data) if isinstance(data, dict) else {}
    name = next((name for name in _LISTS if name in facts), None)
    records = data if name is None else facts.pop(name)
    if not isinstance(records, list) or not all(isinstance(row, dict) for row in records):
        raise DataFileError(
            f"{shorten(str(path), 200)} holds no records: give what `gennas rank`, `search` or "
            "`score` printed with --json"
        )
    try:
        json.dumps(data, allow_nan=False)
    except ValueError:
        name = shorten(str(path), 200)
        raise DataFileError(f"{name} holds NaN or Infinity, which JSON has not") from None
    return Report(path.stem, facts, records)


# In which form --------------------------------------------------------------------------------


def as_data(report: Report) -> dict[str, Any]:
    """For JSON: the facts, and the list ``records``."""
    return {**report.facts, "records": list(report.records)}


def as_json(report: Report) -> str:
    """The text of :func:`as_data`."""
    return json.dumps(as_data(report), indent=2, allow_nan=False) + "\n"


def as_csv(report: Report) -> str:
    """A row a record, without the facts; ``a.b`` heads what ``a`` has under ``b``."""
    rows = [
        {name: json.dumps(x) if isinstance(x, list) else x for name, x in _flat(row).items()}
        for row in report.records
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(report: Report) -> str:
    """A heading, the facts as a list, and a table with numbers rounded to four digits."""
    rows = [_flat(row) for row in report.records]
    columns = _columns(rows)
    table = Table(box=box.MARKDOWN)
    for column in columns:
        table.add_column(Text(_cell(column)), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    text = io.StringIO()
    Console(file=text, width=10**6, color_system=None, force_terminal=False).print(table)
    lines = [f"# {report.title}", ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in _flat(report.facts).items()]
    lines += ["", *(line.rstrip() for line in text.getvalue().splitlines() if line.strip())]
    return "\n".join(lines) + "\n"


def write(report: Report, path: Path) -> None:
    """Write a report in the format of the name's ending: the whole of it, or nothing.

    Raises:
        DataFileError: the name has no ending of :data:`ENDINGS`, or the file cannot be written.
    """
    check_writable(path, ENDINGS)
    form = {".csv": as_csv, ".json": as_json, ".md": as_markdown}[path.suffix.lower()]
    write_text(path, form(report))


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    text = " ".join(str(value).split())
    if re.search(r"[*~<>`\[\]|\\]", text):  # what Markdown would read as its own
        text = "`" + text.replace("`", "'").replace("|", r"\|") + "`"
    return text
