"""Studies that are looked at, not gone on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from gennas_optuna._check import shorten
from gennas_optuna.errors import InvalidValueError, UnknownNameError
from gennas_optuna.search import ERROR
from gennas_optuna.storage import explained, opened_storage


@contextmanager
def opened_studies(storage: str, names: Sequence[str]) -> Iterator[list[optuna.Study]]:
    """Open studies by name; the connections are closed at the end.

    Args:
        storage: see :func:`gennas_optuna.storage.open_storage`. No file is made.
        names: of studies in it.

    Raises:
        InvalidValueError: the storage cannot be read; the message shows no password.
        MissingFileError: it is a file that is not there.
        UnknownNameError: there is no study of a name.
    """
    with opened_storage(storage, create=False) as place:
        yield [_load(place, name) for name in names]


def _load(place: BaseStorage, name: str) -> optuna.Study:
    with explained(name):
        there = optuna.get_all_study_names(place)
        if name in there:
            return optuna.load_study(study_name=name, storage=place)
    if not there:
        raise InvalidValueError(f"unknown study {shorten(name)}: there is none in the storage")
    raise UnknownNameError("study", name, there)


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that came to something, by number.

    Left out are those that are not finished, those of workers that ended (their parameters were
    queued again) and those that gave way to others.
    """
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state == TrialState.COMPLETE
        or (trial.state == TrialState.PRUNED and trial.params)
        or (trial.state == TrialState.FAIL and ERROR in trial.user_attrs)
    ]


def cpu_seconds(trial: FrozenTrial) -> float | None:
    """Processor time of a trial; 0 for one that took its values from another; else ``None``."""
    if "gennas:duplicate_of" in trial.user_attrs:
        return 0.0
    found: float | None = trial.user_attrs.get("gennas:cost", {}).get("cpu_seconds")
    return found
