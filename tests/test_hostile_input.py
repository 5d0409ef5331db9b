"""Bad input of every kind ends in a ``GenNASError`` of one line: no crash, hang or code run.

``python -m benchmarks.bad_input`` runs these tests and prints how many inputs of each kind there
were. The corpus is in ``hostile.py``.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import optuna
import pytest
import torch
import yaml
from click.testing import CliRunner
from hostile import Runs, guarded, hostile, npy, refusal, zip_bomb, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gennas_optuna import ProxyEvaluator, ProxyTask, get_space, get_task, list_spaces, load_truth
from gennas_optuna.cli import cli
from gennas_optuna.errors import GenNASError
from gennas_optuna.inputs import load_images
from gennas_optuna.score_file import ScoreFile
from gennas_optuna.storage import open_storage

quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """The file that hostile input would make if its code ran."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code of the input ran"


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Iterator[Counter[str]]:
    """How many inputs a test tried, by kind; ``benchmarks.bad_input`` adds them up."""
    counter: Counter[str] = Counter()
    yield counter
    for kind, number in counter.items():
        record_property(kind, number)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Paths that are no files."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    paths = {name: tmp_path / name for name in ("folder", "pipe.json", "pipe.npz", "loop")}
    return {
        **paths,
        "dangling": tmp_path / "dangling.yaml",
        "missing": tmp_path / "missing.json",
        "below a file": Path(__file__) / "x",
        "a device": Path("/dev/zero"),
        "a null byte": Path("a\0b"),
        "a long name": Path("x" * 5000),
        "a surrogate": Path("\ud800"),
        "nothing": Path(),
    }


# Architectures -------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=80),
    st.text("0123456789[](){}|~+,:;_-. \"'abnor", max_size=120),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=15,
    ).map(json.dumps),
)


@pytest.mark.parametrize("name", list_spaces())
def test_architectures(name: str, count: Counter[str], canary: Path) -> None:
    space = get_space(name)
    for text in hostile(canary).values():
        # A zero byte decodes; what is no text at all cannot come from a command line.
        count["architecture, corpus"] += 1
        assert refusal(lambda text=text: space.parse(text.decode(errors="replace"))) is not None

    good = [str(space.sample(np.random.default_rng(seed))) for seed in range(3)]

    @quick
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        text = data.draw(TEXTS | damaged(good))
        count["architecture, fuzzed"] += 1
        if refusal(lambda: space.parse(text)) is None:
            again = space.parse(str(space.parse(text)))  # it is one of the space, then
            assert again.key == space.parse(text).key

    fuzz()


def damaged(good: list[str]) -> st.SearchStrategy[str]:
    """Good texts with a piece cut out, doubled or replaced."""

    @st.composite
    def draw(draw: Callable[..., Any]) -> str:
        text = draw(st.sampled_from(good))
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        piece = draw(st.sampled_from(["", text[start:end] * 2, "0", "99", "-1", "[", "|", "\0"]))
        return text[:start] + piece + text[end:]

    return draw()


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


# Images --------------------------------------------------------------------------------------


def images(source: str | Path) -> torch.Tensor:
    return load_images(source, count=2, generator=torch.Generator().manual_seed(0))


def test_npz_files(tmp_path: Path, canary: Path, count: Counter[str]) -> None:
    path = tmp_path / "images.npz"
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }"
    files = {
        **hostile(canary),
        "a bomb": zip_bomb(2**30 + 2**24),
        "no arrays": zipped({}),
        "an object array": npz(np.array([Runs(canary)], dtype=object)),
        "floats": npz(np.zeros((2, 32, 32, 3))),
        "a flat array": npz(np.zeros(10, np.uint8)),
        "channels first": npz(np.zeros((2, 3, 32, 32), np.uint8)),
        "no images": npz(np.zeros((0, 32, 32, 3), np.uint8)),
        "small images": npz(np.zeros((2, 4, 4, 3), np.uint8)),
        "a header of a shape without data": zipped({"a.npy": npy(shape % "(99, 32, 32, 3)")}),
        "a shape beyond memory": zipped({"a.npy": npy(shape % f"({10**15}, 32, 32, 3)")}),
        "a shape that overflows": zipped({"a.npy": npy(shape % f"({2**62}, 32, 32, 3)")}),
        "a negative shape": zipped({"a.npy": npy(shape % "(-1, 32, 32, 3)")}),
        "a header of code": zipped({"a.npy": npy(f"__import__('os').system('touch {canary}')")}),
        "a deep header": zipped({"a.npy": npy("(" * 100)}),
        "a name that climbs": zipped({"../../a.npy": npy(shape % "(1,)", b"x")}),
        "cut off": npz(np.zeros((4, 32, 32, 3), np.uint8))[:-40],
    }
    for name, content in files.items():
        path.write_bytes(content)
        count["images .npz, corpus"] += 1
        assert refusal(lambda: images(path)) is not None, name
    good = npz(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    path.write_bytes(good)
    assert refusal(lambda: images(path)) is None

    @quick
    @given(st.integers(0, len(good) - 1), st.integers(1, 255))
    def fuzz(place: int, change: int) -> None:
        path.write_bytes(good[:place] + bytes([good[place] ^ change]) + good[place + 1 :])
        count["images .npz, one byte changed"] += 1
        refusal(lambda: images(path))

    fuzz()


def npz(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=array)
    return buffer.getvalue()


def test_image_folders(tmp_path: Path, canary: Path, count: Counter[str]) -> None:
    from PIL import Image

    for number, content in enumerate(hostile(canary).values()):
        for suffix in (".png", ".jpg"):
            folder = tmp_path / f"{number}{suffix}"
            folder.mkdir()
            (folder / f"a{suffix}").write_bytes(content)
            count["image file, corpus"] += 1
            assert refusal(lambda folder=folder: images(folder)) is not None
    good = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(good, "png")
    folder = tmp_path / "png"
    folder.mkdir()
    content = good.getvalue()

    @quick
    @given(st.integers(0, len(content) - 1), st.integers(1, 255))
    def fuzz(place: int, change: int) -> None:
        damaged = content[:place] + bytes([content[place] ^ change]) + content[place + 1 :]
        (folder / "a.png").write_bytes(damaged)
        count["image file, one byte changed"] += 1
        refusal(lambda: images(folder))

    fuzz()
    for length in range(0, len(content), 97):
        (folder / "a.png").write_bytes(content[:length])
        count["image file, cut off"] += 1
        assert refusal(lambda: images(folder)) is not None
    bomb = tmp_path / "bomb"
    bomb.mkdir()
    (bomb / "a.png").write_bytes(png_header(60_000, 60_000))
    count["image file, bomb"] += 1
    assert refusal(lambda: images(bomb)) is not None


def png_header(width: int, height: int) -> bytes:
    """A picture that says it has so many pixels, and ends there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def test_image_places(
    places: dict[str, Path], count: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "." is among the places, and a folder above may well hold images.
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for path in places.values():
        count["images, places"] += 1
        assert refusal(lambda path=path: images(path)) is not None, path


def test_cifar_folders(tmp_path: Path, canary: Path, count: Counter[str]) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, content in hostile(canary).items():
        (folder / "train").write_bytes(content)
        count["CIFAR file, corpus"] += 1
        assert refusal(lambda: images(tmp_path)) is not None, name


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


# The command line ----------------------------------------------------------------------------

VALUES = [
    "",
    " ",
    "-1",
    "1e999",
    "nan",
    "-inf",
    "9" * 5000,
    "0x10",
    "None",
    "[]",
    "../../../etc/passwd",
    "/dev/zero",
    "/proc/self/mem",
    ".",
    "{7*7}",
    "%s%s%n",
    "a\0b",
    "\ud800",
    "\x1b[31m",
    "x" * 100_000,
    "meta",
    "cuda:99",
    "hpo-bench:",
    "hpo-bench:../../x",
    "file:///etc/passwd",
    "-h-",
]
BASE = {
    "score": ["nasbench201", "421211", "--steps", "1"],
    "rank": ["nasbench201", "--truth", "missing.json", "--samples", "2"],
    "search": ["nasbench201", "--trials", "1", "--steps", "1"],
    "tune-task": ["nasbench201", "--truth", "missing.json", "--trials", "1"],
    "worker": ["missing.journal", "s"],
}
FREE = {"--cache", "--out", "--figure", "--study-name", "--name", "--seed", "--json", "--storage"}
"""Options for which many of the values are good: names of files to write, names, large numbers."""


def call(args: list[str]) -> int:
    """The exit status; anything but a clean refusal or success is raised."""
    with guarded():
        try:
            result = CliRunner().invoke(cli, args, standalone_mode=False)
            error = result.exception
            if error is not None:
                raise error
        except GenNASError as refused:
            return 2 if len(str(refused).splitlines()) == 1 else 1
        except click.ClickException as refused:
            return 2 if refused.format_message() else 1
    return 0


def options_of(command: str) -> list[str]:
    found = cli.commands[command]
    return [
        parameter.opts[0]
        for parameter in found.params
        if isinstance(parameter, click.Option) and not parameter.is_flag
    ]


@pytest.mark.parametrize("command", sorted(BASE))
def test_option_values(
    command: str,
    count: Counter[str],
    canary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for option in options_of(command):
        if option in FREE:
            continue
        for value in [*VALUES, f"$(touch {canary})", f"; touch {canary}"]:
            args = [command, *BASE[command], option, value]
            count["command line, option values"] += 1
            assert call(args) == 2, [arg[:80] for arg in args[-4:]]


def test_arguments(count: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in VALUES:
        calls = (
            [value],
            ["score", value, "421211"],
            ["score", "nasbench201", value],
            ["search", value],
            ["rank", value, "--truth", value],
            ["rank", "nasbench201", "--truth", value],
            ["worker", value, value],
            ["search", "nasbench201", "--storage", value],
            ["search", "nasbench201", "--trials", "1", "--steps", "1", "--seed", value + "x"],
        )
        for args in calls:
            count["command line, arguments"] += 1
            assert call(args) == 2, [arg[:80] for arg in args[-4:]]


def test_any_words(count: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = st.one_of(
        st.sampled_from(
            ["score", "rank", "search", "nasbench201", "--json", "--steps", "--", "-h"]
        ),
        st.text(st.characters(codec="utf-8"), max_size=12),
    )

    @settings(quick, max_examples=300)
    @given(st.lists(words, max_size=5))
    def fuzz(args: list[str]) -> None:
        if args[:1] == ["search"] and "nasbench201" in args:
            return  # that may well be a search
        count["command line, any words"] += 1
        call(args)

    fuzz()
