"""Optuna's distributions as NNI's search-space JSON, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gennas_optuna._check import shorten
from gennas_optuna.errors import InvalidValueError

__all__ = ["from_nni", "read_parameters", "to_nni"]

SearchSpaceJSON = dict[str, dict[str, Any]]
"""Parameter -> ``{"_type": ..., "_value": [...]}``, as in ``search_space.json``."""

TYPES = ("choice", "randint", "uniform", "quniform", "loguniform", "qloguniform")
_MOST_CHOICES = 1000
_ROUNDING = 1e-9


def to_nni(distributions: Mapping[str, BaseDistribution]) -> SearchSpaceJSON:
    """The search space in NNI's form.

    NNI's ``quniform`` gives multiples of the step, not the low end plus multiples: where the two
    differ, the values become a ``choice``.

    Raises:
        InvalidValueError: NNI has no form for a parameter.
    """
    return {name: _to_nni(name, dist) for name, dist in distributions.items()}


def from_nni(search_space: Any) -> dict[str, BaseDistribution]:
    """The distributions of a search space in NNI's form.

    ``quniform`` is a number with a step, an integer if all that is given is whole;
    ``qloguniform`` is an integer on a logarithmic scale, and its step must be 1.

    Raises:
        InvalidValueError: naming the parameter and what is wrong with it.
    """
    if not isinstance(search_space, Mapping) or not search_space:
        raise InvalidValueError(
            f"search space {shorten(search_space)}: give a mapping of parameters, not empty"
        )
    return {str(name): _from_nni(str(name), spec) for name, spec in search_space.items()}


def read_parameters(
    parameters: Any, distributions: Mapping[str, BaseDistribution]
) -> dict[str, Any]:
    """The values that NNI gave, each checked and of the type that its distribution has.

    NNI sends numbers through JavaScript, which knows no difference between 1 and 1.0, and its
    ``quniform`` is off its grid by rounding errors.

    Raises:
        InvalidValueError: a parameter is missing, unknown or out of its range.
    """
    if not isinstance(parameters, Mapping):
        raise InvalidValueError(f"parameters {shorten(parameters)}: give a mapping")
    for name in parameters:
        if name not in distributions:
            raise InvalidValueError(f"parameter {shorten(name)} is not part of the search space")
    values: dict[str, Any] = {}
    for name, distribution in distributions.items():
        if name not in parameters:
            raise InvalidValueError(f"parameter {name!r} is missing")
        values[name] = _read(name, parameters[name], distribution)
    return values


def _to_nni(name: str, dist: BaseDistribution) -> dict[str, Any]:
    if isinstance(dist, CategoricalDistribution):
        return {"_type": "choice", "_value": list(dist.choices)}
    assert isinstance(dist, (IntDistribution, FloatDistribution))
    low, high, step = dist.low, dist.high, dist.step
    if low == high:
        return {"_type": "choice", "_value": [low]}
    if dist.log:
        kind = "loguniform" if isinstance(dist, FloatDistribution) else "qloguniform"
        return {"_type": kind, "_value": [low, high, *([1] if kind[0] == "q" else [])]}
    if step is None:
        return {"_type": "uniform", "_value": [low, high]}
    if isinstance(dist, IntDistribution) and step == 1:
        return {"_type": "randint", "_value": [low, high + 1]}
    if _is_whole(low / step):
        return {"_type": "quniform", "_value": [low, high, step]}
    count = round((high - low) / step) + 1
    if count > _MOST_CHOICES:
        raise InvalidValueError(f"parameter {name!r}: NNI has no form for {dist}")
    return {"_type": "choice", "_value": [_on_grid(low, i, step) for i in range(count)]}


def _from_nni(name: str, spec: Any) -> BaseDistribution:
    kind, values = _kind_and_values(name, spec)
    if kind == "choice":
        if any(isinstance(value, (Mapping, list)) for value in values):
            raise _wrong(name, spec, "nested choices are not searched")
        return CategoricalDistribution(values)
    low, high = values[:2]
    if kind == "randint":
        if not (type(low) is type(high) is int and low < high):
            raise _wrong(name, spec, "give two whole numbers, the second one excluded")
        return IntDistribution(low, high - 1)
    if low >= high:
        raise _wrong(name, spec, "the second number must be larger than the first")
    if "log" in kind and low <= 0:
        raise _wrong(name, spec, "the first number must be above 0")
    if kind == "uniform":
        return FloatDistribution(low, high)
    if kind == "loguniform":
        return FloatDistribution(low, high, log=True)
    step = values[2]
    if kind == "qloguniform":
        if step != 1 or not (_is_whole(low) and _is_whole(high)):
            raise _wrong(name, spec, "only whole numbers with step 1 are searched")
        return IntDistribution(int(low), int(high), log=True)
    if step <= 0 or _up(low / step) > -_up(-high / step):
        raise _wrong(name, spec, "no multiple of the step is in the range")
    first, last = _on_grid(0, _up(low / step), step), _on_grid(0, -_up(-high / step), step)
    if type(first) is type(last) is type(step) is int:
        return IntDistribution(first, last, step=step)
    return FloatDistribution(first, last, step=step)


def _kind_and_values(name: str, spec: Any) -> tuple[str, list[Any]]:
    if not isinstance(spec, Mapping) or not {"_type", "_value"} <= spec.keys():
        raise _wrong(name, spec, 'give {"_type": ..., "_value": [...]}')
    kind, values = spec["_type"], spec["_value"]
    if kind not in TYPES:
        raise _wrong(name, spec, f"choose _type from {', '.join(TYPES)}")
    if not isinstance(values, list) or not values:
        raise _wrong(name, spec, "give a list as _value")
    if kind != "choice":
        count = 3 if kind.startswith("q") else 2
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if len(values) != count or len(numbers) != count or not all(map(math.isfinite, numbers)):
            raise _wrong(name, spec, f"give {count} numbers as _value")
    return kind, values


def _read(name: str, value: Any, dist: BaseDistribution) -> Any:
    if isinstance(dist, CategoricalDistribution):
        same_kind = [c for c in dist.choices if c == value and _kind(c) is _kind(value)]
        if same_kind:
            return same_kind[0]
    elif isinstance(dist, (IntDistribution, FloatDistribution)) and _kind(value) is float:
        number = float(value)
        if dist.step is not None and math.isfinite(number):
            number = _on_grid(dist.low, round((number - dist.low) / dist.step), dist.step)
            if not math.isclose(number, value, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
                number = math.nan
        if dist.low <= number <= dist.high:
            return int(number) if isinstance(dist, IntDistribution) else number
    raise InvalidValueError(f"parameter {name}={shorten(value)} is not in {dist}")


def _kind(value: Any) -> type:
    """JSON's idea of a type: one kind of number, and truth values are none."""
    return float if type(value) is int else type(value)


def _is_whole(number: float) -> bool:
    return math.isclose(number, round(number), abs_tol=_ROUNDING)


def _on_grid(low: float, number: int, step: float) -> float:
    """``low + number * step`` as people write it: 0.3, not 0.30000000000000004."""
    value = Decimal(str(low)) + number * Decimal(str(step))
    return int(value) if type(low) is type(step) is int else float(value)


def _up(number: float) -> int:
    """Rounded up, but not because of a rounding error."""
    return round(number) if _is_whole(number) else math.ceil(number)


def _wrong(name: str, spec: Any, what: str) -> InvalidValueError:
    return InvalidValueError(f"search space: parameter {name!r}: {shorten(spec)}: {what}")
