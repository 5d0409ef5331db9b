"""How figures are written: the whole of one or nothing, and refused before long work."""

from __future__ import annotations

import builtins
import errno
from pathlib import Path
from typing import Any

import pytest

from gennas_optuna._figure import ENDINGS, check_figure, new_figure, save
from gennas_optuna.errors import DataFileError, MissingFileError

pytest.importorskip("matplotlib")

BEGINNINGS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize("ending", [*ENDINGS, ".PNG"])
def test_the_ending_is_the_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"figure{ending}"
    check_figure(path)
    assert not list(tmp_path.iterdir())  # to look leaves nothing
    save(new_figure(1, 1), path)
    assert path.read_bytes().startswith(BEGINNINGS[ending.lower()])
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_figure_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figure.png"
    save(new_figure(1, 1), path)
    before = path.read_bytes()
    opened = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = opened(self, mode, *args, **kwargs)

        def write(data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        if "x" in mode:
            file.write = write
        return file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DataFileError, match="No space left on device"):
        save(new_figure(2, 2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_told_before(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for name, why in (
        ("figure.docx", "give a name that ends in .png, .svg, .pdf"),
        ("figure", "give a name that ends in"),
        ("no/figure.png", "there is no folder"),
        ("file/figure.png", "there is no folder"),
        ("folder.png", "it is a folder"),
        ("x" * 300 + "/a.png", "file name too long"),
    ):
        for function in (check_figure, lambda path: save(new_figure(1, 1), path)):
            with pytest.raises(DataFileError, match=rf"(?i)cannot be written: {why}") as told:
                function(tmp_path / name)
            assert "\n" not in str(told.value)


def test_a_folder_that_may_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # root may write everywhere
    with pytest.raises(DataFileError, match="cannot be written: Permission denied"):
        check_figure(tmp_path / "a.png")


def test_a_missing_matplotlib_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return before(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingFileError, match=r"gennas-optuna\[plot\]"):
        check_figure(tmp_path / "a.png")
