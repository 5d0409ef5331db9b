"""Real NNI experiments: nnictl and NNI's Python interface, on loopback, every result recomputed."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

pytest.importorskip("nni")
pytest.importorskip("pkg_resources", reason="nnictl needs setuptools below 81")

import psutil
import yaml

from gennas_optuna import GenNASEvaluator, GenNASObjective, ProxyTask, get_space
from gennas_optuna.samplers import make_sampler
from gennas_optuna.task_search import ProxyTaskObjective
from gennas_optuna.task_space import ProxyTaskSpace
from nni_lab import Experiment, Lab, free_port, laboratory, write_config
from nni_strategy._records import Record, find_database, read_records
from nni_strategy.searchspace import read_parameters, to_nni

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples" / "nni"
SPACE = get_space("nasbench201")
TRIAL = f"{sys.executable} -m nni_strategy.trial --space nasbench201 --steps 2"

TOY = """
import nni
parameters = nni.get_next_parameter()
nni.report_final_result({"default": parameters["x"] ** 2, "parameters": parameters})
"""

PYTHON_API = """
import json, sys
from nni.experiment import Experiment
trial, port = sys.argv[1:]
experiment = Experiment("local")
experiment.config.trial_command = trial
experiment.config.search_space = json.load(open("search_space.json"))
experiment.config.tuner.name = "TPE"
experiment.config.tuner.class_args = {"optimize_mode": "minimize", "seed": 0}
experiment.config.max_trial_number = 6
experiment.config.trial_concurrency = 2
try:
    done = experiment.run(port=int(port))
    print("DONE", done, experiment.id, len(experiment.export_data()))
finally:
    experiment.stop()
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with laboratory(tmp_path / "home") as lab:
        lab.home.mkdir()
        yield lab


def settings(tuner: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "trialCommand": TRIAL,
        "trialCodeDirectory": ".",
        "trialConcurrency": 2,
        "maxTrialNumber": 8,
        "searchSpaceFile": "search_space.json",
        "tuner": tuner,
        "trainingService": {"platform": "local"},
        **changes,
    }


def optuna_tuner(**arguments: Any) -> dict[str, Any]:
    name = "nni_strategy.tuner.OptunaTuner"
    return {"className": name, "codeDirectory": ".", "classArgs": {"seed": 0, **arguments}}


def finished(experiment: Experiment) -> list[Record]:
    """The records of an experiment that has run through; it is stopped."""
    try:
        assert experiment.wait("DONE") == "DONE", experiment.log("dispatcher.log")
        assert experiment.lab.addresses() == {"127.0.0.1"}
    finally:
        experiment.stop()
    return read_records(find_database(str(experiment.folder)))


def check_losses(records: list[Record], steps: int = 2) -> None:
    """Recompute the loss of each."""
    evaluator = GenNASEvaluator(steps=steps)
    for record in records:
        arch = SPACE.decode(record.parameters)
        assert record.certain
        assert record.key == arch.key
        assert record.value == evaluator.evaluate(arch).loss


def test_architecture_search_in_three_commands(lab: Lab, tmp_path: Path) -> None:
    gennas = [sys.executable, "-m", "gennas_optuna.cli"]
    told = lab.run(
        *gennas,
        *[
            "nni",
            "init",
            "nasbench201",
            "here",
            "--steps",
            "2",
            "--trials",
            "6",
            "--concurrency",
            "2",
        ],
        cwd=tmp_path,
    )
    assert told.stdout == "nnictl create --config here/config.yml\n", told.stderr
    experiment = lab.create(tmp_path / "here" / "config.yml")
    records = finished(experiment)
    assert [record.status for record in records] == ["SUCCEEDED"] * 6
    check_losses(records)
    # What the command writes is the same, and it finds the experiment by its ID.
    done = lab.run(sys.executable, "-m", "nni_strategy.export", experiment.name)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [float(row["value"]) for row in rows] == [record.value for record in records]
    assert f"put right: {sum(record.mispaired for record in records)};" in done.stderr


def test_tuner_of_nni_and_python_interface(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(PYTHON_API)
    (tmp_path / "search_space.json").write_text(json.dumps(to_nni(SPACE.distributions())))
    for _ in range(3):  # NNI's start-up time-outs
        done = lab.run(sys.executable, "run.py", TRIAL, str(free_port()), cwd=tmp_path)
        if "DONE" in done.stdout:
            break
        lab.clear()
    word, ok, name, exported = next(
        line.split() for line in done.stdout.splitlines() if line.startswith("DONE")
    )
    assert (word, ok, exported) == ("DONE", "True", "6")
    records = read_records(find_database(str(lab.home / "nni-experiments" / name)))
    assert [record.status for record in records] == ["SUCCEEDED"] * 6
    check_losses(records)
    assert not lab.processes()


@pytest.fixture
def registered(lab: Lab) -> Iterator[str]:
    """The tuner's name, known to nnictl meanwhile."""
    found = lab.run(sys.executable, "-m", "gennas_optuna.cli", "nni", "path", "meta.yml")
    lab.run("nnictl", "algo", "register", "--meta", found.stdout.strip())
    try:
        shown = lab.run("nnictl", "algo", "show", "OptunaTuner")
        assert "nni_strategy.tuner.OptunaTuner" in shown.stdout
        yield "OptunaTuner"
    finally:
        lab.run("nnictl", "algo", "unregister", "OptunaTuner")
    assert "nni_strategy" not in lab.run("nnictl", "algo", "list").stdout


def test_same_order_as_the_study_one_at_a_time(lab: Lab, tmp_path: Path, registered: str) -> None:
    arguments = {"sampler": "evolution", "population": 5, "seed": 0, "space": "nasbench201"}
    config = settings(
        {"name": registered, "classArgs": arguments}, trialConcurrency=1, maxTrialNumber=12
    )
    path = write_config(tmp_path / "here", config, to_nni(SPACE.distributions()))
    records = finished(lab.create(path))
    study = optuna.create_study(
        sampler=make_sampler("evolution", SPACE, seed=0, population=5),
        pruner=optuna.pruners.NopPruner(),
    )
    study.optimize(GenNASObjective(SPACE, steps=2), n_trials=12)
    assert [(r.parameters, r.value) for r in records] == [
        (t.params, t.value) for t in study.trials
    ]


def test_proxy_task_search(lab: Lab, tmp_path: Path) -> None:
    config = yaml.safe_load((EXAMPLES / "task_search.yml").read_text())
    config["trialCommand"] = (
        config["trialCommand"].replace("--archs 20", "--archs 3").replace("balanced", "fast")
        + " --steps 6"
    )
    config["maxTrialNumber"] = 2
    spaces = json.loads((EXAMPLES / "task_search_space.json").read_text())
    path = write_config(
        tmp_path / "here", {**config, "searchSpaceFile": "search_space.json"}, spaces
    )
    experiment = lab.create(path)
    records = finished(experiment)
    tasks = ProxyTaskSpace.of(SPACE)
    objective = ProxyTaskObjective(
        SPACE, "hpo-bench:cifar10", n_archs=3, preset="fast", steps=6, prune=False
    )
    assert len(records) == 2
    for record in records:
        parameters = read_parameters(record.parameters, tasks.distributions())
        assert record.key == tasks.decode(parameters).digest
        assert record.value == objective(optuna.trial.FixedTrial(parameters))
    out = tmp_path / "task.json"
    done = lab.run(
        sys.executable, "-m", "nni_strategy.export", experiment.name, "--best-task", str(out)
    )
    assert done.returncode == 0, done.stderr
    best = max(records, key=lambda record: record.value or 0.0)
    assert ProxyTask.load(out).digest == best.key


def test_architecture_search_example_with_an_assessor(lab: Lab, tmp_path: Path) -> None:
    config = yaml.safe_load((EXAMPLES / "arch_search.yml").read_text())
    config["trialCommand"] = config["trialCommand"].replace("--preset balanced", "--steps 5")
    config["maxTrialNumber"] = 3
    path = write_config(tmp_path / "here", config, {})
    records = finished(lab.create(path))
    assert {record.status for record in records} <= {"SUCCEEDED", "EARLY_STOPPED"}
    done = [record for record in records if record.value is not None]
    assert done
    check_losses(done, steps=5)


def test_stopped_and_resumed(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "toy.py").write_text(TOY)
    config = settings(
        optuna_tuner(sampler="random"), trialCommand=f"{sys.executable} toy.py", maxTrialNumber=9
    )
    path = write_config(
        tmp_path / "here", config, {"x": {"_type": "uniform", "_value": [-1.0, 1.0]}}
    )
    experiment = lab.create(path)
    try:
        while sum(job["status"] == "SUCCEEDED" for job in experiment.get("trial-jobs")) < 3:
            assert experiment.get("check-status")["status"] == "RUNNING"
            time.sleep(0.5)
    finally:
        experiment.stop()
    before = read_records(find_database(str(experiment.folder)))
    for _ in range(3):
        experiment.port = free_port()
        lab.run("nnictl", "resume", experiment.name, "--port", str(experiment.port))
        if lab.processes():
            break
    records = finished(experiment)
    results = [record for record in records if record.value is not None]
    assert len(results) >= 8
    for record in results:
        assert record.certain
        assert record.value == pytest.approx(record.parameters["x"] ** 2)
    # What was done stays, and of what NNI tells the tuner nothing is proposed twice. NNI tells of
    # trials whose end it had seen, not only their result.
    assert {r.trial for r in before if r.value is not None} <= {r.trial for r in results}
    told = re.search(r"Imported (\d+) of (\d+) trials", experiment.log("dispatcher.log"))
    assert told is not None
    assert told[1] == told[2]
    known = {r.trial: r.parameters["x"] for r in before if r.status == "SUCCEEDED"}
    assert int(told[1]) >= len(known) >= 3
    fresh = [r.parameters["x"] for r in results if r.trial not in {old.trial for old in before}]
    assert len({*fresh, *known.values()}) == len(fresh) + len(known)


def test_nothing_is_left_when_a_test_fails(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text("import time\ntime.sleep(600)")
    config = settings(optuna_tuner(), trialCommand=f"{sys.executable} toy.py")
    path = write_config(tmp_path, config, {"x": {"_type": "choice", "_value": [1]}})

    def fail() -> None:
        with laboratory(tmp_path) as lab:
            experiment = lab.create(path)
            while not any(job["status"] == "RUNNING" for job in experiment.get("trial-jobs")):
                time.sleep(0.5)
            labs.append((lab, len(lab.processes())))
            raise ZeroDivisionError

    labs: list[tuple[Lab, int]] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    ((lab, count),) = labs
    assert count >= 3  # manager, dispatcher, a trial
    assert not lab.processes()


@pytest.mark.parametrize(
    ("tuner", "trial", "message"),
    [
        (optuna_tuner(sampler="tpee"), TRIAL, "sampler='tpee': choose one of tpe, evolution"),
        (optuna_tuner(), TRIAL.replace("201", "2"), "unknown search space 'nasbench2'"),
    ],
)
def test_mistakes_are_named(
    tuner: dict[str, Any], trial: str, message: str, lab: Lab, tmp_path: Path
) -> None:
    config = settings(tuner, trialCommand=trial)
    path = write_config(tmp_path / "here", config, to_nni(SPACE.distributions()))
    for _ in range(3):  # NNI's start-up time-outs
        port = str(free_port())
        done = lab.run("nnictl", "create", "--config", str(path), "--port", port, "--foreground")
        if message in done.stdout + done.stderr:
            break
        lab.clear()
    console = done.stdout + done.stderr
    assert message in console
    assert "10 seconds" not in console
    assert "status from: RUNNING to: ERROR" in console
    log = lab.home / "nni-experiments" / "_latest" / "log" / "dispatcher.log"
    assert message in log.read_text()
    psutil.wait_procs(lab.processes(), timeout=60)
    assert not lab.processes()
    # And before anything is started:
    checked = lab.run(sys.executable, "-m", "gennas_optuna.cli", "nni", "check", str(path))
    assert checked.returncode == 2
    assert len(checked.stderr.splitlines()) == 1
    assert message in checked.stderr
