"""How networks with fewer cells a stage, or fewer channels, rank, and after how many steps.

    python -m benchmarks.depth nasbench101 --data TABLES --depth 1 --depth 2 --depth 3
    python -m benchmarks.depth nasbench-nlp --data TABLES --depth 2 --width 100 --width 200

Trains ``--samples`` architectures of a table once per depth and width, as the preset does
otherwise, and prints how the losses at some steps rank them. The draw is not that of
``benchmarks.ranking``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean

import click

from benchmarks.script import Script, data_option
from benchmarks.tables import table_for
from gennas_optuna import GenNASEvaluator
from gennas_optuna.correlation import rank_correlation
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.settings import get_preset
from gennas_optuna.spaces import Scale


@click.command(cls=Script)
@click.argument("space")
@data_option
@click.option("--depth", "depths", type=int, multiple=True, required=True, help="Cells a stage.")
@click.option("--width", "widths", type=int, multiple=True, help="Channels; default: the paper's.")
@click.option(
    "--step", "steps", type=int, multiple=True, default=(15, 20, 25, 30, 40), help="To read."
)
@click.option("--samples", default=60, show_default=True, help="Architectures to train.")
@click.option("--preset", default="balanced", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
def main(
    space: str,
    data: Path,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    steps: tuple[int, ...],
    samples: int,
    preset: str,
    seed: int,
) -> None:
    """Print Spearman's correlation with the truth of SPACE, by size and step."""
    truth = table_for(space).load(data)
    records = truth.sample(samples, numpy_generator(seed, "depth"))
    true = [truth.goodness(record) for record in records]
    last = max(steps)
    click.echo(f"| cells a stage | width | {' | '.join(map(str, steps))} | CPU s, {last} steps |")
    click.echo(f"|{'---|' * (len(steps) + 3)}")
    for depth, width in product(depths, widths or (None,)):
        scales = ((space, Scale(depth=depth, width=width)),)
        evaluator = GenNASEvaluator(
            preset=replace(get_preset(preset), steps=last, steps_of=(), scales=scales),
            report_steps=steps,
            seed=seed,
            device="cpu",
        )
        scores = [evaluator.evaluate(record.arch) for record in records]
        traces = [score.trace for score in scores]
        curves = [dict(zip(t.steps, t.losses, strict=True)) if t else {} for t in traces]
        cells = []
        for step in steps:
            losses = [curve.get(step, math.inf) for curve in curves]
            cells.append(f"{rank_correlation([-x for x in losses], true).spearman:.3f}")
        seconds = fmean(score.cpu_seconds for score in scores)
        click.echo(f"| {depth} | {width or ''} | {' | '.join(cells)} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
