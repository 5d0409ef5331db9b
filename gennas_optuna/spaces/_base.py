"""What a search space is: a set of architectures, their parameters, texts and networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError, UnknownNameError
from gennas_optuna.spaces._architecture import Architecture
from gennas_optuna.spaces._entry import check_arguments
from gennas_optuna.spaces._init import WithoutInit, initialize
from gennas_optuna.spaces._scale import Scale
from gennas_optuna.taps import Layout, StagedModel


class Suggests(Protocol):
    """The part of an Optuna trial that a space uses."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> float: ...


@dataclass(frozen=True)
class SearchSpace(ABC):
    """A set of architectures. Subclasses are frozen dataclasses whose fields are their options.

    The arguments of the methods below, as subclasses define them too, are checked before they are
    called, each by its name: ``arch`` is of this space, ``text`` is a text, and so on. Anything
    else ends in an :class:`InvalidValueError`.

    Attributes:
        name: the registered name.
        form: which network an architecture stands for; ``"gennas"`` is what the GenNAS code
            builds.
        forms: the allowed values of ``form``.
        input_shape: shape of one input: (3, H, W) images, (T, D) sequences.
        layout: order of the axes of its taps.
    """

    name: str
    form: str = "gennas"
    forms: ClassVar[tuple[str, ...]] = ("gennas",)
    input_shape: ClassVar[tuple[int, ...]] = (3, 32, 32)
    layout: ClassVar[Layout] = "NCHW"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_arguments(cls, vars(SearchSpace))

    def __post_init__(self) -> None:
        if not isinstance(self.form, str) or self.form not in self.forms:
            raise UnknownNameError(f"form of {self.name}", self.form, self.forms)

    # Parameters -----------------------------------------------------------------------------

    @abstractmethod
    def distributions(self) -> dict[str, BaseDistribution]:
        """The parameters of an architecture, in a fixed order."""

    @abstractmethod
    def decode(self, params: Mapping[str, Any]) -> Architecture:
        """The architecture that a parameter set stands for.

        Any set of values within :meth:`distributions` gives a valid architecture: what does not
        fit is repaired, never rejected. Raises :class:`InvalidValueError` if a parameter is
        missing or out of its range.
        """

    @abstractmethod
    def params(self, arch: Architecture) -> dict[str, Any]:
        """A parameter set that :meth:`decode` turns into ``arch`` (same key)."""

    def suggest(self, trial: Suggests, prefix: str = "") -> Architecture:
        """Ask an Optuna trial (or anything with its ``suggest_*``) for an architecture.

        Args:
            trial: the trial.
            prefix: put in front of every parameter name, so that two spaces fit in one study.
        """
        if not hasattr(trial, "suggest_categorical"):
            raise InvalidValueError(
                f"trial={_check.shorten(trial)}: give an Optuna trial, or what has its suggest_*"
            )
        return self.decode(
            {
                name: _suggest(trial, prefix + name, distribution)
                for name, distribution in self.distributions().items()
            }
        )

    # Search moves ---------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture, drawn as the space's publication draws it."""
        return self.decode({name: draw(rng, dist) for name, dist in self.distributions().items()})

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """A neighbour of ``arch``: by default each parameter is redrawn with chance 1/n."""
        return self.decode(mutate_params(self.params(arch), self.distributions(), rng))

    # Text -----------------------------------------------------------------------------------

    @abstractmethod
    def parse(self, text: str) -> Architecture:
        """Read an architecture from its text: :meth:`format`'s, or the benchmark's own form.

        Raises:
            InvalidValueError: naming what is wrong with the text and what is allowed.
        """

    @abstractmethod
    def format(self, arch: Architecture) -> str:
        """The text of an architecture, in the benchmark's own form where it has one."""

    @abstractmethod
    def key(self, arch: Architecture) -> str:
        """A short canonical text that all encodings of one network share."""

    def benchmark_key(self, arch: Architecture) -> str:
        """The key of the network that the benchmark trained, by which its tables know it.

        By default :meth:`key`; another where ``form`` makes one network of several of those.
        """
        return self.key(arch)

    # Network --------------------------------------------------------------------------------

    def build(
        self,
        arch: Architecture,
        *,
        generator: torch.Generator,
        scale: Scale | None = None,
        canonical: bool = False,
        input_shape: tuple[int, ...] | None = None,
        init: str | None = None,
    ) -> StagedModel:
        """The network, on the CPU, with its initial weights drawn from ``generator``.

        Args:
            arch: what to build.
            generator: source of the initial weights; global random state is not touched.
            scale: how large; the paper's size by default.
            canonical: build the one network that all encodings with this key share, without
                whatever cannot reach a tap. Off by default: the architecture just as encoded.
            input_shape: shape of one input, if not the space's own.
            init: how weights start, if not as the space says; see :meth:`init_scheme`.
        """
        model = self.skeleton(arch, scale=scale, canonical=canonical, input_shape=input_shape)
        return initialize(model, generator=generator, scheme=init or self.init_scheme())

    def skeleton(
        self,
        arch: Architecture,
        *,
        scale: Scale | None = None,
        canonical: bool = False,
        input_shape: tuple[int, ...] | None = None,
    ) -> StagedModel:
        """The network on PyTorch's meta device: shapes only, no memory. See :meth:`build`."""
        with torch.device("meta"), WithoutInit():
            return self._network(
                arch, scale or Scale(), canonical, input_shape or self.input_shape
            )

    @abstractmethod
    def _network(
        self, arch: Architecture, scale: Scale, canonical: bool, input_shape: tuple[int, ...]
    ) -> StagedModel:
        """Make the module; called under the meta device, so no weights are drawn here."""

    def init_scheme(self) -> str:
        """How weights start: a name in :mod:`gennas_optuna.spaces._init`."""
        return "pytorch"

    # Help for subclasses --------------------------------------------------------------------

    def _checked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values of ``params`` in the order of :meth:`distributions`, each in its range."""
        values = {}
        for name, distribution in self.distributions().items():
            if name not in params:
                raise InvalidValueError(
                    f"{self.name}: parameter {name!r} is missing: give a value for each name in "
                    "distributions()"
                )
            value = params[name]
            if not _contains(distribution, value):
                raise InvalidValueError(
                    f"{self.name}: parameter {name}={_check.shorten(value)} is not in "
                    f"{distribution}"
                )
            values[name] = value
        return values


check_arguments(SearchSpace, vars(SearchSpace))


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(type(value) is type(c) and value == c for c in distribution.choices)
    if isinstance(distribution, IntDistribution) and type(value) is not int:
        return False  # 16.0 would be another text, and so no architecture
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError, OverflowError):
        return False


def _suggest(trial: Suggests, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    raise InvalidValueError(f"{name}: distributions of type {type(distribution).__name__}")


def mutate_params(
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Redraw each parameter with chance 1/n, and at least one."""
    chosen = rng.random(len(distributions)) < 1 / len(distributions)
    chosen[rng.integers(len(distributions))] = True
    return {
        name: draw(rng, distribution) if redraw else params[name]
        for (name, distribution), redraw in zip(distributions.items(), chosen, strict=True)
    }


def draw(rng: np.random.Generator, distribution: BaseDistribution) -> Any:
    """One value, uniform over the distribution (over its logarithm if it is a log one)."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(rng.integers(len(distribution.choices)))]
    if isinstance(distribution, IntDistribution) and not distribution.log:
        steps = (distribution.high - distribution.low) // distribution.step
        return distribution.low + distribution.step * int(rng.integers(steps + 1))
    if isinstance(distribution, (IntDistribution, FloatDistribution)):
        low, high = float(distribution.low), float(distribution.high)
        if distribution.log:
            value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        elif distribution.step is not None:
            steps = round((high - low) / distribution.step)
            value = low + distribution.step * int(rng.integers(steps + 1))
        else:
            value = float(rng.uniform(low, high))
        return round(value) if isinstance(distribution, IntDistribution) else value
    raise InvalidValueError(f"distributions of type {type(distribution).__name__}")
