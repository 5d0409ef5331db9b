"""Real NNI experiments for the tests: a home of their own, loopback only, nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
_MARK = "GENNAS_TEST"
_PATIENCE = 900.0
"""Seconds that an experiment may take on a machine that is busy with other things."""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@dataclass
class Lab:
    """Where experiments run.

    Attributes:
        home: private; NNI writes there whatever working directory it is given.
        mark: value of an environment variable that all processes of the lab inherit.
    """

    home: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def environment(self) -> dict[str, str]:
        script = ROOT / "nni_strategy" / "loopback.js"
        return {
            _MARK: self.mark,
            "HOME": str(self.home),
            "NODE_OPTIONS": f"--require={script}",
            "NNI_CONFIG_DIR": str(self.home / "config"),
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
        }

    def processes(self) -> list[psutil.Process]:
        """Those that were started from here, by whomever, and still run."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get(_MARK) == self.mark
                if ours and process.pid != os.getpid() and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def addresses(self) -> set[str]:
        """Where the lab's processes listen."""
        return {
            connection.laddr.ip
            for process in self.processes()
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**os.environ, **self.environment()},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            **options,
        )

    def create(self, config: Path) -> Experiment:
        """``nnictl create``; once more where the machine is too busy for NNI's time-outs."""
        told = ""
        for _ in range(4):
            port = free_port()
            done = self.run("nnictl", "create", "--config", str(config), "--port", str(port))
            told = done.stdout + done.stderr
            if done.returncode == 0 and "Experiment ID" in told:
                name = told.split("Experiment ID: ")[1].split()[0]
                experiment = Experiment(self, _plain(name), port)
                if experiment.began():
                    return experiment
            self.clear()
        raise AssertionError(f"NNI's manager did not start:\n{told}")

    def clear(self) -> None:
        """End all processes of the lab."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(self.processes(), timeout=30)


@dataclass
class Experiment:
    lab: Lab
    name: str
    port: int

    @property
    def folder(self) -> Path:
        return self.lab.home / "nni-experiments" / self.name

    def get(self, path: str) -> Any:
        """What NNI's REST interface says."""
        url = f"http://127.0.0.1:{self.port}/api/v1/nni/{path}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)

    def began(self) -> bool:
        """Whether the tuner's process came up in the ten seconds that NNI gives it."""
        while not self.log("dispatcher.log"):
            if self.get("check-status")["status"] == "ERROR":
                return bool(self.log("dispatcher.log"))
            time.sleep(0.2)
        return True

    def wait(self, *wanted: str) -> str:
        """Wait for one of these states; the state."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            status = str(self.get("check-status")["status"])
            if status in (*wanted, "ERROR"):
                return status
            time.sleep(1)
        raise AssertionError(f"still {status}:\n{self.log('dispatcher.log')}")

    def log(self, name: str) -> str:
        path = self.folder / "log" / name
        return path.read_text() if path.is_file() else ""

    def stop(self) -> None:
        """``nnictl stop``, and see that nothing is left."""
        self.lab.run("nnictl", "stop", self.name)
        psutil.wait_procs(self.lab.processes(), timeout=60)
        assert not self.lab.processes()


def _plain(text: str) -> str:
    """Without terminal colours."""
    return "".join(c for c in text.replace("\x1b[36m", "").replace("\x1b[0m", "") if c.isalnum())


@contextmanager
def laboratory(home: Path) -> Iterator[Lab]:
    lab = Lab(home)
    try:
        yield lab
    finally:
        lab.clear()


def write_config(folder: Path, config: Mapping[str, Any], search_space: Any) -> Path:
    """A folder with an experiment's two files."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "search_space.json").write_text(json.dumps(search_space))
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(dict(config)))
    return path
