"""The readers on small files of each format but NDS (_nds.py) and NAS-Bench-NLP (_logs.py)."""

from __future__ import annotations

import json
import math
import os
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from contracts.reader_contract import (
    FileReaderContract,
    JsonReaderContract,
    TextSpace,
)
from gennas_optuna.benchmarks import load_truth
from gennas_optuna.cli import cli
from gennas_optuna.errors import DataFileError, GenNASError, MissingFileError
from gennas_optuna.spaces import get_space

TEXT = TextSpace()
NAN = math.nan


class TestPairs(JsonReaderContract):
    space = "nasbench201"
    size = 4
    document: ClassVar[Any] = [
        [[[4], [2, 1], [2, 1, 1]], 82.5],
        [[[3], [3, 3], [3, 3, 3]], 91.25],
        ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", 10],
        [[[3], [3, 3], [3, 3, 3]], 91.5],
    ]
    path_to_truth = (0, 1)


class TestFractions(JsonReaderContract):
    space = TEXT
    size = 3
    document: ClassVar[Any] = [
        [[[[0, 1], [0, 0]], ["input", "output"]], 0.125],
        ["b", 1.0],
        ["c", 0.0],
    ]
    path_to_truth = (0, 1)

    def test_they_become_percent(self, truth: Any) -> None:
        assert [record.truth for record in truth] == [12.5, 100, 0]
        assert truth.metric == "accuracy (%)"
        assert truth[0].arch.code == '[[[0, 1], [0, 0]], ["input", "output"]]'


class TestMacro(JsonReaderContract):
    space = "nasbench-macro"
    size = 3
    document: ClassVar[Any] = {
        "02012100": {"test_acc": [90.0, 91.0, 92.0], "mean_acc": 91.0, "std": 0.8, "params": 5},
        "00000000": {"test_acc": [60.0], "mean_acc": 60, "flops": 7},
        "22222222": {"test_acc": [93.0], "mean_acc": 93.5},
    }
    path_to_truth = ("02012100", "mean_acc")

    def test_what_is_kept(self, truth: Any) -> None:
        assert [record.truth for record in truth] == [91, 60, 93.5]
        assert truth[0].details == {"test_acc": (90.0, 91.0, 92.0), "std": 0.8, "params": 5}
        assert truth[1].details == {"test_acc": (60.0,), "flops": 7}

    def test_the_space_needs_no_name(self, spec: str, truth: Any) -> None:
        assert load_truth(spec).records == truth.records


class TestHPOBenchFile(FileReaderContract):
    space = "nasbench201"
    size = 2
    content = pickle.dumps(
        {
            "421211": {
                "val_acc": [82.0, 81.0, 83.0],
                "train_time": [100.0, 100.0, 100.0],
                "latency": [0.5, 0.25, 0.75],
                "model_size": [0.1, 0.2, 0.3],
            },
            "333333": {
                "val_acc": [91.0, 92.0],
                "train_time": [200.0, 100.0],
                "latency": [1.0, 1.0],
                "model_size": [1.0, 1.0],
            },
        }
    )

    def test_means_over_the_trials(self, truth: Any) -> None:
        assert [record.truth for record in truth] == [82, 91.5]
        assert [record.train_seconds for record in truth] == [100, 150]
        assert truth[0].details["latency"] == 0.5
        assert truth[0].details["model_size"] == pytest.approx(0.2)
        assert truth[0].details["trials"]["val_acc"] == (82.0, 81.0, 83.0)

    @pytest.mark.parametrize(
        ("key", "record", "message"),
        [
            ("000000", {"val_acc": 3}, "key '000000': val_acc is 3"),
            ("000000", {"val_acc": []}, "val_acc is"),
            ("000000", {"val_acc": [1.0]}, "train_time is None"),
            ("000000", {"val_acc": ["x"]}, "val_acc is 'x', not a number"),
            ("000000", [1], "key '000000' is not"),
            (0, {"val_acc": [1.0]}, "key 0 is not"),
            ("900000", None, "key '900000' is no architecture of search space 'nasbench201'"),
        ],
    )
    def test_malformed_records_are_named(
        self, key: Any, record: Any, message: str, tmp_path: Path
    ) -> None:
        table = pickle.loads(self.content)
        table[key] = table["333333"] if record is None else record
        path = tmp_path / "table"
        path.write_bytes(pickle.dumps(table))
        with pytest.raises(DataFileError, match=message):
            load_truth(path)

    @pytest.mark.parametrize(
        "trials", [[NAN], [math.inf, -math.inf], [1e308, 1e308, 1e308], [None, 5.0]]
    )
    def test_trials_without_a_mean_are_left_out(self, trials: list[Any], tmp_path: Path) -> None:
        table = pickle.loads(self.content)
        table["000000"] = {**table["333333"], "val_acc": trials}
        table["111111"] = {**table["333333"], "train_time": trials}
        (tmp_path / "table").write_bytes(pickle.dumps(table))
        truth = load_truth(tmp_path / "table")
        assert truth.skipped == {"no finite validation accuracy (%)": 1}
        assert truth[2].train_seconds is None

    def test_a_pickle_with_a_program_in_it_is_refused(self, tmp_path: Path) -> None:
        class Hostile:
            def __reduce__(self) -> Any:
                return os.system, (f"touch {tmp_path / 'hacked'}",)

        self.refuse(tmp_path / "table", pickle.dumps({"421211": Hostile()}))
        self.refuse(tmp_path / "table", pickle.dumps({"421211": np.zeros(3)}))
        assert not (tmp_path / "hacked").exists()


# What holds for every format


def test_lookup_falls_back_on_the_key(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(json.dumps([["[1, 2]", 50], ["[1,2]", 60], ["[3]", 70]]))
    truth = load_truth(tmp_path / "t", TEXT)
    assert truth.find(TEXT.parse("[1,2]")) is truth[1]
    assert truth.find(TEXT.parse("[1,  2]")) is truth[0]
    assert truth.rank_of(TEXT.parse("[1,  2]")) == 3
    assert truth.find(TEXT.parse("[4]")) is None
    with pytest.raises(GenNASError, match=r"no record of \[4\]"):
        truth.rank_of(TEXT.parse("[4]"))


def test_lookup_takes_architectures_of_the_spaces_other_forms(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(json.dumps([["421211", 50], ["333333", 60]]))
    truth = load_truth(tmp_path / "t", "nasbench201")
    arch = get_space("nasbench201", form="benchmark").parse("333333")
    assert truth.find(arch) is truth[1]


def test_equal_truths_share_a_rank(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(json.dumps([["a", 5], ["b", 7], ["c", 7], ["d", 6]]))
    truth = load_truth(tmp_path / "t", TEXT)
    assert [truth.rank_of(record.arch) for record in truth] == [4, 1, 1, 3]


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        (b"x", "bytes is not JSON serializable"),
        ({(1, 2): 3}, "keys must be"),
        (ENDLESS, "Circular reference"),
    ],
    ids=["bytes", "tuple", "endless"],
)
@pytest.mark.parametrize("space", [TEXT, "nasbench201"])
def test_pickled_architectures_that_json_cannot_write(
    arch: Any, reason: str, space: Any, tmp_path: Path
) -> None:
    first = [] if space is TEXT else [["421211", 5.0]]
    for table, label in (
        ([*first, [arch, 5.0]], f"record {len(first) + 1}"),
        ([{"net": {"a": arch}, "test_ep_top1": [5.0]}], "record 1"),
        ({"recepie": {"a": arch}, "status": "OK"}, "record 1"),
    ):
        (tmp_path / "t").write_bytes(pickle.dumps(table))
        with pytest.raises(DataFileError, match=f"the architecture of {label} is .*{reason}"):
            load_truth(tmp_path / "t", space)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no records"),
        ("{}", "no records"),
        ('{"top": [], "mid": []}', "it has no records"),
        ("null", "no known format; known are .*NDS"),
        ("3", "no known format"),
        ('"text"', "no known format"),
        ("[1, 2]", "no known format"),
        ("[[1, 2, 3]]", "no known format"),
        ('[[[[0]], ["input", "output"]]]', "no known format"),
        ('{"a": {"b": 1}}', "no known format"),
        ('[["a", NaN], ["b", null]]', "no record has a result; left out 2"),
        ('[["a", 5], ["b"]]', "record 2 is"),
        ('[["a", 5], ["b", 101]]', r"record 2 has accuracy \(%\) 101, outside of 0 to 100"),
        ('[["a", 5], ["refused", 6]]', "record 2 is no architecture of search space 'text'"),
        ('[["a", 5],\n ["b" 6]]', "not JSON: .* at line 2 column"),
        ("{'a': 5}", "not JSON"),
        ('[["a", 5]] x', "not JSON: Extra data"),
        ("plain text", "not JSON"),
        ('{"a": 1}\n{"b": 2}', "none of 2 is a NAS-Bench-NLP log"),
    ],
)
def test_unsuitable_contents_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(DataFileError, match=message) as info:
        load_truth(tmp_path / "t", TEXT)
    assert str(tmp_path / "t") in str(info.value)
    assert "\n" not in str(info.value)


def test_a_nested_architecture_is_refused_not_followed(tmp_path: Path) -> None:
    for depth in (100, 500, 900, 2000, 50_000):
        (tmp_path / "t").write_text(f'[[{"[" * depth}{"]" * depth}, 5], ["b", 7]]')
        try:
            load_truth(tmp_path / "t", "nasbench201")
        except GenNASError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            raise AssertionError("accepted")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "give a name or a path"),
        (None, "None: give a name or a path"),
        (b"x", "give a name or a path"),
        ("nowhere/t.json", "no such file: 'nowhere/t.json'"),
        ("hpo-bench:cifar11", "hpo-bench data set 'cifar11': choose one of cifar10"),
        ("hpo-bench:", "choose one of cifar10, cifar100, imagenet16-120"),
        ("hpo-bench:../cifar10", "choose one of"),
        ("a\0b", "null"),
        ("x" * 5000, "cannot be read"),
        ("/dev/zero", "not a regular file"),
    ],
)
def test_unsuitable_names_are_refused(spec: Any, message: str) -> None:
    with pytest.raises(GenNASError, match=message) as info:
        load_truth(spec, TEXT)
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 500


def test_the_space_is_asked_for_where_the_format_does_not_tell_it(tmp_path: Path) -> None:
    (tmp_path / "t").write_text('[["421211", 5]]')
    with pytest.raises(GenNASError, match="name the search space, which"):
        load_truth(tmp_path / "t")
    with pytest.raises(GenNASError, match="unknown search space 'nasbench202'"):
        load_truth(tmp_path / "t", "nasbench202")
    with pytest.raises(GenNASError, match="search space 5"):
        load_truth(tmp_path / "t", 5)  # type: ignore[arg-type]


def test_a_wrong_space_is_understood(tmp_path: Path) -> None:
    (tmp_path / "t").write_text('[["02012100", 90], ["00000000", 60]]')
    with pytest.raises(
        DataFileError,
        match=r"record 1 is no architecture of search space 'nasbench201': .*02012100",
    ):
        load_truth(tmp_path / "t", "nasbench201")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingFileError, match=r'pip install "gennas-optuna\[bench\]"'):
        load_truth("hpo-bench:cifar10")


def test_commands_tell_what_is_left_out(tmp_path: Path) -> None:
    document = [["421211", 90.0], ["334131", NAN], ["300000", 80.0], ["111111", None]]
    (tmp_path / "pairs.json").write_text(json.dumps(document))
    path = str(tmp_path / "pairs.json")
    rank = ["rank", "nasbench201", "--truth", path, "--samples", "2", "--proxy", "params"]
    search = ["search", "nasbench201", "--trials", "1", "--steps", "1", "--truth", path]
    skipped = {"no finite accuracy (%)": 2}
    for args, found in ((rank, skipped), (search, {path: skipped})):
        result = CliRunner().invoke(cli, [*args, "--json"])
        assert result.exit_code == 0, result.output
        note = f"{path}: 2 of 4 records left out: 2 (no finite accuracy (%))"
        assert result.stderr.splitlines() == [note]
        assert json.loads(result.stdout)["skipped"] == found
    (tmp_path / "pairs.json").write_text(json.dumps(document[::2]))
    result = CliRunner().invoke(cli, [*rank, "--json"])
    assert (result.stderr, json.loads(result.stdout)["skipped"]) == ("", {})
