"""Tasks and presets by name."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

import parity
from gennas_optuna import (
    GenNASEvaluator,
    ProxyTask,
    get_space,
    get_task,
    list_spaces,
    list_tasks,
    packaged_tasks,
    presets,
)
from gennas_optuna.benchmarks import load_truth
from gennas_optuna.errors import (
    DataFileError,
    GenNASError,
    InvalidValueError,
    MissingFileError,
    UnknownNameError,
)
from gennas_optuna.settings import PRESETS, Preset, get_preset
from gennas_optuna.spaces import Scale
from gennas_optuna.task_parts import SEQUENCE_OPTIMIZER, Optimizer

# Tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_tasks())
def test_every_packaged_task_is_one_and_named_like_its_file(name: str, tmp_path: Path) -> None:
    task = get_task(name)
    assert task.name == name
    assert get_task(name) == task
    task.save(tmp_path / "again.json")
    assert get_task(tmp_path / "again.json") == task


def test_tasks_that_were_found_say_where_they_come_from() -> None:
    folder = Path(str(resources.files(presets))) / "provenance"
    found = sorted(path.stem for path in folder.glob("*.json"))
    assert found == sorted([*TRUTHS, "generic-fast", "nds-cells-fast"])
    assert set(list_tasks()) - set(found) == {"generic", "generic-sequence"}
    for name in found:
        assert get_task(name).digest == _origin(name)["task_digest"]
    for name in TRUTHS:
        origin = _origin(name)
        assert len(origin["losses"]) == len(origin["archs"]) == origin["n_archs"]


def test_the_generic_task_of_the_cheap_presets_is_one_that_was_found_made_safe() -> None:
    """Fewer target channels than the tap's act like a larger learning rate on the head."""
    task, origin = get_task("generic-fast"), _origin("generic-fast")
    source = get_task(origin["from"])
    assert source.digest == origin["from_digest"]
    *same, last = source.stages
    assert task.stages == (*same, replace(last, channels=1.0))
    assert replace(task, stages=source.stages).digest == source.digest
    assert all(stage.channels >= 1 for stage in task.stages)


def test_the_task_of_cells_is_the_one_of_those_tried_that_was_chosen() -> None:
    """Those that were tried stand with the benchmarks."""
    tried = Path(__file__).parents[1] / "benchmarks" / "cell_tasks.yml"
    assert get_task(f"{tried}#narrow").digest == get_task("nds-cells-fast").digest


def test_packaged_tasks_fit_a_space_and_begin_with_its_default() -> None:
    space = get_space("nasbench101")
    for preset in ("paper", "fast"):
        tasks = packaged_tasks(space, preset=preset)
        assert tasks[0] == get_task("default", space, preset=preset)
        assert {task.name for task in tasks} == set(list_tasks()) - {"generic-sequence"}
        assert len(tasks) == len(list_tasks()) - 1
    names = [task.name for task in packaged_tasks(get_space("nasbench-nlp"))]
    assert names == ["generic-sequence"]


def test_a_task_tells_the_space_it_was_found_in() -> None:
    origins = {name: presets.found_in(get_task(name)) for name in list_tasks()}
    assert origins["nasbench201-fast"] == "nasbench201"
    assert origins["generic-fast"] == "nasbench201"
    assert origins["nds-stages-fast"] == "resnext-a-in"
    assert origins["nds-cells-fast"] == "darts-fix-w-d-in"
    assert origins["generic"] is None


TRUTHS = {
    "nasbench101-fast": "nasbench101/nasbench1_search_20.json",
    "nasbench201-fast": None,
    "nds-stages-fast": "nds/ResNeXt-A_in.json",
}


@pytest.mark.parametrize(("name", "file"), TRUTHS.items())
def test_the_correlation_they_were_found_with_is_scipys(name: str, file: str | None) -> None:
    origin = _origin(name)
    space = get_space(origin["space"], form=origin["form"])
    where = origin["truth"] if file is None else parity.shared(f"benchmarks/{file}")
    truth = load_truth(where, space)
    assert truth.digest == origin["truth_digest"]
    goodness = {record.arch: truth.goodness(record) for record in truth}
    values = [goodness[space.parse(arch)] for arch in origin["archs"]]
    expected = stats.spearmanr([-loss for loss in origin["losses"]], values).statistic
    assert origin["search"]["spearman"] == pytest.approx(expected, abs=1e-6)


def _origin(name: str) -> dict[str, Any]:
    folder = Path(str(resources.files(presets))) / "provenance"
    origin: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return origin


def test_names_are_sorted_and_without_default() -> None:
    assert list_tasks() == sorted(list_tasks())
    assert "generic" in list_tasks()
    assert "default" not in list_tasks()


@pytest.mark.parametrize("name", list_spaces())
def test_every_space_has_a_default_task_of_its_layout(name: str) -> None:
    space = get_space(name)
    task = get_task("default", space)
    assert (task.sequence is None) == (space.layout == "NCHW")
    assert len(task.stages) == {"NCHW": 3, "LND": 1}[space.layout]


def test_a_space_may_have_a_task_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nasbench201.json").write_text('{"name": "own", "stages": [{}, {}, {}]}')
    files = {**presets._files(), "nasbench201": tmp_path / "nasbench201.json"}
    monkeypatch.setattr(presets, "_files", lambda: files)
    assert get_task("default", get_space("nasbench201")).name == "own"
    assert get_task("default", get_space("nasbench101")).name == "generic"
    assert get_task("default").name == "generic"


def test_a_task_that_was_found_for_a_preset_is_the_default_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A task is the default only where it was searched for: that space at that preset."""
    space = get_space("nasbench201")
    assert get_task("default", space, preset="fast").name == "nasbench201-fast"
    assert get_task("default", space, preset="paper").name == "generic"
    modules = {name: get_task("default", preset=name).name for name in PRESETS}
    assert modules == {"paper": "generic", "balanced": "generic-fast", "fast": "generic-fast"}
    unknown = get_space("nasbench-macro")  # nothing was found there
    others = {name: get_task("default", unknown, preset=name).name for name in PRESETS}
    assert others == {"paper": "generic", "balanced": "generic-fast", "fast": "generic-fast"}
    for name in ("darts-in", "amoeba"):  # written by hand for the family
        cells = {preset: get_task("default", get_space(name), preset=preset) for preset in PRESETS}
        assert {preset: task.name for preset, task in cells.items()} == {
            "paper": "generic",
            "balanced": "nds-cells-fast",
            "fast": "nds-cells-fast",
        }
    for name in ("resnet", "resnext-a-in", "resnext-b"):  # found in one of the family
        assert get_task("default", get_space(name), preset="fast").name == "nds-stages-fast"
        assert get_task("default", get_space(name), preset="balanced").name == "nds-stages-fast"
    (tmp_path / "nasbench201.json").write_text('{"name": "own", "stages": [{}, {}, {}]}')
    files = {**presets._files(), "nasbench201": tmp_path / "nasbench201.json"}
    monkeypatch.setattr(presets, "_files", lambda: files)
    assert get_task("default", space, preset="fast").name == "nasbench201-fast"
    assert get_task("default", space, preset="balanced").name == "nasbench201-fast"
    assert get_task("default", space, preset="paper").name == "own"


def test_evaluators_take_the_default_of_their_preset() -> None:
    space = get_space("nasbench201")
    names = {
        name: GenNASEvaluator(preset=name, device="cpu").task_for(space).name
        for name in ("fast", "paper")
    }
    assert names == {"fast": "nasbench201-fast", "paper": "generic"}
    own = Preset("fast", steps=3)  # another training under that name
    assert GenNASEvaluator(preset=own, device="cpu").task_for(space).name == "generic"
    own = Preset("mine", steps=3, window=2)  # read as `fast` and `balanced` are
    assert GenNASEvaluator(preset=own, device="cpu").task_for(space).name == "nasbench201-fast"
    given = GenNASEvaluator("generic", preset="fast", device="cpu")
    assert given.task_for(space).name == "generic"


def test_the_default_without_a_space_is_of_images() -> None:
    assert get_task("default") == get_task("generic")


def test_the_generic_tasks_train_as_the_paper_does() -> None:
    """Section 4: batches of 16; stages weigh 0.25, 0.5, 1; SGD 0.1, or Adam 0.001 for RNNs."""
    images, sequences = get_task("generic"), get_task("generic-sequence")
    assert images.batch_size == sequences.batch_size == 16
    assert images.target_size == 8
    assert [stage.weight for stage in images.stages] == [0.25, 0.5, 1.0]
    assert images.optimizer == Optimizer("sgd", 0.1, 0.9, 4e-5, "matrices")
    assert sequences.optimizer == SEQUENCE_OPTIMIZER
    assert Optimizer("adam", 1e-3, 0.0, 1.2e-6, "all") == SEQUENCE_OPTIMIZER


def test_a_task_passes_through_and_a_file_is_read(tmp_path: Path) -> None:
    task = get_task("generic")
    assert get_task(task) is task
    for name in ("mine.json", "mine.yaml"):
        task.save(tmp_path / name)
        for path in (tmp_path / name, str(tmp_path / name)):
            assert get_task(path) == task


def test_a_task_of_several_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text('{"A": {"stages": [{}]}}')
    assert get_task(f"{tmp_path / 'tasks.json'}#A") == ProxyTask.from_dict({"stages": [{}]})
    with pytest.raises(InvalidValueError, match="no task 'B'"):
        get_task(f"{tmp_path / 'tasks.json'}#B")
    with pytest.raises(MissingFileError, match="nowhere"):
        get_task(f"{tmp_path / 'nowhere.json'}#A")


@pytest.mark.parametrize(
    "name", ["genric", "", "a\nb", "a\0b", "x" * 5000, None, 3, [], "generic.json"]
)
def test_what_is_neither_a_name_nor_a_file(name: Any) -> None:
    with pytest.raises(GenNASError) as info:
        get_task(name)
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 400


def test_the_names_are_told() -> None:
    with pytest.raises(
        MissingFileError, match=r"task 'genric'.*default, generic, generic-fast, generic-seq"
    ):
        get_task("genric")


def test_a_folder_or_a_broken_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="is a folder"):
        get_task(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataFileError, match=r"x\.json"):
        get_task(tmp_path / "x.json")


# Presets --------------------------------------------------------------------------------------


def test_the_papers_preset() -> None:
    """100 steps on networks of full size (section 4)."""
    assert get_preset("paper") == Preset("paper", steps=100, scale=None)


@pytest.mark.parametrize("name", list_spaces())
def test_the_name_of_a_space_is_its_default_task(name: str) -> None:
    space = get_space(name)
    assert get_task(name) == get_task("default", space)
    for preset in PRESETS:
        named, default = (GenNASEvaluator(task, preset=preset) for task in (name, "default"))
        assert named.identity(space) == default.identity(space)


def test_presets_are_found_by_their_names_and_pass_through() -> None:
    for name, preset in PRESETS.items():
        assert get_preset(name) is preset
        assert preset.name == name
    mine = Preset("mine", steps=3, scale=Scale(width=4))
    assert get_preset(mine) is mine


@pytest.mark.parametrize("name", ["papre", "", None, 3, [], {}])
def test_unknown_presets_are_explained(name: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown preset .*: choose one of .*paper"):
        get_preset(name)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"steps": 0}, "preset steps=0"),
        ({"steps": 1.5}, "preset steps=1.5"),
        ({"steps": True}, "preset steps=True"),
        ({"steps": 1, "scale": 8}, "preset scale=8: give a Scale"),
        ({"steps": 1, "name": None}, "preset name=None"),
    ],
)
def test_bad_presets_are_explained(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        Preset(**{"name": "mine", **options})
