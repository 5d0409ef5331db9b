"""What a trial reports to NNI at its end: a result that says which parameters it belongs to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.errors import InvalidValueError

KEY = "key"
PARAMETERS = "parameters"
MODE = "optimize_mode"
ERROR = "error"


@dataclass(frozen=True)
class Result:
    """A final result as NNI has it, read.

    Attributes:
        value: what the experiment optimises.
        parameters: those that the trial ran; ``None`` if the result is not of our trial.
        key: identity of the architecture or proxy task.
        mode: ``"minimize"`` or ``"maximize"``, if the result says.
        error: why the trial did not start.
        details: the rest of what was reported.
    """

    value: float
    parameters: dict[str, Any] | None = None
    key: str | None = None
    mode: str | None = None
    error: str | None = None
    details: Mapping[str, Any] | None = None


def read_result(reported: Any) -> Result:
    """Read a final result: ours, a number, or a mapping with a number under ``default``.

    Raises:
        InvalidValueError: it is none of these.
    """
    if isinstance(reported, (int, float)) and not isinstance(reported, bool):
        return Result(float(reported))
    if isinstance(reported, Mapping):
        if isinstance(reported.get(ERROR), str):
            return Result(math.nan, error=reported[ERROR])
        value = reported.get("default")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            parameters = reported.get(PARAMETERS)
            rest = {k: v for k, v in reported.items() if k not in ("default", PARAMETERS, MODE)}
            return Result(
                float(value),
                dict(parameters) if isinstance(parameters, Mapping) else None,
                key=_text(reported, KEY),
                mode=_text(reported, MODE),
                details=rest,
            )
    raise InvalidValueError(
        f"a trial reported {shorten(reported)}: report a number, or a mapping with one under "
        "'default'"
    )


def _text(reported: Mapping[str, Any], name: str) -> str | None:
    value = reported.get(name)
    return value if isinstance(value, str) else None
