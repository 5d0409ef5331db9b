"""The reader of NDS on small files, and what it does with runs and files that do not fit."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
from nds_cell_examples import RECORDS

from contracts.reader_contract import JsonReaderContract, TextSpace
from gennas_optuna.benchmarks import load_truth
from gennas_optuna.errors import DataFileError

TEXT = TextSpace()
NAN = math.nan


def nds_record(name: str, errors: list[float], **fields: Any) -> dict[str, Any]:
    return {
        "job_id": name,
        "net": {"width": 32, "name": name},
        "params": 1000,
        "flops": 2000,
        "optim": {"base_lr": 0.1, "max_ep": len(errors)},
        "test_ep_top1": errors,
        "min_test_top1": min(errors, default=None),
        "train_it_loss": [1.0],
        **fields,
    }


class TestNDS(JsonReaderContract):
    space = TEXT
    size = 3
    document: ClassVar[Any] = [
        nds_record(
            "a",
            [60.5, 40.25, 40.5],
            rng_seed=7,
            train_ep_loss=[5.0, 4.0, 3.0],
            exp_mem=9,
            prec_time={"batch": 0.5},
        ),
        nds_record("b", [99.9, 99.8]),
        nds_record("failed", [50.0, 99.9]),
        nds_record("diverged", [50.0, NAN]),
        nds_record("lost", []),
        {"net": {"name": "stub"}},
        nds_record("a", [30.0]),
    ]
    path_to_truth = (0, "test_ep_top1", 2)

    def test_what_is_kept(self, truth: Any) -> None:
        assert [record.truth for record in truth] == [59.5, pytest.approx(0.2), 70]
        assert truth[0].details == {
            "job_id": "a",
            "rng_seed": 7,
            "params": 1000,
            "flops": 2000,
            "optim": {"base_lr": 0.1, "max_ep": 3},
            "min_test_top1": 40.25,
            "test_ep_top1": (60.5, 40.25, 40.5),
            "train_ep_loss": (5.0, 4.0, 3.0),
            "exp_mem": 9,
            "prec_time": {"batch": 0.5},
        }
        assert truth[0].arch.code == '{"width": 32, "name": "a"}'
        assert truth[0].train_seconds is None

    def test_failed_runs_are_counted_and_logged(
        self, spec: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, logger="gennas_optuna"):
            truth = load_truth(spec, TEXT)
        assert truth.skipped == {"final test error above 99.8 %": 1, "no final test error": 3}
        assert caplog.messages == [
            f"{spec}: left out 1 (final test error above 99.8 %), 3 (no final test error)"
        ]

    @pytest.mark.parametrize(
        ("where", "value", "message"),
        [
            ((1,), [], "record 2 is"),
            ((1, "net"), "text", "record 2 is .* 'net'"),
            ((1, "test_ep_top1"), 5, "record 2: test_ep_top1 is 5"),
            ((1, "net", "name"), "refused", "record 2 is no architecture of search space 'text'"),
        ],
    )
    def test_malformed_records_are_named(
        self, where: tuple[Any, ...], value: Any, message: str, tmp_path: Path
    ) -> None:
        path = self.write(tmp_path / "table", self.replaced(value, where))
        with pytest.raises(DataFileError, match=message):
            load_truth(path, TEXT)


CELLS = json.loads(RECORDS[0][2])
STAGES = {"block_type": "res_basic_block", "ds": [1, 1, 1, 1], "ws": [16] * 4, "ss": [1, 1, 2, 2]}


@pytest.mark.parametrize(
    ("space", "net", "limit"),
    [
        ("darts", {**CELLS, "depth": 8}, 89),
        ("darts-in", CELLS, 99.8),
        ("resnet", STAGES, 89),
        ("resnet", {**STAGES, "ss": [4, 1, 2, 2]}, 99.8),  # ImageNet has no space of its own
        (TEXT, {"any": "text"}, 99.8),
    ],
)
def test_runs_that_end_at_guessing_have_failed(
    space: Any, net: dict[str, Any], limit: float, tmp_path: Path
) -> None:
    """Guessing has an error of 90 % on CIFAR-10, and of 99.9 % on ImageNet."""
    errors = (10.0, 88.5, 89.5, 90.0, 99.5, 99.9, 100.0)
    table = [nds_record("a", [error], net=net) for error in errors]
    (tmp_path / "t").write_text(json.dumps(table))
    truth = load_truth(tmp_path / "t", space)
    kept = [error for error in errors if error <= limit]
    assert [record.truth for record in truth] == pytest.approx([100 - e for e in kept])
    assert truth.skipped == {f"final test error above {limit} %": len(errors) - len(kept)}


class TestNDSInTwoParts(JsonReaderContract):
    space = TEXT
    size = 3
    document: ClassVar[Any] = {
        "mid": [nds_record("c", [20.0])],
        "top": [nds_record("a", [5.0]), nds_record("b", [5.5])],
    }
    path_to_truth = ("top", 1, "test_ep_top1", 0)

    def test_top_comes_first(self, truth: Any) -> None:
        assert [record.details["job_id"] for record in truth] == ["a", "b", "c"]

    def test_malformed_records_are_named(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "table", self.replaced(3, ("mid", 0)))
        with pytest.raises(DataFileError, match="record 1 of 'mid' is 3"):
            load_truth(path, TEXT)
        path = self.write(tmp_path / "table", self.replaced(3, ("mid",)))
        with pytest.raises(DataFileError, match="'mid' is 3, not a list"):
            load_truth(path, TEXT)


@pytest.mark.parametrize(("_file", "name", "net", "_params"), RECORDS)
def test_a_space_whose_texts_read_alike_is_warned_of(
    _file: str, name: str, net: str, _params: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Records of ImageNet have other widths and depths than those of CIFAR."""
    (tmp_path / "t").write_text(json.dumps([[json.loads(net), 50.0 + i] for i in range(5)]))
    load_truth(tmp_path / "t", name)
    assert caplog.messages == []
    other = name.removesuffix("-in")
    load_truth(tmp_path / "t", other)
    (message,) = caplog.messages
    assert str(tmp_path / "t") in message
    assert f"5 of 5 architectures looked at are none that search space '{other}'" in message
    assert "check that the table is of this space" in message
    assert "is outside of what" in message


@pytest.mark.parametrize(("inside", "warnings"), [(50, 0), (49, 1)])
def test_some_records_may_be_from_outside(
    inside: int, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {**CELLS, "width": 34}
    nets = [CELLS] * inside + [odd] * (100 - inside)
    (tmp_path / "t").write_text(json.dumps([[net, 50.0] for net in nets]))
    assert len(load_truth(tmp_path / "t", "darts-in")) == 100
    assert len(caplog.messages) == warnings
