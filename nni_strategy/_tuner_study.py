"""The study behind the tuner: proposals out, results in, each to the trial it belongs to."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from gennas_optuna import _check
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.samplers import SAMPLERS as SHARED
from gennas_optuna.samplers import RegularizedEvolutionSampler, make_sampler
from gennas_optuna.seeding import derive_seed
from gennas_optuna.spaces import SearchSpace
from gennas_optuna.task_space import ProxyTaskSpace
from nni_strategy._options import searched
from nni_strategy._result import Result, read_result
from nni_strategy.searchspace import from_nni, read_parameters, to_nni

_logger = logging.getLogger("nni_strategy.tuner")

SAMPLERS = tuple(dict.fromkeys((*SHARED, "nsga2")))
MODES = ("minimize", "maximize")


@dataclass(frozen=True)
class TunerArguments:
    """The arguments of :class:`~nni_strategy.tuner.OptunaTuner`, checked."""

    sampler: str = "tpe"
    optimize_mode: str = "minimize"
    seed: int | None = None
    population: int = 50
    space: str | None = None
    form: str | None = None
    search: str = "arch"
    task_space: str = "flat"

    def __post_init__(self) -> None:
        _check.one_of(self.sampler, "classArgs: sampler", SAMPLERS)
        _check.one_of(self.optimize_mode, "classArgs: optimize_mode", MODES)
        if self.seed is not None:
            _check.whole(self.seed, "classArgs: seed", low=0, high=2**32 - 1)
        _check.whole(self.population, "classArgs: population", low=2)
        if self.space is None and (self.form is not None or self.search != "arch"):
            raise InvalidValueError("classArgs: form and search go with space, which is missing")

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> TunerArguments:
        """Those of a mapping."""
        _check.mapping(arguments, "classArgs", allowed=_check.field_names(cls))
        return cls(**arguments)

    def searched(self) -> SearchSpace | ProxyTaskSpace | None:
        """What ``space`` names."""
        if self.space is None:
            return None
        return searched(self.space, self.form, self.search, self.task_space)

    def make_sampler(self, seed: int | None) -> BaseSampler:
        """The sampler that ``sampler`` names."""
        space = self.searched()
        if self.sampler == "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=self.population, seed=seed)
        if space is None and self.sampler == "evolution":
            return RegularizedEvolutionSampler(
                population_size=self.population,
                tournament_size=max(2, self.population // 5),
                seed=seed,
            )
        return make_sampler(self.sampler, space, seed=seed, population=self.population)  # type: ignore[arg-type]


class TunerStudy:
    """An Optuna study with NNI's numbers for its trials.

    Args:
        arguments: of the tuner.

    Attributes:
        study: the study.
        mispaired: how many results came under the parameters of another trial.
    """

    def __init__(self, arguments: TunerArguments) -> None:
        self.arguments = arguments
        self.study = optuna.create_study(
            direction=StudyDirection[arguments.optimize_mode.upper()],
            sampler=arguments.make_sampler(arguments.seed),
            pruner=optuna.pruners.NopPruner(),
        )
        self.mispaired = 0
        self._distributions: dict[str, BaseDistribution] = {}
        self._open: dict[int, Trial] = {}  # by NNI's number
        self._failures = 0
        self._asked = False

    def use(self, search_space: Any) -> None:
        """Search this space, in NNI's form."""
        space = self.arguments.searched()
        if space is None:
            self._distributions = from_nni(search_space)
            return
        own = to_nni(space.distributions())
        given = search_space if isinstance(search_space, Mapping) else {}
        for name in [*own, *given]:
            if own.get(name) != given.get(name):
                raise InvalidValueError(
                    f"search space: {name!r} is {_check.shorten(given.get(name))}, but "
                    f"{_check.shorten(own.get(name))} in the space {self.arguments.space!r}: "
                    "leave classArgs' space out to search any other"
                )
        self._distributions = space.distributions()

    def ask(self, number: int) -> dict[str, Any]:
        """The parameters of NNI's trial of this number."""
        self._asked = True
        trial = self.study.ask(self._distributions)
        self._open[number] = trial
        return trial.params

    def tell(self, number: int, given: Any, reported: Any) -> None:
        """Take a final result that NNI delivers for its trial ``number``."""
        result = self._read(reported)
        parameters = result.parameters
        if parameters is None or parameters == given:
            owner = number if number in self._open else None
        else:
            self.mispaired += 1
            _logger.warning(
                "A result came under the parameters of another trial; attributed by its own. "
                "So far: %d",
                self.mispaired,
            )
            same = (other for other, trial in self._open.items() if trial.params == parameters)
            owner = next(same, None)
        if owner is None:  # of a trial that was given up, or not of this study
            self._add(given if parameters is None else parameters, result)
        else:
            self._finish(self._open.pop(owner), result)
        self._settle()

    def fail(self) -> None:
        """Note that one of the open trials has failed.

        Which one is not certain: NNI names the trial whose parameters it meant to hand out.
        """
        self._failures += 1
        self._settle()

    def add(self, data: Sequence[Mapping[str, Any]]) -> None:
        """Take finished trials: NNI's records of ``parameter`` and ``value``.

        Those without a result, or with parameters outside of the search space, are left out.
        """
        taken = 0
        for record in data:
            try:
                result = self._read(record.get("value"))
                parameters = result.parameters
                if parameters is not None and parameters != record.get("parameter"):
                    self.mispaired += 1
                self._add(record.get("parameter") if parameters is None else parameters, result)
                taken += 1
            except GenNASError as error:
                _logger.warning("An imported trial is left out: %s", error)
        _logger.info(
            "Imported %d of %d trials; %d mispaired so far", taken, len(data), self.mispaired
        )
        if taken and not self._asked and self.arguments.seed is not None:
            # A sampler that begins anew would propose once more what it did the first time.
            seed = derive_seed(self.arguments.seed, "after", taken) % 2**32
            self.study.sampler = self.arguments.make_sampler(seed)

    def _read(self, reported: Any) -> Result:
        result = read_result(reported)
        if result.error is not None:
            raise InvalidValueError(f"trials cannot run: {result.error}")
        if result.mode not in (None, self.arguments.optimize_mode):
            raise InvalidValueError(
                f"classArgs: optimize_mode={self.arguments.optimize_mode!r}, but the trials' "
                f"results are to {result.mode}"
            )
        return result

    def _add(self, given: Any, result: Result) -> None:
        if math.isnan(result.value):
            return
        parameters = read_parameters(given, self._distributions)
        self.study.add_trial(
            optuna.trial.create_trial(
                params=parameters,
                distributions=dict(self._distributions),
                value=result.value,
                user_attrs=_attributes(result),
            )
        )

    def _finish(self, trial: Trial, result: Result) -> None:
        if math.isnan(result.value):
            self.study.tell(trial, state=TrialState.FAIL)
            return
        for name, value in _attributes(result).items():
            trial.set_user_attr(name, value)
        self.study.tell(trial, result.value)

    def _settle(self) -> None:
        """Tell the study of failures once it is certain which trials have failed."""
        if self._failures and self._failures >= len(self._open):
            for trial in self._open.values():
                self.study.tell(trial, state=TrialState.FAIL)
            self._open.clear()
            self._failures = 0


def _attributes(result: Result) -> dict[str, Any]:
    return {} if result.key is None else {"gennas:key": result.key}
