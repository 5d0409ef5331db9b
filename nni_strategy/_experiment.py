"""What an experiment's YAML says, looked at before NNI does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gennas_optuna._check import shorten
from gennas_optuna._files import read_data
from gennas_optuna.errors import InvalidValueError
from nni_strategy import trial
from nni_strategy._options import Objective, make_objective, optimize_mode, space_of
from nni_strategy._tuner_study import TunerArguments, TunerStudy
from nni_strategy.searchspace import from_nni, read_parameters, to_nni

_OURS = ("nni_strategy.tuner.OptunaTuner", "OptunaTuner")
_MODULE = "nni_strategy.trial"


@dataclass(frozen=True)
class Checked:
    """An experiment without mistakes; as text it is one line.

    Attributes:
        tuner: its name.
        parameters: how many the search space has.
        optimize_mode: ``"minimize"`` or ``"maximize"``; ``None``: the trial is not ours.
    """

    tuner: str
    parameters: int
    optimize_mode: str | None

    def __str__(self) -> str:
        mode = self.optimize_mode or "another trial"
        return f"tuner {self.tuner}, a search space of {self.parameters} parameters, {mode}"


def check_experiment(config: Path) -> Checked:
    """Look for mistakes in an experiment's YAML.

    Raises:
        GenNASError: naming the first mistake.
    """
    content = read_data(config)
    if not isinstance(content, Mapping):
        raise InvalidValueError(f"{config}: give an experiment's settings")
    for field in ("trialCommand", "trialConcurrency", "tuner", "trainingService"):
        if field not in content:
            raise InvalidValueError(f"{config}: {field} is missing")
    search_space = _mapping(_search_space(config, content), "search space", "its parameters")
    objective = _objective(content["trialCommand"])
    tuner = _mapping(content["tuner"], "tuner", "its name or className")
    name = tuner.get("className") or tuner.get("name")
    if not isinstance(name, str):
        raise InvalidValueError(f"tuner: {shorten(tuner)}: give its name or className")
    arguments = _mapping(tuner.get("classArgs") or {}, "tuner: classArgs", "arguments by name")
    if name in _OURS:
        TunerStudy(TunerArguments.of(arguments)).use(search_space)
    if objective is None:
        return Checked(name, len(search_space), None)
    _fit(search_space, objective)
    mode = arguments.get("optimize_mode", "minimize" if name in _OURS else "maximize")
    if mode != optimize_mode(objective):
        raise InvalidValueError(
            f"tuner: optimize_mode is {shorten(mode)}, but the trial's result is to "
            f"{optimize_mode(objective)}"
        )
    return Checked(name, len(search_space), mode)


def _mapping(value: Any, where: str, wanted: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{where}: {shorten(value)}: give {wanted}")
    return value


def _search_space(config: Path, content: Mapping[str, Any]) -> Any:
    if "searchSpace" in content:
        return content["searchSpace"]
    if "searchSpaceFile" not in content:
        raise InvalidValueError(f"{config}: searchSpaceFile is missing")
    return read_data(config.parent / str(content["searchSpaceFile"]))


def _objective(command: Any) -> Objective | None:
    """What the trial runs; ``None`` if it is not our trial."""
    try:
        words = shlex.split(str(command))
    except ValueError as error:
        raise InvalidValueError(f"trialCommand: {shorten(command)}: {error}") from None
    if _MODULE not in words:
        return None
    try:
        given = trial.command.make_context(_MODULE, words[words.index(_MODULE) + 1 :])
    except click.ClickException as error:
        raise InvalidValueError(f"trialCommand: {error.format_message()}") from None
    options = dict(given.params)
    return make_objective(options.pop("space"), options)


def _fit(search_space: Any, objective: Objective) -> None:
    """See that the trial understands what the tuner will choose."""
    own = space_of(objective).distributions()
    given = from_nni(search_space)
    for name in own:
        if name not in given:
            raise InvalidValueError(f"search space: {name!r} is missing, which the trial needs")
    if to_nni(own) == search_space:
        return
    for name, distribution in given.items():
        ends = getattr(distribution, "choices", None)
        values = ends or (distribution.low, distribution.high)  # type: ignore[attr-defined]
        for value in values:
            known = {name: own[name]} if name in own else {}
            try:
                read_parameters({name: value}, known)
            except InvalidValueError as error:
                raise InvalidValueError(f"search space, for the trial: {error}") from None
