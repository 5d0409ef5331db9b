"""Real NNI experiments of our trial: every exported result is scored again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("nni")
pytest.importorskip("pkg_resources", reason="nnictl needs setuptools below 81")

from gennas_optuna import GenNASEvaluator, get_space
from nni_lab import Lab, laboratory

SPACE = get_space("nasbench201")
TRIALS = 8


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with laboratory(tmp_path) as lab:
        yield lab


def written(lab: Lab, folder: Path, *options: str) -> Path:
    """What ``gennas nni init`` writes, for a short experiment."""
    command = (sys.executable, "-m", "gennas_optuna.cli", "nni", "init", "nasbench201")
    done = lab.run(
        *command,
        str(folder),
        "--trials",
        str(TRIALS),
        "--steps",
        "1",
        "--inputs",
        "noise",
        *options,
    )
    assert done.returncode == 0, done.stderr
    assert f"nnictl create --config {folder / 'config.yml'}" in done.stdout
    return folder / "config.yml"


def exported(lab: Lab, config: Path) -> list[dict[str, Any]]:
    """Run the experiment to its end and export it."""
    experiment = lab.create(config)
    assert experiment.wait("DONE") == "DONE", experiment.log("dispatcher.log")
    assert lab.addresses() == {"127.0.0.1"}
    export = (sys.executable, "-m", "nni_strategy.export", experiment.name, "--format", "json")
    done = lab.run(*export, "--experiment-dir", str(experiment.folder.parent))
    experiment.stop()
    assert done.returncode == 0, done.stderr
    records: list[dict[str, Any]] = json.loads(done.stdout)
    return records


def check(records: list[dict[str, Any]]) -> None:
    assert len(records) == TRIALS
    evaluator = GenNASEvaluator(steps=1, inputs="noise")
    for record in records:
        assert record["status"] == "SUCCEEDED"
        assert record["certain"]
        arch = SPACE.decode(record["parameters"])
        assert record["key"] == arch.key
        assert record["value"] == evaluator.evaluate(arch).loss


@pytest.mark.slow
def test_our_tuner_at_concurrency_two(lab: Lab, tmp_path: Path) -> None:
    config = written(lab, tmp_path / "ours")
    assert yaml.safe_load(config.read_text())["trialConcurrency"] == 2
    check(exported(lab, config))


@pytest.mark.slow
def test_nnis_own_tuner_with_our_trial(lab: Lab, tmp_path: Path) -> None:
    config = written(lab, tmp_path / "theirs")
    settings = yaml.safe_load(config.read_text())
    settings["tuner"] = {"name": "TPE", "classArgs": {"optimize_mode": "minimize"}}
    config.write_text(yaml.safe_dump(settings))
    check(exported(lab, config))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": "nasbench202"}, "nasbench202"),
        ({"sampler": "annealing"}, "annealing"),
        ({"optimize_mode": "maximise"}, "maximise"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_bad_arguments_of_the_tuner_are_named_before_a_run(
    lab: Lab, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    config = written(lab, tmp_path / "bad")
    settings = yaml.safe_load(config.read_text())
    settings["tuner"]["classArgs"] |= change
    config.write_text(yaml.safe_dump(settings))
    done = lab.run(sys.executable, "-m", "gennas_optuna.cli", "nni", "check", str(config))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_bad_arguments_show_in_the_dispatchers_log(lab: Lab, tmp_path: Path) -> None:
    """NNI itself tells only that the tuner did not connect, or nothing."""
    config = written(lab, tmp_path / "bad")
    settings = yaml.safe_load(config.read_text())
    settings["tuner"]["classArgs"]["sampler"] = "annealing"
    config.write_text(yaml.safe_dump(settings))
    try:
        experiment = lab.create(config)
    except AssertionError:
        logs = [path.read_text() for path in tmp_path.rglob("dispatcher.log")]
    else:
        experiment.wait("ERROR", "DONE", "STOPPED")
        logs = [experiment.log("dispatcher.log")]
    assert any("annealing" in text and "evolution" in text for text in logs), logs


def test_without_nni_the_package_says_which_extra_to_install(tmp_path: Path) -> None:
    """In a process that cannot find NNI."""
    script = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'nni' else find(name, *rest)\n"
        "try:\n    import nni_strategy\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = Lab(tmp_path).run(sys.executable, "-c", script)
    assert 'pip install "gennas-optuna[nni]"' in done.stdout
