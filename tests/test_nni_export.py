"""The export, against databases in NNI's form whose right answer is known."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nni")

from gennas_optuna import get_task
from gennas_optuna.errors import DataFileError, MissingFileError
from gennas_optuna.task import ProxyTask
from nni_strategy import export
from nni_strategy._records import find_database, read_records

Row = Sequence[Any]
"""Trial, sequence, number and parameters that it was meant to get, number that it got, result."""


def make_database(folder: Path, rows: Sequence[Row]) -> Path:
    """As NNI's manager writes it (``core/sqlDatabase.js`` of NNI 3.0)."""
    path = folder / "db" / "nni.sqlite"
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "create table TrialJobEvent (timestamp integer, trialJobId text, event text, data text,"
            " logPath text, sequenceId integer, message text, environmentId text)"
        )
        db.execute(
            "create table MetricData (timestamp integer, trialJobId text, parameterId text, "
            "type text, sequence integer, data text)"
        )
        event = "insert into TrialJobEvent (trialJobId, event, data, sequenceId) values (?,?,?,?)"
        metric = "insert into MetricData (trialJobId, parameterId, type, data) values (?,?,?,?)"
        db.execute(event, ("", "ADD_CUSTOMIZED", "{}", None))
        for trial, sequence, number, parameters, got, reported in rows:
            filed = {"parameter_id": number, "parameters": parameters}
            db.execute(event, (trial, "WAITING", json.dumps(filed), sequence))
            db.execute(event, (trial, "RUNNING", None, sequence))
            db.execute(metric, (trial, str(got), "PERIODICAL", json.dumps(json.dumps(9.0))))
            if reported is not None:
                data = json.dumps(json.dumps(reported))
                db.execute(metric, (trial, str(got), "FINAL", data))
            status = "FAILED" if reported is None else "SUCCEEDED"
            db.execute(event, (trial, status, None, sequence))
    return path


def ours(value: float, **parameters: Any) -> dict[str, Any]:
    return {"default": value, "key": f"k{value}", "loss": value, "parameters": parameters}


A, B, C = {"x": 1}, {"x": 2}, {"x": 3}


def test_results_stand_with_their_own_parameters(tmp_path: Path) -> None:
    # NNI gave the second trial the first one's parameters, and the other way round.
    rows = [
        ("second", 1, 1, B, 0, ours(0.1, x=1)),
        ("first", 0, 0, A, 1, ours(0.2, x=2)),
        ("third", 2, 2, C, 2, ours(0.3, x=3)),
        ("failed", 3, 3, {"x": 4}, 3, None),
    ]
    records = read_records(make_database(tmp_path, rows))
    found = [(r.trial, r.parameters, r.value, r.mispaired, r.key) for r in records]
    assert found == [
        ("first", B, 0.2, True, "k0.2"),
        ("second", A, 0.1, True, "k0.1"),
        ("third", C, 0.3, False, "k0.3"),
        ("failed", {"x": 4}, None, False, None),
    ]
    assert all(record.certain for record in records)


def test_results_of_other_trials_go_by_their_number(tmp_path: Path) -> None:
    rows = [("a", 0, 0, A, 1, 0.2), ("b", 1, 1, B, 0, {"default": 0.1, "epoch": 3})]
    records = read_records(make_database(tmp_path, rows))
    assert [(r.parameters, r.value, r.mispaired) for r in records] == [
        (B, 0.2, True),
        (A, 0.1, True),
    ]


def test_numbers_used_again_by_a_resumed_experiment(tmp_path: Path) -> None:
    rows = [
        ("before", 0, 1, A, 1, ours(0.1, x=1)),
        ("after", 1, 1, B, 1, ours(0.2, x=2)),
        ("other", 2, 2, C, 1, 0.3),  # got what either of these was meant to get
    ]
    records = read_records(make_database(tmp_path, rows))
    assert [r.certain for r in records] == [True, True, False]
    assert [r.parameters for r in records][:2] == [A, B]


def test_errors_and_divergence(tmp_path: Path) -> None:
    rows = [("a", 0, 0, A, 0, {"error": "no such space"}), ("b", 1, 1, B, 1, ours(math.inf, x=2))]
    records = read_records(make_database(tmp_path, rows))
    assert records[0].value is None
    assert records[0].details == {"error": "no such space"}
    assert records[1].value == math.inf
    assert json.loads(export.as_json(records))[1]["value"] is None


def test_experiments_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home = tmp_path / "nni-experiments"
    usual = make_database(home / "usual", [])
    elsewhere = make_database(tmp_path / "elsewhere" / "far", [])
    (home / ".experiment").write_text(json.dumps({"far": {"logDir": str(tmp_path / "elsewhere")}}))
    assert find_database("usual") == usual
    assert find_database("far") == elsewhere
    assert find_database("far", tmp_path / "elsewhere") == elsewhere
    assert find_database(str(elsewhere.parents[1])) == elsewhere
    with pytest.raises(MissingFileError, match="no database of experiment 'none' in"):
        find_database("none")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            export.main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


def test_command(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    rows = [("a", 0, 0, A, 1, ours(0.2, x=2)), ("b", 1, 1, B, 0, ours(0.1, x=1))]
    folder = make_database(tmp_path / "e", rows).parents[1]
    code, text, told = run(str(folder))
    assert code == 0
    assert told == "2 trials, 2 with a result; put right: 2; not certain: 0\n"
    first, _ = csv.DictReader(text.splitlines())
    assert (first["value"], first["parameters.x"], first["loss"]) == ("0.2", "2", "0.2")
    out = tmp_path / "out.json"
    assert run(str(folder), "--out", str(out))[0] == 0
    assert [(r["parameters"], r["value"]) for r in json.loads(out.read_text())] == [
        (B, 0.2),
        (A, 0.1),
    ]
    assert json.loads(run(str(folder), "--format", "json")[1]) == json.loads(out.read_text())


def test_best_task(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    task = get_task("generic")
    good = {**ours(0.9, x=2), "task": task.to_dict()}
    bad = {**ours(-0.9, x=1), "task": get_task("generic-sequence").to_dict()}
    folder = make_database(tmp_path / "e", [("a", 0, 0, A, 0, bad), ("b", 1, 1, B, 1, good)])
    out = tmp_path / "task.json"
    assert run(str(folder.parents[1]), "--best-task", str(out))[0] == 0
    assert ProxyTask.load(out).digest == task.digest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/none"], "no database of experiment"),
        (["{}/e", "--out", "{}/x.txt"], "ends in .csv or .json"),
        (["{}/e", "--out", "{}/no/x.csv"], "cannot be written"),
        (["{}/e", "--best-task", "{}/t.json"], "no trial of this experiment has found a proxy"),
        (["{}/broken"], "not a database of NNI"),
        (["{}/odd"], "not a database of NNI"),
        (["{}/strange"], "a trial reported 'text'"),
        ([], "Missing argument"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    run: Callable[..., tuple[int, str, str]],
) -> None:
    make_database(tmp_path / "e", [("a", 0, 0, A, 0, 0.5)])
    broken = make_database(tmp_path / "broken", [])
    broken.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    odd = make_database(tmp_path / "odd", [])
    with closing(sqlite3.connect(odd)) as db, db:
        db.execute("insert into TrialJobEvent (trialJobId, event, data) values ('a', 'X', '{')")
    make_database(tmp_path / "strange", [("a", 0, 0, A, 0, "text")])
    code, _, told = run(*(argument.format(tmp_path) for argument in arguments))
    assert code == 2
    assert len(told.splitlines()) == 1
    assert message in told


def test_the_database_is_not_written_to(tmp_path: Path) -> None:
    path = make_database(tmp_path, [("a", 0, 0, A, 0, 0.5)])
    before = path.read_bytes(), sorted(path.parent.iterdir())
    read_records(path)
    assert (path.read_bytes(), sorted(path.parent.iterdir())) == before


def test_damaged_databases_are_told(tmp_path: Path) -> None:
    path = make_database(tmp_path, [])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("drop table MetricData")
    with pytest.raises(DataFileError, match="not a database of NNI: no such table"):
        read_records(path)
