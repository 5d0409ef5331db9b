"""The exceptions that bad input raises; nothing else leaves the public API on bad input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GenNASError(Exception):
    """Base of every error this package raises on purpose. The message is one clear line."""


class InvalidValueError(GenNASError, ValueError):
    """A value is malformed or out of range."""


class UnknownNameError(GenNASError, ValueError):
    """A name is not registered."""

    def __init__(self, what: str, given: object, allowed: Iterable[str]) -> None:
        names = sorted(allowed)
        close = difflib.get_close_matches(str(given), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {what} {given!r}: choose one of {', '.join(names)}{hint}")


class DataFileError(GenNASError, ValueError):
    """A file exists but does not hold what it should (truncated, another format, unsafe)."""


class MissingFileError(GenNASError, FileNotFoundError):
    """A file or an optional package that is needed is not there."""
