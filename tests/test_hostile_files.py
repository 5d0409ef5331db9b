"""Bad files end in a ``GenNASError`` of one line: no crash, hang or code run."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hostile import hostile, quick, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from gennas_optuna import ProxyEvaluator, ProxyTask, get_space, get_task, load_truth
from gennas_optuna.score_file import ScoreFile
from gennas_optuna.storage import open_storage

# Tasks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_task_files(suffix: str, tmp_path: Path, canary: Path, count: Counter[str]) -> None:
    path = tmp_path / f"task{suffix}"
    for name, content in hostile(canary).items():
        path.write_bytes(content)
        for spec in (str(path), f"{path}#member"):
            count[f"task file {suffix}, corpus"] += 1
            assert refusal(lambda spec=spec: get_task(spec)) is not None, name


def test_task_places(places: dict[str, Path], count: Counter[str]) -> None:
    for path in places.values():
        count["task file, places"] += 1
        assert refusal(lambda path=path: get_task(path)) is not None, path


def test_huge_task_files(tmp_path: Path, count: Counter[str]) -> None:
    """Sparse files: they say they are large, and are zeros to the end."""
    for suffix in (".json", ".yaml"):
        path = tmp_path / f"task{suffix}"
        with path.open("wb") as file:
            file.truncate(2**33)
        count["task file, huge"] += 1
        message = refusal(lambda path=path: get_task(path))
        assert message is not None
        assert "larger" in message


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_cut_task_files(suffix: str, tmp_path: Path, count: Counter[str]) -> None:
    good = get_task("generic").to_dict()
    text = json.dumps(good) if suffix == ".json" else yaml.safe_dump(good)
    path = tmp_path / f"task{suffix}"
    path.write_text(text)
    assert refusal(lambda: get_task(path)) is None
    for length in range(0, len(text), 7):
        path.write_text(text[:length])
        count[f"task file {suffix}, cut off"] += 1
        message = refusal(lambda: ProxyTask.load(path))
        assert suffix == ".yaml" or message is not None  # YAML may end at the end of any line


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from([-1, 0, 1e308, "nan", [], {}, [[]], [None] * 3, {"": 0}]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)
ANYTHING = JSON | st.builds(lambda: 10**5000) | st.binary(max_size=2) | st.builds(object)


def test_task_values(count: Counter[str]) -> None:
    """A good task with one thing in it replaced by anything."""
    tasks = [get_task(name).to_dict() for name in ("generic", "generic-sequence")]

    @settings(quick, max_examples=600)
    @given(st.sampled_from(tasks), st.data())
    def fuzz(task: dict[str, Any], data: st.DataObject) -> None:
        copy = json.loads(json.dumps(task))
        paths = list(walk(copy))
        path = data.draw(st.sampled_from(paths))
        put(copy, path, data.draw(ANYTHING))
        count["task, one value replaced"] += 1
        message = refusal(lambda: ProxyTask.from_dict(copy))
        if message is None:
            task_again = ProxyTask.from_dict(ProxyTask.from_dict(copy).to_dict())
            assert task_again == ProxyTask.from_dict(copy)

    fuzz()


def walk(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a document."""
    if path:
        yield path
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in items:
        yield from walk(value, (*path, key))


def put(data: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


# Benchmark files -----------------------------------------------------------------------------

MACRO = {"02012100": {"mean_acc": 92.5, "std": 0.1, "params": 1, "flops": 2}}
PAIRS = [
    ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", 10.0],
    [[[3], [3, 3], [3, 3, 3]], 91.5],
]
FORMATS: dict[str, tuple[str, Any]] = {
    "pairs": ("nasbench201", PAIRS),
    "macro": ("nasbench-macro", MACRO),
}


@pytest.mark.parametrize(
    "space", ["nasbench201", "nasbench101", "nasbench-macro", "darts", "resnet"]
)
def test_benchmark_files(space: str, tmp_path: Path, canary: Path, count: Counter[str]) -> None:
    path = tmp_path / "table"
    for name, content in hostile(canary).items():
        path.write_bytes(content)
        count["benchmark file, corpus"] += 1
        assert refusal(lambda: load_truth(path, space)) is not None, name


def test_benchmark_places(places: dict[str, Path], count: Counter[str]) -> None:
    for path in places.values():
        count["benchmark file, places"] += 1
        assert refusal(lambda path=path: load_truth(path, "nasbench201")) is not None, path


def test_benchmark_folders(tmp_path: Path, canary: Path, count: Counter[str]) -> None:
    """A folder of logs, each of which is something else."""
    for number, content in enumerate(hostile(canary).values()):
        (tmp_path / f"log{number}.json").write_bytes(content)
        count["benchmark folder, files"] += 1
    os.mkfifo(tmp_path / "pipe.json")
    assert refusal(lambda: load_truth(tmp_path, "nasbench-nlp")) is not None


def test_gzip_bomb(tmp_path: Path, count: Counter[str]) -> None:
    """A megabyte that is a gigabyte: gzip files may be put one behind the other."""
    path = tmp_path / "table.json.gz"
    path.write_bytes(gzip.compress(bytes(2**24)) * 65)
    count["benchmark file, bomb"] += 1
    message = refusal(lambda: load_truth(path, "nasbench201"))
    assert message is not None
    assert "decompresses to more" in message


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_benchmark_values(kind: str, tmp_path: Path, count: Counter[str]) -> None:
    space, document = FORMATS[kind]
    path = tmp_path / "table.json"
    path.write_text(json.dumps(document))
    assert refusal(lambda: load_truth(path, space)) is None

    @quick
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        copy = json.loads(json.dumps(document))
        put(copy, data.draw(st.sampled_from(list(walk(copy)))), data.draw(JSON))
        path.write_text(json.dumps(copy))
        count["benchmark file, one value replaced"] += 1
        if refusal(lambda: load_truth(path, space)) is None:
            assert all(0 <= r.truth <= 100 for r in load_truth(path, space))

    fuzz()


# Score files ---------------------------------------------------------------------------------


def test_score_files(
    tmp_path: Path, canary: Path, places: dict[str, Path], count: Counter[str]
) -> None:
    path = tmp_path / "scores.jsonl"
    space, evaluator = get_space("nasbench201"), ProxyEvaluator("params")
    for name, content in hostile(canary).items():
        path.write_bytes(content)
        count["score file, corpus"] += 1
        blank = not content.strip()
        assert (refusal(lambda: ScoreFile(path).restore(evaluator, space)) is None) == blank, name
    for name, place in places.items():
        count["score file, places"] += 1
        restored = refusal(lambda place=place: ScoreFile(place).restore(evaluator, space))
        missing = name in ("missing", "dangling", "below a file")
        assert (restored is None) == missing, name


def test_score_values(tmp_path: Path, count: Counter[str]) -> None:
    path = tmp_path / "scores.jsonl"
    space, evaluator = get_space("nasbench201"), ProxyEvaluator("params")
    arch = space.parse("421211")
    ScoreFile(path).append(evaluator, arch, evaluator.evaluate(arch))
    line = json.loads(path.read_text())

    @settings(quick, max_examples=400)
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        copy = json.loads(json.dumps(line))
        put(copy, data.draw(st.sampled_from(list(walk(copy)))), data.draw(JSON))
        path.write_text(json.dumps(copy) + "\n")
        count["score file, one value replaced"] += 1
        fresh = ProxyEvaluator("params")
        if refusal(lambda: ScoreFile(path).restore(fresh, space)) is None:
            score = fresh.cached(arch)
            assert score is None or (score.params >= 0 and score.seconds >= 0)

    fuzz()


def test_a_score_file_goes_on_after_a_crash(tmp_path: Path, count: Counter[str]) -> None:
    """Wherever the last line was cut off, what was there before and comes after can be read."""
    path = tmp_path / "scores.jsonl"
    space, evaluator = get_space("nasbench201"), ProxyEvaluator("params")
    first, second, third = (space.parse(code) for code in ("421211", "334131", "111111"))
    for arch in (first, second):
        ScoreFile(path).append(evaluator, arch, evaluator.evaluate(arch))
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        ScoreFile(path).append(evaluator, third, evaluator.evaluate(third))
        count["score file, cut off"] += 1
        found = ScoreFile(path).restore(ProxyEvaluator("params"), space)
        kept = {first.key, third.key} | ({second.key} if end == len(whole) - 1 else set())
        assert found == kept, end


# Studies -------------------------------------------------------------------------------------


def open_study(url: str) -> None:
    from gennas_optuna import GenNASObjective
    from gennas_optuna.workers import share, work

    objective = GenNASObjective("nasbench201", evaluator=ProxyEvaluator("params"))
    work(
        objective,
        share(open_storage(url), "s", objective, optuna.samplers.RandomSampler()),
        n_trials=1,
    )


@pytest.mark.slow
def test_study_files(tmp_path: Path, canary: Path, count: Counter[str]) -> None:
    for number, (name, content) in enumerate(hostile(canary).items()):
        if not content.strip(b"\0 \n"):
            continue  # a study may begin in an empty file
        path = tmp_path / f"{number}.journal"
        path.write_bytes(content)
        count["study file, corpus"] += 1
        # A line that was cut off is removed: a file of nothing but that becomes a new one.
        if refusal(lambda path=path: open_study(str(path))) is None:
            assert b"\n" not in content, name
    for url in ("sqlite:///{}", "journal:///{}"):
        path = tmp_path / "noise"
        path.write_bytes(hostile(canary)["noise"] + b"\n")
        count["study file, corpus"] += 1
        full = url.format(path)
        assert refusal(lambda full=full: open_study(full)) is not None
