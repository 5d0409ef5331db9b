"""Seconds per architecture of each preset against a plain loop, as a Markdown table.

    python -m benchmarks.cost nasbench101 darts-in --data TABLES --task TASKS#CONF_NB101

One thread, in a process that is warm, see :mod:`benchmarks.timing`: the methods take turns on each
architecture, and the median over the architectures of the median over the repeats is shown.
``plain`` (:mod:`benchmarks.plain`) and the preset ``paper`` take the same steps on the same
network; with ``--steps SHORT LONG`` both are timed for so many of their 100 steps, and the line
through both gives all of them. SPACE.json in ``--out`` has every single time.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import click

from benchmarks.methods import PLAIN, Method
from benchmarks.script import Script, data_option, kept_option
from benchmarks.tables import table_for
from benchmarks.timing import FewSteps, time_methods, timing_options
from gennas_optuna.seeding import numpy_generator

METHODS = (PLAIN, "paper", "balanced", "fast")


@click.command(cls=Script)
@click.argument("spaces", nargs=-1, required=True)
@data_option
@kept_option("out", "cost", "the times")
@click.option("--task", default="default", show_default=True, help="Proxy task of all.")
@timing_options
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
def main(
    spaces: tuple[str, ...],
    data: Path,
    out: Path,
    task: str,
    timed: int,
    repeat: int,
    steps: FewSteps | None,
    device: str,
    seed: int,
) -> None:
    """Time SPACES; medians over the architectures."""
    truths = [table_for(space).load(data) for space in spaces]
    compared = [Method(name, name, task, seed, device) for name in METHODS]
    for truth in truths:
        for method in compared[1:]:
            reason = method.reason_against(truth.space)
            if reason:
                raise click.UsageError(reason)
    out.mkdir(parents=True, exist_ok=True)
    names = [f"{name} (times cheaper)" for name in METHODS[1:]]
    click.echo(f"| space | {PLAIN} | {' | '.join(names)} |\n|{'---|' * (len(METHODS) + 1)}")
    for space, truth in zip(spaces, truths, strict=True):
        archs = [r.arch for r in truth.sample(timed, numpy_generator(seed, "timed"))]
        able = [m for m in compared if not m.reason_against(truth.space)]
        found = time_methods(able, archs, repeats=repeat, few_steps=steps)
        times = {method.name: one for method, one in zip(able, found, strict=True)}
        rows = [{"method": name, **one.record()} for name, one in times.items()]
        result = {"space": space, "task": task, "timed": timed, "repeats": repeat}
        result |= {"device": device, "seed": seed, "rows": rows}
        (out / f"{space}.json").write_text(json.dumps(result, indent=1) + "\n")
        plain = times.get(PLAIN)
        cells = [f"{plain.seconds:.2f}" if plain else ""]
        for name in METHODS[1:]:
            cells.append(f"{times[name].seconds:.2f}")
            if plain:
                pairs = zip(plain.each, times[name].each, strict=True)
                cells[-1] += f" ({median(p / t for p, t in pairs):.1f})"
        click.echo(f"| {space} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
