"""Signals against the formulas of the paper's code (development parity file signals.json)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import parity
from contracts.signal_contract import SignalContract
from gennas_optuna.errors import GenNASError
from gennas_optuna.signals import Dot, DotGaussian, Resize, Sin1D, Sin2D, signal_from_dict
from gennas_optuna.signals._dots import blur
from gennas_optuna.signals._resize import shrink
from gennas_optuna.signals._sines import pool_maps

FREQUENCIES = (0.1, 0.27)
BAD_SINES = tuple(
    ("frequencies", v) for v in ([], "0.1", [math.nan], [True], [None], 0.1)
) + tuple(("local", v) for v in (1, "true", None))
BAD_DOTS = tuple(("fraction", v) for v in (-0.1, 1.1, math.nan, "half", True)) + (("local", 0),)


class TestSin1D(SignalContract):
    signal = Sin1D(1.0, tuple(i / 100 for i in range(1, 11)), True)
    bad = BAD_SINES


class TestSin2D(SignalContract):
    signal = Sin2D(1.0, tuple(i / 100 for i in range(1, 11)), True)
    bad = BAD_SINES


class TestDot(SignalContract):
    signal = Dot(1.0, 0.5, True)
    bad = BAD_DOTS


class TestDotGaussian(SignalContract):
    signal = DotGaussian(1.0, 0.5, True)
    bad = BAD_DOTS


class TestResize(SignalContract):
    signal = Resize(1.0)


def pool(signal: Sin1D | Sin2D, size: tuple[int, int] = (8, 8)) -> torch.Tensor:
    """The whole pool in order, with the parity file's phases 2 pi frac(0.377 j)."""
    phases = torch.tensor([2 * math.pi * ((0.377 * j) % 1) for j in range(32)])
    index = torch.arange(signal.max_channels())[None]
    return signal.render(pool_maps(index, phases.repeat(signal.groups)[None]), size)[0]


@pytest.mark.parametrize(
    ("signal", "size", "points"),
    [
        # (map, row, column, value), from the paper's code
        (
            Sin1D(1.0, FREQUENCIES, True),
            (8, 8),
            [(0, 0, 0, 0.58779), (1, 3, 5, 0.16883), (31, 2, 7, 0.99667), (32, 3, 5, -0.58779)]
            + [(33, 7, 1, -0.88523), (64, 1, 4, -0.24869), (97, 4, 4, -0.14401)],
        ),
        (
            Sin2D(1.0, FREQUENCIES, True),
            (8, 8),
            [(0, 0, 0, 0.95106), (1, 3, 5, 0.02513), (32, 3, 5, 0.58779), (63, 6, 2, 0.70265)]
            + [(97, 4, 4, -0.99968), (128, 1, 6, 0.99803), (255, 7, 7, 0.33282)],
        ),
        (  # a sequence of 8 steps and width 48: cut out of a square of side 48
            Sin2D(1.0, FREQUENCIES, True),
            (8, 48),
            [(1, 3, 40, -0.02513), (32, 3, 40, -0.58779), (33, 0, 47, -0.60793)],
        ),
    ],
)
def test_sine_pools(signal, size, points) -> None:
    maps = pool(signal, size)
    for number, row, column, value in points:
        assert float(maps[number, row, column]) == pytest.approx(value, abs=1e-4)


def test_every_recorded_value_of_the_parity_file() -> None:
    recorded = parity.load("parity/signals.json")["signals"]
    for name, signal, size in (
        ("sin1d", Sin1D, (8, 8)),
        ("sin2d", Sin2D, (8, 8)),
        ("sin2d_nlp_8x48", Sin2D, (8, 48)),
    ):
        entry = recorded[name]
        maps = pool(signal(1.0, tuple(entry["betas"]), True), size)
        found = parity.statistics(maps[None].double())
        assert found == pytest.approx(entry["stats"], abs=1e-4)
        for number, row, column, value in entry["samples_channel_row_col_value"]:
            assert float(maps[number, row, column]) == pytest.approx(value, abs=1e-4)
    small = shrink(parity.images(), (8, 8))
    assert parity.statistics(small) == pytest.approx(recorded["resize"]["stats"], abs=1e-8)


def test_sine_maps_are_drawn_without_replacement() -> None:
    signal = Sin1D(1.0, (0.1,), True)  # a pool of 64 maps, all of them drawn
    maps = signal.draw(
        batch=1, channels=64, size=(8, 8), generator=torch.Generator().manual_seed(0)
    )
    along_rows = (maps[0] == maps[0, :, :, :1]).all((1, 2)).sum()
    along_columns = (maps[0] == maps[0, :, :1, :]).all((1, 2)).sum()
    assert (int(along_rows), int(along_columns)) == (32, 32)
    assert len({tuple(m.flatten().tolist()) for m in maps[0]}) == 64


@pytest.mark.parametrize(
    ("fraction", "count"), [(0, 0), (0.01, 0), (0.5, 32), (0.578125, 37), (1, 64)]
)
def test_dots_are_counted_exactly_and_signs_are_even(fraction: float, count: int) -> None:
    maps = Dot(1.0, fraction, True).draw(
        batch=16, channels=64, size=(8, 8), generator=torch.Generator().manual_seed(0)
    )
    assert ((maps != 0).sum((2, 3)) == count).all()
    assert set(maps.unique().tolist()) <= {-1.0, 0.0, 1.0}
    if count:
        assert abs(float(maps.sum())) < 5 * math.sqrt(16 * 64 * count)
        usage = (maps != 0).float().mean((0, 1))  # every position is as likely as any other
        assert float((usage - count / 64).abs().max()) < 0.08


def test_blurring_is_scipys_gaussian_filter_scaled_to_its_peak() -> None:
    rng = np.random.default_rng(0)
    dots = rng.choice([-1.0, 0.0, 1.0], size=(5, 4, 8, 8)).astype(np.float32)
    found = blur(torch.from_numpy(dots)).numpy()
    for sample in range(5):
        for channel in range(4):
            expected = gaussian_filter(dots[sample, channel], sigma=1)
            expected /= np.abs(expected).max()
            np.testing.assert_allclose(found[sample, channel], expected, atol=1e-5)


def test_a_map_without_dots_stays_zero() -> None:
    assert not blur(torch.zeros(2, 2, 8, 8)).any()


def test_the_recorded_blurred_map() -> None:
    dots = torch.zeros(8, 8)
    for row, column, sign in ((0, 0, 1), (3, 4, -1), (7, 7, 1), (2, 6, 1), (5, 1, -1)):
        dots[row, column] = sign
    expected = [1.0, 0.461733, 0.090575, 0.005065, 0.003454, 0.031745, 0.056771, 0.042043]
    assert blur(dots)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_resize_shows_colours_scaled_over_the_batch() -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = Resize(1.0).draw(
        batch=4,
        channels=30,
        size=(8, 8),
        generator=torch.Generator().manual_seed(0),
        images=images,
    )
    picked = images[:, :, ::4, ::4]
    scaled = (picked - picked.min()) / (picked.max() - picked.min()) * 2 - 1
    colours = [
        [c for c in range(3) if torch.allclose(maps[:, k], scaled[:, c], atol=1e-6)]
        for k in range(30)
    ]
    assert all(len(c) == 1 for c in colours)
    assert len({c[0] for c in colours}) == 3


def test_resize_needs_images() -> None:
    with pytest.raises(GenNASError, match="image"):
        Resize(1.0).draw(batch=2, channels=3, size=(8, 8), generator=torch.Generator())


@pytest.mark.parametrize(
    "data", [None, [], "dot", {"level": 1.0}, {"kind": "cosine"}, {"kind": 3}]
)
def test_what_is_no_signal_is_refused(data: object) -> None:
    with pytest.raises(GenNASError, match="kind") as info:
        signal_from_dict(data)  # type: ignore[arg-type]
    assert "\n" not in str(info.value)
