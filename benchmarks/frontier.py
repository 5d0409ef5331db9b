"""Ranking against cost: presets, proxies and the plain loop on the same architectures.

    python -m benchmarks.frontier nasbench201 --data TABLES --scores SCORES --out RESULTS

A method is a proxy, ``plain``, or a preset, which may be followed by a colon and a proxy task:
``paper:FILE#NAME``. The first method of the preset ``paper`` is what the others are compared with,
and the plain loop runs its task.

Costs are CPU-seconds per architecture of one thread: the methods take turns on each architecture,
and the median over the architectures is shown. Peak memory is that of a process of its own.
Rankings are of ``--samples`` architectures, the same for every method; differences are paired.
Written are SPACE.json for every space named, and of all that stand in the folder
frontier.md and frontier.png.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
import torch

from benchmarks.plain import plain_loss, plain_network
from benchmarks.ranking import TABLES, kept_ranking
from gennas_optuna import Architecture, GenNASEvaluator, ProxyEvaluator, get_space, load_truth
from gennas_optuna._evaluator import Evaluator
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.correlation import paired_difference
from gennas_optuna.proxies import PROXIES
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.settings import PRESETS

PLAIN = "plain"
"""The regression written the obvious way, see :mod:`benchmarks.plain`."""


class Method(NamedTuple):
    """What is compared.

    Attributes:
        name: as printed.
        kind: a preset, a proxy or ``plain``.
        task: for a preset and the plain loop: its proxy task.
        seed: of the scores.
        steps: for a preset and the plain loop: if not the preset's.
    """

    name: str
    kind: str
    task: str
    seed: int
    steps: int | None = None

    def evaluator(self) -> Evaluator:
        """What scores architectures; the plain loop ranks as ``paper`` does."""
        if self.kind in PROXIES:
            return ProxyEvaluator(self.kind, seed=self.seed, device="cpu")
        preset = "paper" if self.kind == PLAIN else self.kind
        return GenNASEvaluator(
            self.task,
            preset=preset,
            steps=self.steps,
            report_steps=(),
            seed=self.seed,
            device="cpu",
        )

    def run(self) -> Callable[[Architecture], object]:
        """One evaluation, nothing of which is remembered but the batch."""
        evaluator = self.evaluator()
        if self.kind != PLAIN:
            return partial(evaluator.evaluate, reuse=False)
        assert isinstance(evaluator, GenNASEvaluator)
        return partial(_plain, evaluator)


def methods(names: tuple[str, ...], seed: int) -> list[Method]:
    """Those of the command line; by default all."""
    found = []
    for name in names or (*PRESETS, *PROXIES, PLAIN):
        kind, _, task = name.partition(":")
        if kind not in (*PRESETS, *PROXIES, PLAIN):
            raise click.UsageError(
                f"method {name!r}: give one of {', '.join((*PRESETS, *PROXIES, PLAIN))}"
            )
        label = f"{kind}, {Path(task.rpartition('#')[2]).stem}" if task else kind
        found.append(Method(label, kind, task or "default", seed))
    paper = next((m for m in found if m.kind == "paper"), None)
    if paper is None:
        return found
    return [m._replace(task=paper.task) if m.kind == PLAIN else m for m in found]


def _plain(paper: GenNASEvaluator, arch: Architecture) -> float:
    task = paper.task_for(arch.space)
    skeleton = arch.space.skeleton(arch)
    batch = paper._batch(task, skeleton, paper.input_shape(arch.space))
    torch.manual_seed(paper.seed)
    return plain_loss(plain_network(arch), batch, task, paper.steps_for(arch.space))


def costs(compared: list[Method], archs: list[Architecture]) -> dict[str, list[float]]:
    """CPU-seconds of one thread for each architecture; the methods alternate."""
    torch.set_num_threads(1)
    runs = {method.name: method.run() for method in compared}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for arch in archs:
        for name, run in runs.items():
            start = time.thread_time()
            run(arch)
            found[name].append(time.thread_time() - start)
    return found


def _high_water() -> int:
    """Most memory this program had at once, in KiB; ``getrusage`` counts its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _peak(method: Method, space: str, text: str, queue: Any) -> None:
    run = method.run()
    torch.set_num_threads(1)
    before = _high_water()
    run(get_space(space).parse(text))
    queue.put((_high_water() - before) / 1024)


def peak_memory(method: Method, arch: Architecture) -> float:
    """MiB by which a fresh process grows while it evaluates the architecture."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(method, arch.space.name, str(arch), queue))
    process.start()
    value = float(queue.get(timeout=1200))
    process.join()
    return value


@click.command()
@click.argument("spaces", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), default=Path("."), help="The tables.")
@click.option("--scores", type=click.Path(path_type=Path), required=True, help="Kept scores.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--samples", default=100, show_default=True, help="Architectures to rank.")
@click.option(
    "--skip", default=0, help="Leave out the records that a draw of so many with this seed holds."
)
@click.option(
    "--timed", type=click.IntRange(2), default=5, show_default=True, help="How many to time."
)
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
@click.option("--workers", default=1, show_default=True, help="Processes for the ranking.")
@click.option("--method", multiple=True, help="NAME or PRESET:TASK, repeatable; default: all.")
def main(
    spaces: tuple[str, ...],
    data: Path,
    scores: Path,
    out: Path,
    samples: int,
    skip: int,
    timed: int,
    seed: int,
    workers: int,
    method: tuple[str, ...],
) -> None:
    """Compare the methods on SPACES, and write and print the results."""
    compared = methods(method, seed)
    for folder in (scores, out):
        folder.mkdir(parents=True, exist_ok=True)
    for space in spaces:
        table = next(t for t in TABLES if t.space == space)
        truth = load_truth(table.name(data), get_space(space))
        if skip:  # they took part in a choice
            order = truth.sample(len(truth), numpy_generator(seed, "rank"))
            truth = replace(truth, records=tuple(order[skip:]))
        drawn = [r.arch for r in truth.sample(timed, numpy_generator(seed, "timed"))]
        rows = ranked(truth, compared, min(samples, len(truth)), seed, scores, workers)
        cpu = costs(compared, drawn)
        for row, one in zip(rows, compared, strict=True):
            row["cpu_seconds"] = median(cpu[one.name])
            row["peak_mib"] = peak_memory(one, drawn[0])
        result = {"space": space, "truth": Path(table.truth).name, "timed": timed, "seed": seed}
        (out / f"{space}.json").write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")
    results = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    text = "\n".join(markdown(result) for result in results)
    (out / "frontier.md").write_text(text)
    figure(results, out / "frontier.png")
    click.echo(text)


def ranked(
    truth: GroundTruth,
    compared: list[Method],
    samples: int,
    seed: int,
    scores: Path,
    workers: int,
) -> list[dict[str, Any]]:
    """How each method ranks the same architectures."""
    rows: list[dict[str, Any]] = []
    paper: list[float] | None = None
    for method in compared:
        row: dict[str, Any] = {"method": method.name, "kind": method.kind}
        rows.append(row)
        if method.kind == PLAIN:
            continue
        ranking = kept_ranking(truth, method.evaluator(), samples, seed, scores, workers)
        found = ranking.correlation
        row |= {"n": found.n, "spearman": found.spearman, "spearman_ci": found.spearman_ci}
        row |= {"kendall": found.kendall, "kendall_ci": found.kendall_ci}
        good = [-r.score.loss for r in ranking.records]
        if paper is not None:
            true = [truth.goodness(r.trained) for r in ranking.records]
            difference = paired_difference(good, paper, true)
            row |= {"minus_paper": difference.difference, "minus_paper_ci": difference.ci}
        elif method.kind == "paper":
            paper = good
    return rows


def better(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """The proxies that rank better than a preset's row at the same or a lower cost."""
    if row["kind"] not in PRESETS:
        return []
    return [
        other["method"]
        for other in rows
        if other["kind"] in PROXIES
        and other["cpu_seconds"] <= row["cpu_seconds"]
        and other["spearman"] > row["spearman"]
    ]


def markdown(result: dict[str, Any]) -> str:
    """The table of one space."""

    def interval(row: dict[str, Any], name: str, sign: str = "") -> str:
        if name not in row:
            return ""
        low, high = row[f"{name}_ci"]
        return f"{row[name]:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"

    rows = result["rows"]
    sizes = {row["n"] for row in rows if "n" in row}
    plain = next((row["cpu_seconds"] for row in rows if row["kind"] == PLAIN), None)
    lines = [
        f"{result['space']}, {result['truth']}, n = {', '.join(map(str, sorted(sizes)))}",
        "",
        "| method | Spearman (95 %) | Kendall (95 %) | minus paper | CPU s | times cheaper | MiB "
        "| better and no dearer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["method"], interval(row, "spearman"), interval(row, "kendall")]
        cells += [interval(row, "minus_paper", "+"), f"{row['cpu_seconds']:.2f}"]
        cells += [f"{plain / row['cpu_seconds']:.1f}" if plain else "", f"{row['peak_mib']:.0f}"]
        lines.append(f"| {' | '.join([*cells, ', '.join(better(row, rows))])} |")
    return "\n".join(lines) + "\n"


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
            x, y, (low, high) = row["cpu_seconds"], row["spearman"], row["spearman_ci"]
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
    picture.supxlabel("CPU-seconds per architecture")
    picture.supylabel("Spearman's rho with the truth (95 %)")
    picture.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
