"""The parts of a proxy task: noise, stages, sequence input, optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

import torch

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.signals import Signal, signal_from_dict

BASE_CHANNELS = 64
"""Output channels of a regression head at multiplier 1 (``last_channels`` of the paper)."""


@dataclass(frozen=True)
class Noise:
    """Noise added to the input anew at every step.

    Attributes:
        kind: ``"gaussian"`` (standard deviation ``level``) or ``"uniform"`` (+-``level``).
        level: 0 is none.
    """

    kind: str = "gaussian"
    level: float = 0.0

    def __post_init__(self) -> None:
        _check.one_of(self.kind, "noise kind", ("gaussian", "uniform"))
        _check.number_field(self, "level", "noise level", low=0, high=_check.MOST)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
        """One draw of the noise, float32."""
        _check.instance(generator, "generator", torch.Generator)
        if self.kind == "gaussian":
            return self.level * torch.randn(shape, generator=generator)
        return self.level * (2 * torch.rand(shape, generator=generator) - 1)


@dataclass(frozen=True)
class Stage:
    """The regression of one tap.

    Attributes:
        signals: their sum, each times its level, is the target; empty means all zeros.
        channels: channels of the target as a multiple of 64 (images only).
        weight: factor of this stage in the loss.
        train_weight: factor while training, if it differs. The paper's first code trained with
            1 for all stages and reported 0.25, 0.5, 1.
    """

    signals: tuple[Signal, ...] = ()
    channels: float = 1.0
    weight: float = 1.0
    train_weight: float | None = None

    def __post_init__(self) -> None:
        low, most = 1 / BASE_CHANNELS, _check.MOST
        _check.number_field(self, "channels", "stage channels", low=low, high=64)
        _check.number_field(self, "weight", "stage weight", low=0, high=most)
        if self.train_weight is not None:
            _check.number_field(self, "train_weight", "stage train_weight", low=0, high=most)
        for signal in _check.sequence(self.signals, "stage signals"):
            if not isinstance(signal, Signal):
                raise InvalidValueError(f"stage signals: {_check.shorten(signal)} is no Signal")
        kinds = [signal.kind for signal in self.signals]
        if len(set(kinds)) < len(kinds):
            raise InvalidValueError(f"stage signals: a kind stands twice in {', '.join(kinds)}")
        object.__setattr__(self, "signals", tuple(self.signals))

    @property
    def training_weight(self) -> float:
        """Factor of this stage in the loss while training."""
        return self.weight if self.train_weight is None else self.train_weight

    @property
    def head_channels(self) -> int:
        """Output channels of the regression head."""
        return int(self.channels * BASE_CHANNELS)

    def to_dict(self) -> dict[str, Any]:
        """The plain form."""
        data: dict[str, Any] = {"channels": self.channels, "weight": self.weight}
        if self.train_weight is not None:
            data["train_weight"] = self.train_weight
        return {**data, "signals": [signal.to_dict() for signal in self.signals]}


@dataclass(frozen=True)
class SequenceInput:
    """A synthetic sequence in place of images, for recurrent spaces.

    Attributes:
        signals: their sum is the input.
        dimension: width D of the input and of the target.
        length: number of time steps T.
    """

    signals: tuple[Signal, ...]
    dimension: int
    length: int = 8

    def __post_init__(self) -> None:
        _check.whole(self.dimension, "sequence dimension", low=1, high=4096)
        _check.whole(self.length, "sequence length", low=1, high=4096)
        object.__setattr__(self, "signals", Stage(self.signals).signals)  # by the same rules

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (T, D) of one input."""
        return (self.length, self.dimension)

    def to_dict(self) -> dict[str, Any]:
        """The plain form."""
        signals = [signal.to_dict() for signal in self.signals]
        return {"length": self.length, "dimension": self.dimension, "signals": signals}


@dataclass(frozen=True)
class Optimizer:
    """How a network is trained on the task.

    Attributes:
        kind: ``"sgd"`` or ``"adam"``.
        lr: learning rate, constant.
        momentum: of SGD (no Nesterov, no dampening).
        weight_decay: L2 penalty, added to the gradient.
        decay: ``"matrices"``: convolution and linear weights only; ``"all"`` parameters.
    """

    kind: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 4e-5
    decay: str = "matrices"

    def __post_init__(self) -> None:
        _check.one_of(self.kind, "optimizer kind", ("sgd", "adam"))
        _check.number_field(self, "lr", "optimizer lr", above=0)
        _check.number_field(self, "momentum", "optimizer momentum", low=0, high=1)
        _check.number_field(self, "weight_decay", "optimizer weight_decay", low=0)
        _check.one_of(self.decay, "optimizer decay", ("matrices", "all"))


SEQUENCE_OPTIMIZER = Optimizer("adam", lr=1e-3, momentum=0.0, weight_decay=1.2e-6, decay="all")
"""What the paper trained recurrent cells with (its first code; later code shows lr 0.1)."""


Part = TypeVar("Part", Noise, Stage, SequenceInput, Optimizer)


def from_fields(cls: type[Part], data: Any, where: str) -> Part:
    """Make a part from a mapping of its fields; errors start with ``where``."""
    required = [f.name for f in fields(cls) if f.default is MISSING]
    names = _check.field_names(cls)
    values = dict(_check.mapping(data, where, allowed=names, required=required))
    if "signals" in values:
        signals = _check.sequence(values["signals"], f"{where} signals")
        values["signals"] = tuple(
            signal_from_dict(item, f"{where} signals[{i}]") for i, item in enumerate(signals)
        )
    try:
        return cls(**values)
    except InvalidValueError as error:
        raise InvalidValueError(f"{where}: {error}") from None
