"""The study of a task search as it stands in its storage, and how it goes on after a stop."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from gennas_optuna import _check
from gennas_optuna.errors import InvalidValueError, UnknownNameError
from gennas_optuna.samplers import RegularizedEvolutionSampler
from gennas_optuna.seeding import derive_seed

SEARCH = "gennas:search"
PROCESS = "gennas:process"
LOSSES = "gennas:losses"
REUSED = "gennas:reused"
"""How many of a trial's first losses were known before it was run."""


class MakeSampler(Protocol):
    """Makes a sampler of a seed."""

    def __call__(self, *, seed: int) -> BaseSampler:
        """The sampler."""


_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_HERE = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(4)}
_GRACE = timedelta(minutes=1)


def open_study(
    storage: str | None,
    name: str | None,
    make_sampler: MakeSampler,
    *,
    seed: int,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """Create a study that is maximised, or go on with the one of that name.

    Args:
        storage: an Optuna URL such as ``sqlite:///tasks.db``; the path of a journal file, which
            needs no database (its name must end in ``.journal`` or ``.log``); ``None``: memory.
        name: of the study. A storage that is to be gone on with needs one.
        make_sampler: of the sampler's seed. Whoever finds the study there already gets another
            seed than who made it, lest samplers that keep a random state (all but the evolution)
            propose the same once more.
        seed: of the search.
        pruner: besides the exact bound; by default none.

    Raises:
        InvalidValueError: the storage cannot be used.
    """
    sampler, pruner = make_sampler(seed=seed), pruner or optuna.pruners.NopPruner()
    try:
        place = _place(storage)
        try:  # only one process can make it
            return optuna.create_study(
                storage=place,
                study_name=name,
                direction="maximize",
                sampler=sampler,
                pruner=pruner,
            )
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=place, pruner=pruner)
        begun = len(study.get_trials(deepcopy=False))
    except Exception as error:  # whatever a database driver raises
        raise _unusable(storage, error) from error
    if not isinstance(sampler, RegularizedEvolutionSampler):
        joined = derive_seed(seed, "joined", begun, secrets.token_hex(8)) % 2**32
        sampler = make_sampler(seed=joined)
    study.sampler = sampler
    return study


def load_study(storage: str, name: str) -> optuna.Study:
    """A study that is there already.

    Raises:
        InvalidValueError: the storage cannot be used, or there is no study of that name in it.
    """
    try:
        place = _place(storage)
        names = optuna.get_all_study_names(place)
        if name in names:
            return optuna.load_study(study_name=name, storage=place)
    except Exception as error:  # whatever a database driver raises
        raise _unusable(storage, error) from error
    raise UnknownNameError("study", name, names)


def _place(storage: str | None) -> Any:
    """What Optuna takes as a storage."""
    if storage is not None and storage.endswith((".journal", ".log")) and "://" not in storage:
        return JournalStorage(JournalFileBackend(storage))
    return storage


def _unusable(storage: str | None, error: Exception) -> InvalidValueError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InvalidValueError(
        f"storage {_check.shorten(storage)} cannot be used: {_check.shorten(reason, 200)}; "
        "give an Optuna storage URL such as sqlite:///tasks.db, or the name of a .journal file"
    )


def check_direction(study: optuna.Study) -> None:
    """A rank correlation is maximised; a study that minimises it would find the worst task."""
    if study.directions != [StudyDirection.MAXIMIZE]:
        raise InvalidValueError(
            "the rank correlation is maximised: make the study with "
            "create_study(direction='maximize')"
        )


def claim(study: optuna.Study, search: Mapping[str, Any]) -> None:
    """Note in the study what is searched, or see that it is the same as before.

    Raises:
        InvalidValueError: the study's trials were made under other conditions.
    """
    before = study.user_attrs.get(SEARCH)
    if before is None:
        study.set_user_attr(SEARCH, dict(search))
        return
    changed = [key for key in search if before.get(key) != search[key]]
    if changed:
        key = changed[0]
        raise InvalidValueError(
            f"study {study.study_name!r} is another search: its {key} is "
            f"{_check.shorten(before.get(key))}, not {_check.shorten(search[key])}; give another "
            "study name, or the same settings"
        )


def sign(trial: optuna.trial.BaseTrial) -> None:
    """Note in a trial which process runs it."""
    trial.set_user_attr(PROCESS, _HERE)


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Have a trial that will not be finished run again, with the losses that it found."""
    kept = {k: v for k, v in trial.user_attrs.items() if k != PROCESS}
    kept[REUSED] = len(kept.get(LOSSES, ()))
    if trial.params:  # first, so that it is there twice rather than lost if this is stopped, too
        study.enqueue_trial(trial.params, user_attrs=kept)
    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def requeue_stopped(study: optuna.Study, *, take_over: bool = False) -> int:
    """Put back the trials of processes that are gone.

    Args:
        study: the study.
        take_over: also those of which this machine cannot know whether their process lives,
            since it runs, or ran, on another machine.

    Returns:
        How many trials were put back.
    """
    stopped = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if _is_gone(trial, take_over)
    ]
    for trial in stopped:
        requeue(study, trial)
    return len(stopped)


def requeue_interrupted(study: optuna.Study) -> None:
    """Put back the trial that this process was running; Optuna may have failed it already."""
    own = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get(PROCESS) == _HERE]
    if own and own[-1].state in (TrialState.RUNNING, TrialState.FAIL):
        requeue(study, own[-1])


def _is_gone(trial: FrozenTrial, take_over: bool) -> bool:
    owner = trial.user_attrs.get(PROCESS)
    if owner == _HERE:
        return False
    if owner is None:  # it was just asked for, or its process ended in that moment
        started = trial.datetime_start
        return take_over or started is None or datetime.now() - started > _GRACE
    if owner["host"] != _HERE["host"] or os.name != "posix":
        return take_over
    if owner["pid"] == _HERE["pid"]:  # ours now, hence no longer that process's
        return True
    try:
        os.kill(owner["pid"], 0)  # signal 0 asks only whether the process exists
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were completed or pruned."""
    return study.get_trials(deepcopy=False, states=_FINISHED)


def completed(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have a correlation, best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (-(trial.value or 0.0), trial.number))


def trained(trial: FrozenTrial) -> int:
    """Architectures that a trial trained, whatever became of it."""
    return len(trial.user_attrs.get(LOSSES, ())) - int(trial.user_attrs.get(REUSED, 0))


def evaluations(study: optuna.Study) -> int:
    """Architectures that were trained in all trials."""
    return sum(map(trained, study.get_trials(deepcopy=False)))


def since_best(study: optuna.Study) -> int:
    """Finished trials after the one that is best."""
    best = completed(study)[:1]
    return sum(trial.number > best[0].number for trial in finished(study)) if best else 0
