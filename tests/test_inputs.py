"""The unlabelled batch, from every source."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gennas_optuna.errors import GenNASError
from gennas_optuna.inputs import MEAN, STD, load_images


def load(source, count: int = 4, seed: int = 0, **options) -> torch.Tensor:
    return load_images(
        source, count=count, generator=torch.Generator().manual_seed(seed), **options
    )


def plain_images(n: int, side: int = 32) -> np.ndarray:
    """Image k is of one grey level, k * 20."""
    levels = np.arange(n, dtype=np.uint8) * 20
    return np.broadcast_to(levels[:, None, None, None], (n, side, side, 3)).copy()


def normalised(grey: int) -> list[float]:
    """By hand, from CIFAR-10's published mean and deviation."""
    mean, std = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
    return [(grey - m) / s for m, s in zip(mean, std, strict=True)]


def grey_levels(batch: torch.Tensor) -> list[int]:
    return [round(float(image[0].mean() * 63.0 + 125.3)) for image in batch]


def write_folder(folder: Path, images: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k}{suffix}")
    return folder


def write_npz(path: Path, images: np.ndarray) -> Path:
    np.savez(path, images=images)
    return path


def write_cifar10(root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    data = plain_images(10).transpose(0, 3, 1, 2).reshape(10, 3072)
    for k in range(5):
        content = {b"data": data[2 * k : 2 * k + 2], b"labels": [0, 1], b"batch_label": b"x"}
        (folder / f"data_batch_{k + 1}").write_bytes(pickle.dumps(content, protocol=2))
    return root


def write_cifar100(root: Path) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    data = plain_images(10).transpose(0, 3, 1, 2).reshape(10, 3072)
    content = {b"data": data, b"fine_labels": [0] * 10}
    (folder / "train").write_bytes(pickle.dumps(content, protocol=2))
    return root


def test_the_constants_are_cifars() -> None:
    assert [m * 255 for m in MEAN] == pytest.approx([125.3, 123.0, 113.9])
    assert [s * 255 for s in STD] == pytest.approx([63.0, 62.1, 66.7])


@pytest.mark.usefixtures("global_random_state_untouched")
@pytest.mark.parametrize("source", ["photos", "noise"])
def test_named_sources(source: str) -> None:
    batch = load(source, count=16)
    assert batch.shape == (16, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert torch.equal(batch, load(source, count=16))
    assert not torch.equal(batch, load(source, count=16, seed=1))
    assert all(float(image.std()) > 0 for image in batch)
    assert load(source, size=(16, 24)).shape == (4, 3, 16, 24)


@pytest.mark.parametrize("writer", [write_npz, write_folder, write_cifar10, write_cifar100])
def test_files_give_their_images_normalised_and_each_once(writer, tmp_path: Path) -> None:
    if writer in (write_cifar10, write_cifar100):
        path = writer(tmp_path / "data")
    else:
        path = writer(tmp_path / "images.npz", plain_images(10))
    if writer is write_folder:
        path = write_folder(tmp_path / "plain", plain_images(10))
    batch = load(path, count=10)
    assert sorted(grey_levels(batch)) == [20 * k for k in range(10)]
    for image, grey in zip(batch, grey_levels(batch), strict=True):
        assert image.mean((1, 2)).tolist() == pytest.approx(normalised(grey), abs=1e-5)
    assert torch.equal(load(path, count=3, seed=2), load(path, count=3, seed=2))
    assert len(load(path, count=25)) == 25  # repeats where there are too few
    assert grey_levels(load(path, count=25)).count(0) in (2, 3)


def test_a_cifar_folder_may_be_named_itself(tmp_path: Path) -> None:
    root = write_cifar10(tmp_path / "data")
    assert torch.equal(load(root), load(root / "cifar-10-batches-py"))


def test_a_folder_may_nest_and_mix_formats(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write_folder(root / "a", plain_images(3), ".png")
    write_folder(root / "b", plain_images(3, side=50), ".bmp")
    (root / "notes.txt").write_text("no image")
    Image.fromarray(plain_images(1, 40)[0]).convert("L").save(root / "grey.png")
    assert load(root, count=7).shape == (7, 3, 32, 32)


def test_shrinking_averages_over_areas(tmp_path: Path) -> None:
    """A fine chessboard of 0 and 200 becomes even grey, not a pattern of single pixels."""
    board = np.indices((128, 128)).sum(0) % 2 * 200
    image = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    batch = load(write_npz(tmp_path / "board.npz", image[None]), count=2)
    inner = batch[:, 0, 4:-4, 4:-4] * 63.0 + 125.3
    assert float((inner - 100).abs().max()) < 8


def test_flips_are_left_to_right_and_about_half(tmp_path: Path) -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[:, :4, :16] = 255  # bright at the top left
    batch = load(write_npz(tmp_path / "one.npz", image), count=200)[:, 0]
    left, right = batch[:, 0, 0], batch[:, 0, -1]
    assert ((left > right) | (right > left)).all()
    assert 70 < int((left > right).sum()) < 130
    assert (batch[:, 0].amax(1) > batch[:, -1].amax(1)).all()  # never upside down


def test_tensors_are_taken_as_they_are() -> None:
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load(images), images[:4])
    assert load(images, size=(16, 16)).shape == (4, 3, 16, 16)


def test_real_cifar_images() -> None:
    import parity

    path = parity.shared("benchmarks/cifar10_train256.npz")
    batch = load(path, count=256)
    assert batch.mean((0, 2, 3)).abs().max() < 0.15
    assert (batch.std((0, 2, 3)) - 1).abs().max() < 0.15


def broken_png(folder: Path) -> Path:
    write_folder(folder, plain_images(1))
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:40])
    return folder


def empty_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def cut_npz(folder: Path) -> Path:
    folder.mkdir()
    path = write_npz(folder / "images.npz", plain_images(3))
    path.write_bytes(path.read_bytes()[:200])
    return path


def npz_of(array: np.ndarray):
    def write(folder: Path) -> Path:
        folder.mkdir()
        return write_npz(folder / "images.npz", array)

    return write


def text_file(folder: Path) -> Path:
    folder.mkdir()
    (folder / "x.txt").write_text("x")
    return folder / "x.txt"


class _Hostile:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def hostile_cifar(folder: Path) -> Path:
    (folder / "cifar-100-python").mkdir(parents=True)
    (folder / "cifar-100-python" / "train").write_bytes(pickle.dumps({b"data": _Hostile()}))
    return folder


def wrong_cifar(folder: Path) -> Path:
    (folder / "cifar-100-python").mkdir(parents=True)
    (folder / "cifar-100-python" / "train").write_bytes(
        pickle.dumps({b"data": [1, 2]}, protocol=2)
    )
    return folder


def half_cifar(folder: Path) -> Path:
    write_cifar10(folder)
    (folder / "cifar-10-batches-py" / "data_batch_3").unlink()
    return folder


@pytest.mark.parametrize(
    ("writer", "named"),
    [
        (lambda folder: folder / "missing", "missing"),
        (empty_folder, "no images"),
        (broken_png, "0.png"),
        (lambda folder: write_folder(folder, plain_images(1, side=1)), "1 x 1"),
        (npz_of(plain_images(2, side=1)), "1 x 1"),
        (cut_npz, "not an .npz"),
        (npz_of(np.zeros((4, 32, 32), np.uint8)), r"\(N, H, W, 3\)"),
        (npz_of(np.zeros((4, 32, 32, 3), np.float32)), "uint8"),
        (npz_of(np.zeros((0, 32, 32, 3), np.uint8)), "uint8"),
        (npz_of(np.array([{"a": 1}], dtype=object)), "not an .npz"),
        (text_file, "x.txt"),
        (hostile_cifar, "exec"),
        (wrong_cifar, "3072"),
        (half_cifar, "data_batch_3"),
    ],
)
def test_bad_files_are_explained_in_one_line(writer, named: str, tmp_path: Path) -> None:
    with pytest.raises(GenNASError, match=named) as info:
        load(writer(tmp_path / "data"))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 3, 32, 32),
        torch.zeros(4, 1, 32, 32),
        torch.zeros(4, 3, 32),
        torch.zeros(4, 3, 1, 1),
        torch.full((4, 3, 32, 32), float("nan")),
    ],
)
def test_bad_tensors_are_explained(images: torch.Tensor) -> None:
    with pytest.raises(GenNASError):
        load(images)
