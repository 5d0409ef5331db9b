"""Images in files of every kind that is read, to be told apart by their grey levels."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def plain_images(n: int, side: int = 32) -> np.ndarray:
    """Image k is of one grey level, k * 20."""
    levels = np.arange(n, dtype=np.uint8) * 20
    return np.broadcast_to(levels[:, None, None, None], (n, side, side, 3)).copy()


def write_folder(folder: Path, images: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k}{suffix}")
    return folder


def write_npz(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    np.savez(folder / "images.npz", labels=np.arange(len(images)), images=images)
    return folder / "images.npz"


def as_rows(images: np.ndarray) -> np.ndarray:
    """(N, 32, 32, 3) to CIFAR's rows: red, green and blue one after the other."""
    return images.transpose(0, 3, 1, 2).reshape(-1, 3072)


def write_cifar10(root: Path, images: np.ndarray) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for k, part in enumerate(np.array_split(as_rows(images), 5)):
        content = {b"batch_label": b"x", b"labels": [0] * len(part), b"data": part}
        (folder / f"data_batch_{k + 1}").write_bytes(pickle.dumps(content, protocol=2))
    test = {b"data": as_rows(np.full((1, 32, 32, 3), 255, np.uint8))}
    (folder / "test_batch").write_bytes(pickle.dumps(test, protocol=2))
    return root


def write_cifar100(root: Path, images: np.ndarray) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    content = {b"data": as_rows(images), b"fine_labels": [0] * len(images)}
    (folder / "train").write_bytes(pickle.dumps(content, protocol=2))
    return root


WRITERS = (write_npz, write_folder, write_cifar10, write_cifar100)
Writer = Callable[[Path, np.ndarray], Path]
