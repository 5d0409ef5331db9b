"""What a reader makes of a file, before the search space has parsed the architectures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from gennas_optuna._check import shorten
from gennas_optuna.errors import DataFileError
from gennas_optuna.spaces import SearchSpace


@dataclass(frozen=True)
class Row:
    """One record.

    Attributes:
        label: names it in errors, such as ``record 17``.
        text: the architecture, in the benchmark's own form.
        truth: the metric; not finite if the training failed.
        details: everything else worth keeping.
        train_seconds: of the whole schedule, if recorded.
        failure: why the training counts as failed; then the rest does not matter.
    """

    label: str
    text: str
    truth: float
    details: Mapping[str, Any]
    train_seconds: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Table:
    """All records of a file.

    Attributes:
        metric: name and unit of the truth.
        higher_is_better: its direction.
        rows: the records.
        space: the only search space that the format can be of, if there is but one.
        limits: the truth is a mistake in the file outside of these.
    """

    metric: str
    higher_is_better: bool
    rows: Iterable[Row]
    space: str | None = None
    limits: tuple[float, float] = (0, 100)


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        description: in a few words, for errors.
        matches: whether a file's content looks like it.
        read: make the table of a content that matches, given the search space if it was named.
            Raises :class:`DataFileError` (without the file's name) on a record that is malformed.
    """

    description: str
    matches: Callable[[Any], bool]
    read: Callable[[Any, SearchSpace | None], Table]


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is an int or float, finite or not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: Any, what: str) -> float:
    """A number from a file as a float; NaN where the file has null."""
    if type(value) is float:  # nearly always
        return value
    if value is None:
        return math.nan
    if not is_number(value):
        raise DataFileError(f"{what} is {shorten(value)}, not a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def total(values: Iterable[float]) -> float:
    """The sum; NaN where there is none (infinities that cancel, or an overflow)."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return math.nan


def as_text(arch: Any, label: str) -> str:
    """The text to parse: a text as it is, anything else as JSON. ``label`` names the record."""
    try:
        return arch if isinstance(arch, str) else json.dumps(arch)
    except (TypeError, ValueError) as error:  # what a pickle may hold, and JSON may not
        raise DataFileError(
            f"the architecture of {label} is {shorten(arch)}, which JSON cannot write ({error})"
        ) from error


def frozen(value: Any) -> Any:
    """Lists, at any depth, as tuples."""
    return tuple(map(frozen, value)) if isinstance(value, list) else value
