"""`gennas plot` as a user runs it: a figure, a line for people, JSON for machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import create_trial
from task_search_helpers import fake_objective

from gennas_optuna import ProxyTask, get_task
from gennas_optuna.storage import open_storage, opened_storage
from gennas_optuna.task_search import search_task

pytest.importorskip("matplotlib")


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """Two searches, by hand, and one for a proxy task."""
    url = str(tmp_path / "studies.journal")
    with opened_storage(url) as place:
        for name, losses in {"evolution": (3.0, 1.0, 2.0), "random": (4.0, 3.5)}.items():
            study = optuna.create_study(storage=place, study_name=name)
            for number, loss in enumerate(losses):
                cost = {"params": 1e5, "flops": 1e7, "cpu_seconds": 0.5}
                attributes = {"gennas:arch": str(number), "gennas:cost": cost}
                study.add_trial(create_trial(value=loss, user_attrs=attributes))
        tuned = optuna.create_study(storage=place, study_name="tuned", direction="maximize")
        search_task(fake_objective(), tuned, n_trials=3)
    return url


def drawn(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_convergence(run: Any, storage: str, tmp_path: Path) -> None:
    out = tmp_path / "curve.png"
    args = ("plot", "convergence", storage, "evolution", "--baseline", "random", "--out", out)
    status, text, err = run(*args)
    assert (status, err) == (0, "")
    assert text == f"{out}: lowest loss of evolution 1.0000, random 3.5000\n"
    assert drawn(out)
    report = json.loads(run(*args, "--json")[1])
    assert report["file"] == str(out)
    assert report["baselines"] == ["random"]
    assert report["studies"]["evolution"] == {
        "trials": [1, 2, 3],
        "cpu_seconds": [0.5, 1.0, 1.5],
        "best": [3.0, 1.0, 1.0],
    }


def test_study(run: Any, storage: str, tmp_path: Path) -> None:
    out = tmp_path / "study.png"
    status, text, _ = run("plot", "study", storage, "evolution", "--out", out)
    assert status == 0
    assert text == f"{out}: evolution: 3 trials (3 complete), best 1.0000\n"
    assert drawn(out)
    report = json.loads(run("plot", "study", storage, "evolution", "--out", out, "--json")[1])
    assert report["file"] == str(out)
    assert (report["n_trials"], report["best"], report["best_value"]) == (3, [1], 1.0)
    assert report["cpu_seconds"] == 1.5
    report = json.loads(run("plot", "study", storage, "tuned", "--out", out, "--json")[1])
    assert report["directions"] == ["maximize"]


def test_tuning(run: Any, storage: str, tmp_path: Path) -> None:
    out = tmp_path / "tuning.png"
    status, text, _ = run("plot", "tuning", storage, "tuned", "--out", out)
    assert (status, text) == (0, f"{out}: 1 search\n")
    report = json.loads(run("plot", "tuning", storage, "tuned", "--out", out, "--json")[1])
    curve = report["studies"]["tuned"]
    study = optuna.load_study(study_name="tuned", storage=open_storage(storage))
    assert curve["best"][-1] == study.best_value
    assert len(curve["architectures"]) == len(curve["best"])


def test_task(run: Any, tmp_path: Path) -> None:
    out = tmp_path / "task.png"
    args = ("plot", "task", "generic", "--out", out)
    assert run(*args)[1] == f"{out}: task generic\n"
    report = json.loads(run(*args, "--json")[1])
    assert report["file"] == str(out)
    assert ProxyTask.from_dict(report["task"]) == get_task("generic")


def test_scatter_of_what_rank_prints_and_of_a_score_file(run: Any, tmp_path: Path) -> None:
    ranking, cache, out = tmp_path / "r.json", tmp_path / "scores", tmp_path / "scatter.png"
    truth = ("--truth", "hpo-bench:cifar10")
    rank = ("rank", "nasbench201", *truth, "--samples", 8, "--proxy", "params", "--json")
    ranking.write_text(run(*rank, "--cache", cache)[1])
    said = json.loads(ranking.read_text())
    status, text, _ = run("plot", "scatter", ranking, "--out", out)
    assert status == 0
    assert f"Spearman {said['spearman']:.3f}" in text
    assert text.count("\n") == 1
    assert drawn(out)
    report = json.loads(run("plot", "scatter", ranking, "--out", out, "--json")[1])
    for name in ("space", "proxy", "truth", "metric", "n", "spearman", "spearman_ci", "kendall"):
        assert report[name] == said[name]
    out.unlink()
    args = ("plot", "scatter", cache, *truth, "--out", out, "--json")
    report = json.loads(run(*args)[1])
    assert report["n"] == len({row["key"] for row in said["records"]})
    assert drawn(out)


def test_errors_are_one_line(run: Any, storage: str, tmp_path: Path) -> None:
    nowhere = tmp_path / "no.journal"
    (tmp_path / "ranking.json").write_text("{}")
    for args, named in (
        (("convergence", storage, "evolutoin"), "did you mean 'evolution'"),
        (("convergence", storage, "tuned"), "gennas plot tuning"),
        (("convergence", storage, "random", "--baseline", "nothing"), "nothing"),
        (("convergence", storage), "STUDY"),
        (("tuning", storage, "random"), "maximised"),
        (("tuning", nowhere, "s"), "no such file"),
        (("study", "postgres://me:secret@nowhere.invalid/x", "s"), "me:***@nowhere.invalid"),
        (("study", "nonsense", "s"), "'nonsense' cannot be used"),
        (("scatter", tmp_path / "ranking.json"), "--truth"),
        (("scatter", tmp_path / "missing.json"), "missing.json"),
        (("scatter", tmp_path / "missing.json", "--truth", "hpo-bench:cifar10"), "missing.json"),
    ):
        status, out, err = run("plot", *args, "--out", tmp_path / "a.png")
        assert (status, out) == (2, ""), args
        assert err.startswith("gennas: error: ")
        assert err.count("\n") == 1
        assert named in err
        assert "secret" not in err
    assert not nowhere.exists()
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["no/x.png", "x.docx"])
def test_a_figure_that_cannot_be_written_is_refused_before_any_work(
    run: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("work was begun")

    for where in ("_cli_search._search_alone", "_cli_plot.get_task", "_cli_plot.opened_studies"):
        monkeypatch.setattr(f"gennas_optuna.{where}", work)
    search = ("search", "nasbench201", "--objectives", "loss,flops", "--figure", tmp_path / name)
    plots = (
        ("plot", "task", "generic", "--out", tmp_path / name),
        ("plot", "study", "x.journal", "s", "--out", tmp_path / name),
    )
    for args in (search, *plots):
        status, _, err = run(*args)
        assert status == 2
        assert "cannot be written" in err
