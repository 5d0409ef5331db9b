"""The NAS evaluator under NNI's training service: real trials, two at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nni")
pytest.importorskip("pytorch_lightning")

from nni_lab import Lab, free_port, laboratory
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


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with laboratory(tmp_path) as lab:
        for name, value in lab.environment().items():
            monkeypatch.setenv(name, value)
        yield lab


def space() -> Any:
    return NasBench201(stem_out_channels=4, num_modules_per_stack=1)


def test_every_metric_is_on_its_own_model(tmp_path: Path, lab: Lab) -> None:
    strategy = OptunaStrategy("random", seed=0)
    config = NasExperimentConfig("ts", "simplified", "local")
    config.max_trial_number = 4
    config.trial_concurrency = 2
    config.experiment_working_directory = str(tmp_path / "nni")
    experiment = NasExperiment(space(), GenNASEvaluator(steps=2), strategy, config)
    try:
        experiment.run(port=free_port())
        addresses = lab.addresses()
        ranking = best_models(experiment)
        exported = experiment.export_top_models(4)
    finally:
        experiment.stop()
    assert addresses == {"127.0.0.1"}
    psutil.wait_procs(lab.processes(), timeout=20)
    assert not lab.processes()

    assert len({result.key for result in ranking}) == 4
    assert [r.loss for r in ranking] == sorted(r.loss for r in ranking)
    for result in ranking:
        with model_context(result.sample):
            model = space()
        assert GenNASEvaluator(steps=2).score(model).loss == result.loss
    # The strategy saw the same, and so does NNI's own export.
    told = {trial.user_attrs["gennas:key"]: trial.value for trial in strategy.study.trials}
    assert {result.key: -result.loss for result in ranking}.items() <= told.items()
    assert [(m.sample, m.metric) for m in exported] == [(r.sample, -r.loss) for r in ranking]
