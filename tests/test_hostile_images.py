"""Bad images end in a ``GenNASError`` of one line: no crash, hang or code run."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import Runs, hostile, npy, quick, refusal, zip_bomb, zipped
from hypothesis import given
from hypothesis import strategies as st

from gennas_optuna.inputs import load_images


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
