"""NAS-Bench-Macro (Su et al., CVPR 2021): ``{"02012100": {"mean_acc": ...}, ...}``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.benchmarks._table import Format, Row, Table, frozen, number
from gennas_optuna.errors import DataFileError
from gennas_optuna.spaces import SearchSpace

_KEPT = ("test_acc", "std", "params", "flops")


def _matches(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    first = next(iter(document.values()), None)
    return isinstance(first, dict) and "mean_acc" in first


def _read(document: dict[str, Any], _space: SearchSpace | None) -> Table:
    return Table(
        metric="test accuracy (%)",
        higher_is_better=True,
        rows=_rows(document),
        space="nasbench-macro",
    )


def _rows(document: dict[str, Any]) -> Iterator[Row]:
    for key, record in document.items():
        label = f"key {shorten(key)}"
        if not isinstance(record, dict) or "mean_acc" not in record:
            raise DataFileError(f"{label} has {shorten(record)}, not a record with 'mean_acc'")
        yield Row(
            label=label,
            text=key,
            truth=number(record["mean_acc"], f"{label}: mean_acc"),
            details={name: frozen(record[name]) for name in _KEPT if name in record},
        )


FORMAT = Format("NAS-Bench-Macro JSON", _matches, _read)
