"""Where a study is kept: in memory, in a file, in a database, or behind Optuna's gRPC proxy."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage

from gennas_optuna import _check
from gennas_optuna._journal import JournalFile
from gennas_optuna._lease import retry
from gennas_optuna._patience import PatientStorage, keep_trying
from gennas_optuna.errors import GenNASError, InvalidValueError, MissingFileError

HEARTBEAT = 30
"""Seconds between the heartbeats of a worker whose study is in a database."""

OPENING = 10.0
"""Seconds in which a database server that is restarting is expected to be back."""

_FINAL = ("authentication failed", "does not exist", "Access denied", "resolve", "translate host")
"""What servers and drivers say of a URL that is wrong."""

ALLOWED = (
    "give the path of a file that ends in .journal or .log, a database's URL such as "
    "sqlite:///study.db or postgresql://user:password@host/name, or grpc://host:port"
)

_JOURNALS = (".journal", ".log")
"""What the path of a journal file ends in, if it is not given as a URL."""

_DRIVERS = {
    "psycopg": "pip install 'gennas-optuna[postgres]'",
    "psycopg2": "pip install 'gennas-optuna[postgres]', and give postgresql+psycopg://...",
    "MySQLdb": "pip install mysqlclient, or pip install pymysql and give mysql+pymysql://...",
    "grpc": "pip install 'gennas-optuna[grpc]'",
    "google": "pip install 'gennas-optuna[grpc]'",
}


def open_storage(
    url: str | None,
    *,
    heartbeat: int = HEARTBEAT,
    grace: int | None = None,
    create: bool = True,
) -> BaseStorage:
    """Open a storage by its URL.

    All but memory wait for a while when the database, the proxy or the disk does not take a
    value, and try again. Database servers get heartbeats, so that the trials of workers that are
    gone are run again (:class:`optuna.storages.RetryHeartbeatStaleTrialCallback`).

    Args:
        url: ``None``: in memory. ``journal:///PATH`` or a path that ends in ``.journal`` or
            ``.log``: a file for the processes of one machine. ``sqlite:///PATH`` likewise.
            ``postgresql://USER:PASSWORD@HOST/NAME``, ``mysql://...``: a database server.
            ``grpc://HOST:PORT``: Optuna's proxy before a database.
        heartbeat: seconds between heartbeats.
        grace: seconds without one after which a worker is gone; by default three beats.
        create: make a file that is not there.

    Raises:
        InvalidValueError: it cannot be opened; the message says why, without the password.
        MissingFileError: a driver is not installed, or the file is not there.
    """
    if url is None:
        return InMemoryStorage()
    if not isinstance(url, str) or not url.strip():
        raise InvalidValueError(f"storage {_check.shorten(url)}: {ALLOWED}")
    _check.whole(heartbeat, "heartbeat", low=1)
    grace = 3 * heartbeat if grace is None else _check.whole(grace, "grace", low=1)
    try:
        if not create:
            _see_file(url)
        return PatientStorage(_open(url, heartbeat, grace))  # type: ignore[abstract]
    except GenNASError:
        raise
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or error.name or ""
        package = missing.partition(".")[0]
        how = _DRIVERS.get(package, f"install {package or 'its driver'}")
        raise MissingFileError(f"storage {_shown(url)} needs a package: {how}") from None
    except Exception as error:  # whatever a driver raises
        said = f"{error.__cause__ or ''}\n{error}\n{type(error).__name__}".strip()
        raise InvalidValueError(
            f"storage {_shown(url)} cannot be used: {_shown(said.splitlines()[0])}; {ALLOWED}"
        ) from error


@contextmanager
def opened_storage(url: str | None, *, create: bool = True) -> Iterator[BaseStorage]:
    """:func:`open_storage`, with the connections closed at the end."""
    storage = open_storage(url, create=create)
    try:
        yield storage
    finally:
        if isinstance(storage, PatientStorage):
            storage.close()


@contextmanager
def explained(study_name: str | None) -> Iterator[None]:
    """What goes wrong when a study is opened, as one line.

    Raises:
        InvalidValueError: what is in the storage cannot be read.
    """
    try:
        yield
    except GenNASError:
        raise
    except Exception as error:  # whatever a driver raises, or a damaged file makes Optuna raise
        reason = _shown(f"{type(error).__name__}: {error}")
        raise InvalidValueError(
            f"study {_check.shorten(study_name)} cannot be opened: {reason}"
        ) from error


def _open(url: str, heartbeat: int, grace: int) -> BaseStorage:
    scheme = _scheme(url)
    if scheme == "journal":
        return _journal(_journal_path(url))
    if scheme == "grpc":
        return _proxy(url)
    if not scheme:
        if url.endswith(_JOURNALS):
            return _journal(url)
        raise ValueError("it is neither a URL nor the path of such a file")
    if scheme.startswith("sqlite"):
        # Heartbeats are for other machines, and SQLite is for one.
        storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    else:
        storage = keep_trying(partial(_server, url, heartbeat, grace), OPENING, _FINAL)
    return optuna.storages.get_storage(storage)  # adds Optuna's cache


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower() if "://" in url or url.startswith("journal:") else ""


def _journal_path(url: str) -> str:
    return url[len("journal:") :].removeprefix("//")


def _see_file(url: str) -> None:
    """Refuse a journal or an SQLite database that is not there."""
    path, scheme = url, _scheme(url)
    if scheme == "journal":
        path = _journal_path(url)
    elif scheme.startswith("sqlite"):
        path = sqlalchemy.make_url(url).database or ":memory:"
    elif scheme or not url.endswith(_JOURNALS):
        return  # a server, or what is refused anyway
    if not path.startswith((":memory:", "file:")) and not Path(path).exists():
        raise MissingFileError(
            f"storage {_shown(url)}: there is no such file; correct the path, or begin a search "
            "there: gennas search SPACE --storage ..."
        )


def _journal(path: str) -> BaseStorage:
    if not path:
        raise ValueError("the path of the file is missing")
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise ValueError(f"{path!r} is a folder, or in no folder")
    return optuna.storages.JournalStorage(JournalFile(path))


def _server(url: str, heartbeat: int, grace: int) -> RDBStorage:
    # SQLAlchemy before 2.1 takes psycopg2 where no driver is named.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    options: dict[str, object] = {
        "engine_kwargs": {"pool_pre_ping": True},  # connections do not outlive a restart
        "heartbeat_interval": heartbeat,
        "grace_period": grace,
    }
    with warnings.catch_warnings(), _alone(url):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if hasattr(optuna.storages, "RetryHeartbeatStaleTrialCallback"):  # Optuna 4.9 and later
            return RDBStorage(url, heartbeat_stale_trial_callback=retry, **options)  # type: ignore[arg-type]
        return RDBStorage(url, failed_trial_callback=retry, **options)  # type: ignore[arg-type]


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """One process at a time: two that make the tables at once make each other fail."""
    engine = sqlalchemy.create_engine(url)
    locks = {
        "postgresql": "SELECT pg_advisory_lock(2108018991)",
        "mysql": "SELECT GET_LOCK('gennas', 60)",
    }
    try:
        with engine.connect() as connection:
            if engine.dialect.name in locks:
                connection.execute(sqlalchemy.text(locks[engine.dialect.name]))
            yield
    finally:
        engine.dispose()  # the connection's end releases the lock


def _proxy(url: str) -> BaseStorage:
    parts = urlsplit(url)
    if not parts.hostname or parts.port is None:
        raise ValueError("host or port is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        proxy = optuna.storages.GrpcStorageProxy(host=parts.hostname, port=parts.port)
    proxy.wait_server_ready(timeout=10)
    return proxy


def _shown(text: str) -> str:
    """A text without the passwords of URLs in it, cut to a line."""
    return _check.shorten(re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", text), 300)
