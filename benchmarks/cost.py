"""CPU-seconds per architecture of each preset against a plain loop, as a Markdown table.

    python -m benchmarks.cost nasbench101 darts-in --data TABLES --task TASKS#CONF_NB101

One thread; the methods take turns on each architecture. ``plain`` (:mod:`benchmarks.plain`) and the
preset ``paper`` take the same steps on the same network; both may be timed for ``--steps`` of their
100 steps only, which are then counted up (:mod:`benchmarks.drivers` shows that steps cost alike).
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import click

from benchmarks.frontier import PLAIN, Method, costs
from benchmarks.ranking import TABLES
from gennas_optuna import get_space, load_truth
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.settings import get_preset

METHODS = (PLAIN, "paper", "balanced", "fast")


@click.command()
@click.argument("spaces", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), default=Path("."), help="The tables.")
@click.option("--task", default="default", show_default=True, help="Proxy task of all.")
@click.option("--timed", default=5, show_default=True, help="Architectures to time.")
@click.option("--steps", type=int, help="Of plain and paper, if not all.")
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
def main(
    spaces: tuple[str, ...], data: Path, task: str, timed: int, steps: int | None, seed: int
) -> None:
    """Time SPACES; medians over the architectures."""
    names = [f"{name} (times cheaper)" for name in METHODS[1:]]
    click.echo(f"| space | {PLAIN} | {' | '.join(names)} |\n|{'---|' * (len(METHODS) + 1)}")
    full = get_preset("paper").steps
    for space in spaces:
        table = next(t for t in TABLES if t.space == space)
        truth = load_truth(table.name(data), get_space(space))
        archs = [r.arch for r in truth.sample(timed, numpy_generator(seed, "timed"))]
        compared = [
            Method(name, name, task, seed, steps if name in (PLAIN, "paper") else None)
            for name in METHODS
        ]
        found = costs(compared, archs)
        times = {
            method.name: [
                second * (full / method.steps if method.steps else 1)
                for second in found[method.name]
            ]
            for method in compared
        }
        cells = [f"{median(times[PLAIN]):.2f}"]
        for name in METHODS[1:]:
            cheaper = median(p / t for p, t in zip(times[PLAIN], times[name], strict=True))
            cells.append(f"{median(times[name]):.2f} ({cheaper:.1f})")
        click.echo(f"| {space} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
