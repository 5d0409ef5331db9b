"""A storage that waits while what is behind it is away: restarting, full, or out of reach."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import TrialState
from sqlalchemy import exc

from gennas_optuna.errors import GenNASError

PATIENCE = 300.0
"""Seconds to go on trying."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE}
"""What a file system says that is full or away."""

LONGEST_PAUSE = 5.0
"""Seconds between two tries, at most; the first pauses are shorter."""


def keep_trying(call: Callable[[], Any], patience: float, final: Sequence[str] = ()) -> Any:
    """The result of a call that is repeated while it fails for a reason that passes.

    Args:
        call: what to do.
        patience: seconds to go on trying; then it raises what the last try raised.
        final: texts of errors that do not pass.
    """
    end, pause = time.monotonic() + patience, 0.1
    while True:
        try:
            return call()
        except Exception as error:
            passes = _passing(error) is not None and not any(text in str(error) for text in final)
            if not passes or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class PatientStorage(BaseStorage, BaseHeartbeat):
    """Hands every call to another storage; where that is away, tries again for a while.

    A call whose answer was lost is repeated as well. That does no harm: to make a study of a name
    or to set a value twice is to do it once; a trial made twice is left without attributes, and
    :func:`gennas_optuna._lease.put_back_lost` finds it.

    Args:
        storage: the other storage.
        patience: seconds to go on trying, then it is a :class:`GenNASError`.
    """

    def __init__(self, storage: BaseStorage, patience: float = PATIENCE) -> None:
        self.storage = storage
        self.patience = patience

    def close(self) -> None:
        """Close the connections."""
        engine = getattr(getattr(self.storage, "_backend", self.storage), "engine", None)
        if engine is not None:
            self.storage.remove_session()
            engine.dispose()
        elif hasattr(self.storage, "close"):
            self.storage.close()

    def insist(self, call: Callable[[], Any]) -> Any:
        """The result of a call, after as many tries as it takes."""
        try:
            return keep_trying(call, self.patience)
        except Exception as error:
            cause = _passing(error)
            if cause is None:
                raise
            reason = (str(cause).splitlines() or [type(cause).__name__])[0]
            raise GenNASError(
                f"the storage has not been available for {self.patience:g} seconds: "
                f"{reason}; start the same command again when it is, to go on"
            ) from error

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set it; that it was set by a try whose answer was lost is no error."""
        tries = 0

        def call() -> bool:
            nonlocal tries
            tries += 1
            try:
                return self.storage.set_trial_state_values(trial_id, state, values)
            except RuntimeError:  # newer: UpdateFinishedTrialError
                trial = self.storage.get_trial(trial_id)
                mine = trial.values == (None if values is None else list(values))
                if tries > 1 and trial.state == state and mine:
                    return True
                raise

        return bool(self.insist(call))

    def get_heartbeat_interval(self) -> int | None:
        """Seconds between heartbeats; ``None`` if the other storage has none."""
        if not isinstance(self.storage, BaseHeartbeat):
            return None
        return self.storage.get_heartbeat_interval()


def _delegate(name: str) -> Callable[..., Any]:
    def method(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        return self.insist(lambda: getattr(self.storage, name)(*args, **kwargs))

    method.__name__ = name
    return method


for _class in (BaseStorage, BaseHeartbeat):
    for _name, _value in vars(_class).items():
        if callable(_value) and not _name.startswith("__") and _name not in vars(PatientStorage):
            setattr(PatientStorage, _name, _delegate(_name))
PatientStorage.__abstractmethods__ = frozenset()


def _passing(error: BaseException) -> BaseException | None:
    """What is behind an error, if it is of a kind that passes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (exc.OperationalError, exc.InterfaceError)) or (
            isinstance(cause, exc.DBAPIError) and cause.connection_invalidated
        ):
            return cause.orig or cause  # the driver's own words, without the statement
        if isinstance(cause, (exc.PendingRollbackError, exc.TimeoutError)):
            return cause  # what another call of the session says after that; no connection free
        if isinstance(cause, ConnectionError) or getattr(cause, "errno", None) in _FULL:
            return cause
        if _is_proxy_trouble(cause):
            return cause
        cause = cause.__cause__
    return None


def _is_proxy_trouble(error: BaseException) -> bool:
    """The gRPC proxy is away, or the database is away from the proxy."""
    if not hasattr(error, "code") or not hasattr(error, "details"):
        return False
    # What the proxy's storage raises comes as UNKNOWN, with the message alone.
    told = ("during the commit", "OperationalError", "has not been available")
    name, text = getattr(error.code(), "name", ""), str(error.details())
    return name == "UNAVAILABLE" or (name == "UNKNOWN" and any(part in text for part in told))
