"""NDS (Radosavovic et al., ICCV 2019): runs of networks from eleven design spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.benchmarks._table import Format, Row, Table, as_text, frozen, number
from gennas_optuna.errors import DataFileError

FAILED_ABOVE = 99.8
"""Final error, in percent, above which a run did not train (chance is 99.9 on ImageNet)."""

_KEPT = (
    "job_id",
    "rng_seed",
    "params",
    "flops",
    "optim",
    "min_test_top1",
    "test_ep_top1",
    "train_ep_top1",
    "act_mem",
    "iter_time",
)
_PARTS = ("top", "mid")


def _matches(document: Any) -> bool:
    if isinstance(document, dict):
        return bool(document) and set(document) <= set(_PARTS)
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        return False
    return "net" in document[0] or "test_ep_top1" in document[0]


def _read(document: Any) -> Table:
    return Table(metric="test accuracy (%)", higher_is_better=True, rows=_rows(document))


def _rows(document: Any) -> Iterator[Row]:
    for label, record in _records(document):
        if not isinstance(record, dict) or not isinstance(record.get("net"), dict):
            raise DataFileError(f"{label} is {shorten(record)}, not an NDS record with a 'net'")
        error = _final_error(record, label)
        failure = None
        if math.isnan(error):
            failure = "no final test error"
        elif error > FAILED_ABOVE:
            failure = f"final test error above {FAILED_ABOVE} %"
        yield Row(
            label=label,
            text=as_text(record["net"]),
            truth=100 - error,
            details={name: frozen(record[name]) for name in _KEPT if name in record},
            failure=failure,
        )


def _records(document: Any) -> Iterator[tuple[str, Any]]:
    """The records of a list, or of the lists ``top`` and ``mid``, in this order."""
    if isinstance(document, list):
        for i, record in enumerate(document, 1):
            yield f"record {i}", record
        return
    for part in _PARTS:
        records = document.get(part, [])
        if not isinstance(records, list):
            raise DataFileError(f"{part!r} is {shorten(records)}, not a list of records")
        for i, record in enumerate(records, 1):
            yield f"record {i} of {part!r}", record


def _final_error(record: dict[str, Any], label: str) -> float:
    """Test error in percent after the last epoch; NaN if the run has none."""
    errors = record.get("test_ep_top1")
    if errors is None or errors == []:
        return math.nan
    if not isinstance(errors, list):
        raise DataFileError(f"{label}: test_ep_top1 is {shorten(errors)}, not a list")
    return number(errors[-1], f"{label}: test_ep_top1")


FORMAT = Format("NDS JSON (a list of records, or 'top' and 'mid')", _matches, _read)
