"""The unlabelled batch: where its images come from, and how they are normalised."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from gennas_optuna import _check
from gennas_optuna._reading import LIMIT, read_bytes
from gennas_optuna._unpickle import restricted_load
from gennas_optuna.errors import DataFileError, GenNASError, InvalidValueError, MissingFileError

MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
"""Per colour, of CIFAR-10, as the paper normalises its images (scaled to [0, 1])."""

STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)
"""Per colour, of CIFAR-10."""

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
"""The natural colour photographs that scikit-image carries in its own package."""

Inputs = str | Path | torch.Tensor | None
"""Where images come from, see :func:`load_images`."""

Images = npt.NDArray[np.uint8]
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
_MAX_PIXELS = 10**8
_MIN_SIDE = 8
_MAX_FILES = 2_000_000


def load_images(
    source: Inputs,
    *,
    count: int,
    size: tuple[int, int] = (32, 32),
    channels: int = 3,
    generator: torch.Generator,
) -> torch.Tensor:
    """One batch of images without labels.

    Args:
        source: ``"photos"`` or ``None``, random crops of photographs that come with scikit-image;
            ``"noise"``, Gaussian noise; a folder of images; a folder that holds CIFAR-10 or
            CIFAR-100 as torchvision lays it out; an ``.npz`` file with an array of shape
            (N, H, W, 3), uint8; or a tensor (N, 3, H, W) that is normalised already.
        count: number of images B. They are drawn without repetition where there are enough; of
            a tensor the first are taken.
        size: height and width to resize to.
        channels: of a tensor's images, (N, channels, H, W); other sources have three.
        generator: chooses images, crops and flips.

    Returns:
        float32 of shape (count, channels, height, width), normalised with CIFAR-10's mean and
        deviation.

    Raises:
        MissingFileError: there is no such file or folder.
        DataFileError: there are no images in it that can be read.
        InvalidValueError: the source is a tensor of another shape or type or with NaN, or it is
            none of these.
    """
    _check.whole(count, "count", low=1)
    _check.instance(generator, "generator", torch.Generator)
    if isinstance(source, torch.Tensor):
        return _from_tensor(source, count, size, channels)
    place = existing(source)
    if isinstance(place, str):
        return NAMED[place](count, size, generator)
    images = _read(place, count, generator)
    chosen = _choose(len(images), count, generator)
    return _augment([images[i] for i in chosen], size, generator)


def existing(source: str | Path | None) -> str | Path:
    """The name of a source that has one, else the path of something that is there.

    Raises:
        MissingFileError: it is neither.
        InvalidValueError: it is no text and no path.
    """
    if source is None:
        return "photos"
    if not isinstance(source, (str, Path)):
        raise InvalidValueError(
            f"inputs={_check.shorten(source)}: give a name, a path or a PyTorch tensor"
        )
    if str(source) in NAMED:
        return str(source)
    if not os.path.exists(source):  # never raises, unlike Path.exists for some names
        raise MissingFileError(
            f"inputs {_check.shorten(str(source), 200)}: no such file or folder, and not one of "
            f"{', '.join(map(repr, NAMED))}"
        )
    return Path(source)


def _photos(count: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Square crops at random places and scales, from a quarter of the shorter side up."""
    from skimage import data  # noqa: PLC0415 - slow to import

    crops = []
    for i in range(count):
        photo: Images = getattr(data, PHOTOGRAPHS[i % len(PHOTOGRAPHS)])()
        crops.append(_crop(photo, generator))
    return _augment(crops, size, generator)


def _noise(count: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=generator)


NAMED: dict[str, Callable[[int, tuple[int, int], torch.Generator], torch.Tensor]] = {
    "photos": _photos,
    "noise": _noise,
}


def _crop(image: Images, generator: torch.Generator) -> Images:
    height, width = image.shape[:2]
    short = min(height, width)
    side = int(torch.randint(max(1, short // 4), short + 1, (), generator=generator))
    top = int(torch.randint(0, height - side + 1, (), generator=generator))
    left = int(torch.randint(0, width - side + 1, (), generator=generator))
    return image[top : top + side, left : left + side]


def _choose(available: int, count: int, generator: torch.Generator) -> list[int]:
    """Numbers below ``available``; each once before any comes again."""
    rounds = -(-count // available)
    orders = [torch.randperm(available, generator=generator) for _ in range(rounds)]
    return [int(i) for i in torch.cat(orders)[:count]]


def _augment(
    images: list[Images], size: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Resize, flip half of them left to right, normalise."""
    batch = torch.cat([_resized(image, size) for image in images])
    flip = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
    batch = torch.where(flip, batch.flip(-1), batch)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (batch - mean) / std


def _resized(image: Images, size: tuple[int, int]) -> torch.Tensor:
    """(H, W, 3) uint8 to (1, 3, height, width) in [0, 1], area-averaged when shrunk."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    if tensor.shape[2:] == size:
        return tensor
    return F.interpolate(tensor, size=size, mode="bilinear", antialias=True, align_corners=False)


def _from_tensor(
    images: torch.Tensor, count: int, size: tuple[int, int], channels: int
) -> torch.Tensor:
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != channels or shape[0] < count or min(shape[2:]) < _MIN_SIDE:
        raise InvalidValueError(
            f"inputs of shape {shape}: give a tensor (N, {channels}, H, W) of at least {count} "
            f"normalised images of at least {_MIN_SIDE} x {_MIN_SIDE} pixels"
        )
    if not images.is_floating_point():
        raise InvalidValueError(f"inputs of type {images.dtype}: normalise them, to floats")
    # A copy, so that the batch does not change when the caller's tensor does.
    chosen = images[:count].detach().to("cpu", torch.float32, copy=True)
    if not torch.isfinite(chosen).all():
        raise InvalidValueError("inputs hold NaN or infinite values")
    if chosen.shape[2:] == size:
        return chosen
    return F.interpolate(chosen, size=size, mode="bilinear", antialias=True, align_corners=False)


# Files ----------------------------------------------------------------------------------------


def _read(path: Path, count: int, generator: torch.Generator) -> list[Images]:
    if path.suffix == ".npz":
        return list(_read_npz(path))
    if not path.is_dir():
        raise DataFileError(
            f"{_name(path)}: give a folder of images, a CIFAR folder or an .npz file"
        )
    if batches := cifar_files(path):
        return [image for file in batches for image in _read_cifar(file)]
    return _read_folder(path, count, generator)


def cifar_files(path: Path) -> list[Path]:
    """Those with the images, if the folder is or holds CIFAR-10 or CIFAR-100."""
    for name, members in _CIFAR.items():
        folder = path if path.name == name else path / name
        if folder.is_dir():
            return [folder / member for member in members]
    return []


_CIFAR = {
    "cifar-10-batches-py": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "cifar-100-python": ("train",),
}
"""Folder and training files of the data sets as torchvision unpacks them."""


def _read_npz(path: Path) -> Images:
    try:
        content = BytesIO(read_bytes(path))
        with zipfile.ZipFile(content) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LIMIT:
            raise DataFileError(f"{_name(path)} decompresses to more than {LIMIT} bytes")
        with np.load(content, allow_pickle=False) as file:
            members = {name: file[name] for name in file.files}
            arrays = {k: v for k, v in members.items() if isinstance(v, np.ndarray)}
    except GenNASError:
        raise
    except Exception as error:  # NumPy raises many kinds on a broken archive
        raise DataFileError(f"{_name(path)}: not an .npz file: {_one_line(error)}") from None
    for array in arrays.values():
        if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] == 3 and array.size:
            _check_sides(array.shape[1], array.shape[2], path)
            images: Images = array
            return images
    found = ", ".join(f"{k} {v.dtype}{v.shape}" for k, v in arrays.items()) or "nothing"
    raise DataFileError(
        f"{_name(path)}: needs a uint8 array of shape (N, H, W, 3); it holds "
        f"{_check.shorten(found, 200)}"
    )


def _read_cifar(path: Path) -> Images:
    content = restricted_load(path, encoding="bytes")
    data = content.get(b"data") if isinstance(content, dict) else None
    if isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape[1:] == (3072,):
        images: Images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        if len(images):
            return images
    raise DataFileError(
        f"{_name(path)}: not a CIFAR batch: needs b'data' of shape (N, 3072), uint8"
    )


def _read_folder(path: Path, count: int, generator: torch.Generator) -> list[Images]:
    """Just as many images as will be used, of those that can be read."""
    from PIL import Image  # noqa: PLC0415 - slow to import

    files = sorted(image_files(path))
    if not files:
        raise DataFileError(f"{_name(path)}: no images in it (looked for {', '.join(_SUFFIXES)})")
    images: list[Images] = []
    for i in _choose(len(files), len(files), generator)[:count]:
        try:
            with Image.open(files[i]) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise DataFileError(f"{_name(files[i])}: more than {_MAX_PIXELS:,} pixels")
                _check_sides(image.height, image.width, files[i])
                images.append(np.asarray(image.convert("RGB")))
        except GenNASError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataFileError(f"{_name(files[i])}: cannot be read: {_one_line(error)}") from None
    return images


def image_files(folder: Path) -> Iterator[Path]:
    """Those below a folder that have an image's suffix; what may not be listed is left out."""
    seen = 0
    for parent, _, names in os.walk(folder):
        seen += len(names) + 1
        if seen > _MAX_FILES:
            raise DataFileError(f"{_name(folder)}: more than {_MAX_FILES:,} files in it")
        for name in names:
            file = Path(parent, name)
            if file.suffix.lower() in _SUFFIXES and file.is_file():
                yield file


def _check_sides(height: int, width: int, path: Path) -> None:
    if min(height, width) < _MIN_SIDE:
        raise DataFileError(
            f"{_name(path)}: an image of {height} x {width} pixels; needs at least "
            f"{_MIN_SIDE} x {_MIN_SIDE}"
        )


def _name(path: Path) -> str:
    return _check.shorten(str(path), 200)


def _one_line(error: Exception) -> str:
    return _check.shorten(" ".join(str(error).split()), 120)
