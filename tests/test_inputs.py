"""The unlabelled batch, from every source."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import (
    WRITERS,
    Writer,
    plain_images,
    write_cifar10,
    write_cifar100,
    write_folder,
    write_npz,
)
from PIL import Image

import parity
from gennas_optuna.errors import DataFileError, GenNASError, InvalidValueError, MissingFileError
from gennas_optuna.inputs import MEAN, PHOTOGRAPHS, STD, load_images
from gennas_optuna.task_parts import Noise


def load(source: Any, count: int = 4, seed: int = 0, **options: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return load_images(source, count=count, generator=generator, **options)


def normalised(grey: int) -> list[float]:
    """By hand, from CIFAR-10's published mean and deviation."""
    mean, std = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
    return [(grey - m) / s for m, s in zip(mean, std, strict=True)]


def grey_levels(batch: torch.Tensor) -> list[int]:
    return [round(float(image[0].mean() * 63.0 + 125.3)) for image in batch]


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


def test_nothing_given_means_photographs() -> None:
    assert torch.equal(load(None), load("photos"))


def test_a_generator_is_needed(global_random_state_untouched: None) -> None:
    with pytest.raises(InvalidValueError, match="generator=None: give a Generator"):
        load_images("photos", count=2, generator=None)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="generator=None: give a Generator"):
        Noise(level=1.0).sample((2,), None)  # type: ignore[arg-type]


def test_the_photographs_come_with_scikit_image() -> None:
    """None of them is fetched: they are files of the installed package."""
    import skimage

    files = {path.stem for path in (Path(skimage.__file__).parent / "data").iterdir()}
    assert set(PHOTOGRAPHS) <= files


def test_photo_crops_differ() -> None:
    batch = load("photos", count=32)
    assert len({tuple(image.flatten().tolist()) for image in batch}) == 32


def test_noise_is_standard_normal() -> None:
    batch = load("noise", count=64)
    assert float(batch.mean()) == pytest.approx(0, abs=0.01)
    assert float(batch.std()) == pytest.approx(1, abs=0.01)


@pytest.mark.usefixtures("global_random_state_untouched")
@pytest.mark.parametrize("writer", WRITERS)
def test_files_give_their_images_normalised_and_each_once(writer: Writer, tmp_path: Path) -> None:
    path = writer(tmp_path / "data", plain_images(10))
    batch = load(path, count=10)
    assert batch.shape == (10, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert sorted(grey_levels(batch)) == [20 * k for k in range(10)]
    for image, grey in zip(batch, grey_levels(batch), strict=True):
        expected = torch.tensor(normalised(grey)).view(3, 1, 1)
        assert torch.allclose(image, expected, atol=1e-5)  # every pixel


@pytest.mark.parametrize("writer", WRITERS)
def test_the_generator_chooses(writer: Writer, tmp_path: Path) -> None:
    path = str(writer(tmp_path / "data", plain_images(10)))
    draws = [grey_levels(load(path, count=4, seed=seed)) for seed in range(8)]
    assert draws == [grey_levels(load(path, count=4, seed=seed)) for seed in range(8)]
    assert all(len(set(draw)) == 4 for draw in draws)  # none twice
    assert len({tuple(draw) for draw in draws}) > 4
    assert len({level for draw in draws for level in draw}) == 10  # any of them


@pytest.mark.parametrize("writer", WRITERS)
def test_too_few_images_are_repeated_evenly(writer: Writer, tmp_path: Path) -> None:
    path = writer(tmp_path / "data", plain_images(10))
    levels = grey_levels(load(path, count=25))
    assert len(levels) == 25
    assert {levels.count(20 * k) for k in range(10)} == {2, 3}


def test_grey_of_128_gives_known_numbers(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "data", np.full((1, 32, 32, 3), 128, np.uint8))
    found = load(path, count=2)[0, :, 5, 7].tolist()
    assert found == pytest.approx([2.7 / 63, 5.0 / 62.1, 14.1 / 66.7], abs=1e-6)


def test_pixels_keep_their_places_and_colours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    expected = (torch.from_numpy(image[0]).permute(2, 0, 1).double() / 255).float()
    expected -= torch.tensor(MEAN).view(3, 1, 1)
    expected /= torch.tensor(STD).view(3, 1, 1)
    for k, writer in enumerate(WRITERS):
        [found] = load(writer(tmp_path / str(k), np.repeat(image, 5, 0)), count=1)
        either = [expected, expected.flip(-1)]
        assert any(torch.allclose(found, e, atol=1e-5) for e in either)


def test_a_cifar_folder_may_be_named_itself(tmp_path: Path) -> None:
    root = write_cifar10(tmp_path / "data", plain_images(10))
    assert torch.equal(load(root), load(root / "cifar-10-batches-py"))


def test_jpeg_files_are_read(tmp_path: Path) -> None:
    batch = load(write_folder(tmp_path / "data", plain_images(10), ".jpg"), count=10)
    assert sorted(grey_levels(batch)) == pytest.approx([20 * k for k in range(10)], abs=2)


def test_a_folder_may_nest_and_mix_formats(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write_folder(root / "a", plain_images(3), ".png")
    write_folder(root / "b", plain_images(3, side=50), ".bmp")
    (root / "notes.txt").write_text("no image")
    Image.fromarray(plain_images(1, 40)[0]).convert("L").save(root / "grey.png")
    assert load(root, count=7).shape == (7, 3, 32, 32)


def test_shrinking_averages_over_areas(tmp_path: Path) -> None:
    """Fine stripes, three of 0 to one of 200, become an even 50, not a pattern of single pixels."""
    board = (np.indices((128, 128))[1] % 4 == 0) * 200
    image = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    batch = load(write_npz(tmp_path / "board", image[None]), count=2)
    inner = batch[:, 0, 4:-4, 4:-4] * 63.0 + 125.3
    assert float((inner - 50).abs().max()) < 8


def test_flips_are_left_to_right_and_about_half(tmp_path: Path) -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[:, :4, :16] = 255  # bright at the top left
    batch = load(write_npz(tmp_path / "one", image), count=200)[:, 0]
    left, right = batch[:, 0, 0], batch[:, 0, -1]
    assert ((left > right) | (right > left)).all()
    assert 70 < int((left > right).sum()) < 130
    assert (batch[:, 0].amax(1) > batch[:, -1].amax(1)).all()  # never upside down


def test_tensors_are_taken_as_they_are() -> None:
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load(images), images[:4])
    assert torch.equal(load(images.double()), images[:4])
    assert load(images, size=(16, 16)).shape == (4, 3, 16, 16)


def test_a_batch_does_not_change_with_the_callers_tensor() -> None:
    images = torch.zeros(4, 3, 32, 32, requires_grad=True)
    batch = load(images)
    with torch.no_grad():
        images += 1
    assert not batch.any()
    assert not batch.requires_grad


def test_real_cifar_images() -> None:
    batch = load(parity.shared("benchmarks/cifar10_train256.npz"), count=256)
    assert batch.mean((0, 2, 3)).abs().max() < 0.15
    assert (batch.std((0, 2, 3)) - 1).abs().max() < 0.15


# What is refused ------------------------------------------------------------------------------


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code ran')",))


def missing(folder: Path) -> Path:
    return folder / "missing"


def empty_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def text_file(folder: Path) -> Path:
    folder.mkdir()
    (folder / "x.txt").write_text("x")
    return folder / "x.txt"


def broken_png(folder: Path) -> Path:
    write_folder(folder, plain_images(1))
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:40])
    return folder


def no_png(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a\nb.png").write_text("no image")
    return folder


def tiny_png(folder: Path) -> Path:
    return write_folder(folder, plain_images(1, side=1))


def cut_npz(folder: Path) -> Path:
    path = write_npz(folder, plain_images(3))
    path.write_bytes(path.read_bytes()[:2000])
    return path


def npz_of_text(folder: Path) -> Path:
    folder.mkdir()
    (folder / "images.npz").write_text("no archive")
    return folder / "images.npz"


def npz_folder(folder: Path) -> Path:
    (folder / "images.npz").mkdir(parents=True)
    return folder / "images.npz"


def array_named_npz(folder: Path) -> Path:
    folder.mkdir()
    with (folder / "images.npz").open("wb") as file:
        np.save(file, plain_images(4))
    return folder / "images.npz"


def npz_of(array: np.ndarray) -> Callable[[Path], Path]:
    return lambda folder: write_npz(folder, array)


def cifar100_of(content: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "cifar-100-python").mkdir(parents=True)
        file = folder / "cifar-100-python" / "train"
        file.write_bytes(pickle.dumps(content, protocol=2))
        return folder

    return write


def cut_cifar(folder: Path) -> Path:
    write_cifar100(folder, plain_images(3))
    file = folder / "cifar-100-python" / "train"
    file.write_bytes(file.read_bytes()[:5000])
    return folder


def half_cifar(folder: Path) -> Path:
    write_cifar10(folder, plain_images(10))
    (folder / "cifar-10-batches-py" / "data_batch_3").unlink()
    return folder


@pytest.mark.parametrize(
    ("writer", "error", "named"),
    [
        (missing, MissingFileError, "missing'.*'photos', 'noise'"),
        (lambda _: "phots", MissingFileError, "'phots'.*'photos', 'noise'"),
        (lambda _: "a\0b", MissingFileError, "no such file"),
        (lambda _: "x" * 5000, MissingFileError, "no such file"),
        (empty_folder, DataFileError, "no images"),
        (text_file, DataFileError, r"x\.txt'.*\.npz"),
        (broken_png, DataFileError, r"0\.png"),
        (no_png, DataFileError, r"b\.png"),
        (tiny_png, DataFileError, r"0\.png.*1 x 1"),
        (npz_of(plain_images(2, side=1)), DataFileError, r"images\.npz.*1 x 1"),
        (cut_npz, DataFileError, "not an .npz"),
        (npz_of_text, DataFileError, "not an .npz"),
        (npz_folder, DataFileError, "is a folder"),
        (array_named_npz, DataFileError, "not an .npz"),
        (npz_of(np.zeros((4, 32, 32), np.uint8)), DataFileError, r"\(N, H, W, 3\)"),
        (npz_of(np.zeros((4, 3, 32, 32), np.uint8)), DataFileError, r"uint8\(4, 3, 32, 32\)"),
        (npz_of(np.zeros((4, 32, 32, 3), np.float32)), DataFileError, "float32"),
        (npz_of(np.zeros((0, 32, 32, 3), np.uint8)), DataFileError, "uint8"),
        (npz_of(np.array([{"a": 1}], dtype=object)), DataFileError, "not an .npz.*[Oo]bject"),
        (npz_of(np.array([_Hostile()], dtype=object)), DataFileError, "not an .npz.*[Oo]bject"),
        (cifar100_of({b"data": _Hostile()}), DataFileError, "train.*exec"),
        (cifar100_of({b"data": [1, 2]}), DataFileError, "train.*3072"),
        (cifar100_of([1, 2]), DataFileError, "train.*3072"),
        (cifar100_of({b"data": np.zeros((2, 3072))}), DataFileError, "train.*3072"),
        (cifar100_of({b"data": np.zeros((2, 3071), np.uint8)}), DataFileError, "train.*3072"),
        (cifar100_of({b"data": np.zeros((0, 3072), np.uint8)}), DataFileError, "train.*3072"),
        (cut_cifar, DataFileError, "train"),
        (half_cifar, MissingFileError, "data_batch_3"),
    ],
)
def test_bad_files_are_explained_in_one_line(
    writer: Callable[[Path], Path], error: type[GenNASError], named: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=named) as info:
        load(writer(tmp_path / "data"))
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 600


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (torch.zeros(3, 3, 32, 32), r"shape \(3, 3, 32, 32\).*at least 4"),
        (torch.zeros(4, 1, 32, 32), r"shape \(4, 1, 32, 32\)"),
        (torch.zeros(4, 3, 32), r"shape \(4, 3, 32\)"),
        (torch.zeros(4, 3, 1, 1), r"shape \(4, 3, 1, 1\).*8 x 8"),
        (torch.full((4, 3, 32, 32), float("nan")), "NaN"),
        (torch.full((4, 3, 32, 32), float("inf")), "infinite"),
        (torch.full((4, 3, 32, 32), 1e300, dtype=torch.float64), "infinite"),
        (torch.zeros(4, 3, 32, 32, dtype=torch.uint8), "type torch.uint8"),
        (np.zeros((4, 3, 32, 32), np.float32), "PyTorch tensor"),
        (5, "inputs=5"),
        ([torch.zeros(3, 32, 32)] * 4, "PyTorch tensor"),
    ],
)
def test_bad_tensors_are_explained_in_one_line(images: Any, named: str) -> None:
    with pytest.raises(InvalidValueError, match=named) as info:
        load(images)
    assert "\n" not in str(info.value)


def test_the_count_is_checked() -> None:
    for count in (0, -1, 1.5, True):
        with pytest.raises(InvalidValueError, match="count"):
            load("noise", count=count)  # type: ignore[arg-type]
