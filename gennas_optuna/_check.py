"""Checks of values that people write into files and calls. Each error says what and where."""

from __future__ import annotations

import dataclasses
import difflib
import math
import reprlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gennas_optuna.errors import InvalidValueError

MOST = 1e6
"""The largest factor (level, weight) that is taken: beyond it single precision overflows."""

_REPR = reprlib.Repr()  # looks at a part of a large value, so that a small file cannot blow it up
_REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxfrozenset = _REPR.maxdict = 30
_REPR.maxlevel = 3
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 1000


def shorten(value: object, limit: int = 80) -> str:
    """The ``repr`` of a value, on one line, cut to ``limit`` characters (at most 400)."""
    try:
        text = " ".join(_REPR.repr(value).splitlines())
    except ValueError:  # an int too long to print
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def amount(count: int, what: str, plural: str | None = None) -> str:
    """A count and what is counted: 1 trial, 2 trials."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def number(
    value: Any,
    where: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float | None = None,
) -> float:
    """A finite real number within [low, high], and above ``above`` if given."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        good = good and math.isfinite(value)
    except OverflowError:
        good = False
    if good and low <= value <= high and (above is None or value > above):
        return float(value) + 0.0  # no negative zero
    bounds = [f"above {above:g}"] if above is not None else []
    bounds += [f"at least {low:g}"] if low > -math.inf else []
    bounds += [f"at most {high:g}"] if high < math.inf else []
    allowed = " ".join(["a finite number", " and ".join(bounds)]).strip()
    raise InvalidValueError(f"{where}={shorten(value)}: give {allowed}")


def number_field(part: object, name: str, where: str, **bounds: float) -> None:
    """Check a field of a frozen dataclass with :func:`number`, and make it a float.

    So parts that are equal (1 and 1.0 are) have equal texts.
    """
    object.__setattr__(part, name, number(getattr(part, name), where, **bounds))


def whole(value: Any, where: str, *, low: int, high: int | None = None) -> int:
    """A whole number within [low, high]."""
    if type(value) is int and low <= value and (high is None or value <= high):
        return value
    allowed = f"from {low} up" if high is None else f"from {low} to {high}"
    raise InvalidValueError(f"{where}={shorten(value)}: give a whole number {allowed}")


def boolean(value: Any, where: str) -> bool:
    """True or false, not something that merely counts as it."""
    if isinstance(value, bool):
        return value
    raise InvalidValueError(f"{where}={shorten(value)}: give true or false")


def one_of(value: Any, where: str, allowed: Collection[str]) -> str:
    """One of a few names."""
    if isinstance(value, str) and value in allowed:
        return value
    raise InvalidValueError(f"{where}={shorten(value)}: choose one of {', '.join(allowed)}")


def instance(value: Any, where: str, cls: type) -> None:
    """An object of a class."""
    if not isinstance(value, cls):
        article = "an" if cls.__name__[0] in "AEIOU" else "a"
        raise InvalidValueError(f"{where}={shorten(value)}: give {article} {cls.__name__}")


def sequence(value: Any, where: str) -> Sequence[Any]:
    """A list, a tuple or a range."""
    if isinstance(value, (list, tuple, range)):
        return value
    raise InvalidValueError(f"{where}={shorten(value)}: give a list")


def mapping(
    value: Any, where: str, *, allowed: Collection[str], required: Collection[str] = ()
) -> Mapping[str, Any]:
    """A mapping with no keys but ``allowed`` and with all of ``required``."""
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{where}={shorten(value)}: give a mapping with {_list(allowed)}")
    for key in value:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InvalidValueError(
                f"{where}: unknown key {shorten(key)}: allowed are {_list(allowed)}{hint}"
            )
    for key in required:
        if key not in value:
            raise InvalidValueError(f"{where}: {key!r} is missing")
    return value


def field_names(cls: type) -> tuple[str, ...]:
    """The names of a dataclass's fields."""
    return tuple(field.name for field in dataclasses.fields(cls))


def _list(names: Collection[str]) -> str:
    return ", ".join(map(repr, names))
