"""Scores on disk: what is finished is never computed again."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from gennas_optuna import _check
from gennas_optuna._check import shorten
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna._reading import read_bytes
from gennas_optuna.errors import DataFileError, GenNASError, InvalidValueError, MissingFileError
from gennas_optuna.regression import Trace
from gennas_optuna.spaces import Architecture, SearchSpace

_BEGINNING = '{"identity": '
_FIELDS = _check.field_names(Score)
_TRACE = _check.field_names(Trace)
_STATUSES = ("ok", "diverged")


class ScoreFile:
    """A file of scores, one JSON object a line, that grows by one line per new score.

    A line holds the evaluator's identity, the space, the architecture's text and the score, so
    one file may serve many spaces and settings. Lines that were cut off (by a crash, or a full
    disk) are ignored. Several processes may add to one file.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def restore(self, evaluator: Evaluator, space: SearchSpace) -> set[str]:
        """Hand the scores of ``space`` that ``evaluator`` would find to it; their keys."""
        wanted = {"identity": evaluator.identity(space), "space": space.name, "form": space.form}
        keys: set[str] = set()
        for number, entry in self.entries():
            try:
                if any(entry[name] != value for name, value in wanted.items()):
                    continue
                _check.instance(entry["arch"], "arch", str)
                arch, score = space.parse(entry["arch"]), score_from_dict(entry["score"])
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise self.no_score(number, error) from None
            evaluator.remember(arch, score)
            keys.add(arch.key)
        return keys

    def entries(self) -> Iterator[tuple[int, Any]]:
        """The number and the content of each line that was not cut off; none without a file."""
        try:
            if self.path.is_file() and self.path.stat().st_size == 0:
                return
            lines = read_bytes(self.path).decode(errors="replace").split("\n")
        except MissingFileError:
            return
        except GenNASError:
            raise
        except (OSError, ValueError) as error:  # may not be looked at; no possible name
            raise DataFileError(f"{self._name()} cannot be read: {shorten(str(error))}") from None
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError) as error:
                begun = line.startswith(_BEGINNING[: len(line)])
                if begun and isinstance(error, json.JSONDecodeError):
                    continue  # it was cut off
                raise self.no_score(number, error) from None
            yield number, entry

    def no_score(self, number: int, error: Exception) -> DataFileError:
        """What is raised where a line holds something else."""
        reason = shorten(str(error), 200)
        return DataFileError(f"{self._name()}: line {number} is no score: {reason}")

    def append(self, evaluator: Evaluator, arch: Architecture, score: Score) -> None:
        """Add one score."""
        entry = {
            "identity": evaluator.identity(arch.space),
            "space": arch.space.name,
            "form": arch.space.form,
            "arch": str(arch),
            "score": score_to_dict(score),
        }
        self._add(json.dumps(entry).encode() + b"\n")

    def check_writable(self) -> None:
        """See that scores could be added, before the work that finds them. It makes the file.

        Raises:
            DataFileError: they could not.
        """
        self._add(b"")

    def _add(self, line: bytes) -> None:
        try:
            with self.path.open("ab+") as file:
                file.write(line if _is_whole(file) else b"\n" + line)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataFileError(f"{self._name()} cannot be written: {reason}") from None

    def _name(self) -> str:
        return shorten(str(self.path), 200)


def _is_whole(file: BinaryIO) -> bool:
    """Whether the last line has its end; if not, the next must not be put behind it."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def score_to_dict(score: Score) -> dict[str, Any]:
    """Plain form for JSON: a loss that is not finite becomes ``null``."""
    data = asdict(score)
    data["loss"] = finite(score.loss)
    if score.trace is not None:
        data["trace"]["losses"] = [finite(loss) for loss in score.trace.losses]
    return data


def score_from_dict(data: dict[str, Any]) -> Score:
    """The score of a plain form."""
    _check.mapping(data, "score", allowed=_FIELDS, required=_FIELDS)
    values = dict(data)
    values["loss"] = _number(values["loss"], "loss")
    _check.one_of(values["status"], "status", _STATUSES)
    for name in ("params", "flops"):
        _check.whole(values[name], name, low=0)
    for name in ("seconds", "cpu_seconds"):
        values[name] = _check.number(values[name], name, low=0)
    if values["trace"] is not None:
        trace = _check.mapping(values["trace"], "trace", allowed=_TRACE, required=_TRACE)
        losses = tuple(_number(x, "losses") for x in _check.sequence(trace["losses"], "losses"))
        steps = tuple(
            _check.whole(x, "steps", low=0) for x in _check.sequence(trace["steps"], "steps")
        )
        if len(steps) != len(losses):
            raise InvalidValueError(f"{len(steps)} steps, {len(losses)} losses")
        status = _check.one_of(trace["status"], "trace status", _STATUSES)
        values["trace"] = Trace(steps, losses, status)  # type: ignore[arg-type]
    return Score(**values)


def finite(value: float) -> float | None:
    """The value, or ``None`` if it is infinite or NaN: JSON has neither."""
    return value if math.isfinite(value) else None


def _number(value: Any, where: str) -> float:
    return math.inf if value is None else _check.number(value, where)
