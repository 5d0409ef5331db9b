"""What ``gennas search`` prints and draws when there are several objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from gennas_optuna import _cli_report as report
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.plots_pareto import LABELS, pareto_front, plot_pareto
from gennas_optuna.report import record
from gennas_optuna.score_file import finite
from gennas_optuna.search import Found

_out = Console(soft_wrap=True, highlight=False)


def show_front(
    head: Mapping[str, Any],
    objective: GenNASObjective,
    study: optuna.Study,
    found: Sequence[Found],
    tables: Sequence[GroundTruth],
    top: int,
    as_json: bool,
) -> None:
    """The Pareto front, lowest loss first, with the known qualities of what is on it.

    For machines also the ``top`` networks of the lowest losses, whatever their costs.
    """
    names = objective.metric_names
    rows: list[dict[str, Any]] = []
    for trial in pareto_front(study):
        arch = objective.space.parse(trial.user_attrs["gennas:arch"])
        known = {table.name: table.find(arch) for table in tables}
        rows.append(
            {
                "arch": str(arch),
                "key": arch.key,
                "values": dict(zip(names, map(finite, trial.values), strict=True)),
                "truth": {name: None if t is None else t.truth for name, t in known.items()},
            }
        )
    if as_json:
        report.print_json(
            {
                **head,
                "n_unique": len(found),
                "cpu_seconds": sum(f.score.cpu_seconds for f in found),
                "front": rows,
                "best": [record(f.arch, f.score) for f in found[:top]],
            }
        )
        return
    limits = ", ".join(f"{LABELS[n]} up to {v:g}" for n, v in objective.constraints.items())
    _out.print(
        f"{report.searched(head, found)}"
        f"{' within ' + limits if limits else ''}, {len(rows)} on the Pareto front"
    )
    cells = [
        (
            *(report.value_cell(name, value) for name, value in row["values"].items()),
            *("unknown" if t is None else f"{t:.2f}" for t in row["truth"].values()),
        )
        for row in rows
    ]
    heads = (*(report.HEADS[name] for name in names), *(report.short(t.name) for t in tables))
    report.print_table(heads, cells, numbered=True)
    report.list_architectures(rows)


def draw(objective: GenNASObjective, study: optuna.Study, path: Path) -> None:
    """Write the figure."""
    from gennas_optuna.plots import save  # noqa: PLC0415 - only where a figure is asked for

    save(plot_pareto(study, objective.metric_names, objective.constraints), path)
