"""What the ranking would be if size counted in another way, as a Markdown table.

    python -m benchmarks.size darts-in resnext-a-in --data TABLES --scores SCORES

Architectures are trained without counting the size; then the losses are divided by powers of the
multiply-accumulates, of the number of parameters, and of both. Figures are Spearman's correlations.
Finished scores are kept in ``--scores``, so a run that is stopped goes on where it was.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.ranking import kept_ranking, without_size
from benchmarks.script import Script, data_option, scores_option
from benchmarks.tables import tables_for
from gennas_optuna import GenNASEvaluator, ProxyEvaluator, get_task
from gennas_optuna.correlation import spearman
from gennas_optuna.cost import Cost
from gennas_optuna.settings import Size

POWERS = (0.05, 0.1, 0.2)
SIZES = (
    Size(),
    *(Size(flops=power) for power in POWERS),
    *(Size(params=power) for power in POWERS),
    *(Size(flops=power / 2, params=power / 2) for power in POWERS),
)


@click.command(cls=Script)
@click.argument("spaces", nargs=-1, required=True)
@data_option
@scores_option
@click.option("--samples", default=60, show_default=True, help="Architectures per table.")
@click.option("--preset", multiple=True, default=("balanced", "fast"), show_default=True)
@click.option("--task", multiple=True, default=("default",), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
def main(
    spaces: tuple[str, ...],
    data: Path,
    scores: Path,
    samples: int,
    preset: tuple[str, ...],
    task: tuple[str, ...],
    seed: int,
) -> None:
    """Print the table for SPACES."""
    tables = tables_for(spaces)
    truths = [table.load(data) for table in tables]
    scores.mkdir(parents=True, exist_ok=True)
    heads = ["space, preset, task", "params", "FLOPs", *map(_head, SIZES)]
    click.echo(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for table, truth in zip(tables, truths, strict=True):
        proxies = ProxyEvaluator("params", seed=seed, device="cpu")
        for name in preset:
            for path in task:
                evaluator = GenNASEvaluator(
                    # The named preset's default: one without the size has none of its own.
                    get_task(path, truth.space, preset=name),
                    preset=without_size(name),
                    report_steps=(),
                    seed=seed,
                    device="cpu",
                )
                ranking = kept_ranking(
                    truth, evaluator, min(samples, len(truth)), seed, scores, workers=1
                )
                good = [truth.goodness(record.trained) for record in ranking.records]
                costs = [
                    proxies._cost(record.trained.arch, canonical=True)
                    for record in ranking.records
                ]
                losses = [record.score.loss for record in ranking.records]
                row = [f"{table.space}, `{name}`, {path.rpartition('#')[2]}"]
                row.append(f"{spearman([c.params for c in costs], good):.3f}")
                row.append(f"{spearman([c.flops for c in costs], good):.3f}")
                row += [f"{_counting(size, losses, costs, good):.3f}" for size in SIZES]
                click.echo(f"| {' | '.join(row)} |")


def _head(size: Size) -> str:
    powers = {"FLOPs": size.flops, "params": size.params}
    counted = [f"{name}^{power:g}" for name, power in powers.items() if power]
    return ", ".join(counted) or "loss alone"


def _counting(size: Size, losses: list[float], costs: list[Cost], good: list[float]) -> float:
    pairs = zip(losses, costs, strict=True)
    return spearman([-loss * size.factor(cost) for loss, cost in pairs], good)


if __name__ == "__main__":
    main()
