"""The commands of ``gennas nni``."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import yaml

from gennas_optuna._cli_options import JSON_OPTION
from gennas_optuna._cli_report import print_json
from gennas_optuna._files import write_text
from gennas_optuna.errors import DataFileError, InvalidValueError
from nni_strategy import trial
from nni_strategy._experiment import check_experiment
from nni_strategy._options import as_arguments, make_objective, optimize_mode, trial_options
from nni_strategy._options import space_of as searched_by
from nni_strategy._tuner_study import SAMPLERS, TunerArguments, TunerStudy
from nni_strategy.searchspace import to_nni

_HERE = Path(__file__).parent
_FILES = ("meta.yml", "loopback.js")
_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("space")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--trials", type=_COUNT, default=50, show_default=True)
@click.option("--concurrency", type=_COUNT, default=2, show_default=True, help="Trials at a time.")
@click.option("--sampler", default="tpe", show_default=True, help=f"{', '.join(SAMPLERS)}.")
@trial_options
@JSON_OPTION
def init(
    space: str,
    folder: Path,
    trials: int,
    concurrency: int,
    sampler: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Write an NNI experiment that searches SPACE to DIR, ready to run.

    That is config.yml and search_space.json.
    """
    for name in ("task", "inputs", "truth"):
        options[name] = _absolute(options[name])
    objective = make_objective(space, options)
    arguments = {
        "sampler": sampler,
        "optimize_mode": optimize_mode(objective),
        "seed": options["seed"],
        "space": space,
    }
    for name, default in (("form", None), ("search", "arch"), ("task_space", "flat")):
        if options[name] != default:
            arguments[name] = options[name]
    TunerStudy(TunerArguments.of(arguments))  # so that a wrong sampler is told now
    own = as_arguments(trial.command, {**options, "space": space})
    config = {
        "experimentName": f"gennas-{options['search']}-{space}",
        "searchSpaceFile": "search_space.json",
        "trialCommand": shlex.join([sys.executable, "-m", "nni_strategy.trial", *own]),
        "trialCodeDirectory": ".",
        "trialConcurrency": concurrency,
        "maxTrialNumber": trials,
        "tuner": {
            "className": "nni_strategy.tuner.OptunaTuner",
            "codeDirectory": ".",
            "classArgs": arguments,
        },
        "trainingService": {"platform": "local"},
    }
    search_space = to_nni(searched_by(objective).distributions())
    contents = {
        "config.yml": yaml.safe_dump(config, sort_keys=False, width=1000),
        "search_space.json": json.dumps(search_space, indent=1) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataFileError(f"{folder}: cannot be made: {error.strerror}") from None
    for name in contents:
        if (folder / name).exists():
            raise InvalidValueError(f"{folder / name} exists: give another folder, or remove it")
    for name, text in contents.items():
        write_text(folder / name, text)
    start = f"nnictl create --config {shlex.quote(str(folder / 'config.yml'))}"
    if as_json:
        print_json({"files": [str(folder / name) for name in contents], "start": start})
    else:
        click.echo(start)


@click.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
@JSON_OPTION
def check(config: Path, as_json: bool) -> None:
    """Look for mistakes in CONFIG, an experiment's YAML file, before it is run.

    Looked at are the search space, the tuner's arguments, the trial's options, and whether they
    go together. NNI tells less, and later.
    """
    found = check_experiment(config)
    if as_json:
        print_json({"config": str(config), **asdict(found)})
    else:
        click.echo(f"{config}: {found}")


@click.command()
@click.argument("name", type=click.Choice(_FILES))
@JSON_OPTION
def path(name: str, as_json: bool) -> None:
    """Print where a file of this package is.

    meta.yml registers the tuner by name; loopback.js keeps NNI's manager to this machine.
    """
    if as_json:
        print_json({"path": str(_HERE / name)})
    else:
        click.echo(_HERE / name)


COMMANDS: dict[str, click.Command] = {"check": check, "init": init, "path": path}


def _absolute(name: str | None) -> str | None:
    """The absolute path of what is a file or folder here (FILE#NAME: a part of one)."""
    if name is None:
        return None
    file, mark, part = name.partition("#")
    here = Path(file)
    return f"{here.resolve()}{mark}{part}" if file and here.exists() else name
