"""What the scripts behind the documentation's figures share: methods, times, comparisons."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy
import torch
from click import ClickException
from click.testing import CliRunner

from gennas_optuna import ProxyEvaluator, get_space, get_task
from gennas_optuna._evaluator import Score
from gennas_optuna.benchmarks import GroundTruth, Trained
from gennas_optuna.ranking import Ranked, Ranking, correlate
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.spaces import SearchSpace

ROOT = Path(__file__).parents[1]
NB201 = get_space("nasbench201")


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def table(texts: list[str], truths: list[float], space: SearchSpace = NB201) -> GroundTruth:
    records = tuple(Trained(space.parse(t), x) for t, x in zip(texts, truths, strict=True))
    return GroundTruth("made up", space, "accuracy (%)", True, records, {}, "")


def random_table(count: int, space: SearchSpace = NB201) -> GroundTruth:
    rng = np.random.default_rng(0)
    texts = [str(space.sample(rng)) for _ in range(count)]
    return table(texts, [float(x) for x in rng.random(count)], space)


def score(loss: float) -> Score:
    return Score(loss, None, "ok", 1, 1, 1.0, 1.0)


def stub_rankings(monkeypatch: pytest.MonkeyPatch, script: Any, noise: dict[str, float]) -> None:
    """Each evaluator ranks by the truth and noise of its own; a name that is not there fails."""

    def ranking(truth, evaluator, samples, seed, folder, workers) -> Ranking:
        name = evaluator.proxy if isinstance(evaluator, ProxyEvaluator) else evaluator.preset.name
        rng = np.random.default_rng(len(name))
        drawn = truth.sample(samples, numpy_generator(seed, "rank"))
        off = {t.arch.key: noise[name] * rng.standard_normal() for t in drawn}
        of_key = {t.arch.key: t.truth for t in drawn}
        records = [Ranked(t, score(-of_key[t.arch.key] - off[t.arch.key])) for t in drawn]
        return Ranking(tuple(records), correlate(truth, records, seed), 1.0)

    monkeypatch.setattr(script, "kept_ranking", ranking)


NOISE = {"fast": 0.3, "balanced": 0.2, "paper": 0.1, "params": 1.0}


@pytest.mark.parametrize("order", [("fast", "balanced", "paper", "params"), ("paper", "params")])
@pytest.mark.parametrize("distinct", [True, False])
def test_differences_whatever_the_order(
    part, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, order: tuple[str, ...], distinct: bool
) -> None:
    frontier = part("frontier")
    stub_rankings(monkeypatch, frontier, NOISE)
    truth = random_table(40)
    compared = part("methods").methods(order, 0, "cpu")
    rows = frontier.ranked(truth, compared, 30, 0, tmp_path, 1, distinct=distinct)
    assert [row["method"] for row in rows] == list(order)
    by_name = {row["method"]: row for row in rows}
    paper = by_name.pop("paper")
    assert "minus_paper" not in paper
    for row in by_name.values():
        assert row["minus_paper"] == pytest.approx(row["spearman"] - paper["spearman"])
        low, high = row["minus_paper_ci"]
        assert low < row["minus_paper"] < high


def test_what_the_frontier_writes(part, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By default all methods, and those before ``paper`` are compared with it too."""
    frontier, timing = part("frontier"), part("timing")
    stub_rankings(monkeypatch, frontier, {**NOISE, **dict.fromkeys(part("methods").PROXIES, 0.5)})
    times = [timing.Times({"all": [[1.0], [3.0]]}, 0)]
    monkeypatch.setattr(frontier, "time_methods", lambda compared, *_, **__: times * len(compared))
    monkeypatch.setattr(frontier, "peak_memory", lambda *_: 5.0)
    monkeypatch.setattr(part("tables").Table, "load", lambda *_: random_table(40))
    options = ("--samples", "12", "--scores", str(tmp_path / "s"), "--out", str(tmp_path / "o"))
    result = CliRunner().invoke(frontier.main, ("nasbench201", *options), catch_exceptions=False)
    assert result.exit_code == 0
    written = json.loads((tmp_path / "o" / "nasbench201.json").read_text())
    assert written["draws"] == 12
    rows = {row["method"]: row for row in written["rows"]}
    assert {name for name, row in rows.items() if "minus_paper" in row} == rows.keys() - {
        "paper",
        "plain",
    }
    assert rows["fast"]["seconds"] == 2
    assert rows["fast"]["raw_seconds"] == {"all": [[1.0], [3.0]]}
    text = (tmp_path / "o" / "frontier.md").read_text()
    assert text in result.stdout
    assert f"12 draws, {rows['fast']['networks']} networks, each counted once" in text
    [line] = [line for line in text.splitlines() if line.startswith("| fast |")]
    assert f"{rows['fast']['minus_paper']:+.3f} (" in line
    assert (tmp_path / "o" / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_results_of_before_are_still_shown(part) -> None:
    row = {"method": "params", "kind": "params", "n": 9, "spearman": 0.5, "cpu_seconds": 0.25}
    row |= {"spearman_ci": [0.4, 0.6], "kendall": 0.3, "kendall_ci": [0.2, 0.4], "peak_mib": 7.0}
    old = {"space": "x", "truth": "t", "timed": 2, "seed": 0, "rows": [row]}
    text = part("frontier").markdown(old)
    assert "x, t, n = 9" in text
    assert "| params | 0.500 (0.400 to 0.600) | 0.300 (0.200 to 0.400) |  | 0.25 |  | 7 |" in text


def test_each_network_once(part) -> None:
    """Two records of one network are one, of their mean truth; its loss is one anyway."""
    same = ("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",)
    same += ("|skip_connect~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",)
    others = [
        f"|{op}~0|+|none~0|{op}~1|+|{op}~0|none~1|none~2|"
        for op in ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
    ]
    truth = table([*same, *others], [1.0, 5.0, 2.0, 9.0, 4.0])
    assert len({record.arch.key for record in truth}) == 4
    losses = [-3.0, -3.0, -1.0, -7.0, -4.0]
    records = tuple(Ranked(t, score(x)) for t, x in zip(truth, losses, strict=True))
    ranking = Ranking(records, correlate(truth, records), 1.0)
    once = part("ranking").each_once(truth, ranking, 0)
    assert [record.trained.truth for record in once.records] == [3.0, 2.0, 9.0, 4.0]
    expected = scipy.stats.spearmanr([3.0, 1.0, 7.0, 4.0], [3.0, 2.0, 9.0, 4.0])
    assert once.correlation.n == 4
    assert once.correlation.spearman == pytest.approx(expected.statistic)


def test_methods_that_do_not_apply_are_left_out(
    part, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On recurrent cells: the plain loop and a task for images before, NASWOT when it says so."""
    frontier = part("frontier")
    truth = random_table(4, get_space("nasbench-nlp"))
    compared = part("methods").methods(("naswot", "plain", "fast:generic", "params"), 0, "cpu")
    rows = frontier.ranked(truth, compared, 4, 0, tmp_path, 1)
    assert ["reason" in row for row in rows] == [True, True, True, False]
    assert ["spearman" in row for row in rows] == [False, False, False, True]
    assert "plain is left out" in capsys.readouterr().err
    text = frontier.markdown({"space": "x", "truth": "t", "rows": rows})
    assert "| naswot |  |  |  |  |  |  |  |" in text


def test_tasks_of_equal_names_are_told_apart(part, tmp_path: Path) -> None:
    names = []
    for folder, task in (("a", "generic"), ("b", "generic-fast")):
        (tmp_path / folder).mkdir()
        get_task(task).save(tmp_path / folder / "task.json")
        names.append(f"fast:{tmp_path / folder / 'task.json'}")
    found = part("methods").methods(tuple(names), 0, "cpu")
    assert len({method.name for method in found}) == 2
    assert [method.evaluator().task_for(NB201).name for method in found] == [
        "generic",
        "generic-fast",
    ]


# Times --------------------------------------------------------------------------------------


def test_all_steps_from_the_line_through_two(part) -> None:
    """A second before the first step and 0.1 s for each; the other network 2 s and 0.3 s."""
    raw = {"5": [[1.5, 9.0, 1.5], [3.5, 3.5, 0.0]], "10": [[2.0, 2.0, 0.0], [5.0, 8.0, 5.0]]}
    times = part("timing").Times(raw, 100)
    assert times.each == pytest.approx([11.0, 32.0])
    record = times.record()
    assert record["seconds"] == pytest.approx(21.5)
    assert record["fixed_seconds"] == pytest.approx(1.5)
    assert record["seconds_per_step"] == pytest.approx(0.2)
    assert record["raw_seconds"] is raw


def test_whole_evaluations_are_medians_of_medians(part) -> None:
    raw = {"all": [[1.0, 50.0, 2.0], [4.0, 4.0, 4.0], [9.0, 8.0, 7.0]]}
    assert part("timing").Times(raw, 0).seconds == 4


def test_methods_take_turns_after_a_discarded_run(part, monkeypatch: pytest.MonkeyPatch) -> None:
    timing = part("timing")
    log: list[tuple[str, int, int | None]] = []
    archs = [record.arch for record in random_table(2)]

    class Run:
        def __init__(self, method) -> None:
            self.name = method.kind
            self.evaluator = method.evaluator()

        def __call__(self, arch, steps=None) -> None:
            log.append((self.name, archs.index(arch), steps))

        def timed(self, arch, steps) -> float:
            self(arch, steps)
            return float(len(log))

    monkeypatch.setattr(timing, "_Run", Run)
    compared = part("methods").methods(("params", "fast", "paper"), 0, "cpu")
    found = timing.time_methods(compared, archs, repeats=2, few_steps=(2, 4))
    turn = [("params", None), ("fast", None), ("paper", 2), ("paper", 4)]
    expected = [(name, 0, 1) for name in ("params", "fast", "paper")]
    expected += [(name, i, steps) for i in (0, 1) for name, steps in turn]
    expected += [(name, i, steps) for i in (0, 1) for name, steps in turn[::-1]]
    assert log == expected
    assert [one.steps for one in found] == [0, 25, 100]
    assert found[0].raw == {"all": [[4.0, 15.0], [8.0, 19.0]]}
    assert found[2].raw == {"2": [[6.0, 13.0], [10.0, 17.0]], "4": [[7.0, 12.0], [11.0, 16.0]]}


def test_accelerators_are_waited_for(part, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    timing = part("timing")
    clocks = SimpleNamespace(thread_time=lambda: 1.0, perf_counter=lambda: 2.0)
    monkeypatch.setattr(timing, "time", clocks)
    devices = [torch.device(name) for name in ("cpu", "cuda:1", "mps")]
    assert [timing.now(device) for device in devices] == [1, 2, 2]
    assert waited == [torch.device("cuda:1"), "mps"]


@pytest.mark.slow
def test_a_process_that_dies_is_not_waited_for(part) -> None:
    method = part("methods").Method("lost", "fast", "default", 0, "no-such-device")
    with pytest.raises(
        ClickException, match="memory of lost on nasbench201 died with exit code 1"
    ):
        part("memory").peak_memory(method, random_table(1)[0].arch)


@pytest.mark.slow
def test_naswot_does_not_import_the_compiler() -> None:
    code = (
        "import sys, numpy as np\n"
        "from gennas_optuna import ProxyEvaluator, get_space\n"
        "arch = get_space('nasbench201').sample(np.random.default_rng(0))\n"
        "ProxyEvaluator('naswot', inputs='noise', device='cpu').evaluate(arch)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Published tasks ----------------------------------------------------------------------------

PUBLISHED = {
    "CONF_NB101": ("nasbench101", "nasbench201", "nasbench-macro"),
    "CONF_RESNET": ("resnext-a-in", "resnext-b-in"),
    "CONF_DARTS": ("darts-in", "darts-fix-w-d-in", "enas-in", "pnas-in", "nasnet-in", "amoeba-in"),
    "CONF_NLP": ("nasbench-nlp",),
}
"""What GenNAS's authors published for which spaces."""


def test_all_spaces_with_their_published_tasks(
    part, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ranking, tables = part("ranking"), part("tables")
    tasks = {name: get_task("generic").to_dict() for name in PUBLISHED}
    tasks["CONF_NLP"] = get_task("generic-sequence").to_dict()
    for name, task in tasks.items():
        task["name"] = name
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps(tasks))
    small = {
        name: random_table(5, get_space(name)) for names in PUBLISHED.values() for name in names
    }
    monkeypatch.setattr(tables.Table, "load", lambda table, data: small[table.space])
    monkeypatch.setattr(ranking, "without_first", lambda truth, count, seed: truth)
    taken: dict[str, set[str]] = {}

    def rank(truth, evaluator, samples, seed, folder, workers) -> Ranking:
        if not isinstance(evaluator, ProxyEvaluator) and evaluator.preset.name == "paper":
            taken.setdefault(evaluator.task_for(truth.space).name, set()).add(truth.space.name)
        records = [Ranked(trained, score(-trained.truth)) for trained in truth]
        return Ranking(tuple(records), correlate(truth, records), 1.0)

    monkeypatch.setattr(ranking, "kept_ranking", rank)
    options = ("--published", str(file), "--scores", str(tmp_path), "--data", "anywhere")
    result = CliRunner().invoke(ranking.main, options, catch_exceptions=False)
    assert result.exit_code == 0
    assert taken == {name: set(spaces) for name, spaces in PUBLISHED.items()}
    summary = result.stdout.split("\n\n")[1].splitlines()
    proxies = part("methods").PROXIES
    heads = ("space", "truth", "networks", "paper", "balanced", "fast", *proxies)
    assert summary[0] == f"| {' | '.join(heads)} |"
    assert len(summary) == 2 + len(tables.TABLES)
    assert summary[2].startswith("| nasbench201 | cifar10 | 5 | **1.000** (1.00) |")


def test_published_and_other_tasks_exclude_each_other(part) -> None:
    options = ("--published", "a.json", "--task", "generic")
    result = CliRunner().invoke(part("ranking").main, options)
    assert result.exit_code == 2
    assert "not both" in result.stderr


# Random searches ----------------------------------------------------------------------------

STEPS = [10, 20, 40]
CURVES = np.array([[5, 4, 3.0], [1, 4, 4.0], [9, 2, 1.0], [2, 2, math.inf], [3, 3, 2.0]])
"""Of five architectures. Number 2 ends best and begins worst; number 3 diverges."""


@pytest.mark.parametrize(
    ("best", "kept", "steps"),
    [
        (0, 1, 40),  # the first
        (4, 1, math.inf),  # after 2, which looks better
        (4, 2, 200),  # but second to it
        (2, 1, 120),
        (1, 2, 80),
        (3, 3, math.inf),  # a network that diverged is never found
    ],
)
def test_steps_of_full_evaluation(part, best: int, kept: int, steps: float) -> None:
    reach = part("reach")
    order = np.arange(5)
    assert reach.full_steps(order, CURVES, STEPS, np.array([best]), kept) == steps


@pytest.mark.parametrize(("best", "steps"), [(0, 60), (1, math.inf), (2, 120), (4, math.inf)])
def test_steps_of_successive_halving(part, best: int, steps: float) -> None:
    """Brackets of 2, 2 and 1, halved at 20 steps: 2 x 20 + 20, twice, and 40.

    Of 0 and 1, equal at 20 steps, the first goes on; of 2 and 3 likewise 2, which is then the
    best for good.
    """
    reach = part("reach")
    found = reach.halving_steps(np.arange(5), CURVES, STEPS, [1], np.array([best]), 2)
    assert found == steps


def test_the_truly_best(part) -> None:
    true = np.array([0.1, 0.9, 0.5, 0.7] * 10)
    assert sorted(true[part("reach").top(true, 0.1)]) == [0.9] * 4
    assert list(part("reach").top(np.array([1.0, 2.0]), 0.05)) == [1]
