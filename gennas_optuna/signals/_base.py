"""What a signal basis is, and the bases by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeVar

import torch

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError, UnknownNameError

POOL_PER_FREQUENCY = 64
"""Maps that a sine basis offers per frequency (or pair): 32 phases in two orientations."""


@dataclass(frozen=True)
class Signal(ABC):
    """One synthetic regression signal (GenNAS section 3.2): a basis and its settings.

    Attributes:
        kind: the registered name of the basis.
        level: factor of the signal in the sum of a stage's signals, above 0, at most 1e6.
    """

    kind: ClassVar[str]
    level: float

    def __post_init__(self) -> None:
        _check.number_field(self, "level", f"{self.kind} level", above=0, high=_check.MOST)

    @abstractmethod
    def draw(
        self,
        *,
        batch: int,
        channels: int,
        size: tuple[int, int],
        generator: torch.Generator,
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw the signal, not yet scaled by ``level``.

        Args:
            batch: number of samples B.
            channels: number of maps C per sample.
            size: height and width of a map.
            generator: source of every random choice.
            images: the input batch (B, 3, H', W'), for signals that follow it.

        Returns:
            float32 of shape (B, C, height, width).
        """

    def max_channels(self) -> int | None:
        """The most maps that can be drawn without replacement; ``None``: any number."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """The plain form: ``{"kind": ..., "level": ..., ...}``."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"kind": self.kind, **plain}


SignalClass = TypeVar("SignalClass", bound=type[Signal])
_SIGNALS: dict[str, type[Signal]] = {}


def register_signal(cls: SignalClass) -> SignalClass:
    """Class decorator: make a basis known by its ``kind``.

    Raises:
        InvalidValueError: the name is taken.
    """
    if cls.kind in _SIGNALS:
        raise InvalidValueError(f"a signal named {cls.kind!r} is registered already")
    _SIGNALS[cls.kind] = cls
    return cls


def list_signals() -> list[str]:
    """The names of all registered bases."""
    return list(_SIGNALS)


def signal_from_dict(data: Mapping[str, Any], where: str = "signal") -> Signal:
    """Make a signal from its plain form.

    Raises:
        UnknownNameError: there is no such basis.
        InvalidValueError: a setting is unknown, missing or out of range.
    """
    if not isinstance(data, Mapping) or "kind" not in data:
        raise InvalidValueError(
            f"{where}={_check.shorten(data)}: give a mapping with 'kind' and the signal's settings"
        )
    kind = data["kind"]
    if not isinstance(kind, str) or kind not in _SIGNALS:
        raise UnknownNameError(f"{where} kind", kind, _SIGNALS)
    cls = _SIGNALS[kind]
    names = _check.field_names(cls)
    settings = {k: v for k, v in data.items() if k != "kind"}
    _check.mapping(settings, f"{where} {kind!r}", allowed=names, required=names)
    try:
        return cls(**settings)
    except InvalidValueError as error:
        raise InvalidValueError(f"{where}: {error}") from None
