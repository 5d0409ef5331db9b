"""The search space of proxy tasks, as Optuna distributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.presets import get_task
from gennas_optuna.signals import Signal, signal_from_dict
from gennas_optuna.spaces import SearchSpace
from gennas_optuna.spaces._base import Suggests, _contains, _suggest, draw
from gennas_optuna.task import ProxyTask
from gennas_optuna.task_parts import Noise, SequenceInput

FORMS = ("flat", "conditional")
IMAGE_BASES = ("sin1d", "sin2d", "dot", "dot_gaussian", "resize")
SEQUENCE_BASES = ("sin1d", "sin2d", "dot", "dot_gaussian")

_FREQUENCIES = 10
_DIGITS = 4
_OFF = -1.45
"""The weight that stands for "off" where a task is turned into parameters."""

Params = dict[str, Any]
Unit = dict[str, BaseDistribution]


@dataclass(frozen=True)
class ProxyTaskSpace:
    """What the paper's proxy-task search chooses from (GenNAS section 3.3).

    Searched are the kind and level of the noise, the width of each stage's target (or of the
    sequences), and per stage and basis (and for the input of a sequence task): whether it is on,
    its level, the range of its frequencies or the density of its dots, and whether each sample
    draws its own. The rest is the template's: batch, sizes, loss weights, optimiser, and whether
    inputs are images or sequences.

    Every parameter set within :meth:`distributions` gives a task. A range of frequencies stands
    for ten evenly spaced ones (the paper draws ten at random within it), so that equal
    parameters are equal tasks; numbers are rounded to four decimals.

    In the ``flat`` form each basis has one signed weight, which is off at 0 and below and else
    the level: every trial has all parameters, which samplers that model them jointly need, and
    what they learn of a basis that is nearly off carries over. In the ``conditional`` form a
    switch comes first, levels and noise have the paper's steps of 0.1, and the parameters of
    what is off are not asked for.

    Args:
        template: a task with the parts that are not searched.
        form: ``"flat"`` or ``"conditional"``.
        keep: chance that a mutation keeps a unit (noise, one width, or one basis of a stage)
            rather than drawing it anew; 0.8 in the paper.
    """

    template: ProxyTask
    form: str = "flat"
    keep: float = 0.8

    def __post_init__(self) -> None:
        _check.instance(self.template, "template", ProxyTask)
        _check.one_of(self.form, "form", FORMS)
        _check.number_field(self, "keep", "keep", low=0, high=1)

    @classmethod
    def of(cls, space: SearchSpace, form: str = "flat") -> ProxyTaskSpace:
        """The tasks for an architecture space, with the fixed parts of its default task."""
        if not isinstance(space, SearchSpace):
            raise InvalidValueError(
                f"space={_check.shorten(space)}: give a SearchSpace, such as "
                "get_space('nasbench201')"
            )
        return cls(get_task("default", space), form)

    # Parameters -----------------------------------------------------------------------------

    def units(self) -> Mapping[str, Unit]:
        """The parameters, grouped by what a mutation keeps or draws anew together."""
        return _units(self.form, len(self.template.stages), self.template.sequence is not None)

    def distributions(self) -> dict[str, BaseDistribution]:
        """All parameters, in a fixed order."""
        return {name: dist for unit in self.units().values() for name, dist in unit.items()}

    def suggest(self, trial: Suggests, prefix: str = "") -> ProxyTask:
        """Ask an Optuna trial (or anything with its ``suggest_*``) for a task."""
        if not hasattr(trial, "suggest_categorical"):
            raise InvalidValueError(
                f"trial={_check.shorten(trial)}: give an Optuna trial, or what has its suggest_*"
            )
        params: Params = {}
        for unit in self.units().values():
            for name, distribution in unit.items():
                params[name] = _suggest(trial, prefix + name, distribution)
                if name.endswith("_on") and not params[name]:
                    break  # of the conditional form: the rest of the unit is not there
        return self.decode(params)

    def decode(self, params: Mapping[str, Any]) -> ProxyTask:
        """The task of a parameter set.

        Raises:
            InvalidValueError: a parameter is missing or out of its range.
        """
        if not isinstance(params, Mapping):
            raise InvalidValueError(
                f"params={_check.shorten(params)}: give a mapping of names to values, such as a "
                "trial's params"
            )
        units = {name: self._checked(unit, params) for name, unit in self.units().items()}
        signals = {
            side: tuple(
                signal
                for name, values in units.items()
                if (basis := name.removeprefix(f"{side}_")) in IMAGE_BASES
                and (signal := _signal(name, basis, values)) is not None
            )
            for side in self._sides()
        }
        stages = tuple(
            replace(
                stage,
                signals=signals[f"stage{i}"],
                channels=units.get(f"stage{i}_channels", {}).get(
                    f"stage{i}_channels", stage.channels
                ),
            )
            for i, stage in enumerate(self.template.stages)
        )
        sequence = self.template.sequence
        if sequence is not None:
            dimension = units["dimension"]["dimension"]
            sequence = SequenceInput(signals["input"], dimension, sequence.length)
        noise = units["noise"]
        return replace(
            self.template,
            name="custom",
            noise=Noise(noise["noise_kind"], round(noise["noise_level"], _DIGITS)),
            stages=stages,
            sequence=sequence,
        )

    def params(self, task: ProxyTask) -> Params:
        """The parameter set of a task, or the nearest one: to enqueue it as a trial.

        Exact for tasks of :meth:`decode`. Of others the frequencies are replaced by ten evenly
        spaced ones of the same range, values out of range by the nearest ones, and loss weights,
        batch and the like by the template's.

        Raises:
            InvalidValueError: the task has another number of stages, other inputs (images or
                sequences), or a basis that is not searched.
        """
        _check.instance(task, "task", ProxyTask)
        ours = self.template
        if len(task.stages) != len(ours.stages) or (task.sequence is None) != (
            ours.sequence is None
        ):
            raise InvalidValueError(
                f"task {_check.shorten(task.name)} is of another kind than those searched: they "
                f"have {len(ours.stages)} stages and "
                f"{'images' if ours.sequence is None else 'sequences'} as inputs"
            )
        units = self.units()
        known: Params = {"noise_kind": task.noise.kind, "noise_level": task.noise.level}
        if task.sequence is not None:
            known["dimension"] = task.sequence.dimension
        for i, stage in enumerate(task.stages):
            known[f"stage{i}_channels"] = stage.channels
        for side, signals in _signals_by_side(task).items():
            for signal in signals:
                if f"{side}_{signal.kind}" not in units:
                    raise InvalidValueError(
                        f"task {_check.shorten(task.name)}: {signal.kind} is not searched"
                    )
                known.update(_parameters(f"{side}_{signal.kind}", signal))
        params: Params = {}
        for unit in units.values():
            for name, distribution in unit.items():
                params[name] = _nearest(distribution, known.get(name, _default(name)))
                if name.endswith("_on") and not params[name]:
                    break
        return params

    # Search moves ---------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> ProxyTask:
        """A random task: all choices uniform, each basis on with chance one half."""
        return self.decode(_drawn(rng, self.distributions()))

    def mutate(self, task: ProxyTask, rng: np.random.Generator) -> ProxyTask:
        """A neighbour: each unit is kept with chance ``keep``, else drawn anew (GenNAS 3.3)."""
        params = self.params(task)
        for unit in self.units().values():
            if rng.random() >= self.keep:
                params.update(_drawn(rng, unit))
        return self.decode(params)

    # Parts ----------------------------------------------------------------------------------

    def _sides(self) -> list[str]:
        return _sides(len(self.template.stages), self.template.sequence is not None)

    def _checked(self, unit: Unit, params: Mapping[str, Any]) -> Params:
        values: Params = {}
        for name, distribution in unit.items():
            if name not in params:
                raise InvalidValueError(f"proxy-task space: parameter {name!r} is missing")
            if not _contains(distribution, params[name]):
                raise InvalidValueError(
                    f"proxy-task space: parameter {name}={_check.shorten(params[name])} is not "
                    f"in {distribution}"
                )
            values[name] = params[name]
            if name.endswith("_on") and not values[name]:
                break
        return values


def _sides(stages: int, sequence: bool) -> list[str]:
    return ["input"] * sequence + [f"stage{i}" for i in range(stages)]


@lru_cache
def _units(form: str, stages: int, sequence: bool) -> Mapping[str, Unit]:
    step = 0.1 if form == "conditional" else None
    units: dict[str, Unit] = {
        "noise": {
            "noise_kind": CategoricalDistribution(("gaussian", "uniform")),
            "noise_level": FloatDistribution(0.0, 0.9, step=step),
        }
    }
    if sequence:
        units["dimension"] = {"dimension": IntDistribution(16, 96, step=16)}
    else:
        for i in range(stages):
            name = f"stage{i}_channels"
            units[name] = {name: FloatDistribution(0.25, 1.5, step=0.25)}
    for side in _sides(stages, sequence):
        for basis in SEQUENCE_BASES if sequence else IMAGE_BASES:
            units[f"{side}_{basis}"] = _unit(f"{side}_{basis}", basis, form, sequence)
    return units


def _unit(name: str, basis: str, form: str, sequence: bool) -> Unit:
    """The parameters of one basis."""
    if form == "flat":
        unit: Unit = {f"{name}_weight": FloatDistribution(-2.9, 2.9)}
    else:
        unit = {
            f"{name}_on": CategoricalDistribution((False, True)),
            f"{name}_level": FloatDistribution(0.5, 2.9, step=0.1),
        }
    if basis.startswith("sin"):
        unit[f"{name}_low"] = unit[f"{name}_high"] = FloatDistribution(0.0, 0.5)
    elif basis.startswith("dot"):
        unit[f"{name}_fraction"] = FloatDistribution(0.0, 1.0)
    if basis != "resize" and not sequence:  # samples of a sequence task always draw their own
        unit[f"{name}_local"] = CategoricalDistribution((False, True))
    return unit


def _drawn(rng: np.random.Generator, unit: Unit) -> Params:
    return {name: _nearest(dist, draw(rng, dist)) for name, dist in unit.items()}


def _signals_by_side(task: ProxyTask) -> dict[str, tuple[Signal, ...]]:
    sides = {f"stage{i}": stage.signals for i, stage in enumerate(task.stages)}
    if task.sequence is not None:
        sides["input"] = task.sequence.signals
    return sides


def _signal(name: str, basis: str, values: Params) -> Signal | None:
    """The signal of a unit's values; ``None`` if it is off."""
    own = {key.removeprefix(f"{name}_"): value for key, value in values.items()}
    level = round(own["weight"] if "weight" in own else own.get("level", 0.0), _DIGITS)
    if level <= 0:
        return None
    data: dict[str, Any] = {"kind": basis, "level": level}
    if "low" in own:
        low, high = sorted(round(own[end], _DIGITS) for end in ("low", "high"))
        spaced: list[float] = np.linspace(low, high, _FREQUENCIES).tolist()
        data["frequencies"] = [round(f, 6) for f in spaced]
    if "fraction" in own:
        data["fraction"] = round(own["fraction"], _DIGITS)
    if basis != "resize":
        data["local"] = own.get("local", True)
    return signal_from_dict(data)


def _parameters(name: str, signal: Signal) -> Params:
    """What :func:`_signal` makes the signal of, in both forms."""
    data = signal.to_dict()
    known = {f"{name}_weight": data["level"], f"{name}_on": True, f"{name}_level": data["level"]}
    if "frequencies" in data:
        known[f"{name}_low"] = min(data["frequencies"])
        known[f"{name}_high"] = max(data["frequencies"])
    for key in ("fraction", "local"):
        if key in data:
            known[f"{name}_{key}"] = data[key]
    return known


def _default(name: str) -> Any:
    """The value of a parameter of a signal that is off."""
    middle = {"weight": _OFF, "on": False, "level": 1.0, "low": 0.0, "high": 0.5, "fraction": 0.5}
    return middle.get(name.rpartition("_")[2], True)


def _nearest(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return value
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, step = distribution.low, distribution.step
    value = min(max(value, low), distribution.high)
    if step is not None:
        value = min(round(low + step * round((value - low) / step), 10), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else value
