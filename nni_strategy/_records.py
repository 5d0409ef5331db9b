"""What NNI's database says of an experiment, with each result at its own parameters."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna._files import read_data
from gennas_optuna.errors import DataFileError, GenNASError, MissingFileError
from nni_strategy._result import read_result

_HOME = Path("~/nni-experiments")


@dataclass(frozen=True)
class Record:
    """One trial of an experiment.

    Attributes:
        trial: NNI's name of the trial.
        sequence: in which order trials were submitted.
        status: NNI's, such as ``SUCCEEDED``.
        value: what was optimised; ``None`` if there is no result.
        parameters: that gave this result; without one, those that NNI says.
        key: identity of the architecture or proxy task.
        details: the rest of the result.
        mispaired: whether NNI files this result under other parameters.
        certain: whether the parameters are known to be this result's: it carries them, or their
            number is of one trial only.
    """

    trial: str
    sequence: int | None
    status: str
    value: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    mispaired: bool = False
    certain: bool = True


def find_database(experiment: str, folder: Path | None = None) -> Path:
    """The database of an experiment.

    Args:
        experiment: its ID, or its folder.
        folder: the working directory of experiments, if NNI's list does not know it.

    Raises:
        MissingFileError: there is none.
    """
    home = _HOME.expanduser()
    places = [Path(experiment)]
    if folder is not None:
        places.append(folder / experiment)
    else:
        known = read_data(home / ".experiment") if (home / ".experiment").is_file() else {}
        entry = known.get(experiment, {}) if isinstance(known, Mapping) else {}
        if isinstance(entry, Mapping) and isinstance(entry.get("logDir"), str):
            places.append(Path(entry["logDir"]).expanduser() / experiment)
        places.append(home / experiment)
    for place in places:
        if (place / "db" / "nni.sqlite").is_file():
            return place / "db" / "nni.sqlite"
    raise MissingFileError(
        f"no database of experiment {shorten(experiment)} in {', '.join(map(str, places))}"
    )


def read_records(database: Path) -> list[Record]:
    """The trials of an experiment, in the order in which they were submitted.

    NNI stores with each trial the parameters that it meant to give it, and with each result the
    number of the parameters that the trial got. A resumed experiment uses numbers again. So the
    parameters that a result carries come first, the number second if it is of one trial only, and
    what NNI says of the trial last.

    Raises:
        DataFileError: the file is not a database of NNI.
    """
    try:
        # Read only: the experiment may be running.
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as db:
            events = db.execute(
                "select trialJobId, event, data, sequenceId from TrialJobEvent "
                "where trialJobId != '' order by rowid"
            ).fetchall()
            metrics = db.execute(
                "select trialJobId, parameterId, data from MetricData where type = 'FINAL' "
                "order by rowid"
            ).fetchall()
        return _records(events, metrics)
    except (sqlite3.Error, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, GenNASError):
            raise
        raise DataFileError(f"{database}: not a database of NNI: {error}") from None


def _records(events: list[Any], metrics: list[Any]) -> list[Record]:
    trials: dict[str, dict[str, Any]] = {}
    for trial, event, data, sequence in events:
        entry = trials.setdefault(trial, {"sequence": None, "filed": {}})
        entry["status"] = "USER_CANCELED" if event == "USER_TO_CANCEL" else event
        if sequence is not None:
            entry["sequence"] = int(sequence)
        if data:
            entry["filed"] = json.loads(data)
    by_number = {str(e["filed"].get("parameter_id")): e["filed"] for e in trials.values()}
    uses = Counter(str(entry["filed"].get("parameter_id")) for entry in trials.values())
    results: dict[str, tuple[str, Any]] = {}
    for trial, number, data in metrics:  # the value is JSON of JSON
        results.setdefault(trial, (str(number), json.loads(json.loads(data))))
    records = []
    for trial, entry in trials.items():
        filed = entry["filed"].get("parameters", {})
        record = Record(trial, entry["sequence"], entry["status"], parameters=filed)
        if trial in results:
            number, reported = results[trial]
            known = by_number[number].get("parameters") if uses[number] == 1 else None
            record = _with_result(record, filed, known, reported)
        records.append(record)
    return sorted(records, key=lambda r: (r.sequence is None, r.sequence))


def _with_result(record: Record, filed: Any, known: Any, reported: Any) -> Record:
    result = read_result(reported)
    if result.error is not None:
        return Record(
            record.trial,
            record.sequence,
            record.status,
            parameters=filed,
            details={"error": result.error},
        )
    own = result.parameters if result.parameters is not None else known
    return Record(
        record.trial,
        record.sequence,
        record.status,
        result.value,
        filed if own is None else own,
        result.key,
        result.details or {},
        mispaired=own is not None and own != filed,
        certain=own is not None,
    )
