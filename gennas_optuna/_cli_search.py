"""``gennas search`` and ``gennas worker``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import optuna
from optuna.storages import BaseStorage

from gennas_optuna import _check
from gennas_optuna import _cli_pareto as pareto
from gennas_optuna import _cli_report as report
from gennas_optuna._cli_options import (
    ScoreCache,
    chosen_space,
    make_evaluator,
    procedure,
    scoring_options,
    space_options,
)
from gennas_optuna._evaluator import Score
from gennas_optuna._processes import process_context
from gennas_optuna.benchmarks import GroundTruth, load_truth
from gennas_optuna.constraints import MEASURES, constraints_func
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.objective import GenNASObjective
from gennas_optuna.samplers import SAMPLERS, make_sampler
from gennas_optuna.search import ERROR, Found, search
from gennas_optuna.spaces import Architecture
from gennas_optuna.storage import opened_storage
from gennas_optuna.workers import found_in, own_seed, share, work

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
    tables = [load_truth(name, objective.space) for name in truth]
    if storage is None:
        study = _alone(objective, options)
        found = _search_alone(objective, study, options)
        _show(objective, study, found, tables, top, figure, options)
        return
    name = study_name or f"gennas-{objective.space.name}"
    with opened_storage(storage) as place:
        study = _together(objective, options, place, name)
        found = _search_together(objective, study, options, storage)
        _show(objective, study, found, tables, top, figure, options)


@click.command(name="worker")
@click.argument("storage")
@click.argument("study_name")
@click.option("--workers", type=_COUNT, default=1, show_default=True, help="Processes.")
def worker_command(storage: str, study_name: str, workers: int) -> None:
    """Help with the search STUDY_NAME in STORAGE until it is done.

    The same as to give the command of `gennas search` that made it once more, without its report.
    """
    with opened_storage(storage) as place:
        objective, study, options = _join(place, study_name)
        _search_together(objective, study, {**options, "workers": workers}, storage)
    click.echo(f"{study_name}: {options['trials']} trials are finished", err=True)


def _objective(options: Mapping[str, Any]) -> GenNASObjective:
    names = [name.strip() for name in options["objectives"].split(",")]
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
    objective: GenNASObjective, study: optuna.Study, options: Mapping[str, Any]
) -> list[Found]:
    cache = ScoreCache(options["cache"], objective.evaluator, objective.space)
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
    if COMMAND not in study.user_attrs:
        kept = ("space", "form", *_SHARED, *_SCORING)
        study.set_user_attr(COMMAND, {key: options[key] for key in kept})
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
    options = {**attributes[COMMAND], "cache": None, "workers": 1}
    objective = _objective(options)
    return objective, _together(objective, options, storage, name), options


def _help(storage: str, name: str) -> None:
    """What another process of this machine does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with opened_storage(storage) as place:
            objective, study, options = _join(place, name)
            work(objective, study, n_trials=options["trials"])
    except GenNASError as error:
        click.echo(f"gennas: a worker stopped: {error}", err=True)
    except KeyboardInterrupt:
        pass


@contextmanager
def _helpers(count: int, storage: str, name: str) -> Any:
    """Other processes that work on the study. They end with it, or with this process."""
    context = process_context()
    processes = [
        context.Process(target=_help, args=(storage, name), daemon=True) for _ in range(count)
    ]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.join()


def _search_together(
    objective: GenNASObjective, study: optuna.Study, options: Mapping[str, Any], storage: str
) -> list[Found]:
    helpers = _check.whole(options["workers"], "workers", low=1, high=1024) - 1
    cache = ScoreCache(options["cache"], objective.evaluator, objective.space)
    with ExitStack() as stack:
        progress = stack.enter_context(
            report.Progress(options["trials"], f"searching {objective.space.name}")
        )
        stack.enter_context(_helpers(helpers, storage, study.study_name))
        work(
            objective,
            study,
            n_trials=options["trials"],
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
    trials = study.get_trials(deepcopy=False)
    failed = [trial.user_attrs[ERROR] for trial in trials if ERROR in trial.user_attrs]
    if not found:
        why = f"{len(failed)} failed"
        why += f", the last with {failed[-1]}" if failed else ""
        raise InvalidValueError(
            f"no architecture was scored in {len(trials)} trials: {why}; the others are beyond "
            "the limits"
        )
    sampler = options["sampler"] or ("nsga2" if objective.extra_objectives else "evolution")
    head = {
        "space": objective.space.name,
        "form": objective.space.form,
        **procedure(objective.evaluator, objective.space),
        "sampler": sampler,
        "seed": options["seed"],
        "n_trials": options["trials"],
        "n_failed": len(failed),
        "objectives": objective.metric_names,
        "constraints": objective.constraints,
    }
    if failed:
        report.note(f"{len(failed)} trials failed, the last with {failed[-1]}")
    if objective.extra_objectives:
        pareto.show_front(head, objective, study, found, tables, options["as_json"])
    else:
        report.show_search(head, found, tables, top, options["as_json"])
    if figure is not None:
        pareto.draw(objective, study, figure)
