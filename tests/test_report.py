"""Reports, read back by other readers of their formats."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from gennas_optuna import GenNASObjective, ProxyEvaluator, get_space, rank, search
from gennas_optuna.benchmarks import GroundTruth
from gennas_optuna.errors import DataFileError, MissingFileError
from gennas_optuna.report import (
    Report,
    as_csv,
    as_data,
    as_json,
    as_markdown,
    ranking_report,
    read_report,
    search_report,
    study_report,
    write,
)
from gennas_optuna.storage import opened_storage

SPACE = get_space("nasbench201")


def table(markdown: str) -> list[list[str]]:
    """The cells of a Markdown table, by the rule that a pipe with a backslash ends none."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [line.replace(r"\|", "\0").strip("|").split("|") for line in lines]
    return [[cell.strip().replace("\0", "|") for cell in row] for row in rows]


AWKWARD = Report(
    "Awkward",
    {"n": 2, "ci": [0.123456, None], "states": {"complete": 2}},
    [
        {"arch": "|a~0|+|b~1|", "loss": 1.23456789, "truth": {"cifar10": {"value": 90.5}}},
        {"arch": 'x,"y"\n[z]', "loss": None, "steps": [1, 2], "failed": True},
    ],
)


def test_csv_is_read_back() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(AWKWARD))))
    assert list(rows[0]) == ["arch", "loss", "truth.cifar10.value", "steps", "failed"]
    assert [row["arch"] for row in rows] == ["|a~0|+|b~1|", 'x,"y"\n[z]']
    assert float(rows[0]["loss"]) == 1.23456789
    assert rows[1]["loss"] == ""
    assert json.loads(rows[1]["steps"]) == [1, 2]


def test_json_is_read_back() -> None:
    assert json.loads(as_json(AWKWARD)) == as_data(AWKWARD)
    assert as_data(AWKWARD)["records"] == AWKWARD.records


def test_markdown_is_a_table() -> None:
    text = as_markdown(AWKWARD)
    assert text.splitlines()[:6] == [
        "# Awkward",
        "",
        "- n: 2",
        "- ci: 0.1235, ",
        "- states.complete: 2",
        "",
    ]
    head, rule, first, second = table(text)
    assert head == ["arch", "loss", "truth.cifar10.value", "steps", "failed"]
    assert all(set(cell) == {"-"} for cell in rule)
    assert first == ["`|a~0|+|b~1|`", "1.235", "90.5", "", ""]
    assert second == ['`x,"y" [z]`', "", "", "1, 2", "True"]


def test_a_long_record_stays_on_its_line() -> None:
    report = Report("Long", {}, [{"arch": "x" * 5000, "n": 1}])
    assert table(as_markdown(report))[2] == ["x" * 5000, "1"]


def test_a_report_without_records() -> None:
    report = Report("Empty", {"n": 0}, [])
    assert as_csv(report) == "\n"
    assert as_markdown(report) == "# Empty\n\n- n: 0\n\n"


@pytest.mark.parametrize("ending", [".csv", ".json", ".md", ".MD"])
def test_the_ending_is_the_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"report{ending}"
    write(AWKWARD, path)
    form = {".csv": as_csv, ".json": as_json, ".md": as_markdown}[ending.lower()]
    assert path.read_text() == form(AWKWARD)
    with pytest.raises(DataFileError, match=r"ends in \.csv, \.json, \.md"):
        write(AWKWARD, tmp_path / "report.xlsx")
    with pytest.raises(DataFileError, match="no folder"):
        write(AWKWARD, tmp_path / "no" / f"report{ending}")


def test_a_ranking(cifar10_truth: GroundTruth) -> None:
    ranking = rank(cifar10_truth, ProxyEvaluator("params"), samples=5)
    report = ranking_report(ranking, {"proxy": "params"})
    assert report.facts["proxy"] == "params"
    assert report.facts["spearman"] == ranking.correlation.spearman
    assert report.facts["n"] == len(report.records) == 5
    for row, known in zip(report.records, ranking.records, strict=True):
        assert (row["arch"], row["truth"]) == (str(known.trained.arch), known.trained.truth)
        assert row["loss"] == known.score.loss


def test_a_search_and_its_study() -> None:
    objective = GenNASObjective("nasbench201", evaluator=ProxyEvaluator("params"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = search(objective, study, n_trials=6)
    report = search_report(found)
    assert report.facts["n_unique"] == len(report.records) == len(found)
    assert [row["loss"] for row in report.records] == sorted(f.score.loss for f in found)
    trials = study_report(study)
    assert trials.facts["n_trials"] == 6
    assert trials.facts["states"] == {"complete": 6}
    assert trials.facts["best"] == [study.best_trial.number]
    for row, trial in zip(trials.records, study.trials, strict=True):
        assert row["loss"] == trial.value
        assert row["arch"] == str(objective.space.decode(trial.params))
        assert row["params"] > 0  # learnable scalars


def test_any_study_can_be_reported() -> None:
    study = optuna.create_study(study_name="mine")
    study.add_trials(
        [
            create_trial(value=math.inf),
            create_trial(
                value=2.0,
                params={"width": 8},
                distributions={"width": optuna.distributions.IntDistribution(1, 9)},
                user_attrs={"gennas:seconds": 0.5},
            ),
            create_trial(state=TrialState.FAIL, user_attrs={"gennas:error": "it failed"}),
            create_trial(state=TrialState.WAITING),
        ]
    )
    report = study_report(study)
    assert report.title == "Study mine"
    assert report.facts["n_trials"] == 3
    first, second, third = report.records
    assert (first["value"], second["value"], third["value"]) == (None, 2.0, None)
    assert (second["parameters"], second["seconds"]) == ({"width": 8}, 0.5)
    assert (third["state"], third["error"]) == ("fail", "it failed")
    json.dumps(as_data(report), allow_nan=False)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["my loss"])
    assert study_report(study).records[1]["my loss"] == 2.0
    two = optuna.create_study(directions=["minimize", "maximize"])
    two.add_trial(create_trial(values=[1.0, 2.0]))
    assert study_report(two).records[0]["value_1"] == 2.0
    assert study_report(optuna.create_study()).records == []


@pytest.mark.parametrize("text", ["3", "{}", "[1]", '{"records": 1}', "[NaN]", '[{"loss": NaN}]'])
def test_other_files_are_no_reports(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(DataFileError, match=r"other.json.* holds"):
        read_report(path)
    with pytest.raises(MissingFileError):
        read_report(tmp_path / "missing.json")


# The command ----------------------------------------------------------------------------------


@pytest.fixture
def storage(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    with opened_storage(url) as place:
        study = optuna.create_study(storage=place, study_name="mine")
        study.add_trial(create_trial(value=2.0, user_attrs={"gennas:arch": "|a~0|"}))
    return url


def test_the_command_reports_a_study(run: Any, storage: str, tmp_path: Path) -> None:
    status, out, err = run("report", storage, "mine")
    assert (status, err) == (0, "")
    assert out.startswith("# Study mine\n")
    assert "`|a~0|`" in table(out)[2]
    data = json.loads(run("report", storage, "mine", "--json")[1])
    assert data["records"][0]["arch"] == "|a~0|"
    path = tmp_path / "trials.csv"
    status, out, _ = run("report", storage, "mine", "--out", path)
    assert (status, out) == (0, f"{path}: Study mine, 1 records\n")
    (row,) = csv.DictReader(io.StringIO(path.read_text()))
    assert row["arch"] == "|a~0|"
    data = json.loads(run("report", storage, "mine", "--out", path, "--json")[1])
    assert (data["file"], data["n_trials"]) == (str(path), 1)


def test_the_command_reports_what_others_print(run: Any, tmp_path: Path) -> None:
    path, out = tmp_path / "ranking.json", tmp_path / "ranking.md"
    args = ("rank", "nasbench201", "--truth", "hpo-bench:cifar10", "--samples", 4)
    path.write_text(run(*args, "--proxy", "params", "--json")[1])
    assert run("report", path, "--out", out)[0] == 0
    said, rows = json.loads(path.read_text()), table(out.read_text())
    assert f"- spearman: {said['spearman']:.4g}\n" in out.read_text()
    assert [row[0].strip("`") for row in rows[2:]] == [row["arch"] for row in said["records"]]
    assert json.loads(run("report", path, "--json")[1]) == said
    path.write_text(json.dumps([{"arch": "a", "loss": 1.0}]))  # of `gennas score`
    assert table(run("report", path)[1])[2] == ["a", "1"]


def test_errors_of_the_command_are_one_line(run: Any, storage: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    for args, named in (
        ((storage, "yours"), "mine"),
        ((storage,), "name a study"),
        ((missing,), "missing.json"),
        ((tmp_path / "no.journal", "mine"), "no such file"),
        ((missing, "--out", tmp_path / "a.xlsx"), "ends in .csv, .json, .md"),
        ((missing, "--out", tmp_path / "no" / "a.md"), "no folder"),
    ):
        status, out, err = run("report", *args)
        assert (status, out) == (2, "")
        assert err.startswith("gennas: error: ")
        assert err.count("\n") == 1
        assert named in err
