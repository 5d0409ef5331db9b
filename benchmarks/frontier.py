"""Ranking against cost: presets, proxies and the plain loop on the same architectures.

    python -m benchmarks.frontier nasbench201 --samples 300

A method is a proxy, ``plain``, or a preset, which may be followed by a colon and a proxy task:
``paper:FILE#NAME``. The first method of the preset ``paper`` is what the others are compared with,
and the plain loop runs its task. Cells are empty where a method does not apply.

Costs are seconds per architecture of a process that is warm, see :mod:`benchmarks.timing`: the
methods take turns, and the median over the architectures of the median over the repeats is shown.
With ``--steps SHORT LONG`` the two that are dear, ``paper`` and ``plain``, are timed for so many
steps, and the line through both gives all of them. Peak memory is that of a process of its own.

Rankings are of ``--samples`` draws, the same for every method, in which each network counts once,
with the mean of its records' truths; ``--every-draw`` counts it as often as it was drawn.
Differences are paired. Written are SPACE.json for every space named, with all single times, and of
all that stand in the folder frontier.md and frontier.png.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.memory import peak_memory
from benchmarks.methods import PLAIN, Method, methods
from benchmarks.ranking import each_once, kept_ranking, without_first
from benchmarks.script import Script, data_option, kept_option, scores_option
from benchmarks.tables import table_for
from benchmarks.timing import FewSteps, time_methods, timing_options
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.correlation import paired_difference
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.proxies import PROXIES
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.settings import PRESETS


@click.command(cls=Script)
@click.argument("spaces", nargs=-1, required=True)
@data_option
@scores_option
@kept_option("out", "frontier", "results")
@click.option(
    "--samples", type=click.IntRange(2), default=100, show_default=True, help="Draws to rank."
)
@click.option(
    "--distinct/--every-draw", default=True, show_default=True, help="Count each network once."
)
@click.option(
    "--skip", default=0, help="Leave out the records that a draw of so many with this seed holds."
)
@timing_options
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
@click.option("--workers", default=1, show_default=True, help="Processes for the ranking.")
@click.option("--method", multiple=True, help="NAME or PRESET:TASK, repeatable; default: all.")
def main(
    spaces: tuple[str, ...],
    data: Path,
    scores: Path,
    out: Path,
    samples: int,
    distinct: bool,
    skip: int,
    timed: int,
    repeat: int,
    steps: FewSteps | None,
    device: str,
    seed: int,
    workers: int,
    method: tuple[str, ...],
) -> None:
    """Compare the methods on SPACES, and write and print the results."""
    compared = methods(method, seed, device)
    place = compared[0].evaluator().device
    tables = [table_for(space) for space in spaces]
    truths = [table.load(data) for table in tables]
    for folder in (scores, out):
        folder.mkdir(parents=True, exist_ok=True)
    for table, whole in zip(tables, truths, strict=True):
        drawn = [r.arch for r in whole.sample(timed, numpy_generator(seed, "timed"))]
        truth = without_first(whole, skip, seed) if skip else whole
        draws = min(samples, len(truth))
        rows = ranked(truth, compared, draws, seed, scores, workers, distinct=distinct)
        able = [i for i, row in enumerate(rows) if "reason" not in row]
        times = time_methods([compared[i] for i in able], drawn, repeats=repeat, few_steps=steps)
        for i, found in zip(able, times, strict=True):
            rows[i] |= found.record()
            if place.type == "cpu":
                rows[i]["peak_mib"] = peak_memory(compared[i], drawn[0])
        result = {"space": table.space, "truth": table.label, "draws": draws}
        result |= {"distinct": distinct, "timed": timed, "repeats": repeat}
        result |= {"device": device_name(place), "seed": seed, "rows": rows}
        (out / f"{table.space}.json").write_text(json.dumps(result, indent=1) + "\n")
    results = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    text = "\n".join(markdown(result) for result in results)
    (out / "frontier.md").write_text(text)
    figure(results, out / "frontier.png")
    click.echo(text)


def device_name(device: torch.device) -> str:
    """For people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def ranked(
    truth: GroundTruth,
    compared: list[Method],
    samples: int,
    seed: int,
    scores: Path,
    workers: int,
    *,
    distinct: bool = True,
) -> list[dict[str, Any]]:
    """How each method ranks the same architectures, and how much better than ``paper`` does.

    A method that does not apply has a ``reason`` in place of that.
    """
    rows: list[dict[str, Any]] = [{"method": m.name, "kind": m.kind} for m in compared]
    for row, method in zip(rows, compared, strict=True):  # before anything is trained
        reason = method.reason_against(truth.space)
        if reason:
            _leave_out(row, reason)
    good: dict[int, list[float]] = {}
    true: list[float] = []
    for i, (row, method) in enumerate(zip(rows, compared, strict=True)):
        if "reason" in row or method.kind == PLAIN:
            continue
        try:
            ranking = kept_ranking(truth, method.evaluator(), samples, seed, scores, workers)
        except InvalidValueError as error:
            if method.kind not in PROXIES:
                raise
            _leave_out(row, str(error))
            continue
        if distinct:
            ranking = each_once(truth, ranking, seed)
        found = ranking.correlation
        row |= {"n": found.n, "spearman": found.spearman, "spearman_ci": found.spearman_ci}
        row |= {"kendall": found.kendall, "kendall_ci": found.kendall_ci}
        row["networks"] = len({record.trained.arch.key for record in ranking.records})
        good[i] = [-record.score.loss for record in ranking.records]
        true = [truth.goodness(record.trained) for record in ranking.records]
    paper = next((i for i in good if compared[i].kind == "paper"), None)
    if paper is not None:
        for i in good.keys() - {paper}:
            difference = paired_difference(good[i], good[paper], true)
            rows[i] |= {"minus_paper": difference.difference, "minus_paper_ci": difference.ci}
    return rows


def _leave_out(row: dict[str, Any], reason: str) -> None:
    row["reason"] = reason
    click.echo(f"{row['method']} is left out: {reason}", err=True)


def seconds(row: dict[str, Any]) -> float:
    """Per architecture; infinite where the method does not apply. Older files name it otherwise."""
    found = row.get("seconds", row.get("cpu_seconds", math.inf))
    return float(found)


def better(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """The proxies that rank better than a preset's row at the same or a lower cost."""
    if row["kind"] not in PRESETS:
        return []
    return [
        other["method"]
        for other in rows
        if other["kind"] in PROXIES
        and seconds(other) <= seconds(row)
        and other.get("spearman", -math.inf) > row.get("spearman", math.inf)
    ]


def markdown(result: dict[str, Any]) -> str:
    """The table of one space."""

    def interval(row: dict[str, Any], name: str, sign: str = "") -> str:
        if name not in row:
            return ""
        low, high = row[f"{name}_ci"]
        return f"{row[name]:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"

    rows = result["rows"]
    plain = next((seconds(row) for row in rows if row["kind"] == PLAIN), math.inf)
    head = "| method | Spearman (95 %) | Kendall (95 %) | minus paper | "
    head += "CPU s" if result.get("device", "cpu") == "cpu" else "s"
    head += " | times cheaper | MiB | better and no dearer |"
    lines = [_title(result), "", head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["method"], interval(row, "spearman"), interval(row, "kendall")]
        cells.append(interval(row, "minus_paper", "+"))
        cost = seconds(row)
        timed = math.isfinite(cost)
        cells.append(f"{cost:.2f}" if timed else "")
        cells.append(f"{plain / cost:.1f}" if timed and math.isfinite(plain) else "")
        cells.append(f"{row['peak_mib']:.0f}" if "peak_mib" in row else "")
        lines.append(f"| {' | '.join([*cells, ', '.join(better(row, rows))])} |")
    return "\n".join(lines) + "\n"


def _title(result: dict[str, Any]) -> str:
    """What was ranked, where."""
    rows = [row for row in result["rows"] if "n" in row]
    parts = [result["space"], result["truth"]]
    if "draws" in result and rows:
        parts += [f"{result['draws']} draws", f"{rows[0]['networks']} networks"]
        parts.append("each counted once" if result["distinct"] else "every draw counted")
    else:
        parts.append(f"n = {', '.join(map(str, sorted({row['n'] for row in rows})))}")
    device = result.get("device", "cpu")
    return ", ".join(parts if device == "cpu" else [*parts, f"on {device}"])


def figure(results: list[dict[str, Any]], path: Path) -> None:
    """Spearman against cost, with intervals, one panel per space."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where a figure is made

    columns = 2 if len(results) in (2, 4) else min(3, len(results))
    lines = -(-len(results) // columns)
    picture = Figure(figsize=(4 * columns + 1.6, 3.2 * lines), layout="constrained")
    panels = [*picture.subplots(lines, columns, squeeze=False, sharey=True).flat]
    for axes in panels:
        axes.set_visible(False)
    colours = {kind: f"C{i}" for i, kind in enumerate((*PRESETS, *PROXIES))}
    drawn: dict[str, Any] = {}
    for result, axes in zip(results, panels, strict=False):
        axes.set_visible(True)
        for row in result["rows"]:
            if "spearman" not in row:
                continue
            kind, given = row["kind"], row["method"] != row["kind"]
            x, y, (low, high) = seconds(row), row["spearman"], row["spearman_ci"]
            label = f"{kind}, task given" if given else kind
            drawn[label] = axes.errorbar(
                x,
                y,
                yerr=[[max(0, y - low)], [max(0, high - y)]],
                fmt="o" if kind in PRESETS else "s",
                capsize=2,
                color=colours[kind],
                markerfacecolor="white" if given else colours[kind],
            )
        axes.set(xscale="log", xlim=(0.02, 300), title=result["space"])
        axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        axes.grid(alpha=0.3)
    order = sorted(drawn, key=lambda label: [*colours].index(label.partition(",")[0]))
    picture.legend([drawn[label] for label in order], order, loc="outside right upper")
    on_cpu = all(result.get("device", "cpu") == "cpu" for result in results)
    picture.supxlabel(f"{'CPU-seconds' if on_cpu else 'seconds'} per architecture")
    picture.supylabel("Spearman's rho with the truth (95 %)")
    picture.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
