"""How well GenNAS and the proxies without training rank, space by space, as a Markdown table.

    python -m benchmarks.ranking --data TABLES --published TASKS
    python -m benchmarks.ranking nasbench201 nasbench101 --data TABLES --task TASKS#CONF_NB101

Architectures are drawn from the published tables, the same for every method. Networks that are
drawn more than once count once, with the mean of their truths; ``--every-draw`` counts them as
often as they were drawn. Cells are empty where a method does not apply. Finished scores are kept
in the folder ``--scores``, so a run that is stopped goes on where it was.

With ``--published``, a file of the tasks that GenNAS's authors published, the preset ``paper``
takes for each space the one published for it and the other presets their default; a second table
then has a row per space, as in ``docs/results.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean

import click

from benchmarks.methods import reason_against
from benchmarks.script import Script, data_option, scores_option
from benchmarks.tables import Table, tables_for
from gennas_optuna import GenNASEvaluator, ProxyEvaluator, rank
from gennas_optuna._evaluator import Evaluator
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.proxies import PROXIES
from gennas_optuna.ranking import Ranked, Ranking, correlate
from gennas_optuna.score_file import ScoreFile
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.settings import Preset, Size, get_preset


@click.command(cls=Script)
@click.argument("spaces", nargs=-1)
@data_option
@scores_option
@click.option(
    "--samples",
    type=click.IntRange(2),
    help="Draws per table, or all if it has fewer; default: those of docs/results.md.",
)
@click.option(
    "--distinct/--every-draw", default=True, show_default=True, help="Count each network once."
)
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
@click.option("--published", type=click.Path(path_type=Path), help="File of the authors' tasks.")
@click.option("--task", multiple=True, help="Proxy tasks to compare; default: the space's own.")
@click.option("--preset", multiple=True, help="Presets to compare; default: paper.")
@click.option("--unsized", is_flag=True, help="Presets that do not count the size.")
@click.option("--inputs", multiple=True, help="Images to compare; default: photos.")
@click.option(
    "--proxy",
    multiple=True,
    type=click.Choice(["gennas", *PROXIES]),
    help="What to measure; default: all.",
)
@click.option("--workers", default=1, show_default=True, help="Processes.")
def main(
    spaces: tuple[str, ...],
    data: Path,
    scores: Path,
    samples: int | None,
    distinct: bool,
    seed: int,
    published: Path | None,
    task: tuple[str, ...],
    preset: tuple[str, ...],
    unsized: bool,
    inputs: tuple[str, ...],
    proxy: tuple[str, ...],
    workers: int,
) -> None:
    """Print the table for SPACES (all, if none is named)."""
    if published and task:
        raise click.UsageError("give --published or --task, not both")
    tables = tables_for(spaces)
    # What is missing or wrong shows before anything is trained.
    evaluators = [
        [*_methods(table, proxy, published, task, preset, unsized, inputs, seed)]
        for table in tables
    ]
    truths = [table.load(data) for table in tables]
    if samples is None:
        truths = [
            without_first(truth, table.skip, seed) if table.skip else truth
            for table, truth in zip(tables, truths, strict=True)
        ]
    scores.mkdir(parents=True, exist_ok=True)
    heads = ("space", "truth", "draws", "networks", "method", "Spearman (95 %)", "Kendall (95 %)")
    click.echo(f"| {' | '.join(heads)} | CPU s each |\n|{'---|' * (len(heads) + 1)}")
    summary = []
    for table, truth, methods in zip(tables, truths, evaluators, strict=True):
        draws = min(samples or table.samples, len(truth))
        found = {}
        for label, evaluator in methods:
            ranking = _ranking(truth, evaluator, draws, seed, scores, workers)
            if ranking is not None and distinct:
                ranking = each_once(truth, ranking, seed)
            found[label] = ranking
            row = (table.space, table.label, str(draws), *_cells(label, ranking))
            click.echo(f"| {' | '.join(row)} |")
        summary.append((table, found))
    if published:
        click.echo(_summary(summary))


def _methods(
    table: Table,
    proxies: tuple[str, ...],
    published: Path | None,
    tasks: tuple[str, ...],
    presets: tuple[str, ...],
    unsized: bool,
    inputs: tuple[str, ...],
    seed: int,
) -> Iterator[tuple[str, Evaluator]]:
    for proxy in proxies or ("gennas", *PROXIES):
        if proxy != "gennas":
            yield proxy, ProxyEvaluator(proxy, seed=seed)
            continue
        for task, preset, images in product(
            tasks or ("default",),
            presets or (("paper", "balanced", "fast") if published else ("paper",)),
            inputs or ("photos",),
        ):
            name = f"{published}#{table.published}" if published and preset == "paper" else task
            chosen = without_size(preset) if unsized else get_preset(preset)
            evaluator = GenNASEvaluator(name, preset=chosen, inputs=images, seed=seed)
            yield f"{preset}, task {name.rpartition('#')[2]}, {Path(images).name}", evaluator


def _ranking(
    truth: GroundTruth, evaluator: Evaluator, draws: int, seed: int, scores: Path, workers: int
) -> Ranking | None:
    """``None`` where the evaluator says nothing of such networks."""
    reason = reason_against(evaluator, truth.space)
    if not reason:
        try:
            return kept_ranking(truth, evaluator, draws, seed, scores, workers)
        except InvalidValueError as error:
            if isinstance(evaluator, GenNASEvaluator):
                raise
            reason = str(error)
    click.echo(reason, err=True)
    return None


def _cells(label: str, ranking: Ranking | None) -> tuple[str, ...]:
    if ranking is None:
        return ("", label, "", "", "")
    found = ranking.correlation
    return (
        str(len({record.trained.arch.key for record in ranking.records})),
        label,
        f"{found.spearman:.3f} ({found.spearman_ci[0]:.3f} to {found.spearman_ci[1]:.3f})",
        f"{found.kendall:.3f} ({found.kendall_ci[0]:.3f} to {found.kendall_ci[1]:.3f})",
        f"{ranking.cpu_seconds_per_arch:.2f}",
    )


def _summary(found: list[tuple[Table, dict[str, Ranking | None]]]) -> str:
    """A row per table: Spearman's correlation, in brackets CPU-seconds; the best is bold."""
    names = [label.partition(",")[0] for label in found[0][1]]
    lines = [
        "",
        f"| space | truth | networks | {' | '.join(names)} |",
        f"|{'---|' * (len(names) + 3)}",
    ]
    for table, rankings in found:
        there = [ranking for ranking in rankings.values() if ranking is not None]
        best = max((f"{r.correlation.spearman:.3f}" for r in there), key=float, default="")
        cells = [table.space, table.label, str(there[0].correlation.n) if there else ""]
        for ranking in rankings.values():
            if ranking is None:
                cells.append("")
                continue
            rho = f"{ranking.correlation.spearman:.3f}"
            rho = f"**{rho}**" if rho == best else rho
            cells.append(f"{rho} ({ranking.cpu_seconds_per_arch:.2f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def without_size(preset: str) -> Preset:
    """The preset of that name with the regression loss alone."""
    return replace(get_preset(preset), size=Size(), sizes=())


def without_first(truth: GroundTruth, count: int, seed: int) -> GroundTruth:
    """Without the records that a draw of ``count`` holds: they took part in a choice."""
    if not 0 <= count <= len(truth) - 2:
        raise click.UsageError(f"skip {count} of {len(truth)} records: leave two at least")
    order = truth.sample(len(truth), numpy_generator(seed, "rank"))
    return replace(truth, records=tuple(order[count:]))


def kept_ranking(
    truth: GroundTruth,
    evaluator: Evaluator,
    samples: int,
    seed: int,
    folder: Path,
    workers: int,
) -> Ranking:
    """The ranking of ``samples`` records, with finished scores kept in ``folder``."""
    space = truth.space
    file = ScoreFile(folder / f"{space.name}.jsonl")
    known = file.restore(evaluator, space)

    def keep(trained, score) -> None:  # type: ignore[no-untyped-def]
        if trained.arch.key not in known:
            known.add(trained.arch.key)
            file.append(evaluator, trained.arch, score)

    return rank(truth, evaluator, samples=samples, seed=seed, workers=workers, on_score=keep)


def each_once(truth: GroundTruth, ranking: Ranking, seed: int) -> Ranking:
    """The same with every network once, in the place of its first draw.

    Draws of one network are not independent: as many records, the intervals would be too narrow.
    Its truth is the mean over its records.
    """
    same: dict[str, list[Ranked]] = {}
    for record in ranking.records:
        same.setdefault(record.trained.arch.key, []).append(record)
    records = []
    for first, *others in same.values():
        mean = fmean(record.trained.truth for record in (first, *others))
        records.append(replace(first, trained=replace(first.trained, truth=mean)))
    return replace(ranking, records=tuple(records), correlation=correlate(truth, records, seed))


if __name__ == "__main__":
    main()
