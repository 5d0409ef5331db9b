"""``[[architecture, accuracy], ...]``: the JSON files that come with GenNAS, or your own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.benchmarks._table import Format, Row, Table, as_text, number
from gennas_optuna.errors import DataFileError
from gennas_optuna.spaces import SearchSpace


def _matches(document: Any) -> bool:
    if not isinstance(document, list) or not document or not isinstance(document[0], list):
        return False
    # A list as second member makes it an architecture of NAS-Bench-101 without its accuracy.
    return len(document[0]) == 2 and not isinstance(document[0][1], (list, dict))


def _read(document: list[Any], _space: SearchSpace | None) -> Table:
    """Accuracies that all lie within 0 and 1 are fractions (NAS-Bench-101); else percent."""
    pairs = list(_pairs(document))
    finite = [accuracy for _, _, accuracy in pairs if math.isfinite(accuracy)]
    scale = 100 if all(0 <= accuracy <= 1 for accuracy in finite) else 1
    return Table(
        metric="accuracy (%)",
        higher_is_better=True,
        rows=[Row(label, text, accuracy * scale, {}) for label, text, accuracy in pairs],
    )


def _pairs(document: list[Any]) -> Iterator[tuple[str, str, float]]:
    for i, record in enumerate(document, 1):
        label = f"record {i}"
        if not isinstance(record, list) or len(record) != 2:
            raise DataFileError(f"{label} is {shorten(record)}, not [architecture, accuracy]")
        yield label, as_text(record[0], label), number(record[1], f"the accuracy of {label}")


FORMAT = Format("JSON of [[architecture, accuracy], ...]", _matches, _read)
