"""What a search space has as its members."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gennas_optuna.spaces._base import SearchSpace


@dataclass(frozen=True)
class Architecture:
    """One member of a search space: immutable, hashable, picklable.

    Attributes:
        space: the space it belongs to.
        code: the space's own encoding of it, as nested tuples.
    """

    space: SearchSpace
    code: Hashable

    @property
    def key(self) -> str:
        """Canonical name: two encodings of one network share it."""
        return self.space.key(self)

    def __str__(self) -> str:
        return self.space.format(self)
