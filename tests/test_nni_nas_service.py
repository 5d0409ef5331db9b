"""The NAS evaluator under NNI's training service: real trials, two at a time."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nni")
pytest.importorskip("pytorch_lightning")

from nni_strategy.evaluator import GenNASEvaluator, best_models
from nni_strategy.strategy import OptunaStrategy

# isort: split
import psutil
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.hub.pytorch import NasBench201
from nni.nas.space import model_context

# NNI forgets to close its log and the socket that it tries a port with.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

LOOPBACK = """
// NNI's manager listens on every interface and has no setting for it.
const { Server } = require('net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  const host = /^[0-9]+$/.test(port) && typeof rest[0] !== 'string' ? ['127.0.0.1'] : [];
  return listen.call(this, port, ...host, ...rest);
};
"""


def marked(marker: str) -> list[psutil.Process]:
    """The processes that were started by this test, or by one of those, and still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GENNAS_TEST") == marker and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A home of its own, servers on loopback only, and no process left behind."""
    script = tmp_path / "loopback.js"
    script.write_text(LOOPBACK)
    marker = uuid.uuid4().hex
    monkeypatch.setenv("GENNAS_TEST", marker)
    monkeypatch.setenv("NODE_OPTIONS", f"--require={script}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    yield marker
    for process in marked(marker):
        process.kill()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def space() -> Any:
    return NasBench201(stem_out_channels=4, num_modules_per_stack=1)


def test_every_metric_is_on_its_own_model(tmp_path: Path, private: str) -> None:
    strategy = OptunaStrategy("random", seed=0)
    config = NasExperimentConfig("ts", "simplified", "local")
    config.max_trial_number = 6
    config.trial_concurrency = 2
    config.experiment_working_directory = str(tmp_path / "nni")
    experiment = NasExperiment(space(), GenNASEvaluator(steps=2), strategy, config)
    try:
        experiment.run(port=free_port())
        addresses = {
            connection.laddr.ip
            for process in marked(private)
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        ranking = best_models(experiment)
        exported = experiment.export_top_models(6)
    finally:
        experiment.stop()
    assert addresses == {"127.0.0.1"}
    psutil.wait_procs(marked(private), timeout=20)
    assert not marked(private)

    assert len({result.key for result in ranking}) == 6
    assert [r.loss for r in ranking] == sorted(r.loss for r in ranking)
    for result in ranking:
        with model_context(result.sample):
            model = space()
        assert GenNASEvaluator(steps=2).score(model).loss == result.loss
    # The strategy saw the same, and so does NNI's own export.
    told = {trial.user_attrs["gennas:key"]: trial.value for trial in strategy.study.trials}
    assert {result.key: -result.loss for result in ranking}.items() <= told.items()
    assert [(m.sample, m.metric) for m in exported] == [(r.sample, -r.loss) for r in ranking]
