"""What tells one source of images from another: their content, wherever it lies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from gennas_optuna._reading import read_bytes
from gennas_optuna.inputs import Inputs, cifar_files, existing, image_files


def input_identity(source: Inputs) -> str:
    """A text that is equal for sources that give equal images.

    A named source is its name. A tensor or file is its content, a folder the names and sizes of
    its images: reading a data set whole would take longer than scoring.

    Raises:
        GenNASError: as :func:`gennas_optuna.inputs.load_images`, if there is no such source.
    """
    if isinstance(source, torch.Tensor):
        values = source.detach().to("cpu", torch.float32).contiguous()
        content = str(tuple(values.shape)).encode() + values.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()
    place = existing(source)
    if isinstance(place, str):
        return place
    listing = read_bytes(place) if place.is_file() else "\n".join(_listing(place)).encode()
    return hashlib.sha256(listing).hexdigest()


def _listing(folder: Path) -> Iterator[str]:
    for file in sorted(cifar_files(folder) or image_files(folder)):
        size = file.stat().st_size if file.exists() else None
        yield f"{os.path.relpath(file, folder)} {size}"
