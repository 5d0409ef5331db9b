"""The reader of NAS-Bench-NLP's logs on small folders and files."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest

from contracts.reader_contract import ReaderContract, TextSpace
from gennas_optuna.benchmarks import load_truth
from gennas_optuna.errors import DataFileError

TEXT = TextSpace()
NAN = math.nan


def log(name: str, validation: list[float], test: list[float], **fields: Any) -> dict[str, Any]:
    return {
        "recepie": json.dumps({name: {"op": "linear", "input": ["x"]}}),
        "recepie_id": 5,
        "status": "OK",
        "data": "data/ptb",
        "num_params": 8,
        "val_losses": validation,
        "test_losses": test,
        "wall_times": [10.0] * len(validation),
        **fields,
    }


# The best validation epoch of the first is its second, the lowest test loss is in its third.
LOGS = {
    "a.json": log("a", [5.0, 4.0, 4.5], [5.0, 4.25, 4.0]),
    "b.json": log("b", [NAN, 3.0], [NAN, 3.0]),
    "c.json": log("c", [5.0], [5.0], status="loss is nan!"),
    "d.json": log("d", [NAN], [NAN]),
    "e.json": log("e", [3.0, 2.0], [3.0, NAN]),
    "f.json": log("f", [6.0], [6.0], recepie={"node": {"op": "linear"}}, wall_times=None),
    "g.json": {**log("g", [], []), "status": "Exception: math range error", "test_losses": None},
}


def check_logs(truth: Any) -> None:
    assert truth.metric == "test perplexity"
    assert [record.truth for record in truth] == [math.exp(4.25), math.exp(3), math.exp(6)]
    assert truth[0].train_seconds == 30
    assert truth[2].train_seconds is None
    assert truth[0].details == {
        "status": "OK",
        "data": "data/ptb",
        "recepie_id": 5,
        "num_params": 8,
        "epochs": 3,
        "best_epoch": 2,
        "val_perplexity": math.exp(4),
        "min_test_perplexity": math.exp(4),
    }
    assert truth[0].arch.code == '{"a": {"op": "linear", "input": ["x"]}}'
    assert truth[2].arch.code == '{"node": {"op": "linear"}}'
    assert truth.rank_of(truth[1].arch) == 1
    failed = {name: n for name, n in truth.skipped.items() if not name.startswith("not a log")}
    assert failed == {
        "status 'loss is nan!'": 1,
        "no finite validation loss": 1,
        "no finite test perplexity": 1,
        "status 'Exception: math range error'": 1,
    }


class TestLogFolder(ReaderContract):
    space = TEXT
    size = 3
    higher_is_better = False

    @pytest.fixture
    def spec(self, tmp_path: Path) -> str:
        folder = tmp_path / "logs"
        folder.mkdir()
        for name in reversed(LOGS):
            (folder / name).write_text(json.dumps(LOGS[name]))
        (folder / "README.md").write_text("not a log, and not JSON by name")
        (folder / "more").mkdir()
        return str(folder)

    def test_what_is_kept(self, truth: Any) -> None:
        check_logs(truth)

    def test_the_digest_is_of_all_files_in_order(self, spec: str, truth: Any) -> None:
        lines = [
            f"{name}\0{hashlib.sha256(Path(spec, name).read_bytes()).hexdigest()}\n"
            for name in sorted(LOGS)
        ]
        assert truth.digest == hashlib.sha256("".join(lines).encode()).hexdigest()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b'{"recepie": "x", "stat', "not JSON: .* at line 1 column"),
            (b"", "empty"),
            (b"\xff\x00", "UTF-8"),
            (b"[1, 2]", "it holds"),
            (b'{"status": "OK"}', "'recepie' is None"),
            (json.dumps({**LOGS["a.json"], "status": 3}).encode(), "'status' is 3"),
            (json.dumps({**LOGS["a.json"], "val_losses": [1.0]}).encode(), "differ in length"),
            (json.dumps({**LOGS["a.json"], "val_losses": None}).encode(), "'val_losses' is None"),
            (json.dumps({**LOGS["a.json"], "val_losses": ["x"] * 3}).encode(), "not a number"),
            (b"[" * 100_000, "nested"),
            (b'{"a": 1}\n{"b": 2}\n', "it holds several JSON values"),
        ],
    )
    def test_what_is_no_log_is_named_and_left_out(
        self, content: bytes, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name, document in LOGS.items():
            (tmp_path / name).write_text(json.dumps(document))
        (tmp_path / "bb.json").write_bytes(content)
        with caplog.at_level(logging.WARNING, logger="gennas_optuna"):
            truth = load_truth(tmp_path, TEXT)
        check_logs(truth)
        assert truth.skipped["not a log: bb.json"] == 1
        (warning,) = caplog.records
        assert "bb.json" in warning.message
        assert re.search(message, warning.message)

    def test_what_cannot_be_opened_is_named_and_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps(LOGS["a.json"]))
        (tmp_path / "folder.json").mkdir()
        (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
        os.mkfifo(tmp_path / "pipe.json")
        truth = load_truth(tmp_path, TEXT)
        assert len(truth) == 1
        assert truth.skipped == {
            "not a log: folder.json": 1,
            "not a log: gone.json": 1,
            "not a log: pipe.json": 1,
        }

    def test_an_architecture_that_is_none_is_fatal(self, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_text(json.dumps({**LOGS["a.json"], "recepie": "refused"}))
        with pytest.raises(DataFileError, match=r"x\.json is no architecture of .*'text'"):
            load_truth(tmp_path, TEXT)

    def test_data_sets_do_not_mix(self, tmp_path: Path) -> None:
        for name, data in (("a.json", "data/ptb"), ("b.json", "data/wikitext-2")):
            (tmp_path / name).write_text(json.dumps({**LOGS[name], "data": data}))
        with pytest.raises(DataFileError, match=r"data/ptb.*data/wikitext-2"):
            load_truth(tmp_path, TEXT)

    def test_folders_without_logs_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "train_logs").mkdir()
        with pytest.raises(DataFileError, match=r"no JSON files .* it has folders: 'train_logs'"):
            load_truth(tmp_path, TEXT)
        (tmp_path / "x.json").write_text("{}")
        with pytest.raises(DataFileError, match=r"none of 1 is a NAS-Bench-NLP log; x\.json"):
            load_truth(tmp_path, TEXT)


class TestLogLines(ReaderContract):
    space = TEXT
    size = 3
    higher_is_better = False

    @pytest.fixture
    def spec(self, tmp_path: Path) -> str:
        path = tmp_path / "logs.jsonl.gz"
        lines = [json.dumps({**document, "_file": name}) for name, document in LOGS.items()]
        path.write_bytes(gzip.compress("\n\n".join([*lines, '{"recep']).encode()))
        return str(path)

    def test_what_is_kept(self, truth: Any) -> None:
        check_logs(truth)
        assert truth.skipped["not a log: line 15"] == 1

    def test_a_single_log_is_a_file_too(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps(LOGS["a.json"]))
        assert [r.truth for r in load_truth(tmp_path / "a.json", TEXT)] == [math.exp(4.25)]


def test_infinite_times_are_unknown(tmp_path: Path) -> None:
    document = {**LOGS["a.json"], "wall_times": [math.inf, -math.inf, 1.0]}
    (tmp_path / "t").write_text(json.dumps(document))
    assert load_truth(tmp_path / "t", TEXT)[0].train_seconds is None
