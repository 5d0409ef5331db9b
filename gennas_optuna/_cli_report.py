"""What the command line prints: tables and progress for people, JSON for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from optuna.distributions import CategoricalDistribution, IntDistribution
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from gennas_optuna._evaluator import Score
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.correlation import rank_correlation
from gennas_optuna.ranking import Ranking
from gennas_optuna.score_file import finite
from gennas_optuna.search import Found
from gennas_optuna.spaces import Architecture, SearchSpace

_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """A line for the person, on standard error."""
    _err.print(text, style="dim")


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


def record(arch: Architecture, score: Score) -> dict[str, Any]:
    """An architecture and its score, for JSON."""
    return {
        "arch": str(arch),
        "key": arch.key,
        "loss": finite(score.loss),
        "status": score.status,
        "params": score.params,
        "flops": score.flops,
        "cpu_seconds": round(score.cpu_seconds, 4),
    }


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
        _print_json(rows)
        return
    table = _table("space", "parameters", "size", "forms")
    for row in rows:
        sets = row["parameter_sets"]
        table.add_row(
            str(row["name"]),
            str(row["parameters"]),
            "-" if sets is None else f"{sets:,}" if sets < 1e9 else f"{sets:.1e}",
            ", ".join(row["forms"]),
        )
    _out.print(table)
    _out.print("size: number of parameter sets; several may stand for one network")


def show_scores(records: list[dict[str, Any]], as_json: bool) -> None:
    """The table of ``gennas score``."""
    if as_json:
        _print_json(records)
        return
    table = _table("", "loss", "params", "MACs", "CPU s")
    for number, row in enumerate(records, start=1):
        cells = (_loss(row["loss"]), *_costs(row), f"{row['cpu_seconds']:.2f}")
        table.add_row(str(number), *cells)
    _out.print(table)
    _list_architectures(records)


def show_ranking(head: dict[str, Any], ranking: Ranking, as_json: bool) -> None:
    """The outcome of ``gennas rank``."""
    found = ranking.correlation
    if as_json:
        _print_json(
            {
                **head,
                "n": found.n,
                "spearman": finite(found.spearman),
                "spearman_ci": [finite(x) for x in found.spearman_ci],
                "kendall": finite(found.kendall),
                "kendall_ci": [finite(x) for x in found.kendall_ci],
                "cpu_seconds_per_arch": ranking.cpu_seconds_per_arch,
                "records": [
                    {**record(r.trained.arch, r.score), "truth": r.trained.truth}
                    for r in ranking.records
                ],
            }
        )
        return
    what = head["proxy"]
    if what == "gennas":
        what = f"gennas ({head['task']} task, {head['steps']} steps)"
    table = _table("", "value", "95 % interval")
    for name, value, (low, high) in (
        ("Spearman", found.spearman, found.spearman_ci),
        ("Kendall", found.kendall, found.kendall_ci),
    ):
        table.add_row(name, f"{value:.3f}", f"{low:.3f} to {high:.3f}")
    _out.print(f"{what} on {found.n} architectures of {head['space']}, against {head['truth']}")
    _out.print(table)
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
        _print_json(
            {
                **head,
                "n_unique": len(found),
                "cpu_seconds": cpu_seconds,
                "truths": tables,
                "best": best,
            }
        )
        return
    _out.print(
        f"{head['n_trials']} trials, {len(found)} distinct networks of {head['space']}, "
        f"{cpu_seconds:.0f} CPU-seconds in all"
    )
    columns = [_short(t.name) for t in truths]
    table = _table("", "loss", "params", "MACs", *columns)
    for place, row in enumerate(best, start=1):
        known = [_truth_cell(row["truth"][t.name]) for t in truths]
        table.add_row(str(place), _loss(row["loss"]), *_costs(row), *known)
    _out.print(table)
    for entry in tables:
        _out.print(
            f"{_short(entry['truth'])}: {entry['metric']}, below it the rank among {entry['of']:,}"
        )
    _list_architectures(best)
    for entry in tables:
        low, high = entry["spearman_ci"] or (None, None)
        if entry["spearman"] is not None and low is not None:
            _out.print(
                f"{entry['truth']}: loss against {entry['metric']} over the {entry['n']} searched:"
                f" Spearman {entry['spearman']:.3f} (95 % interval {low:.3f} to {high:.3f})"
            )
        if entry["train_hours"] is not None:
            _out.print(
                f"{entry['truth']}: training the {entry['n']} networks instead would have taken "
                f"{entry['train_hours']:.0f} GPU-hours by the table's own times"
            )


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


def _short(name: str) -> str:
    """The telling end of a table's name, to head a column."""
    return name.removeprefix("hpo-bench:") if name.startswith("hpo-bench:") else Path(name).stem


def _list_architectures(records: Sequence[dict[str, Any]]) -> None:
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


def _loss(loss: float | None) -> str:
    return "diverged" if loss is None else f"{loss:.4f}"


def _costs(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['params'] / 1e6:.3f} M", f"{row['flops'] / 1e6:.1f} M"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, column in enumerate(columns):
        text = number == 0 or column == "forms"
        justify: Literal["left", "right"] = "left" if text else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=not text)
    return table


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, allow_nan=False))
