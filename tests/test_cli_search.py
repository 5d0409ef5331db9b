"""``gennas search`` and ``gennas worker``: studies that are gone on with, and what is printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import optuna
import pytest
from rich.console import Console
from worker_helpers import (
    closed_storages,  # noqa: F401 - it is used by all tests here
    opened,
    states,
)

from gennas_optuna import GenNASEvaluator, _cli_report, _cli_search, cli

ROOT = Path(__file__).parents[1]
STUDY = "gennas-nasbench201"
SEARCH = ("search", "nasbench201", "--preset", "fast", "--steps", "1")
TABLES = [f"hpo-bench:{name}" for name in ("cifar10", "cifar100", "imagenet16-120")]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "s.journal")


def load(url: str, name: str = STUDY) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=opened(url))


class TestMoreTrials:
    def test_the_study_keeps_the_largest_number(self, run, url: str) -> None:
        for asked, kept in (("1", 1), ("3", 3), ("2", 3)):
            status, out, err = run(*SEARCH, "--storage", url, "--trials", asked, "--json")
            assert status == 0, err
            study = load(url)
            assert study.user_attrs[_cli_search.COMMAND]["trials"] == kept
            assert json.loads(out)["n_trials"] == len(study.trials) == kept

    def test_a_worker_runs_them(self, run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run(*SEARCH, "--storage", url, "--trials", "1")[0] == 0
        with monkeypatch.context() as patch:  # the larger number is asked for, and not yet reached
            patch.setattr(_cli_search, "work", lambda *args, **kwargs: None)
            assert run(*SEARCH, "--storage", url, "--trials", "3")[0] == 0
        status, _, err = run("worker", url, STUDY)
        assert (status, err) == (0, f"{STUDY}: 3 finished trials\n")
        assert states(load(url)) == {"COMPLETE": 3}

    def test_helpers_run_as_many_as_the_command(self, run, url: str) -> None:
        assert run(*SEARCH, "--storage", url, "--trials", "1")[0] == 0
        _cli_search._help(url, STUDY, 3)
        assert states(load(url)) == {"COMPLETE": 3}

    @pytest.mark.slow
    def test_several_processes_run_them(self, run, url: str) -> None:
        assert run(*SEARCH, "--storage", url, "--trials", "2")[0] == 0
        more = ("--trials", "30", "--workers", "2")
        status, _, err = run(*SEARCH, "--storage", url, *more)
        assert status == 0, err
        trials = load(url).trials[2:]
        assert len({trial.user_attrs["gennas:worker"]["pid"] for trial in trials}) == 2


class TestRefused:
    """What is refused leaves nothing behind."""

    def test_a_wrong_setting_makes_no_study(self, run, url: str) -> None:
        args = (*SEARCH, "--storage", url, "--trials", "1")
        wrong = ("--inputs", "nowhere", "--objectives", "loss,flops")
        status, _, err = run(*args, *wrong)
        assert status == 2
        assert "nowhere" in err
        assert optuna.get_all_study_names(opened(url)) == []
        assert run(*args)[0] == 0

    def test_a_study_of_a_task_search_is_not_made_one_of_a_search(self, run, url: str) -> None:
        optuna.create_study(direction="maximize", study_name="mine", storage=opened(url))
        status, _, err = run(*SEARCH, "--storage", url, "--study-name", "mine")
        assert status == 2
        assert "maximize" in err
        assert load(url, "mine").user_attrs == {}
        status, _, err = run("worker", url, "mine")
        assert status == 2
        assert "no study 'mine' of `gennas search`" in err

    def test_another_search_changes_nothing(self, run, url: str) -> None:
        args = (*SEARCH, "--storage", url, "--trials")
        assert run(*args, "1")[0] == 0
        before = load(url).user_attrs
        status, _, err = run(*args, "9", "--seed", "1")
        assert status == 2
        assert "another search" in err
        assert load(url).user_attrs == before

    @pytest.mark.parametrize("more", [(), ("--storage", "s.journal")])
    def test_a_cache_that_cannot_be_written(
        self, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        trained: list[object] = []
        monkeypatch.setattr(GenNASEvaluator, "evaluate", lambda self, arch: trained.append(arch))
        status, out, err = run(*SEARCH, *more, "--cache", "nowhere/x")
        assert (status, out) == (2, "")
        assert "'nowhere/x' cannot be written" in err
        assert len(err.splitlines()) == 1
        assert not trained
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_objective(self, run) -> None:
        status, _, err = run(*SEARCH, "--objectives", "loss,flop")
        assert status == 2
        expected = "--objectives='flop': choose one of loss, flops, params, latency, memory"
        assert err == f"gennas: error: {expected}\n"


class TestTexts:
    def test_one_of_a_kind(self, run, url: str) -> None:
        args = (*SEARCH, "--storage", url, "--trials", "1", "--truth", TABLES[0])
        _, out, _ = run(*args)
        assert out.startswith("1 trial, 1 distinct network of nasbench201, ")
        assert "training the 1 network instead" in out
        assert run("worker", url, STUDY)[2] == f"{STUDY}: 1 finished trial\n"

    @pytest.mark.parametrize(
        ("n_trials", "failed", "text"),
        [
            (1, ["E: x"], "in 1 trial: 1 failed, the last with E: x"),
            (4, [], "in 4 trials: 4 beyond the limits; give higher limits, or more --trials"),
            (
                3,
                ["E: x", "E: y"],
                "in 3 trials: 2 failed, the last with E: y; 1 beyond the limits;",
            ),
        ],
    )
    def test_nothing_was_scored(self, n_trials: int, failed: list[str], text: str) -> None:
        assert text in _cli_search._nothing_scored(n_trials, failed)

    @pytest.mark.slow
    def test_costs_of_a_front_are_in_one_piece(self, run) -> None:
        args = (*SEARCH, "--trials", "6", "--objectives", "loss,flops,params,memory")
        args += tuple(part for table in TABLES for part in ("--truth", table))
        front = json.loads(run(*args, "--json")[1])["front"]
        lines = run(*args)[1].splitlines()
        assert "imagenet16-120" in lines[2]
        for number, row in enumerate(front, start=1):
            values = row["values"]
            cells = [
                f"{values['loss']:.4f}",
                f"{values['flops'] / 1e6:.1f} M",
                f"{values['params'] / 1e6:.3f} M",
                f"{values['memory'] / 1e6:.2f} MB",
                *(f"{row['truth'][table]:.2f}" for table in TABLES),
            ]
            assert lines[3 + number].split() == " ".join([str(number), *cells]).split()

    def test_numbers_are_not_broken_where_it_is_narrow(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_cli_report, "_out", Console(width=20, soft_wrap=True))
        rows = [("1,234,567.1 M", "88.25\n1,234"), ("0.1 M", "unknown")]
        _cli_report.print_table(("multiply-accumulates", "imagenet16-120"), rows, numbered=True)
        out = capsys.readouterr().out
        for cell in ("1,234,567.1 M", "88.25", "1,234 ", "0.1 M", "unknown"):
            assert cell in out


class TestInterrupted:
    """Ctrl-C is a normal way to stop: it is answered by one line."""

    tune = ("tune-task", "nasbench201", "--truth", TABLES[0], "--archs", "3", "--steps", "1")
    commands = pytest.mark.parametrize(
        ("command", "name"), [(SEARCH, STUDY), (tune, "nasbench201")], ids=["search", "tune"]
    )

    @commands
    def test_in_a_training(
        self, url: str, capfd, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], name: str
    ) -> None:
        """Not even Optuna says more."""

        def evaluate(*args: object, **kwargs: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(GenNASEvaluator, "evaluate", evaluate)
        monkeypatch.setattr(sys, "argv", ["gennas", *command, "--storage", url, "--trials", "5"])
        with pytest.raises(SystemExit, match="130"):
            cli.main()
        out, err = capfd.readouterr()
        assert (out, err.strip()) == ("", "gennas: interrupted")
        assert states(load(url, name))["FAIL"] == 1
        assert states(load(url, name))["RUNNING"] == 0
