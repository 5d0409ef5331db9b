"""Regularised evolution as an Optuna sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import util
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from gennas_optuna import _check
from gennas_optuna.constraints import violation
from gennas_optuna.errors import InvalidValueError, MissingFileError
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.spaces._base import draw, mutate_params


class Searchable(Protocol):
    """What the evolution needs of a space: of architectures, or of proxy tasks."""

    def distributions(self) -> dict[str, BaseDistribution]:
        """The parameters of a member."""

    def decode(self, params: Mapping[str, Any], /) -> Any:
        """The member that a parameter set stands for."""

    def params(self, member: Any, /) -> dict[str, Any]:
        """A parameter set that stands for a member."""

    def sample(self, rng: np.random.Generator, /) -> Any:
        """A random member."""

    def mutate(self, member: Any, rng: np.random.Generator, /) -> Any:
        """A neighbour of a member."""


class RegularizedEvolutionSampler(BaseSampler):
    """Ageing evolution (Real et al., AAAI 2019), the search of the GenNAS paper (section 4).

    The first ``population_size`` trials are random. After that the population is the last
    ``population_size`` finished trials, the oldest falling out; ``tournament_size`` of them are
    drawn, and a mutation of the best of those is tried next. A trial within all constraints is
    better than one beyond them, and of two beyond them the one that is less so.

    What a trial gets depends on ``seed``, its number and the finished trials alone, so a study
    that is resumed goes on as if it had not stopped.

    Args:
        space: its random draws and mutations are used. Without it any objective can be searched:
            parameters are drawn uniformly, and a mutation redraws each with chance 1/n.
        population_size: trials that can be parents; 50 in the paper.
        tournament_size: trials drawn to find a parent; 10 in the paper.
        prefix: the prefix given to :meth:`SearchSpace.suggest`.
        seed: ``None`` takes a random one.
    """

    def __init__(
        self,
        space: Searchable | None = None,
        *,
        population_size: int = 50,
        tournament_size: int = 10,
        prefix: str = "",
        seed: int | None = None,
    ) -> None:
        self.space = space
        self.population_size = _check.whole(population_size, "population_size", low=2)
        self.tournament_size = _check.whole(
            tournament_size, "tournament_size", low=1, high=population_size
        )
        self.prefix = prefix
        if seed is None:
            seed = int(np.random.default_rng().integers(2**62))
        self._seed = _check.whole(seed, "seed", low=0)
        self._intersection = IntersectionSearchSpace()

    def reseed_rng(self) -> None:
        """Nothing to do: draws depend on the trial's number, not on a state."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The space's parameters, or those that all finished trials share."""
        if self.space is None:
            shared: dict[str, BaseDistribution] = self._intersection.calculate(study)
            return shared
        return {self.prefix + k: v for k, v in self.space.distributions().items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A random parameter set, or a mutation of a good one."""
        if len(study.directions) > 1:
            raise InvalidValueError("RegularizedEvolutionSampler searches one objective only")
        if not search_space:
            return {}
        rng = numpy_generator(self._seed, "evolution", trial.number)
        finished = [
            other
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if search_space.keys() <= other.params.keys()
        ]
        if len(finished) < self.population_size:
            return self._random(search_space, rng)
        population = finished[-self.population_size :]
        drawn = rng.choice(len(population), size=self.tournament_size, replace=False)
        parent = _best([population[i] for i in drawn], study.direction)
        params = {name: parent.params[name] for name in search_space}
        if self.space is None:
            return mutate_params(params, search_space, rng)
        arch = self.space.decode({k.removeprefix(self.prefix): v for k, v in params.items()})
        child = self.space.params(self.space.mutate(arch, rng))
        return {self.prefix + name: value for name, value in child.items()}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A uniform draw, for parameters that are not part of the common space."""
        rng = numpy_generator(self._seed, "independent", trial.number, param_name)
        return draw(rng, param_distribution)

    def _random(
        self, search_space: dict[str, BaseDistribution], rng: np.random.Generator
    ) -> dict[str, Any]:
        if self.space is None:
            return {name: draw(rng, dist) for name, dist in search_space.items()}
        params = self.space.params(self.space.sample(rng))
        return {self.prefix + name: value for name, value in params.items()}


def _best(trials: Sequence[FrozenTrial], direction: StudyDirection) -> FrozenTrial:
    sign = 1 if direction == StudyDirection.MINIMIZE else -1
    return min(trials, key=lambda trial: (violation(trial), sign * (trial.value or 0.0)))


SAMPLERS = ("tpe", "evolution", "random", "cmaes")


def make_sampler(name: str, space: Searchable, *, seed: int, population: int = 50) -> BaseSampler:
    """A sampler by its short name.

    Args:
        name: ``"tpe"``, ``"evolution"``, ``"random"`` or ``"cmaes"`` (needs the package cmaes;
            models numbers only, draws categories at random).
        space: what is searched; its parameters must all be there in every trial for evolution.
        seed: of the sampler.
        population: of the evolution; its tournaments take a fifth of it.
    """
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    _check.one_of(name, "sampler", SAMPLERS)
    if name == "cmaes":
        if util.find_spec("cmaes") is None:
            raise MissingFileError("sampler 'cmaes' needs a package: pip install cmaes")
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if getattr(space, "form", None) == "conditional":
        raise InvalidValueError("sampler 'evolution' searches the flat form of the task space")
    tournament = max(2, population // 5)
    return RegularizedEvolutionSampler(
        space, population_size=population, tournament_size=tournament, seed=seed
    )
