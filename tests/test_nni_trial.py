"""The trial command with NNI's channel replaced, and the commands of `gennas nni`."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nni")

import nni
import yaml
from nni.experiment.config import ExperimentConfig
from optuna.trial import FixedTrial

from gennas_optuna import GenNASEvaluator, cli, get_space
from gennas_optuna.task_search import ProxyTaskObjective
from gennas_optuna.task_space import ProxyTaskSpace
from nni_strategy import trial
from nni_strategy.searchspace import to_nni

ROOT = Path(__file__).parents[1]
SPACE = get_space("nasbench201")
PARAMETERS = SPACE.params(SPACE.parse("421211"))


class Channel:
    """NNI, as a trial sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parameters: Any = None
        self.asked = 0
        self.intermediate: list[float] = []
        self.final: list[Any] = []
        monkeypatch.setattr(nni, "get_trial_id", lambda: "abcde")
        monkeypatch.setattr(nni, "get_next_parameter", self.get)
        monkeypatch.setattr(
            nni, "get_current_parameter", lambda: self.parameters if self.asked else None
        )
        monkeypatch.setattr(nni, "report_intermediate_result", self.intermediate.append)
        monkeypatch.setattr(nni, "report_final_result", self.report)

    def get(self) -> Any:
        self.asked += 1
        return self.parameters

    def report(self, result: Any) -> None:
        assert self.asked == 1  # NNI refuses results before that
        self.final.append(json.loads(json.dumps(result)))


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Channel:
    return Channel(monkeypatch)


def test_architectures(channel: Channel) -> None:
    channel.parameters = PARAMETERS
    trial.main(["--space", "nasbench201", "--steps", "5", "--seed", "3"])
    arch = SPACE.decode(PARAMETERS)
    score = GenNASEvaluator(steps=5, seed=3).evaluate(arch)
    (result,) = channel.final
    assert score.trace is not None
    assert channel.intermediate == list(score.trace.losses)
    assert len(channel.intermediate) > 1
    wanted = {"default": score.loss, "loss": score.loss, "key": arch.key, "arch": str(arch)}
    wanted |= {"params": score.params, "flops": score.flops, "optimize_mode": "minimize"}
    assert wanted.items() <= result.items()
    assert result["parameters"] == PARAMETERS


@pytest.mark.slow
def test_proxy_tasks(channel: Channel) -> None:
    tasks = ProxyTaskSpace.of(SPACE)
    task = tasks.template
    channel.parameters = tasks.params(task)
    options = "--search task --truth hpo-bench:cifar10 --archs 4 --preset fast --steps 6"
    trial.main(["--space", "nasbench201", *options.split(), "--statistic", "kendall"])
    objective = ProxyTaskObjective(
        SPACE,
        "hpo-bench:cifar10",
        n_archs=4,
        statistic="kendall",
        preset="fast",
        steps=6,
        prune=False,
    )
    (result,) = channel.final
    assert result["default"] == objective(FixedTrial(tasks.params(task)))
    assert result["optimize_mode"] == "maximize"
    assert channel.intermediate[-1] == result["default"]
    assert len(channel.intermediate) == 3
    assert result["key"] == tasks.decode(tasks.params(task)).digest


@pytest.mark.parametrize(
    ("arguments", "parameters", "message"),
    [
        (["--space", "nasbench2"], PARAMETERS, "unknown search space 'nasbench2'"),
        (["--space", "nasbench201", "--steps", "0"], PARAMETERS, "'--steps': 0 is not in"),
        (["--space", "nasbench201", "--sreps", "1"], PARAMETERS, "No such option"),
        ([], PARAMETERS, "Missing option '--space'"),
        (["--space", "nasbench201", "--task", "none.json"], PARAMETERS, "none.json"),
        (["--space", "nasbench201", "--search", "task"], PARAMETERS, "give --truth"),
        (["--space", "nasbench201"], {}, "parameter 'op_0_1' is missing"),
        (["--space", "nasbench201"], {**PARAMETERS, "op_0_1": "conv"}, "op_0_1='conv' is not in"),
        (["--space", "nasbench201"], {**PARAMETERS, "lr": 0.1}, "'lr' is not part of"),
    ],
)
def test_mistakes_are_reported_in_place_of_a_result(
    arguments: list[str],
    parameters: Any,
    message: str,
    channel: Channel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    channel.parameters = parameters
    with pytest.raises(SystemExit) as stop:
        trial.main(arguments)
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert message in told
    assert [told.strip()] == [result["error"] for result in channel.final]
    # NNI's own tuners need a number, and none that attracts them.
    assert [result["default"] for result in channel.final] == [
        -inf if "task" in arguments else inf
    ]


def test_outside_of_an_experiment(caplog: pytest.LogCaptureFixture) -> None:
    trial.main(["--space", "nasbench201", "--steps", "2"])
    assert "Final result: {'default': " in caplog.text


# gennas nni --------------------------------------------------------------------------------------


@pytest.fixture
def gennas(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gennas", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


Run = Callable[..., tuple[int, str, str]]


def test_init_writes_what_nni_can_load(gennas: Run, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    options = ["--steps", "7", "--sampler", "evolution", "--trials", "5", "--concurrency", "3"]
    code, told, _ = gennas("nni", "init", "nasbench201", str(folder), *options)
    assert code == 0
    assert shlex.split(told) == ["nnictl", "create", "--config", str(folder / "config.yml")]
    config = ExperimentConfig.load(folder / "config.yml").canonical_copy()
    assert (config.max_trial_number, config.trial_concurrency) == (5, 3)
    assert config.search_space == to_nni(SPACE.distributions())
    own = [sys.executable, "-m", "nni_strategy.trial", "--space", "nasbench201", "--steps", "7"]
    assert shlex.split(config.trial_command) == own
    assert config.tuner.class_args == {
        "sampler": "evolution",
        "optimize_mode": "minimize",
        "seed": 0,
        "space": "nasbench201",
    }
    assert gennas("nni", "check", str(folder / "config.yml"))[0] == 0
    code, told, _ = gennas("nni", "init", "nasbench201", f"{folder} 2", *options, "--json")
    assert code == 0
    written = json.loads(told)
    assert shlex.split(written["start"])[-1] == written["files"][0]
    for file in written["files"]:
        assert Path(file).read_text() == (folder / Path(file).name).read_text()
    code, _, told = gennas("nni", "init", "nasbench201", str(folder))
    assert code == 2
    assert "config.yml exists" in told


def test_init_for_proxy_tasks(gennas: Run, tmp_path: Path) -> None:
    options = ["--search", "task", "--truth", "hpo-bench:cifar10", "--task-space", "conditional"]
    code, _, told = gennas("nni", "init", "nasbench201", str(tmp_path), *options)
    assert code == 0, told
    config = yaml.safe_load((tmp_path / "config.yml").read_text())
    arguments = config["tuner"]["classArgs"]
    assert (arguments["search"], arguments["optimize_mode"]) == ("task", "maximize")
    space = json.loads((tmp_path / "search_space.json").read_text())
    assert space == to_nni(ProxyTaskSpace.of(SPACE, "conditional").distributions())
    assert gennas("nni", "check", str(tmp_path / "config.yml"))[0] == 0


def test_files_are_named_absolutely(
    gennas: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ProxyTaskSpace.of(SPACE).template.save(Path("task.json"))
    assert gennas("nni", "init", "nasbench201", "here", "--task", "task.json")[0] == 0
    command = yaml.safe_load(Path("here/config.yml").read_text())["trialCommand"]
    assert shlex.split(command)[-2:] == ["--task", str(tmp_path / "task.json")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nasbench2", "x"], "unknown search space 'nasbench2'"),
        (["nasbench201", "x", "--sampler", "tpee"], "sampler='tpee': choose one of"),
        (["nasbench201", "x", "--search", "task"], "give --truth"),
        (["nasbench201", "x", "--truth", "hpo-bench:cifar10"], "--truth is for --search task"),
        (["nasbench201", "x", "--preset", "fastest"], "unknown preset 'fastest'"),
    ],
)
def test_init_with_mistakes(
    arguments: list[str],
    message: str,
    gennas: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, told = gennas("nni", "init", *arguments)
    assert code == 2
    assert len(told.splitlines()) == 1
    assert message in told
    assert not any(tmp_path.iterdir())


CONFIG: dict[str, Any] = {
    "trialCommand": "python3 -m nni_strategy.trial --space nasbench201 --steps 2",
    "trialConcurrency": 1,
    "searchSpace": to_nni(SPACE.distributions()),
    "tuner": {"name": "TPE", "classArgs": {"optimize_mode": "minimize"}},
    "trainingService": {"platform": "local"},
}
OURS = {"className": "nni_strategy.tuner.OptunaTuner", "codeDirectory": "."}
ALMOST = {**CONFIG["searchSpace"], "op_0_1": {"_type": "choice", "_value": ["none", "conv"]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuner": None}, "give its name"),
        ({"tuner": {"classArgs": {}}}, "give its name"),
        ({"tuner": {"name": "TPE", "classArgs": [1]}}, "classArgs: [1]: give arguments by name"),
        ({"searchSpace": None}, "search space: None: give its parameters"),
        ({"tuner": {"name": "TPE"}}, "'maximize', but the trial's result is to minimize"),
        ({"tuner": {**OURS, "classArgs": {"sampler": "x"}}}, "sampler='x': choose one of"),
        ({"tuner": {"name": "OptunaTuner", "classArgs": {"seeds": 1}}}, "unknown key 'seeds'"),
        ({"tuner": {**OURS, "classArgs": {"space": "nasbench101"}}}, "in the space 'nasbench101'"),
        ({"searchSpace": {"x": ALMOST["op_0_1"]}}, "'op_0_1' is missing, which the trial needs"),
        ({"searchSpace": ALMOST}, "for the trial: parameter op_0_1='conv' is not in"),
        (
            {"searchSpace": {**CONFIG["searchSpace"], "x": {"_type": "choice", "_value": [1]}}},
            "'x'",
        ),
        ({"trialCommand": "python3 -m nni_strategy.trial"}, "Missing option '--space'"),
        ({"trialCommand": "python3 -m nni_strategy.trial --space x"}, "unknown search space 'x'"),
        ({"trialCommand": "python3 'x"}, "No closing quotation"),
    ],
)
def test_check_names_the_mistake(
    changes: dict[str, Any], message: str, gennas: Run, tmp_path: Path
) -> None:
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(CONFIG))
    assert gennas("nni", "check", str(path))[0] == 0
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    code, _, told = gennas("nni", "check", str(path))
    assert code == 2
    assert len(told.splitlines()) == 1
    assert message in told


def test_check_knows_less_of_other_trials(gennas: Run, tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump({**CONFIG, "trialCommand": "python3 mine.py"}))
    code, told, _ = gennas("nni", "check", str(path))
    assert code == 0
    assert "another trial" in told
    found = {"config": str(path), "tuner": "TPE", "parameters": 6, "optimize_mode": None}
    assert json.loads(gennas("nni", "check", str(path), "--json")[1]) == found
    path.write_text(yaml.safe_dump(CONFIG))
    found["optimize_mode"] = "minimize"
    assert json.loads(gennas("nni", "check", str(path), "--json")[1]) == found


@pytest.mark.parametrize("example", sorted((ROOT / "examples" / "nni").glob("*.yml")))
def test_examples_are_right(example: Path, gennas: Run) -> None:
    code, _, told = gennas("nni", "check", str(example))
    assert code == 0, told
    assert ExperimentConfig.load(example).canonical_copy().search_space


def test_files_of_the_package(gennas: Run) -> None:
    for name in ("meta.yml", "loopback.js"):
        path = gennas("nni", "path", name)[1].strip()
        assert Path(path).is_file()
        assert json.loads(gennas("nni", "path", name, "--json")[1]) == {"path": path}


# Imports -----------------------------------------------------------------------------------------

WITHOUT = "import sys; sys.modules['nni'] = None; "


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.slow
def test_without_nni() -> None:
    done = run_python(WITHOUT + "import nni_strategy")
    assert 'ImportError: nni_strategy needs NNI: pip install "gennas-optuna[nni]"' in done.stderr
    run = "sys.argv = ['gennas', *{!r}.split()]; from gennas_optuna.cli import main; main()"
    done = run_python(WITHOUT + run.format("--help"))
    assert done.returncode == 0
    assert "Search with NNI" in done.stdout
    done = run_python(WITHOUT + run.format("nni init nasbench201 x"))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        'gennas: error: nni_strategy needs NNI: pip install "gennas-optuna[nni]"'
    ]


@pytest.mark.slow
def test_the_tuner_starts_fast_and_without_the_nas_part() -> None:
    """NNI's manager gives its dispatcher ten seconds, and PyTorch takes some of them."""
    done = run_python(
        "import os, sys, tempfile; os.environ['SDK_PROCESS'] = 'dispatcher'\n"
        "os.environ['NNI_LOG_DIRECTORY'] = tempfile.mkdtemp()\n"
        "from nni_strategy.tuner import OptunaTuner; OptunaTuner()\n"
        "assert not {'torch', 'optuna', 'gennas_optuna'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    modules = "trial, tuner, export, searchspace, _commands"
    done = run_python(
        f"import sys; from nni_strategy import {modules}\n"
        "assert not [name for name in sys.modules if name.startswith('nni.nas')]"
    )
    assert done.returncode == 0, done.stderr


def test_only_one_module_knows_nni() -> None:
    for path in (ROOT / "gennas_optuna").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            if any(name.split(".")[0] in ("nni", "nni_strategy") for name in names):
                assert path.name == "_cli_nni.py"
                assert node not in tree.body  # within a function
