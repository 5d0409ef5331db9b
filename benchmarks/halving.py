"""Whether loss curves cross, and what stopping the worse half of them early would save.

    python -m benchmarks.halving nasbench101 --data TABLES --preset balanced

Trains ``--samples`` architectures of a table and reads their losses at eight steps. First table:
how the losses at a step rank the last losses and the truth. Second table: random searches drawn
from these architectures, with all of them trained to the end, and with the better half kept at each
rung (successive halving); the figures are means over 2,000 draws. Third table: the steps, summed
over all architectures, that random searches spend until one of the truly best is the one (or among
the three) of the lowest last loss so far; see :mod:`benchmarks.reach`. Finished
curves are kept in ``--out``, so a run that is stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import click
import numpy as np

from benchmarks.reach import Floats, full_steps, halved, halving_steps, top
from benchmarks.script import Script, data_option, kept_option
from benchmarks.tables import table_for
from gennas_optuna import GenNASEvaluator
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.correlation import rank_correlation
from gennas_optuna.seeding import numpy_generator

DRAWS = 2000
SHARES = (0.05, 0.1)
BRACKETS = (8, 16)
KEPT = (1, 3)


@click.command(cls=Script)
@click.argument("space")
@data_option
@kept_option("out", "halving", "kept curves")
@click.option("--samples", default=150, show_default=True, help="Architectures to train.")
@click.option("--task", default="default", show_default=True)
@click.option("--preset", default="balanced", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(
    space: str, data: Path, out: Path, samples: int, task: str, preset: str, seed: int
) -> None:
    """Print the tables for SPACE."""
    truth = table_for(space).load(data)
    reference = GenNASEvaluator(task, preset=preset, seed=seed, device="cpu")
    full = reference.steps_for(truth.space)
    steps = sorted({math.ceil(full * k / 8) for k in range(1, 9)})
    evaluator = GenNASEvaluator(task, preset=preset, report_steps=steps, seed=seed, device="cpu")
    records = {r.arch.key: r for r in truth.sample(min(samples, len(truth)), _rng(seed))}

    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{space}-{evaluator.identity(truth.space)}.jsonl"
    known = {}
    if file.exists():
        known = dict(json.loads(line) for line in file.read_text().splitlines())
    with file.open("a") as kept:
        for key, record in records.items():
            if key not in known:
                trace = evaluator.evaluate(record.arch).trace
                assert trace is not None
                found = dict(zip(trace.steps, trace.losses, strict=True))
                known[key] = [found.get(step, math.inf) for step in steps]
                kept.write(json.dumps([key, known[key]]) + "\n")
                kept.flush()
    curves = np.array([known[key] for key in records])
    true = np.array([truth.goodness(record) for record in records.values()])

    click.echo(f"{space}, {preset}, n = {len(true)}\n")
    click.echo("| step | with the last loss | pairs that change | with the truth (95 %) |")
    click.echo("|---|---|---|---|")
    for i, step in enumerate(steps):
        late = rank_correlation(curves[:, i], curves[:, -1])
        right = rank_correlation(-curves[:, i], true)
        low, high = right.spearman_ci
        changed = (1 - late.kendall) / 2
        click.echo(
            f"| {step} | {late.spearman:.3f} | {changed:.1%} "
            f"| {right.spearman:.3f} ({low:.3f} to {high:.3f}) |"
        )
    click.echo("\n| architectures | steps | best found: rank of truth | halving: steps | rank |")
    click.echo("|---|---|---|---|---|")
    ranks = true.argsort()[::-1].argsort() / (len(true) - 1)  # 0 is the best there is
    rungs = [i for i in (1, 3, 5) if i < len(steps) - 1]
    for size in (8, 16, 32, 64):
        if size >= len(true):
            break
        rng = _rng(seed)
        draws = [rng.choice(len(true), size, replace=False) for _ in range(DRAWS)]
        trained = np.mean([ranks[d[curves[d, -1].argmin()]] for d in draws])
        spent, left = zip(*(halved(d, curves, steps, rungs) for d in draws), strict=True)
        click.echo(
            f"| {size} | {size * full} | {trained:.1%} | {np.mean(spent):.0f} "
            f"| {np.mean(ranks[list(left)]):.1%} |"
        )
    _show_reach(truth, curves, true, steps, rungs, seed)


def _show_reach(
    truth: GroundTruth,
    curves: Floats,
    true: Floats,
    steps: list[int],
    rungs: list[int],
    seed: int,
) -> None:
    heads = (truth.metric, "search", "of the lowest", "steps: median (5 % to 95 %)", "never")
    click.echo(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    rng = _rng(seed)
    orders = [rng.permutation(len(true)) for _ in range(DRAWS)]
    for share, kept in product(SHARES, KEPT):
        best = top(true, share)
        worst = float(true[best].min())
        goal = f"{worst if truth.higher_is_better else -worst:.2f} (top {share:.0%})"
        spent = {"full evaluation": [full_steps(o, curves, steps, best, kept) for o in orders]}
        for size in BRACKETS:
            spent[f"halving, brackets of {size}"] = [
                halving_steps(order, curves, steps, rungs, best, size, kept) for order in orders
            ]
        for label, found in spent.items():
            low, middle, high = (_steps(found, q) for q in (0.05, 0.5, 0.95))
            never = f"{sum(map(math.isinf, found)) / len(found):.1%}"
            cells = (goal, label, str(kept), f"{middle} ({low} to {high})", never)
            click.echo(f"| {' | '.join(cells)} |")


def _steps(found: list[float], quantile: float) -> str:
    value = sorted(found)[math.ceil(quantile * len(found)) - 1]  # without interpolation: inf
    return f"{value:.0f}" if math.isfinite(value) else "never"


def _rng(seed: int) -> np.random.Generator:
    return numpy_generator(seed, "halving")


if __name__ == "__main__":
    main()
