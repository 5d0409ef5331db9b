"""What the two kinds of NDS spaces have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from gennas_optuna.errors import InvalidValueError, UnknownNameError
from gennas_optuna.spaces._base import SearchSpace
from gennas_optuna.spaces.nds import CellSpace, StageSpace

RowT = TypeVar("RowT", CellSpace, StageSpace)


@dataclass(frozen=True)
class NDSSpace(SearchSpace, Generic[RowT]):
    """A space whose data is the row of a table with the space's name.

    Attributes:
        rows: the table.
        kind: what it is a table of, for errors.
    """

    rows: ClassVar[Mapping[str, Any]]
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in self.rows:
            raise UnknownNameError(f"NDS {self.kind} space", self.name, self.rows)

    @property
    def row(self) -> RowT:
        """The data of this space."""
        row: RowT = self.rows[self.name]
        return row

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """32x32 images, or 224x224 for the benchmark's own ImageNet networks."""
        side = 224 if self.row.imagenet and self.form == "benchmark" else 32
        return (3, side, side)

    def _outside(self, found: str, allowed: object, *, built: bool = True) -> InvalidValueError:
        """Why an architecture has no parameters; ``built``: whether it can be built at least."""
        but = "can be built and scored, but " if built else ""
        return InvalidValueError(
            f"{found} is outside of what {self.name} samples, which is {allowed}: "
            f"this architecture {but}has no parameters"
        )
