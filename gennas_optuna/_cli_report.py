"""What the command line prints: tables and progress for people, JSON for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna.distributions import CategoricalDistribution, IntDistribution
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from gennas_optuna import _check
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.correlation import rank_correlation
from gennas_optuna.ranking import Ranking
from gennas_optuna.report import as_data, ranking_report, record
from gennas_optuna.score_file import finite
from gennas_optuna.search import Found
from gennas_optuna.spaces import Architecture, SearchSpace

_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """A line for the person, on standard error."""
    _err.print(text, style="dim", markup=False, soft_wrap=True)


def note_left_out(truth: GroundTruth) -> None:
    """Tell how many records of a table have no result, if there are any."""
    if truth.skipped:
        count = sum(truth.skipped.values())
        note(f"{truth.name}: {count} of {count + len(truth)} records left out: {truth.left_out}")


class Progress:
    """A progress bar on standard error; nothing where that is no terminal."""

    def __init__(self, total: int, what: str) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=_err,
            transient=True,
            disable=not _err.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total, best="")
        self._best = math.inf

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, best: float | None = None) -> None:
        """One more is done; show the lowest loss so far if losses are given."""
        if best is not None:
            self._best = min(self._best, best)
            self._bar.update(self._task, best=f"best loss {self._best:.4g}")
        self._bar.advance(self._task)

    def reach(self, done: int) -> None:
        """So many are done in all."""
        self._bar.update(self._task, completed=done)


def show_spaces(spaces: Sequence[SearchSpace], as_json: bool) -> None:
    """The table of search spaces."""
    rows: list[dict[str, Any]] = [
        {
            "name": space.name,
            "parameters": len(space.distributions()),
            "parameter_sets": _size(space),
            "input_shape": list(space.input_shape),
            "forms": list(space.forms),
        }
        for space in spaces
    ]
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        sets = row["parameter_sets"]
        size = "-" if sets is None else f"{sets:,}" if sets < 1e9 else f"{sets:.1e}"
        cells.append((row["name"], str(row["parameters"]), size, ", ".join(row["forms"])))
    print_table(("space", "parameters", "size", "forms"), cells)
    _out.print("size: number of parameter sets; several may stand for one network")


def show_scores(records: list[dict[str, Any]], as_json: bool) -> None:
    """The table of ``gennas score``."""
    if as_json:
        print_json(records)
        return
    cells = [(*_measured(row), f"{row['cpu_seconds']:.2f}") for row in records]
    print_table((*_MEASURED, "CPU s"), cells, numbered=True)
    list_architectures(records)


def show_ranking(head: dict[str, Any], ranking: Ranking, as_json: bool) -> None:
    """The outcome of ``gennas rank``."""
    found = ranking.correlation
    if as_json:
        print_json(as_data(ranking_report(ranking, head)))
        return
    what = head["proxy"]
    if what == "gennas":
        what = f"gennas ({head['task']} task, {head['steps']} steps)"
    _out.print(f"{what} on {found.n} architectures of {head['space']}, against {head['truth']}")
    cells = [
        (name, f"{value:.3f}", f"{low:.3f} to {high:.3f}")
        for name, value, (low, high) in (
            ("Spearman", found.spearman, found.spearman_ci),
            ("Kendall", found.kendall, found.kendall_ci),
        )
    ]
    print_table(("", "value", "95 % interval"), cells)
    diverged = sum(r.score.status != "ok" for r in ranking.records)
    _out.print(
        f"{ranking.cpu_seconds_per_arch:.2f} CPU-seconds per architecture; {diverged} diverged"
    )


def show_search(
    head: dict[str, Any],
    found: Sequence[Found],
    truths: Sequence[GroundTruth],
    top: int,
    as_json: bool,
) -> None:
    """The outcome of ``gennas search``: the best, and what is known about them."""
    best = [
        {**record(f.arch, f.score), "truth": {t.name: _known(t, f.arch) for t in truths}}
        for f in found[:top]
    ]
    tables = [_against(truth, found) for truth in truths]
    cpu_seconds = sum(f.score.cpu_seconds for f in found)
    if as_json:
        print_json(
            {
                **head,
                "n_unique": len(found),
                "cpu_seconds": cpu_seconds,
                "truths": tables,
                "best": best,
            }
        )
        return
    _out.print(f"{searched(head, found)}, {cpu_seconds:.0f} CPU-seconds in all")
    cells = [
        (*_measured(row), *(_truth_cell(row["truth"][t.name]) for t in truths)) for row in best
    ]
    print_table((*_MEASURED, *(short(t.name) for t in truths)), cells, numbered=True)
    for entry in tables:
        _out.print(
            f"{short(entry['truth'])}: {entry['metric']}, below it the rank among {entry['of']:,}"
        )
    list_architectures(best)
    for entry in tables:
        low, high = entry["spearman_ci"] or (None, None)
        if entry["spearman"] is not None and low is not None:
            _out.print(
                f"{entry['truth']}: loss against {entry['metric']} over the {entry['n']} searched:"
                f" Spearman {entry['spearman']:.3f} (95 % interval {low:.3f} to {high:.3f})"
            )
        if entry["train_hours"] is not None:
            _out.print(
                f"{entry['truth']}: training the {_check.amount(entry['n'], 'network')} instead "
                f"would have taken {entry['train_hours']:.0f} GPU-hours by the table's own times"
            )


def searched(head: Mapping[str, Any], found: Sequence[Found]) -> str:
    """How much was searched."""
    trials = _check.amount(head["n_trials"], "trial")
    return f"{trials}, {_check.amount(len(found), 'distinct network')} of {head['space']}"


def _known(truth: GroundTruth, arch: Architecture) -> dict[str, Any] | None:
    record = truth.find(arch)
    if record is None:
        return None
    return {"value": record.truth, "rank": truth.rank_of(arch), "of": len(truth)}


def _against(truth: GroundTruth, found: Sequence[Found]) -> dict[str, Any]:
    """How the losses of a search agree with a table, and what training would have cost."""
    pairs = [(f, t) for f in found if (t := truth.find(f.arch)) is not None]
    entry: dict[str, Any] = {"truth": truth.name, "metric": truth.metric, "n": len(pairs)}
    entry["of"] = len(truth)
    entry.update(spearman=None, spearman_ci=None, train_hours=None)
    if len(pairs) >= 3:
        correlation = rank_correlation(
            [-f.score.loss for f, _ in pairs], [truth.goodness(t) for _, t in pairs]
        )
        entry["spearman"] = finite(correlation.spearman)
        entry["spearman_ci"] = [finite(x) for x in correlation.spearman_ci]
    seconds = [t.train_seconds for _, t in pairs if t.train_seconds is not None]
    if seconds:
        entry["train_hours"] = sum(seconds) / 3600
    return entry


def _truth_cell(known: dict[str, Any] | None) -> str:
    return "unknown" if known is None else f"{known['value']:.2f}\n{known['rank']:,}"


def short(name: str) -> str:
    """The telling end of a table's name, to head a column."""
    return name.removeprefix("hpo-bench:") if name.startswith("hpo-bench:") else Path(name).stem


def list_architectures(records: Sequence[Mapping[str, Any]]) -> None:
    """Below a table, since they are long; each on one line, to copy."""
    for number, row in enumerate(records, start=1):
        _out.print(f"{number}  {row['arch']}", markup=False)


def _size(space: SearchSpace) -> int | None:
    """Number of parameter sets; ``None`` if a parameter is continuous."""
    total = 1
    for distribution in space.distributions().values():
        if isinstance(distribution, CategoricalDistribution):
            total *= len(distribution.choices)
        elif isinstance(distribution, IntDistribution):
            total *= (distribution.high - distribution.low) // distribution.step + 1
        else:
            return None
    return total


HEADS = {"loss": "loss", "params": "params", "flops": "MACs", "latency": "ms", "memory": "memory"}
"""What stands above a column of each value."""

_MEASURED = (HEADS["loss"], HEADS["params"], HEADS["flops"])


def _measured(row: Mapping[str, Any]) -> list[str]:
    return [value_cell(name, row[name]) for name in ("loss", "params", "flops")]


def value_cell(name: str, value: float | None) -> str:
    """A value that is named in :data:`HEADS`, for people."""
    if value is None:
        return "diverged"
    if name in ("loss", "latency"):
        return f"{value:.4f}" if name == "loss" else f"{value:.2f}"
    millions = value / 1e6
    if name == "memory":
        return f"{millions:.2f} MB"
    return f"{millions:.3f} M" if name == "params" else f"{millions:.1f} M"


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbered: bool = False
) -> None:
    """Print cells below their heads. Where the table is too wide, texts and heads are broken.

    Numbers never are; columns are of numbers but the first and ``forms``.
    """
    if numbered:
        heads = ("", *heads)
        rows = [(str(number), *row) for number, row in enumerate(rows, start=1)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, head in enumerate(heads):
        if place == 0 or head == "forms":
            table.add_column(head, overflow="fold")
        else:
            widest = max(len(line) for row in rows for line in row[place].splitlines())
            table.add_column(head, justify="right", overflow="fold", min_width=widest)
    for row in rows:
        table.add_row(*row)
    _out.print(table)


def print_json(data: Any) -> None:
    """What a machine reads."""
    print(json.dumps(data, indent=2, allow_nan=False))
