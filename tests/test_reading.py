from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from gennas_optuna._reading import gunzip, read_bytes
from gennas_optuna.errors import DataFileError, MissingFileError


def test_the_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert read_bytes(tmp_path / "f") == b"abc"
    (tmp_path / "link").symlink_to(tmp_path / "f")
    assert read_bytes(tmp_path / "link", limit=3) == b"abc"


def test_larger_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abcd")
    with pytest.raises(DataFileError, match="larger than 3 bytes"):
        read_bytes(tmp_path / "f", limit=3)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "empty").touch()
    for name, message in (
        ("pipe", "not a regular file"),
        ("loop", "cannot be read"),
        ("empty", "is empty"),
        (".", "is a folder"),
    ):
        with pytest.raises(DataFileError, match=message):
            read_bytes(tmp_path / name)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("nowhere", "broken", "f/below"):
        with pytest.raises(MissingFileError, match=name):
            read_bytes(tmp_path / name)


def test_errors_are_one_short_line(tmp_path: Path) -> None:
    for name in ("a\nb", "a\0b", "x" * 100_000):
        with pytest.raises((DataFileError, MissingFileError)) as info:
            read_bytes(tmp_path / name)
        assert "\n" not in str(info.value)
        assert len(str(info.value)) < 400


def test_gzip_within_limits() -> None:
    packed = gzip.compress(b"a" * 1000)
    assert gunzip(packed, "f", limit=1000) == b"a" * 1000
    with pytest.raises(DataFileError, match="'f' decompresses to more than 999 bytes"):
        gunzip(packed, "f", limit=999)


def test_damaged_gzip() -> None:
    packed = gzip.compress(bytes(range(256)) * 10)
    for content in (packed[:-1], packed[:12], packed[:2], packed[:20] + b"?" * 40, packed + b"x"):
        with pytest.raises(DataFileError, match="damaged gzip"):
            gunzip(content, "f")
