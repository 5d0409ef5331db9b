"""What is known about trained architectures: a table."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from gennas_optuna.errors import InvalidValueError
from gennas_optuna.spaces import Architecture, SearchSpace


@dataclass(frozen=True)
class Trained:
    """One trained architecture.

    Attributes:
        arch: the architecture.
        truth: how good it turned out, in the table's metric.
        train_seconds: what its training took, over the whole schedule; ``None`` if unknown.
        details: what else the benchmark records of it, under the benchmark's own names.
    """

    arch: Architecture
    truth: float
    train_seconds: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class GroundTruth(Sequence[Trained]):
    """A table of trained architectures of one search space, in the order of its file.

    An architecture may stand in it more than once (trained again with another seed).

    Attributes:
        name: what was read: ``hpo-bench:cifar10``, or the path.
        space: the search space of all its architectures.
        metric: what the truth is and its unit, such as ``test accuracy (%)``.
        higher_is_better: whether a larger truth is a better one.
        records: the trained architectures.
        skipped: how many records were left out, by reason.
        digest: SHA-256 of what was read, for provenance. Of a folder: over the lines
            ``name, NUL, SHA-256, newline`` of its files in order.
    """

    name: str
    space: SearchSpace
    metric: str
    higher_is_better: bool
    records: tuple[Trained, ...] = field(repr=False)
    skipped: Mapping[str, int]
    digest: str

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Trained: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Trained, ...]: ...
    def __getitem__(self, index: int | slice) -> Trained | tuple[Trained, ...]:
        return self.records[index]

    @property
    def left_out(self) -> str:
        """``skipped`` in words, such as ``40 (status 'FAIL')``; empty if nothing was."""
        return reasons(self.skipped)

    def goodness(self, record: Trained) -> float:
        """The truth turned so that higher is better."""
        return record.truth if self.higher_is_better else -record.truth

    def find(self, arch: Architecture) -> Trained | None:
        """The first record of exactly this encoding; else of the same network; else ``None``.

        The same network is what the benchmark trained as one, see
        :meth:`SearchSpace.benchmark_key`. The options of the architecture's space (such as its
        ``form``) need not be the table's.

        Raises:
            InvalidValueError: the architecture belongs to another search space.
        """
        if not isinstance(arch, Architecture):
            raise InvalidValueError(f"{self.name}: cannot look up a {type(arch).__name__}")
        if type(arch.space) is not type(self.space) or arch.space.name != self.space.name:
            raise InvalidValueError(
                f"{self.name}: {arch} belongs to {arch.space.name}, the table to {self.space.name}"
            )
        return self._by_code.get(arch.code) or self._by_key.get(self._key(arch))

    def rank_of(self, arch: Architecture) -> int:
        """The place of an architecture among all records: 1 is the best; equals share a place.

        Raises:
            InvalidValueError: it is not in the table.
        """
        record = self.find(arch)
        if record is None:
            raise InvalidValueError(f"{self.name} has no record of {arch}")
        not_better = np.searchsorted(self._goodness, self.goodness(record), side="right")
        return 1 + len(self) - int(not_better)

    def sample(self, n: int, rng: np.random.Generator) -> list[Trained]:
        """Draw ``n`` different records.

        A larger sample from a generator of the same state begins with the smaller one.

        Raises:
            InvalidValueError: ``n`` is less than 2 or more than there are.
        """
        try:
            count = operator.index(n)
        except TypeError:
            raise InvalidValueError(f"cannot draw {n!r} architectures: give a number") from None
        if not 2 <= count <= len(self):
            raise InvalidValueError(
                f"cannot draw {count} architectures from the {len(self)} of {self.name}: "
                f"give a number from 2 to {len(self)}"
            )
        return [self.records[i] for i in rng.permutation(len(self))[:count]]

    @cached_property
    def _goodness(self) -> npt.NDArray[np.float64]:
        return np.sort([self.goodness(record) for record in self.records])

    @cached_property
    def _by_code(self) -> dict[Hashable, Trained]:
        return {record.arch.code: record for record in reversed(self.records)}

    @cached_property
    def _by_key(self) -> dict[str, Trained]:
        return {self._key(record.arch): record for record in reversed(self.records)}

    def _key(self, arch: Architecture) -> str:
        return self.space.benchmark_key(Architecture(self.space, arch.code))


def reasons(skipped: Mapping[str, int]) -> str:
    """Counts by reason in words, the first five of them."""
    shown = [f"{count} ({reason})" for reason, count in list(skipped.items())[:5]]
    return ", ".join(shown) + (", ..." if len(skipped) > len(shown) else "")
