"""How well GenNAS and the proxies without training rank, space by space, as a Markdown table.

    python -m benchmarks.ranking nasbench201 nasbench101 --data TABLES --scores SCORES

Architectures are drawn from the published tables, the same for every method. Finished scores are
kept in the folder ``--scores``, so a run that is stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import click

from gennas_optuna import GenNASEvaluator, ProxyEvaluator, get_space, load_truth, rank
from gennas_optuna._evaluator import Evaluator
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.proxies import PROXIES
from gennas_optuna.ranking import Ranking
from gennas_optuna.score_file import ScoreFile
from gennas_optuna.settings import Preset, Size, get_preset


@dataclass(frozen=True)
class Table:
    """Where the true quality of a space's architectures stands: below ``--data``, or a name."""

    space: str
    truth: str

    def name(self, data: Path) -> str:
        """As :func:`load_truth` takes it."""
        return self.truth if self.truth.startswith("hpo-bench:") else str(data / self.truth)


TABLES = (
    Table("nasbench201", "hpo-bench:cifar10"),
    Table("nasbench201", "hpo-bench:cifar100"),
    Table("nasbench201", "hpo-bench:imagenet16-120"),
    Table("nasbench101", "nasbench101/nasbench1_cifar10.json"),
    Table("darts-in", "nds/DARTS_in.json"),
    Table("darts-fix-w-d-in", "nds/DARTS_fix-w-d_in.json"),
    Table("enas-in", "nds/ENAS_in.json"),
    Table("pnas-in", "nds/PNAS_in.json"),
    Table("nasnet-in", "nds/NASNet_in.json"),
    Table("amoeba-in", "nds/Amoeba_in.json"),
    Table("resnext-a-in", "nds/ResNeXt-A_in.json"),
    Table("resnext-b-in", "nds/ResNeXt-B_in.json"),
    Table("nasbench-macro", "nasbench_macro/nas-bench-macro_cifar10.json"),
    Table("nasbench-nlp", "nasbenchnlp/train_logs_single_run"),
    Table("nasbench-nlp", "nasbenchnlp/train_logs_wikitext-2"),
)


@click.command()
@click.argument("spaces", nargs=-1)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("."),
    help="Folder of the published tables.",
)
@click.option(
    "--scores", type=click.Path(path_type=Path), required=True, help="Folder for finished scores."
)
@click.option(
    "--samples",
    default=100,
    show_default=True,
    help="Architectures per table, or all if it has fewer.",
)
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the scores.")
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
    samples: int,
    seed: int,
    task: tuple[str, ...],
    preset: tuple[str, ...],
    unsized: bool,
    inputs: tuple[str, ...],
    proxy: tuple[str, ...],
    workers: int,
) -> None:
    """Print the table for SPACES (all, if none is named)."""
    scores.mkdir(parents=True, exist_ok=True)
    click.echo("| space | truth | n | method | Spearman (95 %) | Kendall (95 %) | CPU s each |")
    click.echo("|---|---|---|---|---|---|---|")
    for table in TABLES:
        if spaces and table.space not in spaces:
            continue
        truth = load_truth(table.name(data), get_space(table.space))
        for label, evaluator in _methods(proxy, task, preset, unsized, inputs, seed):
            ranking = kept_ranking(
                truth, evaluator, min(samples, len(truth)), seed, scores, workers
            )
            found = ranking.correlation
            row = (
                table.space,
                Path(table.truth).name.removeprefix("hpo-bench:"),
                str(found.n),
                label,
                f"{found.spearman:.3f} ({found.spearman_ci[0]:.3f} to {found.spearman_ci[1]:.3f})",
                f"{found.kendall:.3f} ({found.kendall_ci[0]:.3f} to {found.kendall_ci[1]:.3f})",
                f"{ranking.cpu_seconds_per_arch:.2f}",
            )
            click.echo(f"| {' | '.join(row)} |")


def _methods(
    proxies: tuple[str, ...],
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
            tasks or ("default",), presets or ("paper",), inputs or ("photos",)
        ):
            chosen = without_size(preset) if unsized else get_preset(preset)
            evaluator = GenNASEvaluator(task, preset=chosen, inputs=images, seed=seed)
            yield f"{preset}, task {task.rpartition('#')[2]}, {Path(images).name}", evaluator


def without_size(preset: str) -> Preset:
    """The preset of that name with the regression loss alone."""
    return replace(get_preset(preset), size=Size(), sizes=())


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


if __name__ == "__main__":
    main()
