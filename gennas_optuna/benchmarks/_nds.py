"""NDS (Radosavovic et al., ICCV 2019): runs of networks from eleven design spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.benchmarks._table import Format, Row, Table, as_text, frozen, number
from gennas_optuna.errors import DataFileError
from gennas_optuna.spaces import SearchSpace
from gennas_optuna.spaces.nds_cells import NDSCells

FAILED_ABOVE = {10: 89.0, 1000: 99.8}
"""Final error, in percent, above which a run did not train, by the number of classes.

Guessing has an error of 90 on the 10 classes of CIFAR-10 and of 99.9 on the 1000 of ImageNet, give
or take 0.3 and 0.014 (one standard deviation over 10,000 and 50,000 images)."""

_KEPT = (
    "job_id",
    "rng_seed",
    "params",
    "flops",
    "optim",
    "min_test_top1",
    "test_ep_top1",
    "train_ep_top1",
    "train_ep_loss",
    "act_mem",
    "exp_mem",
    "iter_time",
    "prec_time",
)
_PARTS = ("top", "mid")


def _matches(document: Any) -> bool:
    if isinstance(document, dict):
        return bool(document) and set(document) <= set(_PARTS)
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        return False
    return "net" in document[0] or "test_ep_top1" in document[0]


def _read(document: Any, space: SearchSpace | None) -> Table:
    return Table(metric="test accuracy (%)", higher_is_better=True, rows=_rows(document, space))


def _rows(document: Any, space: SearchSpace | None) -> Iterator[Row]:
    for label, record in _records(document):
        if not isinstance(record, dict) or not isinstance(record.get("net"), dict):
            raise DataFileError(f"{label} is {shorten(record)}, not an NDS record with a 'net'")
        error = _final_error(record, label)
        limit = FAILED_ABOVE[_classes(record["net"], space)]
        failure = None
        if math.isnan(error):
            failure = "no final test error"
        elif error > limit:
            failure = f"final test error above {limit:g} %"
        yield Row(
            label=label,
            text=as_text(record["net"], label),
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


def _classes(net: Mapping[str, Any], space: SearchSpace | None) -> int:
    """Of the data set that a network was trained on, which its record does not say.

    Networks of stages tell by the stride of their stem, 1 for the images of CIFAR-10: ImageNet's
    ResNets have no space of their own and are read with CIFAR's. Cells tell by the row of their
    space. Anything else counts as ImageNet, so that nothing is left out which did train.
    """
    strides = net.get("ss")
    if isinstance(strides, list) and strides:
        return 10 if strides[0] == 1 else 1000
    return 10 if isinstance(space, NDSCells) and not space.row.imagenet else 1000


def _final_error(record: dict[str, Any], label: str) -> float:
    """Test error in percent after the last epoch; NaN if the run has none."""
    errors = record.get("test_ep_top1")
    if errors is None or errors == []:
        return math.nan
    if not isinstance(errors, list):
        raise DataFileError(f"{label}: test_ep_top1 is {shorten(errors)}, not a list")
    return number(errors[-1], f"{label}: test_ep_top1")


FORMAT = Format("NDS JSON (a list of records, or 'top' and 'mid')", _matches, _read)
