"""Limits on what an architecture may cost, as Optuna's constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import BaseTrial, FrozenTrial

from gennas_optuna import _check

MEASURES = ("flops", "params", "latency", "memory")
"""What an architecture costs: multiply-accumulates, learnable scalars, milliseconds of one pass
(:mod:`gennas_optuna.latency`), bytes alive in one pass (:mod:`gennas_optuna.memory`)."""

_ATTRIBUTE = "gennas:constraints"


def check_constraints(constraints: Mapping[str, float] | None) -> dict[str, float]:
    """The constraints as finite numbers above zero, in the order of :data:`MEASURES`.

    Raises:
        InvalidValueError: a name or a number is not allowed.
    """
    given = _check.mapping(constraints or {}, "constraints", allowed=MEASURES)
    return {
        name: _check.number(given[name], f"constraints[{name!r}]", above=0)
        for name in MEASURES
        if name in given
    }


def set_constraints(trial: BaseTrial, excess: Mapping[str, float]) -> None:
    """Tell the study how far a trial is above its limits; zero and less is within them.

    Samplers add up what is above zero, so give shares of the limits: all weigh the same then.

    With Optuna 5 by ``Trial.set_constraint``. Before, a sampler calls a function to ask: give it
    :func:`constraints_func`.
    """
    if hasattr(trial, "set_constraint"):
        before = trial.constraints
        for name, value in excess.items():
            if name not in before:
                trial.set_constraint(name, value)
    elif excess:
        trial.set_user_attr(_ATTRIBUTE, dict(excess))


def constraints_of(trial: Any) -> dict[str, float]:
    """How far a trial is above its limits, by name."""
    found = trial.constraints if hasattr(trial, "constraints") else None
    return dict(found or trial.user_attrs.get(_ATTRIBUTE, {}))


def constraints_func(trial: FrozenTrial) -> Sequence[float]:
    """For samplers of Optuna before 5: ``NSGAIISampler(constraints_func=constraints_func)``."""
    return tuple(constraints_of(trial).values())


def violation(trial: FrozenTrial) -> float:
    """By how much a trial is beyond its limits, in all; 0 if it is within."""
    return sum(max(0.0, value) for value in constraints_of(trial).values())


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial is within all its limits."""
    return violation(trial) == 0
