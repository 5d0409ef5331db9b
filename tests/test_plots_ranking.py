"""The scatter of scores against the truth, and the files that it is drawn from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gennas_optuna import ProxyEvaluator, get_space, load_truth, rank
from gennas_optuna._evaluator import Score
from gennas_optuna._scored import Scored, match_scores, read_ranking
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.correlation import rank_correlation
from gennas_optuna.errors import DataFileError, InvalidValueError, MissingFileError
from gennas_optuna.plots_ranking import caption, plot_scatter
from gennas_optuna.regression import Trace
from gennas_optuna.report import as_json, ranking_report
from gennas_optuna.score_file import ScoreFile, score_to_dict

pytest.importorskip("matplotlib")
SPACE = get_space("nasbench201")


def scored(losses: list[float], qualities: list[float], proxy: str = "gennas") -> Scored:
    found = rank_correlation([-loss for loss in losses], qualities)
    return Scored("toy", proxy, "a table", "accuracy (%)", tuple(losses), tuple(qualities), found)


@pytest.fixture
def ranking(tmp_path: Path, cifar10_truth: GroundTruth) -> Path:
    """What `gennas rank --proxy params --json` prints."""
    ranked = rank(cifar10_truth, ProxyEvaluator("params"), samples=12, seed=1)
    head = {"space": "nasbench201", "proxy": "params", "truth": cifar10_truth.name}
    path = tmp_path / "ranking.json"
    path.write_text(as_json(ranking_report(ranked, {**head, "metric": cifar10_truth.metric})))
    return path


def write_scores(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def entry(digits: str, loss: float, **other: Any) -> dict[str, Any]:
    trace = Trace((1,), (loss,), "ok" if math.isfinite(loss) else "diverged")
    score = Score(loss, trace, trace.status, 10, 100, 1.0, 1.0)
    plain = {"identity": "a", "space": SPACE.name, "form": SPACE.form}
    arch = str(SPACE.parse(digits))
    return {**plain, "arch": arch, "score": score_to_dict(score), **other}


def test_the_points_are_those_of_the_ranking(ranking: Path) -> None:
    found, data = read_ranking(ranking), json.loads(ranking.read_text())
    (axes,) = plot_scatter(found).axes
    x, y = axes.lines[0].get_data()
    assert x.tolist() == [-row["loss"] for row in data["records"]]  # a proxy, not a loss
    assert y.tolist() == [row["truth"] for row in data["records"]]
    assert axes.get_xlabel() == "params (higher is better)"
    assert axes.get_ylabel() == data["metric"]
    assert f"Spearman {stats.spearmanr(x, y).statistic:.3f} (95 %" in axes.get_title(loc="left")
    assert f"Kendall {stats.kendalltau(x, y).statistic:.3f} (95 %" in axes.get_title(loc="left")


def test_trainings_that_diverged_are_told_of_and_not_drawn() -> None:
    result = scored([1.0, math.inf, 2.0, 3.0], [4.0, 1.0, 3.0, 2.0])
    (axes,) = plot_scatter(result).axes
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1.0, 2.0, 3.0])
    assert axes.get_xlabel() == "loss (lower is better)"
    assert "on 4 architectures" in caption(result)
    assert "1 diverged, not drawn" in caption(result)
    with pytest.raises(InvalidValueError, match="nothing to draw"):
        plot_scatter(scored([math.inf, math.inf], [1.0, 2.0]))


def test_two_architectures_have_no_interval() -> None:
    assert caption(scored([1.0, 2.0], [2.0, 1.0])).splitlines()[1:] == [
        "Spearman 1.000",
        "Kendall 1.000",
    ]


def test_the_scores_of_a_file_meet_the_truth(tmp_path: Path, cifar10_truth: GroundTruth) -> None:
    path = tmp_path / "scores.jsonl"
    losses = {"421211": 1.0, "334131": 2.0, "000000": math.inf, "111111": 3.0}
    write_scores(path, entry("334131", 9.0), *(entry(k, v) for k, v in losses.items()))
    with path.open("a") as file:
        file.write('{"identity": "cut o')  # by a crash
    found = match_scores(path, "hpo-bench:cifar10")
    assert sorted(found.losses) == sorted(losses.values())  # the last line of a network counts
    assert found.proxy == "gennas"
    for digits, loss in losses.items():
        record = cifar10_truth.find(SPACE.parse(digits))
        assert record is not None
        assert (loss, record.truth) in zip(found.losses, found.qualities, strict=True)
    ranks = stats.spearmanr([-x for x in np.clip(found.losses, None, 99)], found.qualities)
    assert found.correlation.spearman == pytest.approx(ranks.statistic)


def test_a_lower_truth_may_be_the_better_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    table = replace(load_truth("hpo-bench:cifar10"), higher_is_better=False)
    monkeypatch.setattr("gennas_optuna._scored.load_truth", lambda *_: table)
    path = tmp_path / "scores.jsonl"
    write_scores(path, entry("421211", 1.0), entry("334131", 2.0), entry("000000", 3.0))
    found = match_scores(path, "any")
    expected = stats.spearmanr(found.losses, found.qualities).statistic
    assert found.correlation.spearman == pytest.approx(expected)


def test_scores_made_in_several_ways_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    b = [entry(digits, 5.0, identity="b") for digits in ("421211", "334131", "111111")]
    write_scores(path, entry("421211", 1.0), entry("334131", 2.0), *b)
    with pytest.raises(InvalidValueError, match=r"give --identity, one of b \(3\), a \(2\)"):
        match_scores(path, "hpo-bench:cifar10")
    with pytest.raises(InvalidValueError, match="no scores of 'c'"):
        match_scores(path, "hpo-bench:cifar10", identity="c")
    assert match_scores(path, "hpo-bench:cifar10", identity="a").losses == (1.0, 2.0)
    write_scores(path, entry("421211", 1.0), entry("421211", 1.0, space="darts"))
    with pytest.raises(InvalidValueError, match="give --space"):
        match_scores(path, "hpo-bench:cifar10")


def test_the_scores_of_a_proxy_are_named_by_it(tmp_path: Path) -> None:
    path, evaluator = tmp_path / "scores.jsonl", ProxyEvaluator("params")
    for digits in ("421211", "334131"):
        arch = SPACE.parse(digits)
        ScoreFile(path).append(evaluator, arch, evaluator.evaluate(arch))
    assert match_scores(path, "hpo-bench:cifar10").proxy == evaluator.identity(SPACE)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "null",
        '{"records": 3}',
        '{"records": [{"loss": "low", "truth": 1}]}',
        '{"records": [], "spearman": 2, "spearman_ci": [0, 0]}',
        '{"records": [], "spearman": 1, "spearman_ci": [0]}',
    ],
)
def test_other_files_are_no_rankings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(DataFileError, match="no output of `gennas rank --json`"):
        read_ranking(path)


@pytest.mark.parametrize(
    "line", ["{}", "[]", "3", '{"identity": "a", "space": "nasbench201", "arch": 3}', "x"]
)
def test_other_files_hold_no_scores(tmp_path: Path, line: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataFileError, match="is no score"):
        match_scores(path, "hpo-bench:cifar10")


def test_files_without_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    with pytest.raises(MissingFileError, match="no such file"):
        match_scores(path, "hpo-bench:cifar10")
    path.touch()
    with pytest.raises(MissingFileError, match="no scores in it"):
        match_scores(path, "hpo-bench:cifar10")
    write_scores(path, entry("421211", 1.0))
    with pytest.raises(InvalidValueError, match="knows 1 of its architectures"):
        match_scores(path, "hpo-bench:cifar10")
