"""The ``gennas`` command."""

from __future__ import annotations

import sys
from typing import Any

import click
import optuna

from gennas_optuna import _cli_report as report
from gennas_optuna._cli_nni import nni_group
from gennas_optuna._cli_options import (
    JSON_OPTION,
    ScoreCache,
    chosen_space,
    make_evaluator,
    procedure,
    scoring_options,
    space_options,
)
from gennas_optuna._cli_plot import plot
from gennas_optuna._cli_records import report_command
from gennas_optuna._cli_search import search_command, worker_command
from gennas_optuna._cli_tune import tune_task
from gennas_optuna._evaluator import Score
from gennas_optuna.benchmarks import Trained, load_truth
from gennas_optuna.errors import GenNASError, UnknownNameError
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.proxies import PROXIES
from gennas_optuna.ranking import rank
from gennas_optuna.report import record
from gennas_optuna.spaces import get_space, list_spaces


def main() -> None:
    """Run the command line; bad input ends in one line and exit status 2."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except GenNASError as error:
        _fail(str(error))
    except OSError as error:  # such as a full disk
        where = error.filename or "standard output or a storage"
        _fail(f"{where}: {error.strerror or error}")
    except (click.Abort, KeyboardInterrupt):
        click.echo("gennas: interrupted", err=True)
        sys.exit(130)


def _fail(message: str) -> None:
    click.echo(f"gennas: error: {' '.join(message.split())}", err=True)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gennas-optuna")
def cli() -> None:
    """Rank and search neural architectures in seconds each, without labels.

    GenNAS (Li et al., NeurIPS 2021) trains an architecture for a few steps to regress synthetic
    signals on one unlabelled batch; the lower the loss, the better the architecture.
    """


@cli.command()
@JSON_OPTION
def spaces(as_json: bool) -> None:
    """List what can be searched."""
    report.show_spaces([get_space(name) for name in list_spaces()], as_json)


@cli.command()
@space_options
@click.argument("arch", nargs=-1, required=True)
@scoring_options
def score(space: str, form: str | None, arch: tuple[str, ...], **options: Any) -> None:
    """Score architectures: loss, parameters, multiply-accumulates, seconds.

    ARCH is an architecture in the space's own text form, or the benchmark's.
    """
    chosen = chosen_space(space, form)
    archs = [chosen.parse(text) for text in arch]
    evaluator = make_evaluator(options)
    cache = ScoreCache(options["cache"], evaluator, chosen)
    records = []
    with (
        report.Progress(len(archs), "scoring") as progress,
        EvaluatorPool(evaluator, options["workers"]) as pool,
    ):
        for one, result in zip(archs, pool.map(archs), strict=True):
            cache.add(one, result)
            records.append(record(one, result))
            progress.advance()
    report.show_scores(records, options["as_json"])


@cli.command(name="rank")
@space_options
@click.option(
    "--truth",
    required=True,
    metavar="TRUTH",
    help="hpo-bench:cifar10|cifar100|imagenet16-120, or a benchmark's file or folder.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    default=100,
    show_default=True,
    help="Architectures drawn from TRUTH.",
)
@click.option(
    "--proxy",
    default="gennas",
    show_default=True,
    help=f"What ranks: gennas, {', '.join(PROXIES)}.",
)
@scoring_options
def rank_command(
    space: str, form: str | None, truth: str, samples: int, proxy: str, **options: Any
) -> None:
    """Correlate the score with the known quality of trained architectures."""
    if proxy not in ("gennas", *PROXIES):
        raise UnknownNameError("proxy", proxy, ("gennas", *PROXIES))
    chosen = chosen_space(space, form)
    evaluator = make_evaluator(options, proxy)
    table = load_truth(truth, chosen)
    report.note_left_out(table)
    cache = ScoreCache(options["cache"], evaluator, chosen)
    with report.Progress(samples, f"ranking {space}") as progress:

        def on_score(trained: Trained, result: Score) -> None:
            cache.add(trained.arch, result)
            progress.advance()

        ranking = rank(
            table,
            evaluator,
            samples=samples,
            seed=options["seed"],
            workers=options["workers"],
            on_score=on_score,
        )
    head = {
        "space": chosen.name,
        "form": chosen.form,
        "truth": table.name,
        "metric": table.metric,
        "skipped": dict(table.skipped),
        "proxy": proxy,
        **procedure(evaluator, chosen),
        "inputs": options["inputs"],
        "seed": options["seed"],
    }
    report.show_ranking(head, ranking, options["as_json"])


cli.add_command(search_command)
cli.add_command(worker_command)
cli.add_command(tune_task)
cli.add_command(plot)
cli.add_command(report_command)
cli.add_command(nni_group)

if __name__ == "__main__":
    main()
