"""Cells as data flow: which operation reads the sum of which values.

A value is the cell's input (number 0) or the result of a step (number i + 1 for step i).
Identities and zeros are not steps: an identity adds its source's values to a sum, a zero adds
nothing. So two drawings of one computation, however they route their identities, have the same
data flow up to the order of the steps, and the smallest of all orders is a canonical form.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple


class Step(NamedTuple):
    """One application of an operation to the sum of some values."""

    op: str
    inputs: tuple[int, ...]


class DataFlow(NamedTuple):
    """The steps in an order in which they can run, and the values whose sum is the result."""

    steps: tuple[Step, ...]
    output: tuple[int, ...]


def canonical(flow: DataFlow, weightless: Collection[str] = ()) -> DataFlow:
    """The data flow that all equal ones share, without what cannot change the result.

    Args:
        flow: any data flow; every operation maps zero to zero.
        weightless: operations without parameters: two such steps on one sum are one step.
    """
    return min(_orders(_live(_merge(flow, weightless))))


def _merge(flow: DataFlow, weightless: Collection[str]) -> DataFlow:
    """Drop steps on an empty sum (a zero) and join equal weightless steps."""
    number: dict[int, int | None] = {0: 0}  # old value -> new value, None for zero
    steps: list[Step] = []
    for old, step in enumerate(flow.steps, start=1):
        new = Step(step.op, _renumber(step.inputs, number))
        if not new.inputs:
            number[old] = None
        elif new.op in weightless and new in steps:
            number[old] = steps.index(new) + 1
        else:
            steps.append(new)
            number[old] = len(steps)
    return DataFlow(tuple(steps), _renumber(flow.output, number))


def _live(flow: DataFlow) -> DataFlow:
    """Drop the steps that the output does not depend on."""
    needed = set(flow.output)
    for value in range(len(flow.steps), 0, -1):
        if value in needed:
            needed.update(flow.steps[value - 1].inputs)
    number: dict[int, int | None] = {0: 0}
    steps = []
    for old, step in enumerate(flow.steps, start=1):
        if old in needed:
            steps.append(Step(step.op, _renumber(step.inputs, number)))
            number[old] = len(steps)
    return DataFlow(tuple(steps), _renumber(flow.output, number))


def _orders(flow: DataFlow) -> Iterator[DataFlow]:
    """The same flow with its steps in every order in which they can run."""

    def extend(order: list[int], number: dict[int, int | None]) -> Iterator[DataFlow]:
        if len(order) == len(flow.steps):
            steps = (flow.steps[value - 1] for value in order)
            yield DataFlow(
                tuple(Step(step.op, _renumber(step.inputs, number)) for step in steps),
                _renumber(flow.output, number),
            )
        for value, step in enumerate(flow.steps, start=1):
            if value not in number and all(i in number for i in step.inputs):
                yield from extend([*order, value], {**number, value: len(order) + 1})

    return extend([], {0: 0})


def _renumber(values: tuple[int, ...], number: dict[int, int | None]) -> tuple[int, ...]:
    return tuple(sorted(new for value in values if (new := number[value]) is not None))
