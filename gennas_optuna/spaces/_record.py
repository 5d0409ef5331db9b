"""Reading the ``net`` records of the NDS benchmark: JSON objects with checked fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.errors import InvalidValueError


class Record:
    """A JSON object whose fields are asked for one by one.

    Args:
        text: the JSON text.
        space: name of the search space, for messages.
        example: what a good text looks like, for messages.

    Raises:
        InvalidValueError: the text is no JSON object, or (from the methods) a field is missing
            or not what it should be.
    """

    def __init__(self, text: str, *, space: str, example: str) -> None:
        self._given = shorten(text)
        self._space = space
        self._example = example
        try:
            self._fields = json.loads(text)
        except (ValueError, RecursionError):
            raise self.error("it is not JSON") from None
        if not isinstance(self._fields, dict):
            raise self.error("it is not a JSON object")

    def error(self, problem: str) -> InvalidValueError:
        """An error that says what was given, what is wrong with it, and what is allowed."""
        return InvalidValueError(
            f"not an architecture of {self._space}: {self._given}: {problem}; "
            f"give {self._example} (other fields are ignored)"
        )

    def whole(self, name: str, allowed: range) -> int:
        """A whole number."""
        value = self._field(self._fields, name)
        if type(value) is not int or value not in allowed:
            raise self.error(f"{name}={shorten(value)} is no whole number in {_ends(allowed)}")
        return value

    def wholes(self, name: str, allowed: range, inside: str | None = None) -> tuple[int, ...]:
        """A list of whole numbers; ``inside``: of the object that is this field."""
        return self._list(
            name, inside, lambda v: type(v) is int and v in allowed, f"numbers in {_ends(allowed)}"
        )

    def floats(self, name: str, low: float, high: float) -> tuple[float, ...]:
        """A list of numbers."""
        values: tuple[float, ...] = self._list(
            name,
            None,
            lambda v: type(v) in (int, float) and low <= v <= high,
            f"numbers from {low} to {high}",
        )
        return tuple(map(float, values))

    def choice(self, name: str, allowed: Mapping[str, str]) -> str:
        """One of the keys of ``allowed``; returned is its value."""
        value = self._field(self._fields, name)
        if not isinstance(value, str) or value not in allowed:
            raise self.error(f"{name}={shorten(value)} is none of {', '.join(allowed)}")
        return allowed[value]

    def pairs(
        self, name: str, inside: str, ops: tuple[str, ...], count: int
    ) -> tuple[tuple[str, int], ...]:
        """A list of ``count`` pairs of an operation and an earlier state, two pairs a node."""
        values = self._list(
            name, inside, lambda v: isinstance(v, list) and len(v) == 2, "[operation, state] pairs"
        )
        if len(values) != count:
            raise self.error(f"{name} has {len(values)} pairs and not {count}")
        for place, (op, state) in enumerate(values):
            if not isinstance(op, str) or op not in ops:
                raise self.error(f"operation {shorten(op)} in {name} is none of {', '.join(ops)}")
            if type(state) is not int or state not in range(place // 2 + 2):
                raise self.error(
                    f"pair {place} of {name} reads {shorten(state)} and not a state in "
                    f"{_ends(range(place // 2 + 2))}"
                )
        return tuple((op, state) for op, state in values)

    def _field(self, fields: Any, name: str) -> Any:
        if not isinstance(fields, dict) or name not in fields:
            raise self.error(f"field {name!r} is missing")
        return fields[name]

    def _list(
        self, name: str, inside: str | None, good: Callable[[Any], bool], what: str
    ) -> tuple[Any, ...]:
        fields = self._fields if inside is None else self._field(self._fields, inside)
        values = self._field(fields, name)
        if not isinstance(values, list):
            raise self.error(f"{name} is no list")
        for value in values:
            if not good(value):
                raise self.error(f"{name} has {shorten(value)}, but takes {what}")
        return tuple(values)


def _ends(allowed: range) -> str:
    steps = f" in steps of {allowed.step}" if allowed.step != 1 else ""
    return f"{allowed[0]} to {allowed[-1]}{steps}"
