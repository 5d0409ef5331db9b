"""Which worker runs a trial, whether that worker is still there, and how its trial goes on."""

from __future__ import annotations

import copy
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

WORKER = "gennas:worker"
"""The attribute of a trial that tells which process runs it."""

ALIVE = "gennas:alive"
"""The attribute of a long trial that tells when its worker was last seen (Unix time), on storages
without heartbeats."""

BEAT = 30.0
"""Seconds between two signs of life."""

GRACE = 120.0
"""Seconds without a sign of life after which a worker on another machine is taken for dead."""

RETRIES = 3
"""How often a trial whose worker is gone is run again; it may be what ends the workers."""


def this_worker() -> dict[str, Any]:
    """This process: where it runs, its number there, and when it started."""
    return {"host": _host(), "pid": os.getpid(), "start": _start_of(os.getpid())}


@contextmanager
def leased_trial(study: optuna.Study) -> Iterator[Trial]:
    """A new trial that this worker runs, and gives signs of life of; an error fails it.

    If it was taken for lost meanwhile and put back by another worker, what becomes of it here is
    of no account, nor is it an error.
    """
    with warnings.catch_warnings():
        # Optuna reminds that someone has to take care of the heartbeats.
        warnings.filterwarnings("ignore", message="Heartbeat of storage")
        trial = study.ask()
    try:
        trial.set_user_attr(WORKER, this_worker())
        with SignsOfLife(study, trial):
            yield trial
    except BaseException as error:
        if not is_taken(study, trial):
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise
        if not isinstance(error, RuntimeError):  # what Optuna raises where such a one is changed
            raise


def is_taken(study: optuna.Study, trial: Trial) -> bool:
    """Whether a trial that this worker was running was taken for lost, and put back by another."""
    return study._storage.get_trial(trial._trial_id).state.is_finished()


def put_back_lost(study: optuna.Study) -> int:
    """Fail the running trials whose worker is gone, and queue their parameters again.

    On this machine a worker is gone as soon as its process is. One on another machine is gone
    when it has given no sign of life for a while: Optuna's heartbeats where the storage has them,
    otherwise the attribute :data:`ALIVE`.

    Returns:
        How many trials were put back.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    heartbeats = heartbeat_interval(study) is not None
    count = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_gone(trial, heartbeats):
            count += put_back(study, trial)
    return count


def put_back(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Fail a running trial and queue its parameters again; false if another did it first."""
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, RuntimeError):  # it is finished already
        return False
    retry(study, trial)
    return True


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the parameters of a failed trial, unless that was done too often."""
    if not trial.params:
        return  # it ended before it had any
    # Optuna 4.9 gave the class this name.
    callback: Any = getattr(
        optuna.storages,
        "RetryHeartbeatStaleTrialCallback",
        getattr(optuna.storages, "RetryFailedTrialCallback", None),
    )
    again = copy.deepcopy(trial)
    again.user_attrs = {}
    again._system_attrs = {
        name: value
        for name, value in trial.system_attrs.items()
        if not name.startswith("constraints")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        callback(max_retry=RETRIES)(study, again)


def heartbeat_interval(study: optuna.Study) -> float | None:
    """Seconds between the storage's heartbeats, if it has any."""
    interval = getattr(study._storage, "get_heartbeat_interval", lambda: None)()
    return None if interval is None else float(interval)


class SignsOfLife:
    """While it is open, a thread says in the storage that the trial's worker is alive."""

    def __init__(self, study: optuna.Study, trial: Trial) -> None:
        storage: Any = study._storage
        interval = heartbeat_interval(study)
        self._beat: Callable[[], None]
        if interval is not None:
            self._beat = lambda: storage.record_heartbeat(trial._trial_id)
            self._beat()
        else:
            self._beat = lambda: storage.set_trial_user_attr(trial._trial_id, ALIVE, time.time())
        self._interval = BEAT if interval is None else interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._end.wait(self._interval):
            with suppress(Exception):  # the next beat may get through
                self._beat()

    def __enter__(self) -> SignsOfLife:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()


def _is_gone(trial: FrozenTrial, heartbeats: bool) -> bool:
    worker = trial.user_attrs.get(WORKER)
    started = trial.datetime_start
    last_seen = max(
        started.timestamp() if started is not None else 0.0,
        float(trial.user_attrs.get(ALIVE, 0.0)),
    )
    silent = datetime.now().timestamp() - last_seen > GRACE
    if worker is None:
        # Its worker ended while asking for it; or it is of a study that others run as well.
        return silent and not trial.user_attrs
    if worker["host"] == _host() and os.name == "posix":
        return not _is_running(worker)
    return silent and not heartbeats


def _is_running(worker: Mapping[str, Any]) -> bool:
    try:
        os.kill(worker["pid"], 0)  # signal 0 asks only whether the process exists
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists
    return bool(_start_of(worker["pid"]) == worker["start"])


def _host() -> str:
    """The machine, and on Linux the namespace in which its process numbers hold."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def _start_of(pid: int) -> str | None:
    """When a process started, as Linux tells it: numbers of processes are used again."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return status.rpartition(")")[2].split()[19]
