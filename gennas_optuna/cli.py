"""The ``gennas`` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import optuna

from gennas_optuna import _cli_report as report
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna.benchmarks import GroundTruth, Trained, load_truth
from gennas_optuna.errors import GenNASError, InvalidValueError, UnknownNameError
from gennas_optuna.evaluator import GenNASEvaluator
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.proxies import PROXIES, ProxyEvaluator
from gennas_optuna.ranking import rank
from gennas_optuna.samplers import SAMPLERS, make_sampler
from gennas_optuna.score_file import ScoreFile
from gennas_optuna.search import search
from gennas_optuna.settings import PRESETS
from gennas_optuna.spaces import Architecture, SearchSpace, get_space, list_spaces

Command = TypeVar("Command", bound=Callable[..., Any])


def main() -> None:
    """Run the command line; bad input ends in one line and exit status 2."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except GenNASError as error:
        _fail(str(error))
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


# Options that commands share -----------------------------------------------------------------


def _space_options(command: Command) -> Command:
    for option in (
        click.option("--form", metavar="FORM", help="Which network of the space; see `spaces`."),
        click.argument("space"),
    ):
        command = option(command)
    return command


def _scoring_options(command: Command) -> Command:
    for option in reversed(
        (
            click.option(
                "--task",
                default="default",
                metavar="TASK",
                help="Proxy task: 'default', a name, or FILE (FILE#NAME for one of several).",
            ),
            click.option(
                "--preset",
                default="paper",
                show_default=True,
                help=f"How to train: {', '.join(PRESETS)}.",
            ),
            click.option(
                "--steps", type=click.IntRange(min=1), help="Training steps, if not the preset's."
            ),
            click.option(
                "--inputs",
                default="photos",
                show_default=True,
                metavar="INPUTS",
                help="Unlabelled images: 'photos', 'noise', a folder, CIFAR's, an .npz file.",
            ),
            click.option(
                "--seed",
                type=click.IntRange(min=0),
                default=0,
                show_default=True,
                help="Of everything that is drawn.",
            ),
            click.option(
                "--device",
                default="auto",
                show_default=True,
                help="A PyTorch device; 'auto': a GPU if there is one.",
            ),
            click.option(
                "--threads",
                type=click.IntRange(min=1),
                default=1,
                show_default=True,
                help="PyTorch threads per worker.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                default=1,
                show_default=True,
                help="Processes; results do not depend on it.",
            ),
            click.option(
                "--cache",
                type=click.Path(path_type=Path, dir_okay=False),
                help="File of finished scores: read first, then added to.",
            ),
            click.option(
                "--json", "as_json", is_flag=True, help="One JSON document on standard output."
            ),
        )
    ):
        command = option(command)
    return command


def _space(name: str, form: str | None) -> SearchSpace:
    return get_space(name) if form is None else get_space(name, form=form)


def _evaluator(options: dict[str, Any], proxy: str = "gennas") -> Evaluator:
    common = {name: options[name] for name in ("inputs", "seed", "device", "threads")}
    if proxy != "gennas":
        return ProxyEvaluator(proxy, **common)
    chosen = {name: options[name] for name in ("preset", "steps")}
    return GenNASEvaluator(options["task"], **chosen, **common)


def _procedure(evaluator: Evaluator, space: SearchSpace) -> dict[str, Any]:
    """How architectures are trained, for reports; all ``None`` for proxies without training."""
    if not isinstance(evaluator, GenNASEvaluator):
        return {"preset": None, "steps": None, "task": None}
    task = evaluator.task_for(space)
    return {"preset": evaluator.preset.name, "steps": evaluator.steps, "task": task.name}


class _Cache:
    """The ``--cache`` file, if one was given."""

    def __init__(self, path: Path | None, evaluator: Evaluator, space: SearchSpace) -> None:
        self.file = None if path is None else ScoreFile(path)
        self.evaluator = evaluator
        self.known: set[str] = set()
        if self.file is not None:
            self.known = self.file.restore(evaluator, space)
            report.note(f"{len(self.known)} scores taken from {path}")

    def add(self, arch: Architecture, score: Score) -> None:
        if self.file is not None and arch.key not in self.known:
            self.file.append(self.evaluator, arch, score)
            self.known.add(arch.key)


# Commands ------------------------------------------------------------------------------------


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def spaces(as_json: bool) -> None:
    """List what can be searched."""
    report.show_spaces([get_space(name) for name in list_spaces()], as_json)


@cli.command()
@_space_options
@click.argument("arch", nargs=-1, required=True)
@_scoring_options
def score(space: str, form: str | None, arch: tuple[str, ...], **options: Any) -> None:
    """Score architectures: loss, parameters, multiply-accumulates, seconds.

    ARCH is an architecture in the space's own text form, or the benchmark's.
    """
    chosen = _space(space, form)
    archs = [chosen.parse(text) for text in arch]
    evaluator = _evaluator(options)
    cache = _Cache(options["cache"], evaluator, chosen)
    records = []
    with (
        report.Progress(len(archs), "scoring") as progress,
        EvaluatorPool(evaluator, options["workers"]) as pool,
    ):
        for one, result in zip(archs, pool.map(archs), strict=True):
            cache.add(one, result)
            records.append(report.record(one, result))
            progress.advance()
    report.show_scores(records, options["as_json"])


@cli.command(name="rank")
@_space_options
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
@_scoring_options
def rank_command(
    space: str, form: str | None, truth: str, samples: int, proxy: str, **options: Any
) -> None:
    """Correlate the score with the known quality of trained architectures."""
    if proxy not in ("gennas", *PROXIES):
        raise UnknownNameError("proxy", proxy, ("gennas", *PROXIES))
    chosen = _space(space, form)
    evaluator = _evaluator(options, proxy)
    table = load_truth(truth, chosen)
    cache = _Cache(options["cache"], evaluator, chosen)
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
        "proxy": proxy,
        **_procedure(evaluator, chosen),
        "inputs": options["inputs"],
        "seed": options["seed"],
    }
    report.show_ranking(head, ranking, options["as_json"])


@cli.command(name="search")
@_space_options
@click.option(
    "--trials", type=click.IntRange(min=1), default=100, show_default=True, help="Trials to run."
)
@click.option(
    "--sampler",
    default="evolution",
    show_default=True,
    help=f"What proposes: {', '.join(SAMPLERS)}.",
)
@click.option(
    "--population",
    type=click.IntRange(min=2),
    default=50,
    show_default=True,
    help="Of the evolution; tournaments take a fifth of it.",
)
@click.option(
    "--truth",
    multiple=True,
    metavar="TRUTH",
    help="Known qualities to show for what is found; may be repeated.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How many of the best to show.",
)
@click.option(
    "--storage",
    metavar="URL",
    help="Optuna storage, such as sqlite:///study.db; a study there goes on.",
)
@click.option("--study-name", metavar="NAME", help="Name of the study in the storage.")
@_scoring_options
def search_command(
    space: str,
    form: str | None,
    trials: int,
    sampler: str,
    population: int,
    truth: tuple[str, ...],
    top: int,
    storage: str | None,
    study_name: str | None,
    **options: Any,
) -> None:
    """Search for the architectures of the lowest loss."""
    chosen = _space(space, form)
    tables: list[GroundTruth] = [load_truth(name, chosen) for name in truth]
    evaluator = _evaluator(options)
    objective = GenNASObjective(chosen, evaluator=evaluator)
    proposer = make_sampler(sampler, chosen, seed=options["seed"], population=population)
    study = _study(storage, study_name, proposer)
    cache = _Cache(options["cache"], evaluator, chosen)
    with report.Progress(trials, f"searching {space}") as progress:

        def on_trial(arch: Architecture, result: Score) -> None:
            cache.add(arch, result)
            progress.advance(best=result.loss)

        found = search(
            objective, study, n_trials=trials, workers=options["workers"], on_trial=on_trial
        )
    head = {
        "space": chosen.name,
        "form": chosen.form,
        **_procedure(evaluator, chosen),
        "sampler": sampler,
        "seed": options["seed"],
        "n_trials": trials,
    }
    report.show_search(head, found, tables, top, options["as_json"])


def _study(
    storage: str | None, name: str | None, sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    try:
        return optuna.create_study(
            storage=storage, study_name=name, sampler=sampler, load_if_exists=True
        )
    except Exception as error:  # whatever a database driver raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidValueError(
            f"storage {storage!r} cannot be used: {reason}; give an Optuna storage URL such as "
            "sqlite:///study.db"
        ) from error


if __name__ == "__main__":
    main()
