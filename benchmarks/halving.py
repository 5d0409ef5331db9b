"""Whether loss curves cross, and what stopping the worse half of them early would save.

    python -m benchmarks.halving nasbench101 --data TABLES --preset balanced --out OUT

Trains ``--samples`` architectures of a table and reads their losses at eight steps. First table:
how the losses at a step rank the last losses and the truth. Second table: random searches drawn
from these architectures, with all of them trained to the end, and with the better half kept at each
rung (successive halving); the figures are means over 2,000 draws. Finished curves are kept in
``--out``, so a run that is stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking import TABLES
from gennas_optuna import GenNASEvaluator, get_space, load_truth
from gennas_optuna.correlation import rank_correlation
from gennas_optuna.seeding import numpy_generator

Floats = NDArray[np.float64]
DRAWS = 2000


@click.command()
@click.argument("space")
@click.option("--data", type=click.Path(path_type=Path), default=Path("."), help="The tables.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Kept curves.")
@click.option("--samples", default=150, show_default=True, help="Architectures to train.")
@click.option("--task", default="default", show_default=True)
@click.option("--preset", default="balanced", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(
    space: str, data: Path, out: Path, samples: int, task: str, preset: str, seed: int
) -> None:
    """Print both tables for SPACE."""
    table = next(t for t in TABLES if t.space == space)
    truth = load_truth(table.name(data), get_space(space))
    whole = GenNASEvaluator(task, preset=preset, seed=seed, device="cpu")
    full = whole.steps_for(truth.space)
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
        whole = np.mean([ranks[d[curves[d, -1].argmin()]] for d in draws])
        spent, halved = zip(*(_halved(d, curves, steps, rungs) for d in draws), strict=True)
        click.echo(
            f"| {size} | {size * full} | {whole:.1%} | {np.mean(spent):.0f} "
            f"| {np.mean(ranks[list(halved)]):.1%} |"
        )


def _halved(
    drawn: NDArray[np.int64], curves: Floats, steps: list[int], rungs: list[int]
) -> tuple[int, int]:
    """Steps spent, and the architecture that is left with the lowest loss."""
    spent, before = 0, 0
    for rung in [*rungs, len(steps) - 1]:
        spent += len(drawn) * (steps[rung] - before)
        before = steps[rung]
        if rung != len(steps) - 1 and len(drawn) > 1:
            drawn = drawn[curves[drawn, rung].argsort()[: math.ceil(len(drawn) / 2)]]
    return spent, int(drawn[curves[drawn, -1].argmin()])


def _rng(seed: int) -> np.random.Generator:
    return numpy_generator(seed, "halving")


if __name__ == "__main__":
    main()
