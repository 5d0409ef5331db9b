"""When two sources of images are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import WRITERS, Writer, plain_images, write_npz

from gennas_optuna import GenNASEvaluator, get_space
from gennas_optuna._input_identity import input_identity


@pytest.mark.parametrize("writer", WRITERS)
def test_sources_are_told_apart_by_content_not_by_place(writer: Writer, tmp_path: Path) -> None:
    counts = {"one": 12, "same": 12, "other": 14}
    found = [
        input_identity(writer(tmp_path / name, plain_images(count)))
        for name, count in counts.items()
    ]
    assert found[0] == found[1] != found[2]


def test_tensors_are_told_apart_by_content_and_shape() -> None:
    ones = torch.ones(4, 3, 32, 32)
    assert input_identity(ones) == input_identity(ones.clone()) != input_identity(ones * 2)
    assert input_identity(ones) != input_identity(ones.reshape(8, 3, 16, 32))
    assert input_identity(None) == input_identity("photos") == "photos"


def test_a_file_that_was_replaced_is_another_source(tmp_path: Path) -> None:
    space = get_space("nasbench201")
    npz = write_npz(tmp_path / "images", plain_images(12))
    before = GenNASEvaluator(inputs=npz).identity(space)
    np.savez(npz, plain_images(12)[::-1])
    assert GenNASEvaluator(inputs=npz).identity(space) != before
