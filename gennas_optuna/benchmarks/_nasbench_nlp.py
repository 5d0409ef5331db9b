"""NAS-Bench-NLP (Klyuchnikov et al., 2022): one JSON log per trained recurrent cell."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.benchmarks._decode import Several
from gennas_optuna.benchmarks._table import Format, Row, Table, as_text, number, total
from gennas_optuna.errors import DataFileError
from gennas_optuna.spaces import SearchSpace

_logger = logging.getLogger("gennas_optuna")

_KEPT = (
    "status",
    "data",
    "recepie_id",
    "experiment_id",
    "num_params",
    "emsize",
    "nhid",
    "nlayers",
    "lr",
    "wdecay",
)


def _matches(document: Any) -> bool:
    return isinstance(document, Several) or (isinstance(document, dict) and "recepie" in document)


def _read(document: Any, _space: SearchSpace | None) -> Table:
    """The perplexity on the test set, at the epoch that was best on the validation set.

    The validation perplexity at that epoch (``val_perplexity``) and the lowest test perplexity
    of all epochs (``min_test_perplexity``: what the GenNAS paper ranks against) are in the
    details. What is no log of the benchmark is named in the program's log and counted.
    """
    documents = document.documents if isinstance(document, Several) else (("record 1", document),)
    rows, foreign = [], []
    for label, log in documents:
        try:
            if isinstance(log, Exception):
                raise log
            rows.append(_row(label, log))
        except DataFileError as error:
            foreign.append(f"{label}: {error}")
            _logger.warning("left out, not a NAS-Bench-NLP log: %s", foreign[-1])
            rows.append(Row(label, "", math.nan, {}, failure=f"not a log: {label}"))
    if len(foreign) == len(rows):
        raise DataFileError(f"none of {len(rows)} is a NAS-Bench-NLP log; {foreign[0]}")
    corpora = {shorten(row.details.get("data"), 200) for row in rows if row.failure is None}
    if len(corpora) > 1:
        names = ", ".join(sorted(corpora))
        raise DataFileError(
            f"logs of several data sets, whose perplexities do not compare: {names}"
        )
    return Table(
        metric="test perplexity",
        higher_is_better=False,
        rows=rows,
        space="nasbench-nlp",
        limits=(1, math.inf),
    )


def _row(label: str, log: Any) -> Row:
    if isinstance(log, Several):
        raise DataFileError("it holds several JSON values")
    if not isinstance(log, dict):
        raise DataFileError(f"it holds {shorten(log)}")
    for name, kinds in (("recepie", (str, dict)), ("status", str)):
        if not isinstance(log.get(name), kinds):
            raise DataFileError(f"{name!r} is {shorten(log.get(name))}")
    text = as_text(log["recepie"], label)
    details = {name: log[name] for name in _KEPT if name in log}
    if log["status"] != "OK":
        return Row(label, text, math.nan, details, failure=f"status {shorten(log['status'])}")
    validation, test = _losses(log, "val_losses"), _losses(log, "test_losses")
    if len(validation) != len(test):
        raise DataFileError("'val_losses' and 'test_losses' differ in length")
    finite = [i for i, loss in enumerate(validation) if math.isfinite(loss)]
    if not finite:
        return Row(label, text, math.nan, details, failure="no finite validation loss")
    best = min(finite, key=validation.__getitem__)
    seconds = total(_losses(log, "wall_times")) if log.get("wall_times") else math.nan
    return Row(
        label=label,
        text=text,
        truth=_perplexity(test[best]),
        train_seconds=seconds if math.isfinite(seconds) else None,
        details={
            **details,
            "epochs": len(validation),
            "best_epoch": best + 1,
            "val_perplexity": _perplexity(validation[best]),
            "min_test_perplexity": min(
                filter(math.isfinite, map(_perplexity, test)), default=None
            ),
        },
    )


def _losses(log: dict[str, Any], name: str) -> Sequence[float]:
    """One number per epoch."""
    values = log.get(name)
    if not isinstance(values, list):
        raise DataFileError(f"{name!r} is {shorten(values)}")
    return [number(value, f"an entry of {name!r}") for value in values]


def _perplexity(loss: float) -> float:
    """From nats per token."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


FORMAT = Format("NAS-Bench-NLP logs (a folder, JSON or JSON lines)", _matches, _read)
