"""NNI's mutables as Optuna's distributions, and parameters back to an architecture sample."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from nni.mutable import Categorical, CategoricalMultiple, MutableAnnotation, Numerical
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gennas_optuna.errors import InvalidValueError

Decode = Callable[[Mapping[str, Any]], Any]
Part = tuple[dict[str, BaseDistribution], Decode]

_MOST_SUBSETS = 256
"""Up to this many, the subsets of a given size are the choices of one parameter."""


class SampleCodec:
    """Optuna's view of an NNI model space.

    A categorical, or a subset of given size, is a choice; a subset of any size is one choice of
    true or false per member; a number is a float. Prior weights of choices are not used.
    Constraints are not expressed: ``freeze`` rejects what violates them.

    Args:
        mutables: from ``model_space.simplify()``, by label.

    Attributes:
        distributions: one or more parameters per mutable.

    Raises:
        InvalidValueError: a mutable is of a kind that is not known.
    """

    def __init__(self, mutables: Mapping[str, Any]) -> None:
        self.distributions: dict[str, BaseDistribution] = {}
        self._decoders: dict[str, Decode] = {}
        for label, mutable in mutables.items():
            if isinstance(mutable, MutableAnnotation):
                continue  # a constraint, not a choice
            distributions, decode = _part(label, mutable)
            self.distributions.update(distributions)
            self._decoders[label] = decode

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The architecture sample that a parameter set stands for."""
        return {label: decode(params) for label, decode in self._decoders.items()}


def _part(label: str, mutable: Any) -> Part:
    if isinstance(mutable, Categorical):
        return _choice(label, list(mutable.values))
    if isinstance(mutable, CategoricalMultiple):
        return _subset(label, list(mutable.values), mutable.n_chosen)
    if isinstance(mutable, Numerical):
        return _number(label, mutable)
    raise InvalidValueError(
        f"model space: {label!r} is a {type(mutable).__name__}; OptunaStrategy searches "
        "Categorical, CategoricalMultiple and Numerical"
    )


def _choice(label: str, values: list[Any]) -> Part:
    # Optuna stores plain values only; others are chosen by their number.
    if all(value is None or isinstance(value, (bool, int, float, str)) for value in values):
        return {label: CategoricalDistribution(values)}, lambda params: params[label]
    numbers = CategoricalDistribution(range(len(values)))
    return {label: numbers}, lambda params: values[params[label]]


def _subset(label: str, values: list[Any], size: int | None) -> Part:
    if size is None:
        names = [f"{label}/{i}" for i in range(len(values))]
        return (
            dict.fromkeys(names, CategoricalDistribution([False, True])),
            lambda params: [v for v, name in zip(values, names, strict=True) if params[name]],
        )
    if math.comb(len(values), size) <= _MOST_SUBSETS:
        subsets = [list(subset) for subset in itertools.combinations(values, size)]
        numbers = CategoricalDistribution(range(len(subsets)))
        return {label: numbers}, lambda params: list(subsets[params[label]])
    # Many subsets: draw one member after the other from those that are left.
    picks = {f"{label}/{i}": IntDistribution(0, len(values) - 1 - i) for i in range(size)}

    def decode(params: Mapping[str, Any]) -> list[Any]:
        left = list(range(len(values)))
        chosen = [left.pop(params[name]) for name in picks]
        return [values[i] for i in sorted(chosen)]

    return dict(picks), decode


def _number(label: str, mutable: Any) -> Part:
    low, high = float(mutable.low), float(mutable.high)
    plain = mutable.distribution.dist.name in ("uniform", "loguniform")
    if plain and math.isfinite(low) and math.isfinite(high):
        distribution = FloatDistribution(low, high, log=bool(mutable.log_distributed))
        return {label: distribution}, lambda params: float(mutable.qclip(params[label]))
    # Any other distribution is searched by its quantile.
    quantile = FloatDistribution(1e-6, 1 - 1e-6)
    return {label: quantile}, lambda params: float(
        mutable.qclip(mutable.distribution.ppf(params[label]))
    )
