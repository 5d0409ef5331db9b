"""Scores on disk: what is finished is never computed again."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna._reading import read_bytes
from gennas_optuna.errors import DataFileError, GenNASError, MissingFileError
from gennas_optuna.regression import Trace
from gennas_optuna.spaces import Architecture, SearchSpace


class ScoreFile:
    """A file of scores, one JSON object a line, that grows by one line per new score.

    A line holds the evaluator's identity, the space, the architecture's text and the score, so
    one file may serve many spaces and settings. A last line that was cut off is ignored.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def restore(self, evaluator: Evaluator, space: SearchSpace) -> set[str]:
        """Hand the scores of ``space`` that ``evaluator`` would find to it; their keys."""
        try:
            lines = read_bytes(self.path).decode(errors="replace").splitlines()
        except MissingFileError:
            return set()
        wanted = {"identity": evaluator.identity(space), "space": space.name, "form": space.form}
        keys: set[str] = set()
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                if any(entry[name] != value for name, value in wanted.items()):
                    continue
                arch, score = space.parse(entry["arch"]), score_from_dict(entry["score"])
            except (ValueError, TypeError, KeyError, RecursionError, GenNASError) as error:
                if number == len(lines):
                    continue
                raise DataFileError(f"{self.path}: line {number} is no score: {error}") from None
            evaluator.remember(arch, score)
            keys.add(arch.key)
        return keys

    def append(self, evaluator: Evaluator, arch: Architecture, score: Score) -> None:
        """Add one score."""
        entry = {
            "identity": evaluator.identity(arch.space),
            "space": arch.space.name,
            "form": arch.space.form,
            "arch": str(arch),
            "score": score_to_dict(score),
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise DataFileError(f"{self.path}: cannot be written: {error.strerror}") from None


def score_to_dict(score: Score) -> dict[str, Any]:
    """Plain form for JSON: a loss that is not finite becomes ``null``."""
    data = asdict(score)
    data["loss"] = finite(score.loss)
    if score.trace is not None:
        data["trace"]["losses"] = [finite(loss) for loss in score.trace.losses]
    return data


def score_from_dict(data: dict[str, Any]) -> Score:
    """The score of a plain form."""
    values = dict(data)
    values["loss"] = _number(values["loss"])
    if values["trace"] is not None:
        trace = values["trace"]
        losses = tuple(map(_number, trace["losses"]))
        values["trace"] = Trace(tuple(trace["steps"]), losses, trace["status"])
    return Score(**values)


def finite(value: float) -> float | None:
    """The value, or ``None`` if it is infinite or NaN: JSON has neither."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)
