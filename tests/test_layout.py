"""Rules of the repository that a reviewer should not have to check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gennas_optuna"

FRONT_ENDS = {
    "_trial",
    "_cli_nni",
    "_cli_options",
    "_cli_pareto",
    "_cli_plot",
    "_cli_records",
    "_cli_report",
    "_cli_search",
    "_cli_tune",
    "_journal",
    "_lease",
    "_patience",
    "_several",
    "_studies",
    "_task_result",
    "_task_study",
    "cli",
    "constraints",
    "modules",
    "objective",
    "plots",
    "plots_pareto",
    "plots_search",
    "plots_study",
    "report",
    "samplers",
    "search",
    "storage",
    "task_search",
    "workers",
}
"""The modules that may know studies and trials."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every imported name of a file, dotted; also those inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    if path.stem in FRONT_ENDS or path == PACKAGE / "__init__.py":
        return
    for name in imported(path):
        assert not name.startswith(("click", "rich", "nni")), name
        assert not name.startswith("optuna") or name.startswith("optuna.distributions"), name
        module = name.split(".")[1] if name.startswith("gennas_optuna.") else ""
        assert module not in FRONT_ENDS, name


def test_no_code_runs_from_files() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                loaded = f"{node.value.id}.{node.attr}"
                assert loaded not in ("pickle.load", "pickle.loads", "yaml.load"), path


EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").glob("*.py"))
    if not path.name.startswith(("drop_in_", "score_any_"))  # test_examples_drop_in.py runs these
]


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_examples_run(example: Path) -> None:
    done = subprocess.run([sys.executable, example], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
