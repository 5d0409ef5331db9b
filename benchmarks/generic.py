"""Which task ranks best where none was searched for: the mean rank of each over the spaces.

    python -m benchmarks.generic darts-in enas-in --task generic --task nasbench101-fast \
        --data TABLES --scores SCORES

Figures are Spearman's correlations. A task is not judged in the space, or family of spaces, that it
was searched in; the rank of the others there is among themselves, from 0 for the best to 1 for the
worst. Finished scores are kept in ``--scores``, so a run that is stopped goes on where it was.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from scipy import stats

from benchmarks.ranking import kept_ranking
from benchmarks.script import Script, data_option, scores_option
from benchmarks.tables import table_for
from gennas_optuna import GenNASEvaluator, ProxyTask, get_task
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.presets import family, found_in
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.spaces import SearchSpace


@click.command(cls=Script)
@click.argument("spaces", nargs=-1, required=True)
@click.option("--task", "names", multiple=True, required=True, help="The tasks that are compared.")
@data_option
@scores_option
@click.option("--samples", default=60, show_default=True, help="Draws per space.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Leave out the first of them.")
@click.option("--preset", default="fast", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
@click.option("--workers", default=1, show_default=True, help="Processes.")
def main(
    spaces: tuple[str, ...],
    names: tuple[str, ...],
    data: Path,
    scores: Path,
    samples: int,
    skip: int,
    preset: str,
    seed: int,
    workers: int,
) -> None:
    """Print the table for SPACES."""
    tables = [table_for(name) for name in spaces]
    tasks = [get_task(name) for name in names]
    parts = [_drawn(table.load(data), samples, skip, seed) for table in tables]
    scores.mkdir(parents=True, exist_ok=True)
    heads = ["space", "n", *(name.rpartition("#")[2] for name in names)]
    click.echo(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    found = np.full((len(spaces), len(tasks)), math.nan)
    for row, name, part in zip(found, spaces, parts, strict=True):
        cells = []
        for i, task in enumerate(tasks):
            evaluator = GenNASEvaluator(task, preset=preset, seed=seed, device="cpu")
            ranking = kept_ranking(part, evaluator, len(part), seed, scores, workers)
            diverged = sum(math.isinf(record.score.loss) for record in ranking.records)
            cells.append(f"{ranking.correlation.spearman:.3f}")
            if diverged:
                cells[-1] += f" ({diverged} diverged)"
            if _searched_in(task, part.space):
                cells[-1] = f"*{cells[-1]}*"
            else:
                row[i] = ranking.correlation.spearman
        click.echo(f"| {name} | {len(part)} | {' | '.join(cells)} |")
    judged = ~np.isnan(found)
    ranks = stats.rankdata(-found, axis=1, nan_policy="omit") - 1
    ranks /= np.maximum(1, judged.sum(axis=1, keepdims=True) - 1)
    for label, columns in (
        ("mean rank", ranks.T),
        ("mean where none was searched", found[judged.all(axis=1)].T),
    ):
        click.echo(f"| {label} | | {' | '.join(map(_mean, columns))} |")


def _drawn(truth: GroundTruth, samples: int, skip: int, seed: int) -> GroundTruth:
    """The draws after the first."""
    records = truth.sample(min(samples, len(truth)), numpy_generator(seed, "rank"))[skip:]
    if len(records) < 2:
        raise click.UsageError(f"--skip {skip} leaves {len(records)} draws of {truth.name}")
    return replace(truth, records=tuple(records))


def _mean(values: np.ndarray) -> str:
    """Of those that there are."""
    known = values[~np.isnan(values)]
    return f"{known.mean():.3f}" if len(known) else ""


def _searched_in(task: ProxyTask, space: SearchSpace) -> bool:
    """Whether the search that found the task was in this space, or in its family."""
    origin = found_in(task)
    return origin is not None and family(origin) == family(space.name)


if __name__ == "__main__":
    main()
