"""The exceptions that bad input raises; nothing else leaves the public API on bad input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import torch


class GenNASError(Exception):
    """Base of every error this package raises on purpose. The message is one clear line."""


class InvalidValueError(GenNASError, ValueError):
    """A value is malformed or out of range."""


class UnknownNameError(GenNASError, ValueError):
    """A name is not registered."""

    def __init__(self, what: str, given: object, allowed: Iterable[str]) -> None:
        from gennas_optuna._check import shorten  # noqa: PLC0415 - it imports this module

        names, shown = sorted(allowed), shorten(given)
        plain = {_plain(name): name for name in names}
        close = difflib.get_close_matches(
            _plain(given if isinstance(given, str) else shown), plain, n=1
        )
        hint = f"; did you mean {plain[close[0]]!r}?" if close else ""
        super().__init__(f"unknown {what} {shown}: choose one of {', '.join(names)}{hint}")

    def __reduce__(self) -> tuple[Any, ...]:  # so that it comes back from other processes
        return (type(self).__new__, (type(self), *self.args))


def _plain(name: str) -> str:
    """Without what publications write differently: ``DARTS_in`` is ``darts-in`` here."""
    return name.lower().replace("_", "-")


class DataFileError(GenNASError, ValueError):
    """A file exists but does not hold what it should (truncated, another format, unsafe)."""


class MissingFileError(GenNASError, FileNotFoundError):
    """A file or an optional package that is needed is not there."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; PyTorch's CPU allocator says so in a plain ``RuntimeError``."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


def worker_died(arch: object) -> GenNASError:
    """What to say where a process died over an architecture, and its successor did as well."""
    return GenNASError(
        f"the worker that scored {arch} died, twice (killed, or out of memory): free memory or "
        "take fewer workers, and start the same again to go on"
    )
