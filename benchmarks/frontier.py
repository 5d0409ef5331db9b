"""Ranking against cost: presets, proxies and the plain loop on the same architectures.

    python -m benchmarks.frontier nasbench201 --data TABLES --scores SCORES --out RESULTS

Costs are CPU-seconds per architecture of one thread: the methods take turns on each architecture,
and the median over the architectures is shown. Peak memory is that of a process of its own.
Rankings are of ``--samples`` architectures, the same for every method; the difference to the
preset ``paper`` is paired. Written are SPACE.json, SPACE.md and SPACE.png.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from benchmarks.plain import plain_loss, plain_network
from benchmarks.ranking import TABLES, kept_ranking
from gennas_optuna import Architecture, GenNASEvaluator, ProxyEvaluator, get_space, load_truth
from gennas_optuna._evaluator import Evaluator
from gennas_optuna.correlation import paired_difference
from gennas_optuna.proxies import PROXIES
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.settings import PRESETS

Method = Callable[[Architecture], object]


def methods(task: str, seed: int) -> dict[str, Evaluator]:
    """Every preset and every proxy by name."""
    presets = {
        name: GenNASEvaluator(task, preset=name, report_steps=(), seed=seed, device="cpu")
        for name in PRESETS
    }
    return {**presets, **{name: ProxyEvaluator(name, seed=seed, device="cpu") for name in PROXIES}}


def plain(task: str, seed: int) -> Method:
    """The plain loop, with the batch of the preset ``paper``."""
    paper = GenNASEvaluator(task, preset="paper", seed=seed, device="cpu")

    def run(arch: Architecture) -> float:
        proxy_task = paper.task_for(arch.space)
        skeleton = arch.space.skeleton(arch)
        batch = paper._batch(proxy_task, skeleton, paper.input_shape(arch.space))
        torch.manual_seed(seed)
        return plain_loss(plain_network(arch), batch, proxy_task, paper.steps)

    return run


def costs(runs: dict[str, Method], archs: list[Architecture]) -> dict[str, float]:
    """Median CPU-seconds of one thread; the methods alternate, the first round warms up."""
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number, arch in enumerate([archs[0], *archs]):
        for name, run in runs.items():
            start = time.thread_time()
            run(arch)
            if number:
                found[name].append(time.thread_time() - start)
    return {name: median(times) for name, times in found.items()}


def _peak(method: str, task: str, seed: int, space: str, text: str, queue: Any) -> None:
    runs = _runs(task, seed)
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs[method](get_space(space).parse(text))
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def peak_memory(method: str, task: str, seed: int, arch: Architecture) -> float:
    """MiB by which a fresh process grows while it evaluates the architecture."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    args = (method, task, seed, arch.space.name, str(arch), queue)
    process = context.Process(target=_peak, args=args)
    process.start()
    value = float(queue.get(timeout=600))
    process.join()
    return value


def _runs(task: str, seed: int) -> dict[str, Method]:
    runs: dict[str, Method] = {"plain loop": plain(task, seed)}
    for name, evaluator in methods(task, seed).items():
        runs[name] = partial(evaluator.evaluate, reuse=False)
    return runs


@click.command()
@click.argument("space")
@click.option("--data", type=click.Path(path_type=Path), default=Path("."), help="The tables.")
@click.option("--scores", type=click.Path(path_type=Path), required=True, help="Kept scores.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--samples", default=100, show_default=True, help="Architectures to rank.")
@click.option("--timed", default=5, show_default=True, help="Of them, how many to time.")
@click.option("--task", default="default", help="Proxy task; default: the space's own.")
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
@click.option("--workers", default=1, show_default=True, help="Processes for the ranking.")
@click.option("--method", multiple=True, help="Methods to compare; default: all.")
def main(
    space: str,
    data: Path,
    scores: Path,
    out: Path,
    samples: int,
    timed: int,
    task: str,
    seed: int,
    workers: int,
    method: tuple[str, ...],
) -> None:
    """Compare all methods on SPACE and write the results."""
    table = next(t for t in TABLES if t.space == space)
    name = table.truth if table.truth.startswith("hpo-bench:") else str(data / table.truth)
    truth = load_truth(name, get_space(space))
    samples = min(samples, len(truth))
    for folder in (scores, out):
        folder.mkdir(parents=True, exist_ok=True)

    rankings = {
        label: kept_ranking(truth, evaluator, samples, seed, scores, workers)
        for label, evaluator in methods(task, seed).items()
        if not method or label in method
    }
    drawn = [r.arch for r in truth.sample(timed, numpy_generator(seed, "timed"))]
    runs = {k: v for k, v in _runs(task, seed).items() if k in rankings or k == "plain loop"}
    cpu = costs(runs, drawn)
    goods = {
        label: [-r.score.loss for r in ranking.records] for label, ranking in rankings.items()
    }
    rows = []
    for label in runs:
        row: dict[str, Any] = {"method": label, "cpu_seconds": cpu[label]}
        row["times_cheaper"] = cpu["plain loop"] / cpu[label]
        row["peak_mib"] = peak_memory(label, task, seed, drawn[0])
        if label in rankings:
            found = rankings[label].correlation
            row |= {"spearman": found.spearman, "spearman_ci": found.spearman_ci}
            row |= {"kendall": found.kendall, "kendall_ci": found.kendall_ci}
            if label != "paper" and "paper" in goods:
                true = [truth.goodness(r.trained) for r in rankings[label].records]
                difference = paired_difference(goods[label], goods["paper"], true)
                row |= {"minus_paper": difference.difference, "minus_paper_ci": difference.ci}
        rows.append(row)
    result = {
        "space": space,
        "truth": table.truth,
        "task": task.rpartition("#")[2],
        "samples": samples,
        "timed": timed,
        "seed": seed,
        "rows": rows,
    }
    (out / f"{space}.json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    (out / f"{space}.md").write_text(text)
    figure(result, out / f"{space}.png")
    click.echo(text)


def markdown(result: dict[str, Any]) -> str:
    """The table of one space."""

    def interval(row: dict[str, Any], name: str, sign: str = "") -> str:
        if name not in row:
            return ""
        low, high = row[f"{name}_ci"]
        return f"{row[name]:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"

    lines = [
        f"{result['space']}, {result['truth']}, task {result['task']}, n = {result['samples']}",
        "",
        "| method | CPU s | times cheaper | peak MiB | Spearman | Kendall | minus paper |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = [row["method"], f"{row['cpu_seconds']:.2f}", f"{row['times_cheaper']:.1f}"]
        cells += [f"{row['peak_mib']:.0f}", interval(row, "spearman"), interval(row, "kendall")]
        lines.append(f"| {' | '.join([*cells, interval(row, 'minus_paper', '+')])} |")
    return "\n".join(lines) + "\n"


def figure(result: dict[str, Any], path: Path) -> None:
    """Spearman against cost, with intervals."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where a figure is made

    picture = Figure(figsize=(6, 4), layout="constrained")
    axes = picture.subplots()
    for row in result["rows"]:
        if "spearman" not in row:
            continue
        x, y, (low, high) = row["cpu_seconds"], row["spearman"], row["spearman_ci"]
        colour = "C0" if row["method"] in PRESETS else "C7"
        axes.errorbar(
            x, y, yerr=[[max(0, y - low)], [max(0, high - y)]], fmt="o", color=colour, capsize=3
        )
        axes.annotate(row["method"], (x, y), xytext=(6, 4), textcoords="offset points")
    axes.set(
        xscale="log",
        xlabel="CPU-seconds per architecture",
        ylabel="Spearman's rho with the truth (95 %)",
        title=f"{result['space']} (n = {result['samples']})",
    )
    axes.grid(alpha=0.3)
    picture.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
