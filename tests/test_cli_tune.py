"""`gennas tune-task` and `gennas plot`, and the figures."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy import stats
from task_search_helpers import fake_objective, quality, table

from gennas_optuna import GenNASEvaluator, ProxyTask, get_space, get_task, plots
from gennas_optuna.errors import GenNASError
from gennas_optuna.inputs import load_images
from gennas_optuna.seeding import torch_generator
from gennas_optuna.task_search import search_task

SPACE = get_space("nasbench201")


@pytest.fixture(scope="module")
def tune(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The command on a table of twelve architectures."""
    path = tmp_path_factory.mktemp("truth") / "accuracies.json"
    path.write_text(json.dumps([[str(record.arch), record.truth] for record in table(12)]))
    return ("tune-task", "nasbench201", "--truth", str(path), "--archs", "3", "--steps", "1")


@pytest.mark.slow
def test_tune_task(run: Any, tune: tuple[str, ...], tmp_path: Path) -> None:
    out, storage = tmp_path / "task.json", tmp_path / "study.journal"
    args = (*tune, "--storage", storage, "--seed", 3, "--cache", tmp_path / "scores")
    status, text, _ = run(*args, "--trials", 1, "--json")
    assert status == 0
    first = json.loads(text)
    assert (first["n_trials"], first["stopped"]) == (1, "n_trials")
    assert ProxyTask.from_dict(first["task"]) == get_task("nasbench201-fast")  # its start

    more = ("--trials", 3, "--heldout", 4, "--ensemble", 2, "--out", out)
    status, text, err = run(*args, *more)
    assert status == 0
    assert "going on after 1 finished trial" in err
    report = json.loads(out.with_suffix(".provenance.json").read_text())
    assert f"Spearman {report['search']['spearman']:.3f}" in text
    assert report["n_trials"] == 3
    task = ProxyTask.load(out)
    assert task.name == "task"
    assert task.digest == report["task_digest"]

    # Recomputed without any of the search's code: on the search's architectures and on others.
    evaluator = GenNASEvaluator(task, steps=1, seed=3)
    own = [SPACE.parse(text) for text in report["archs"]]
    losses = [evaluator.evaluate(arch).loss for arch in own]
    assert losses == report["losses"]
    accuracies = [quality(arch) for arch in own]
    expected = stats.spearmanr(-np.array(losses), accuracies).statistic
    assert report["search"]["spearman"] == pytest.approx(expected)

    lines = [json.loads(line) for line in (tmp_path / "scores").read_text().splitlines()]
    scores = {
        line["arch"]: line["score"]["loss"]
        for line in lines
        if line["identity"] == evaluator.identity(SPACE)
    }
    others = [SPACE.parse(text) for text in scores]
    assert len(others) == report["heldout"]["n"] == 4
    assert not {arch.key for arch in own} & {arch.key for arch in others}
    accuracies = [quality(arch) for arch in others]
    losses = [evaluator.evaluate(arch).loss for arch in others]
    assert list(scores.values()) == losses
    expected = stats.spearmanr(-np.array(losses), accuracies).statistic
    assert report["heldout"]["spearman"] == pytest.approx(expected)
    assert len(report["ensemble"]) == 2
    assert -1 <= report["heldout_ensemble"]["spearman"] <= 1

    figure = tmp_path / "progress.svg"
    assert run("plot", "tuning", storage, "nasbench201", "--out", figure)[0] == 0
    assert "<svg" in figure.read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--trials, --evaluations, --timeout, --patience"),
        (("--trials", "0"), "--trials"),
        (("--trials", "2", "--sampler", "bayes"), "sampler='bayes'"),
        (("--trials", "2", "--task-space", "round"), "--task-space"),
        (("--trials", "2", "--start", "genric"), "genric"),
        (("--trials", "2", "--storage", "nonsense"), "storage 'nonsense' cannot be used"),
        (("--trials", "2", "--heldout", "20"), "for the held-out set: 20"),
        (("--trials", "2", "--out", "nowhere/task.json"), "no folder nowhere"),
        (("--trials", "2", "--preset", "papre"), "papre"),
        (
            ("--trials", "2", "--sampler", "evolution", "--task-space", "conditional"),
            "flat form",
        ),
    ],
)
def test_bad_input_is_one_line(
    run: Any, tune: tuple[str, ...], options: tuple[str, ...], named: str
) -> None:
    status, out, err = run(*tune, *options)
    assert (status, out) == (2, "")
    assert err.startswith("gennas: error: ")
    assert err.count("\n") == 1
    assert named in err


@pytest.mark.parametrize("task", ["generic", "generic-sequence"])
def test_plot_task(run: Any, task: str, tmp_path: Path) -> None:
    status, out, _ = run("plot", "task", task, "--out", tmp_path / "task.png")
    assert status == 0
    assert task in out
    assert (tmp_path / "task.png").read_bytes().startswith(b"\x89PNG")


def test_plot_errors_are_one_line(run: Any, tmp_path: Path) -> None:
    for args, named in (
        (("task", "genric", "--out", tmp_path / "a.png"), "genric"),
        (("task", "generic", "--out", tmp_path / "a.docx"), "cannot be written"),
        (("task", "generic", "--out", tmp_path / "no" / "a.png"), "cannot be written"),
        (("tuning", tmp_path / "x.journal", "s", "--out", tmp_path / "a.png"), "no such file"),
    ):
        status, _, err = run("plot", *args)
        assert status == 2
        assert err.startswith("gennas: error: ")
        assert named in err


def test_the_picture_shows_the_targets_that_are_trained_on() -> None:
    task = get_task("generic")
    figure = plots.plot_task(task, seed=5)
    arch = SPACE.parse("334131")
    images = load_images("photos", count=16, generator=torch_generator(5, "images"))
    taps = SPACE.build(arch, generator=torch_generator(0)).taps
    batch = task.materialize(images, taps, torch_generator(5, "targets"))
    shown = [[axes.images[0].get_array() for axes in part.axes] for part in figure.subfigs]
    assert [len(row) for row in shown] == [6, 6, 6]
    for row, target in zip(shown, batch.targets, strict=True):
        for number, values in enumerate(row):
            np.testing.assert_array_equal(values, target[number // 3, number % 3].numpy())


def test_best_so_far() -> None:
    study = optuna.create_study(direction="maximize")
    trials = [(10, None), (10, 0.2), (4, None), (10, 0.1), (10, 0.7)]
    for cost, value in trials:
        states = optuna.trial.TrialState
        state = states.PRUNED if value is None else states.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                value=value,
                state=state,
                user_attrs={"gennas:losses": [0.0] * (cost + 2), "gennas:reused": 2},
            )
        )
    x, y = plots.best_so_far(study)
    assert x.tolist() == [20, 24, 34, 44]
    assert y.tolist() == [0.2, 0.2, 0.2, 0.7]
    grid, mean = plots.mean_curve([(x, y), (np.array([22.0, 40.0]), np.array([0.0, 1.0]))])
    assert grid.tolist() == [22, 24, 34, 40]
    assert mean.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.6])


def test_the_curve_of_a_search_ends_at_its_best() -> None:
    study = optuna.create_study(direction="maximize")
    found = search_task(fake_objective(), study, n_trials=8)
    x, y = plots.best_so_far(study)
    assert x[-1] == found.n_evaluations
    assert y[-1] == study.best_value
    figure = plots.plot_best_so_far({"random": [study, study]})
    assert len(figure.axes[0].lines) == 3
    with pytest.raises(GenNASError, match="no completed trial"):
        plots.plot_best_so_far({"none": [optuna.create_study()]})


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    before = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return before(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GenNASError, match=r"gennas-optuna\[plot\]"):
        plots.plot_task(get_task("generic-sequence"))
