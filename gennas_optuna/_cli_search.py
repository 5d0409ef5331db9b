"""``gennas search`` and ``gennas worker``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from gennas_optuna import _check
from gennas_optuna import _cli_pareto as pareto
from gennas_optuna import _cli_report as report
from gennas_optuna._cli_options import (
    JSON_OPTION,
    ScoreCache,
    chosen_space,
    make_evaluator,
    procedure,
    scoring_options,
    space_options,
)
from gennas_optuna._evaluator import Score
from gennas_optuna._figure import check_figure
from gennas_optuna._processes import process_context
from gennas_optuna._studies import counted
from gennas_optuna.benchmarks import GroundTruth, load_truth
from gennas_optuna.constraints import MEASURES, constraints_func
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.samplers import SAMPLERS, make_sampler
from gennas_optuna.search import ERROR, Found, search
from gennas_optuna.spaces import Architecture
from gennas_optuna.storage import opened_storage
from gennas_optuna.workers import claim, found_in, own_seed, share, work

COMMAND = "gennas:command"
"""The attribute of a study that holds the options of the command that made it."""

_COUNT = click.IntRange(min=1)
_LIMIT = click.FloatRange(min=0, min_open=True)
_SHARED = ("trials", "sampler", "population", "objectives", *(f"max_{m}" for m in MEASURES))
_SCORING = ("task", "preset", "steps", "inputs", "seed", "device", "threads")


@click.command(name="search")
@space_options
@click.option("--trials", type=_COUNT, default=100, show_default=True, help="Trials in all.")
@click.option(
    "--objectives",
    default="loss",
    show_default=True,
    metavar="NAMES",
    help=f"What to minimise, with commas: loss and any of {', '.join(MEASURES)}.",
)
@click.option("--max-params", type=_LIMIT, metavar="N", help="Limit of learnable scalars.")
@click.option("--max-flops", type=_LIMIT, metavar="N", help="Limit of multiply-accumulates.")
@click.option("--max-latency", type=_LIMIT, metavar="MS", help="Limit of a pass's milliseconds.")
@click.option("--max-memory", type=_LIMIT, metavar="BYTES", help="Limit of a pass's live bytes.")
@click.option(
    "--sampler",
    help=f"What proposes: {', '.join(SAMPLERS)}, nsga2. By default evolution, with several "
    "objectives nsga2.",
)
@click.option(
    "--population",
    type=click.IntRange(min=2),
    default=50,
    show_default=True,
    help="Of evolution and nsga2.",
)
@click.option(
    "--truth",
    multiple=True,
    metavar="TRUTH",
    help="Known qualities to show for what is found; may be repeated.",
)
@click.option("--top", type=_COUNT, default=5, show_default=True, help="How many to show.")
@click.option(
    "--storage",
    metavar="URL",
    help="FILE.journal, a database or grpc://HOST:PORT: processes with the same command there "
    "share the trials, and one that was stopped goes on.",
)
@click.option("--study-name", metavar="NAME", help="In the storage. [gennas-SPACE]")
@click.option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw two or more objectives: .png, .svg or .pdf.",
)
@scoring_options
def search_command(
    truth: tuple[str, ...],
    top: int,
    storage: str | None,
    study_name: str | None,
    figure: Path | None,
    **options: Any,
) -> None:
    """Search for the architectures of the lowest loss, or of the best compromises."""
    objective = _objective(options)
    if figure is not None and not objective.extra_objectives:
        raise InvalidValueError("--figure shows two or more objectives: give --objectives")
    if figure is not None:
        check_figure(figure)
    tables = [load_truth(name, objective.space) for name in truth]
    for table in tables:
        report.note_left_out(table)
    cache = ScoreCache(options["cache"], objective.evaluator, objective.space)
    if storage is None:
        study = _alone(objective, options)
        found = _search_alone(objective, study, cache, options)
        _show(objective, study, found, tables, top, figure, options)
        return
    name = study_name or f"gennas-{objective.space.name}"
    with opened_storage(storage) as place:
        study = _together(objective, options, place, name)
        found = _search_together(objective, study, cache, options, storage)
        _show(objective, study, found, tables, top, figure, options)


@click.command(name="worker")
@click.argument("storage")
@click.argument("study_name")
@click.option("--workers", type=_COUNT, default=1, show_default=True, help="Processes.")
@JSON_OPTION
def worker_command(storage: str, study_name: str, workers: int, as_json: bool) -> None:
    """Help with the search STUDY_NAME in STORAGE until it is done.

    The same as to give the command of `gennas search` that made it once more, without its report.
    """
    with opened_storage(storage, create=False) as place:
        objective, study, options = _join(place, study_name)
        cache = ScoreCache(None, objective.evaluator, objective.space)
        _search_together(objective, study, cache, {**options, "workers": workers}, storage)
        trials = counted(study)
    if as_json:
        about = {key: options[key] for key in ("space", "form")}
        counts = {"n_trials": len(trials), "n_failed": len(_reasons(trials))}
        report.print_json({"study": study_name, **about, **counts})
    else:
        click.echo(f"{study_name}: {_check.amount(len(trials), 'finished trial')}", err=True)


def _objective(options: Mapping[str, Any]) -> GenNASObjective:
    names = [name.strip() for name in options["objectives"].split(",")]
    for name in names:
        _check.one_of(name, "--objectives", ("loss", *MEASURES))
    if names[0] != "loss" or len(set(names)) < len(names):
        raise InvalidValueError(
            f"--objectives {_check.shorten(options['objectives'])}: give loss first, and each once"
        )
    space = chosen_space(options["space"], options["form"])
    limits = {name: options[f"max_{name}"] for name in MEASURES}
    return GenNASObjective(
        space,
        evaluator=make_evaluator(dict(options)),
        extra_objectives=names[1:],
        constraints={name: limit for name, limit in limits.items() if limit is not None},
    )


def _sampler(
    objective: GenNASObjective, options: Mapping[str, Any], seed: int
) -> optuna.samplers.BaseSampler:
    several, seed = bool(objective.extra_objectives), seed % 2**32  # NumPy takes no more
    name, population = options["sampler"], options["population"]
    if name is None:
        name = "nsga2" if several else "evolution"
    if name == "nsga2":
        old = not hasattr(optuna.trial.Trial, "set_constraint") and bool(objective.constraints)
        asked: dict[str, Any] = {"constraints_func": constraints_func} if old else {}
        return optuna.samplers.NSGAIISampler(population_size=population, seed=seed, **asked)
    if several and name in ("evolution", "cmaes"):
        raise InvalidValueError(f"--sampler {name} has one objective; give nsga2, tpe or random")
    if name not in SAMPLERS:
        allowed = ", ".join((*SAMPLERS, "nsga2"))
        raise InvalidValueError(f"--sampler {_check.shorten(name)}: choose one of {allowed}")
    return make_sampler(name, objective.space, seed=seed, population=population)


# Alone, in memory ----------------------------------------------------------------------------


def _alone(objective: GenNASObjective, options: Mapping[str, Any]) -> optuna.Study:
    return optuna.create_study(
        directions=objective.directions,
        sampler=_sampler(objective, options, options["seed"]),
    )


def _search_alone(
    objective: GenNASObjective,
    study: optuna.Study,
    cache: ScoreCache,
    options: Mapping[str, Any],
) -> list[Found]:
    with report.Progress(options["trials"], f"searching {objective.space.name}") as progress:

        def on_trial(arch: Architecture | None, score: Score | None) -> None:
            if arch is not None and score is not None:
                cache.add(arch, score)
            progress.advance(best=None if score is None else score.loss)

        return search(
            objective,
            study,
            n_trials=options["trials"],
            workers=options["workers"],
            on_trial=on_trial,
        )


# Together, in a storage ----------------------------------------------------------------------


def _together(
    objective: GenNASObjective, options: Mapping[str, Any], storage: BaseStorage, name: str
) -> optuna.Study:
    seed = options["seed"]
    # The evolution draws by the trial's number: workers with one seed do not repeat each other.
    by_number = options["sampler"] == "evolution" or (
        options["sampler"] is None and not objective.extra_objectives
    )
    sampler = _sampler(objective, options, seed if by_number else own_seed(seed, name))
    study = share(storage, name, objective, sampler)
    claim(objective, study)  # before anything else is written: it may be of another search
    before = study.user_attrs.get(COMMAND)
    if before is None:
        kept = ("space", "form", *_SHARED, *_SCORING)
        study.set_user_attr(COMMAND, {key: options[key] for key in kept})
    elif options["trials"] > before["trials"]:  # workers who join later are to run these as well
        study.set_user_attr(COMMAND, {**before, "trials": options["trials"]})
    return study


def _join(storage: BaseStorage, name: str) -> tuple[GenNASObjective, optuna.Study, dict[str, Any]]:
    """What a worker needs, from the study itself."""
    names = optuna.get_all_study_names(storage)
    attributes: dict[str, Any] = {}
    if name in names:
        attributes = optuna.load_study(study_name=name, storage=storage).user_attrs
    if COMMAND not in attributes:
        raise InvalidValueError(
            f"no study {_check.shorten(name)} of `gennas search` is in the storage; there are "
            f"{', '.join(map(_check.shorten, names[:10])) or 'none'}"
        )
    options = attributes[COMMAND]
    objective = _objective(options)
    return objective, _together(objective, options, storage, name), options


def _help(storage: str, name: str, n_trials: int) -> None:
    """What another process of this machine does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with opened_storage(storage) as place:
            objective, study, _ = _join(place, name)
            work(objective, study, n_trials=n_trials)
    except GenNASError as error:
        click.echo(f"gennas: a worker stopped: {error}", err=True)
    except KeyboardInterrupt:
        pass


@contextmanager
def _helpers(count: int, storage: str, name: str, n_trials: int) -> Iterator[None]:
    """Other processes that work on the study. They end with it, or with this process."""
    context = process_context()
    processes = [
        context.Process(target=_help, args=(storage, name, n_trials), daemon=True)
        for _ in range(count)
    ]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.join()


def _search_together(
    objective: GenNASObjective,
    study: optuna.Study,
    cache: ScoreCache,
    options: Mapping[str, Any],
    storage: str,
) -> list[Found]:
    n_trials = options["trials"]
    helpers = _check.whole(options["workers"], "workers", low=1, high=1024) - 1
    with (
        report.Progress(n_trials, f"searching {objective.space.name}") as progress,
        _helpers(helpers, storage, study.study_name, n_trials),
    ):
        work(
            objective,
            study,
            n_trials=n_trials,
            on_trial=cache.add,
            on_progress=progress.reach,
        )
    return found_in(objective, study)


# What came out -------------------------------------------------------------------------------


def _show(
    objective: GenNASObjective,
    study: optuna.Study,
    found: list[Found],
    tables: list[GroundTruth],
    top: int,
    figure: Path | None,
    options: Mapping[str, Any],
) -> None:
    trials = counted(study)
    failed = _reasons(trials)
    if not found:
        raise InvalidValueError(_nothing_scored(len(trials), failed))
    sampler = options["sampler"] or ("nsga2" if objective.extra_objectives else "evolution")
    head = {
        "space": objective.space.name,
        "form": objective.space.form,
        **procedure(objective.evaluator, objective.space),
        "sampler": sampler,
        "seed": options["seed"],
        "n_trials": len(trials),
        "n_failed": len(failed),
        "objectives": objective.metric_names,
        "constraints": objective.constraints,
        "skipped": {table.name: dict(table.skipped) for table in tables},
    }
    if failed:
        report.note(f"{_check.amount(len(failed), 'trial')} failed, the last with {failed[-1]}")
    if objective.extra_objectives:
        pareto.show_front(head, objective, study, found, tables, top, options["as_json"])
    else:
        report.show_search(head, found, tables, top, options["as_json"])
    if figure is not None:
        pareto.draw(objective, study, figure)


def _reasons(trials: Sequence[FrozenTrial]) -> list[str]:
    """Why architectures could not be scored."""
    return [trial.user_attrs[ERROR] for trial in trials if ERROR in trial.user_attrs]


def _nothing_scored(n_trials: int, failed: Sequence[str]) -> str:
    beyond = n_trials - len(failed)
    reasons = []
    if failed:
        reasons.append(f"{len(failed)} failed, the last with {failed[-1]}")
    if beyond:
        reasons.append(f"{beyond} beyond the limits; give higher limits, or more --trials")
    of = _check.amount(n_trials, "trial")
    return f"no architecture was scored in {of}: {'; '.join(reasons)}"
