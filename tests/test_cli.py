"""The command line as a user runs it: in processes of its own where streams matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gennas_optuna.benchmarks import GroundTruth


def test_spaces(run) -> None:
    status, out, _ = run("spaces", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["nasbench201"]["parameter_sets"] == 15_625
    status, out, _ = run("spaces")
    assert "nasbench201" in out
    assert "15,625" in out


def test_score(run) -> None:
    args = ("score", "nasbench201", "421211", "[[3],[3,4],[1,3,1]]", "--steps", "1")
    status, out, _ = run(*args, "--json")
    assert status == 0
    first, second = json.loads(out)
    assert set(first) == {"arch", "key", "loss", "status", "params", "flops", "cpu_seconds"}
    assert first["arch"].startswith("|avg_pool_3x3~0|+")
    assert second["params"] == 799_968
    assert second["loss"] > 0
    status, out, _ = run(*args)
    assert f"{second['loss']:.4f}" in out
    assert second["arch"] in out


def test_rank_reports_what_the_issue_of_trust_needs(run, cifar10_truth: GroundTruth) -> None:
    args = (
        "rank",
        "nasbench201",
        "--truth",
        "hpo-bench:cifar10",
        "--samples",
        "12",
        "--seed",
        "1",
    )
    status, out, _ = run(*args, "--proxy", "params", "--json")
    assert status == 0
    report = json.loads(out)
    wanted = "space truth proxy preset task seed n spearman spearman_ci kendall kendall_ci"
    assert {*wanted.split(), "cpu_seconds_per_arch", "records"} <= set(report)
    assert report["n"] == len(report["records"]) == 12
    for record in report["records"]:
        trained = cifar10_truth.find(cifar10_truth.space.parse(record["arch"]))
        assert trained is not None
        assert record["truth"] == trained.truth
        live = trained.arch.space.skeleton(trained.arch, canonical=True)
        assert record["loss"] == -sum(p.numel() for p in live.parameters())
        assert record["loss"] >= -record["params"]  # those are of the network as encoded
    from scipy.stats import kendalltau, spearmanr

    params = [-record["loss"] for record in report["records"]]
    truth = [record["truth"] for record in report["records"]]
    assert report["spearman"] == pytest.approx(spearmanr(params, truth).statistic)
    assert report["kendall"] == pytest.approx(kendalltau(params, truth).statistic)
    low, high = report["spearman_ci"]
    assert -1 <= low <= report["spearman"] <= high <= 1


def test_rank_with_a_cache_does_nothing_twice(run, tmp_path: Path) -> None:
    cache = tmp_path / "scores.jsonl"
    args = ["rank", "nasbench201", "--truth", "hpo-bench:cifar10", "--samples", "3"]
    args += ["--steps", "1", "--cache", str(cache), "--json"]
    first = json.loads(run(*args)[1])
    lines = cache.read_text().splitlines()
    assert len(lines) == len({record["key"] for record in first["records"]})
    cache.write_text("\n".join(lines) + '\n{"identity": "cut o')  # a crash in the last write
    status, out, err = run(*args)
    assert status == 0
    assert f"{len(lines)} scores taken" in err
    second = json.loads(out)
    assert [r["loss"] for r in second["records"]] == [r["loss"] for r in first["records"]]
    assert [r["cpu_seconds"] for r in second["records"]] == [
        r["cpu_seconds"] for r in first["records"]
    ]


def test_search(run) -> None:
    args = [
        "search",
        "nasbench201",
        "--trials",
        "6",
        "--steps",
        "1",
        "--top",
        "3",
        "--sampler",
        "random",
    ]
    args += ["--truth", "hpo-bench:cifar10", "--truth", "hpo-bench:cifar100"]
    status, out, _ = run(*args, "--json")
    assert status == 0
    report = json.loads(out)
    assert report["n_trials"] == 6
    assert 1 <= report["n_unique"] <= 6
    assert report["cpu_seconds"] > 0
    losses = [record["loss"] for record in report["best"]]
    assert losses == sorted(losses)
    assert len(losses) == min(3, report["n_unique"])
    for record in report["best"]:
        known = record["truth"]["hpo-bench:cifar10"]
        assert 1 <= known["rank"] <= known["of"] == 15_625
    assert report["truths"][0]["train_hours"] > 0
    status, out, _ = run(*args)
    assert "GPU-hours" in out
    assert "rank among 15,625" in out


def test_a_search_in_a_storage_goes_on(run, tmp_path: Path) -> None:
    import optuna

    url = f"sqlite:///{tmp_path / 'study.db'}"
    args = ["search", "nasbench201", "--steps", "1", "--storage", url, "--study-name", "mine"]
    for trials, expected in ((2, 2), (4, 4), (4, 4)):  # that the study is to have
        status, _, err = run(*args, "--trials", str(trials))
        assert status == 0, err
        study = optuna.load_study(study_name="mine", storage=url)
        assert len(study.trials) == expected


def bad_calls() -> list[tuple[list[str], str]]:
    score = ["score", "nasbench201", "421211", "--steps", "1"]
    rank = ["rank", "nasbench201", "--truth", "hpo-bench:cifar10"]
    return [
        (["score", "nasbench2O1", "421211"], "nasbench201"),
        (["score", "nasbench201", "42121"], "six digits"),
        (["score", "nasbench201", "421211", "--form", "real"], "benchmark"),
        ([*score, "--task", "missing.json"], "missing.json"),
        ([*score, "--preset", "papre"], "paper"),
        ([*score, "--inputs", "nowhere"], "nowhere"),
        ([*score, "--device", "gpu"], "gpu"),
        ([*score, "--steps", "0"], "steps"),
        ([*score, "--workers", "none"], "workers"),
        (["rank", "nasbench201"], "--truth"),
        (["rank", "nasbench201", "--truth", "hpo-bench:cifar"], "cifar10"),
        (["rank", "nasbench201", "--truth", "missing-table.json"], "missing-table.json"),
        ([*rank, "--samples", "20000"], "15625"),
        ([*rank, "--proxy", "synflwo"], "synflow"),
        (["search", "nasbench201", "--sampler", "evolve"], "evolution"),
        (["search", "nasbench201", "--storage", "nosuch://x"], "storage"),
        (["find"], "find"),
    ]


@pytest.mark.parametrize(("args", "named"), bad_calls())
def test_bad_input_gives_one_line_and_status_2(run, args: list[str], named: str) -> None:
    status, out, err = run(*args)
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert named in err


def test_bad_files_give_one_line_and_status_2(run, tmp_path: Path) -> None:
    from PIL import Image

    from gennas_optuna import get_task

    good = get_task("generic").to_dict()
    nan = json.dumps(good).replace('"weight": 0.25', '"weight": NaN')
    files = {
        "unknown.json": (json.dumps({**good, "stagse": []}), "stagse"),
        "nan.json": (nan, "weight"),
        "cut.json": (json.dumps(good)[:100], "not JSON"),
        "deep.json": ("[" * 100_000, "deep"),
        "tag.yaml": ("!!python/object/apply:os.system ['true']", "YAML"),
    }
    for name, (text, named) in files.items():
        (tmp_path / name).write_text(text)
        args = ("score", "nasbench201", "421211", "--steps", "1", "--task", str(tmp_path / name))
        status, out, err = run(*args)
        assert (status, out) == (2, "")
        assert len(err.strip().splitlines()) == 1
        assert named in err
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "images" / "dot.png")
    status, _, err = run(
        "score", "nasbench201", "421211", "--steps", "1", "--inputs", str(tmp_path / "images")
    )
    assert status == 2
    assert "1 x 1" in err
    (tmp_path / "table.json").write_text("[[[[0],[0,0],[0,0,0]], 90.0], [[[1],[0,")
    status, _, err = run("rank", "nasbench201", "--truth", str(tmp_path / "table.json"))
    assert status == 2
    assert "table.json" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.slow
def test_json_is_all_there_is_on_standard_output() -> None:
    """In a real process: progress, notes and warnings go to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "gennas_optuna.cli", "search", "nasbench201", "--json"]
        + ["--trials", "4", "--steps", "1", "--workers", "2"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["n_trials"] == 4


@pytest.mark.slow
def test_the_program_is_installed_and_a_bad_call_has_no_traceback() -> None:
    program = Path(sys.executable).parent / "gennas"
    done = subprocess.run(
        [program, "score", "nowhere", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_cannot_be_written_is_one_clear_line() -> None:
    command = [sys.executable, "-m", "gennas_optuna.cli", "spaces", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "gennas: error: standard output or a storage: No space left on device\n"
    )
