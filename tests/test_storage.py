"""Where studies are kept, on real files; what a full disk or a lost answer does to them."""

from __future__ import annotations

import errno
import json
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, OperationalError
from worker_helpers import closed_storages, opened  # noqa: F401 - used by all tests here

from gennas_optuna import _patience
from gennas_optuna import storage as gennas_storage
from gennas_optuna._journal import JournalFile
from gennas_optuna._patience import PatientStorage
from gennas_optuna.errors import GenNASError, InvalidValueError, MissingFileError
from gennas_optuna.storage import open_storage


def quadratic(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", -1, 1) ** 2


class TestOpening:
    @pytest.mark.parametrize(
        "url", ["s.journal", "s.log", "journal:///{}/t", "journal:u", "sqlite:///s.db"]
    )
    def test_another_process_finds_the_study(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        url = url.format(str(tmp_path).lstrip("/"))
        study = optuna.create_study(study_name="s", storage=opened(url))
        study.optimize(quadratic, n_trials=3)
        again = optuna.load_study(study_name="s", storage=opened(url))
        assert [t.value for t in again.trials] == [t.value for t in study.trials]
        assert any(tmp_path.iterdir())

    def test_memory(self) -> None:
        assert isinstance(open_storage(None), InMemoryStorage)

    def test_the_file_of_optunas_own_class_can_be_read(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s.journal")
        backend = optuna.storages.journal.JournalFileBackend(path)
        own = optuna.storages.JournalStorage(backend)
        optuna.create_study(study_name="s", storage=own).optimize(quadratic, n_trials=2)
        ours = optuna.load_study(study_name="s", storage=opened(path))
        ours.optimize(quadratic, n_trials=2)
        theirs = optuna.load_study(study_name="s", storage=own)
        assert [t.params for t in theirs.trials] == [t.params for t in ours.trials]
        assert len(theirs.trials) == 4

    @pytest.mark.parametrize(
        ("url", "named"),
        [
            ("", "postgresql"),
            ("   ", "postgresql"),
            ("study.db", "neither a URL"),
            ("nosuch://x", "nosuch"),
            ("sqlite:////nowhere/at/all/s.db", "unable to open"),
            ("journal://", "missing"),
            ("/nowhere/at/all.journal", "folder"),
            ("grpc://localhost", "port"),
            ("grpc://localhost:port", "port"),
            ("grpc://localhost:99999999", "range"),
            ("http://localhost", "http"),
            ("postgresql://u@127.0.0.1:notaport/x", "postgresql"),
            ("\0.journal", "journal"),
            ("sqlite:///a\0b", "sqlite"),
        ],
    )
    def test_what_cannot_be_opened_is_one_line(self, url: str, named: str) -> None:
        with pytest.raises(InvalidValueError, match=named) as caught:
            open_storage(url)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "grpc"])
    def test_nobody_answers(self, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
        """The message has the reason, and no password."""
        monkeypatch.setattr(gennas_storage, "OPENING", 0.3)
        pytest.importorskip("grpc" if scheme == "grpc" else "psycopg")
        if scheme == "grpc":
            wait = optuna.storages.GrpcStorageProxy.wait_server_ready
            monkeypatch.setattr(
                optuna.storages.GrpcStorageProxy,
                "wait_server_ready",
                lambda self, timeout: wait(self, timeout=0.1),
            )
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))  # bound, but nobody listens
            port = sock.getsockname()[1]
            with pytest.raises(InvalidValueError, match="cannot be used") as caught:
                open_storage(f"{scheme}://someone:verysecret@127.0.0.1:{port}/name")
        assert "verysecret" not in str(caught.value)
        assert "refused" in str(caught.value) or "timeout" in str(caught.value)

    @pytest.mark.parametrize(
        ("reason", "tries"),
        [("server closed the connection unexpectedly", 3), ("password authentication failed", 1)],
    )
    def test_a_server_that_restarts_is_waited_for(
        self, monkeypatch: pytest.MonkeyPatch, reason: str, tries: int
    ) -> None:
        seen: list[str] = []

        def server(url: str, *_: object) -> RDBStorage:
            seen.append(url)
            if len(seen) < 3:
                raise OperationalError("SELECT 1", {}, Exception(reason))
            return RDBStorage("sqlite://")

        monkeypatch.setattr(gennas_storage, "_server", server)
        if tries == 3:
            open_storage("postgresql://localhost/x").close()
        else:
            with pytest.raises(InvalidValueError, match=reason):
                open_storage("postgresql://localhost/x")
        assert len(seen) == tries

    def test_a_missing_driver_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(MissingFileError, match=r"gennas-optuna\[postgres\]"):
            open_storage("postgresql://localhost/x")


class TestJournal:
    def study(self, path: Path) -> optuna.Study:
        return optuna.create_study(study_name="s", storage=opened(str(path)), load_if_exists=True)

    @pytest.mark.parametrize("cut", [1, 7, 40])
    def test_a_line_that_was_cut_off_is_removed(self, tmp_path: Path, cut: int) -> None:
        """As a crash in the middle of a write leaves it: Optuna's own class is stuck there."""
        path = tmp_path / "s.journal"
        self.study(path).optimize(quadratic, n_trials=3)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][:-cut])
        study = self.study(path)
        assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING]
        study.optimize(quadratic, n_trials=2)
        assert [json.loads(line) for line in path.read_text().splitlines()]
        again = optuna.load_study(
            study_name="s",
            storage=optuna.storages.JournalStorage(
                optuna.storages.journal.JournalFileBackend(str(path))
            ),
        )
        assert len(again.get_trials(states=(TrialState.COMPLETE,))) == 4

    def test_a_long_line_that_was_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "s.journal"
        journal = JournalFile(str(path))
        journal.append_logs([{"a": 1}])
        path.write_bytes(path.read_bytes() + b'{"b": "' + b"x" * 300_000)
        journal.append_logs([{"c": 3}])
        assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"c": 3}]
        path.write_bytes(b"x" * 200_000)  # nothing but the rest of a line
        journal.append_logs([{"d": 4}])
        assert path.read_text() == '{"d":4}\n'

    def test_a_full_disk_loses_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The size of files is limited for a while, as if the disk were full."""
        path = tmp_path / "s.journal"
        study = self.study(path)
        study.optimize(quadratic, n_trials=2)
        room = path.stat().st_size + 20
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            assert path.read_bytes().endswith(b"\n")
            if len(waits) == 3:  # someone makes room
                limit(resource.RLIM_INFINITY)

        monkeypatch.setattr(_patience.time, "sleep", sleep)
        with limited():
            limit(room)
            study.optimize(quadratic, n_trials=2)
        assert len(waits) == 3
        again = self.study(path)
        assert [t.state for t in again.trials] == [TrialState.COMPLETE] * 4


def limit(size: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def limited() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    try:
        yield
    finally:
        limit(before)


class Flaky:
    """Fails the first calls of a method, before or after they have an effect."""

    def __init__(
        self, call: Callable[..., Any], error: Exception, times: int, after: bool
    ) -> None:
        self.call, self.error, self.left, self.after = call, error, times, after

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left == 0:
            return self.call(*args, **kwargs)
        self.left -= 1
        if self.after:
            self.call(*args, **kwargs)
        raise self.error


AWAY = OperationalError("SELECT 1", {}, Exception("server closed the connection unexpectedly"))


class TestPatience:
    def flaky(self, monkeypatch: pytest.MonkeyPatch, name: str, **how: Any) -> optuna.Study:
        monkeypatch.setattr(_patience.time, "sleep", lambda seconds: None)
        inner = InMemoryStorage()
        study = optuna.create_study(storage=PatientStorage(inner, patience=5))
        settings = {"error": AWAY, "times": 2, "after": False, **how}
        monkeypatch.setattr(inner, name, Flaky(getattr(inner, name), **settings))
        return study

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize(
        "name", ["set_trial_param", "set_trial_user_attr", "get_all_trials", "get_trial"]
    )
    def test_it_tries_again(self, monkeypatch, name: str, after: bool) -> None:
        study = self.flaky(monkeypatch, name, after=after)

        def objective(trial: optuna.Trial) -> float:
            trial.set_user_attr("a", 1)
            return quadratic(trial)

        study.optimize(objective, n_trials=1)
        assert [t.state for t in study.trials] == [TrialState.COMPLETE]
        assert study.trials[0].user_attrs == {"a": 1}

    def test_a_value_whose_answer_was_lost_is_there_once(self, monkeypatch) -> None:
        study = self.flaky(monkeypatch, "set_trial_state_values", times=1, after=True)
        study.optimize(quadratic, n_trials=1)
        assert [t.state for t in study.trials] == [TrialState.COMPLETE]

    def test_a_trial_that_another_finished_is_no_success(self, monkeypatch) -> None:
        study = self.flaky(monkeypatch, "get_n_trials")
        trial = study.ask()
        study.tell(trial.number, 1.0)
        with pytest.raises(RuntimeError, match="finished"):
            study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [2.0])

    def test_it_gives_up_in_the_end(self, monkeypatch) -> None:
        study = self.flaky(monkeypatch, "create_new_trial", times=1000)
        clock = iter(range(1000))
        monkeypatch.setattr(_patience.time, "monotonic", lambda: next(clock))
        with pytest.raises(GenNASError, match="server closed the connection") as caught:
            study.ask()
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "error",
        [
            IntegrityError("INSERT", {}, Exception("duplicate key")),
            OSError(errno.EACCES, "Permission denied"),
            KeyError("no such study"),
        ],
    )
    def test_what_does_not_pass_is_not_waited_for(self, monkeypatch, error: Exception) -> None:
        study = self.flaky(monkeypatch, "create_new_trial", error=error, times=1)
        with pytest.raises(type(error)):
            study.ask()

    def test_it_has_every_method_of_a_storage(self) -> None:
        from optuna.storages import BaseStorage

        for name in dir(BaseStorage):
            if not name.startswith("_"):
                assert name in vars(PatientStorage), name
