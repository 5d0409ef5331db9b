"""Signals against the formulas of the paper's code (development parity file signals.json)."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import parity
from contracts.signal_contract import NO_NUMBERS, LocalSignalContract, SignalContract
from gennas_optuna.errors import GenNASError, InvalidValueError, UnknownNameError
from gennas_optuna.signals import (
    Dot,
    DotGaussian,
    Resize,
    Signal,
    Sin1D,
    Sin2D,
    list_signals,
    signal_from_dict,
)
from gennas_optuna.signals._dots import blur
from gennas_optuna.signals._resize import shrink
from gennas_optuna.signals._sines import pool_maps

BETAS = (0.1, 0.27)
TEN = tuple(i / 100 for i in range(1, 11))
BAD_SINES = {
    "frequencies": ([], (), "0.1", 0.1, None, {0.1}, [-0.1], [1.1], [1e300])
    + tuple([0.1, value] for value in NO_NUMBERS),
    "local": (1, "true", None),
}
BAD_DOTS = {"fraction": (-0.1, 1.1, *NO_NUMBERS), "local": (0, "no", None)}


class TestSin1D(LocalSignalContract):
    signal = Sin1D(1.0, TEN, True)
    bad = BAD_SINES


class TestSin2D(LocalSignalContract):
    signal = Sin2D(1.0, TEN, True)
    bad = BAD_SINES


class TestDot(LocalSignalContract):
    signal = Dot(1.0, 0.5, True)
    bad = BAD_DOTS


class TestDotGaussian(LocalSignalContract):
    signal = DotGaussian(1.0, 0.5, True)
    bad = BAD_DOTS


class TestResize(SignalContract):
    signal = Resize(1.0)


def draw(signal: Signal, batch: int, channels: int, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return signal.draw(batch=batch, channels=channels, size=(8, 8), generator=generator, **options)


# Sines ----------------------------------------------------------------------------------------


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
            Sin1D(1.0, BETAS, True),
            (8, 8),
            [(0, 0, 0, 0.58779), (1, 3, 5, 0.16883), (31, 2, 7, 0.99667), (32, 3, 5, -0.58779)]
            + [(33, 7, 1, -0.88523), (64, 1, 4, -0.24869), (97, 4, 4, -0.14401)],
        ),
        (
            Sin2D(1.0, BETAS, True),
            (8, 8),
            [(0, 0, 0, 0.95106), (1, 3, 5, 0.02513), (32, 3, 5, 0.58779), (63, 6, 2, 0.70265)]
            + [(97, 4, 4, -0.99968), (128, 1, 6, 0.99803), (255, 7, 7, 0.33282)],
        ),
        (  # a sequence of 8 steps and width 48: cut out of a square of side 48
            Sin2D(1.0, BETAS, True),
            (8, 48),
            [(1, 3, 40, -0.02513), (32, 3, 40, -0.58779), (33, 0, 47, -0.60793)]
            + [(255, 7, 47, -0.82353)],
        ),
    ],
    ids=["sin1d", "sin2d", "sin2d of a sequence"],
)
def test_values_of_the_pools(signal, size, points) -> None:
    maps = pool(signal, size)
    for number, row, column, value in points:
        assert float(maps[number, row, column]) == pytest.approx(value, abs=1e-4)


def test_a_pool_by_its_formula() -> None:
    """Map 70 of two frequencies: the second, phase 6, so a sine, along the rows; and so on."""
    rows, columns = np.mgrid[1:9, 1:9]
    phase = 2 * np.pi * np.modf(0.377 * np.arange(32))[0]
    one = pool(Sin1D(1.0, BETAS, True)).numpy()
    np.testing.assert_allclose(one[70], np.sin(2 * np.pi * 0.27 * rows + phase[6]), atol=1e-5)
    np.testing.assert_allclose(one[103], np.cos(2 * np.pi * 0.27 * columns + phase[7]), atol=1e-5)
    two = pool(Sin2D(1.0, BETAS, True)).numpy()  # pairs: (.1, .1), (.1, .27), (.27, .1), ...
    wave = np.cos(2 * np.pi * (0.1 * rows + 0.27 * columns) + 2 * phase[7])
    np.testing.assert_allclose(two[64 + 7], wave, atol=1e-5)
    np.testing.assert_allclose(two[64 + 32 + 7], wave[::-1], atol=1e-5)


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


def distinct(maps: torch.Tensor) -> int:
    return len({tuple(m.flatten().tolist()) for m in maps})


def test_sin1d_maps_are_drawn_without_replacement() -> None:
    maps = draw(Sin1D(1.0, (0.1,), True), 3, 64)  # a pool of 64 maps, all of them drawn
    for sample in maps:
        along_rows = sample[(sample == sample[:, :, :1]).all(2).all(1)]
        along_columns = sample[(sample == sample[:, :1, :]).all(2).all(1)]
        assert (len(along_rows), len(along_columns)) == (32, 32)
        assert distinct(sample) == 64
        by_value = [half[half[:, 0, 0].argsort()] for half in (along_rows, along_columns)]
        assert torch.allclose(by_value[0], by_value[1].mT, atol=1e-6)  # of the same phases


def test_sin2d_maps_are_drawn_without_replacement() -> None:
    maps = draw(Sin2D(1.0, (0.1, 0.27), True), 2, 256)  # of four pairs, all of them drawn
    for sample in maps:
        assert distinct(sample) == 256
        flipped = sample.flip(1)  # each map is there in both orientations
        assert all(float((flipped - m).abs().amax((1, 2)).min()) < 1e-4 for m in sample)


def test_sines_are_chosen_evenly() -> None:
    """With frequencies of whole waves per map each map has one peak in its spectrum.

    The peak tells the pair of frequencies and the orientation: eight kinds of maps, of which as
    many must come, and its phase, which is uniform on the circle.
    """
    maps = draw(Sin2D(1.0, (1 / 8, 2 / 8), True), 400, 4).flatten(0, 1)
    spectra = torch.fft.rfft2(maps).flatten(1)
    peaks = spectra.abs().argmax(1)
    counts = Counter(peaks.tolist())
    # (row, column) frequencies in a spectrum of 8 x 5; upside down the row's is negative
    kinds = [
        (sign * row % 8) * 5 + column for sign in (1, -1) for row in (1, 2) for column in (1, 2)
    ]
    assert sorted(counts) == sorted(kinds)
    expected, spread = 200, math.sqrt(1600 * 1 / 8 * 7 / 8)
    assert all(abs(count - expected) < 5 * spread for count in counts.values())
    phases = spectra.gather(1, peaks[:, None]).angle()
    assert float(torch.exp(1j * phases).mean().abs()) < 5 / math.sqrt(1600)


def test_phases_are_uniform_on_the_whole_circle() -> None:
    maps = draw(Sin1D(1.0, (1 / 8,), True), 100, 16).flatten(0, 1)
    waves = torch.fft.rfft2(maps).flatten(1)
    angles = waves.gather(1, waves.abs().argmax(1, keepdim=True)).angle()
    for turns in (1, 2):  # twice as well: sines and cosines of half a circle would cover it
        assert float(torch.exp(1j * turns * angles).mean().abs()) < 5 / math.sqrt(1600)
    sines = torch.sin(angles), torch.cos(angles)
    assert all(float(side.max()) > 0.95 and float(side.min()) < -0.95 for side in sines)


def test_frequencies_above_one_half_look_like_their_complement() -> None:
    """Why none above 1 is needed: at whole positions sin(2 pi f i) repeats with f."""
    low, high = (pool(Sin1D(1.0, (f,), True)) for f in (0.0, 1.0))
    assert torch.allclose(low, high, atol=1e-5)


# Dots -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "count"),
    [(0, 0), (0.01, 0), (1 / 64, 1), (0.5, 32), (0.578125, 37), (0.99, 63), (1, 64)],
)
def test_dots_are_counted_exactly(fraction: float, count: int) -> None:
    maps = draw(Dot(1.0, fraction, True), 4, 16)
    assert ((maps != 0).sum((2, 3)) == count).all()
    assert set(maps.unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_dots_of_a_sequence_are_counted_over_all_its_cells() -> None:
    maps = Dot(1.0, 0.3, True).draw(
        batch=3, channels=1, size=(8, 48), generator=torch.Generator().manual_seed(0)
    )
    assert ((maps != 0).sum((1, 2, 3)) == 115).all()  # 0.3 * 384 = 115.2


def test_positions_and_signs_of_dots_are_uniform() -> None:
    maps = draw(Dot(1.0, 0.25, True), 64, 64).flatten(0, 1)
    share = (maps != 0).float().mean(0)
    assert float((share - 0.25).abs().max()) < 5 * math.sqrt(0.25 * 0.75 / 4096)
    assert float(maps.mean(0).abs().max()) < 5 * math.sqrt(0.25 / 4096)
    together = (maps[:, 0, 0] * maps[:, 0, 1] != 0).float().mean()  # two cells: 16/64 * 15/63
    assert float(together) == pytest.approx(16 * 15 / (64 * 63), abs=0.02)


def test_blurring_is_scipys_gaussian_filter_scaled_to_its_peak() -> None:
    rng = np.random.default_rng(0)
    for shape in ((8, 8), (3, 3), (8, 48)):
        dots = rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.6, 0.2], size=(10, 4, *shape))
        dots[..., 0, 0] = 1
        found = blur(torch.from_numpy(dots).float()).numpy()
        for place in np.ndindex(10, 4):
            expected = gaussian_filter(dots[place], sigma=1, mode="reflect", truncate=4)
            expected /= np.abs(expected).max()
            np.testing.assert_allclose(found[place], expected, atol=1e-5)


def test_blurred_dots_peak_at_one() -> None:
    maps = draw(DotGaussian(1.0, 0.1, True), 8, 16)
    assert torch.allclose(maps.abs().amax((2, 3)), torch.ones(8, 16))


def test_a_map_without_dots_stays_zero() -> None:
    assert not draw(DotGaussian(1.0, 0.01, True), 2, 4).any()  # not 0 / 0


def test_the_recorded_blurred_map() -> None:
    dots = torch.zeros(8, 8)
    for row, column, sign in ((0, 0, 1), (3, 4, -1), (7, 7, 1), (2, 6, 1), (5, 1, -1)):
        dots[row, column] = sign
    found = blur(dots)
    top = [1.0, 0.461733, 0.090575, 0.005065, 0.003454, 0.031745, 0.056771, 0.042043]
    middle = [-0.174212, -0.240129, -0.174384, -0.173756, -0.230467, -0.110145, 0.024504, 0.043335]
    assert found[0].tolist() == pytest.approx(top, abs=1e-5)
    assert found[4].tolist() == pytest.approx(middle, abs=1e-5)


def test_the_whole_blurred_map_of_the_parity_file() -> None:
    recorded = parity.load("parity/signals.json")["signals"]["dot_gaussian"]
    dots = torch.zeros(8, 8)
    for row, column, sign in recorded["points_row_col_sign"]:
        dots[row, column] = sign
    assert torch.allclose(blur(dots), torch.tensor(recorded["result_8x8"]), atol=2e-6)


# Resize ---------------------------------------------------------------------------------------


def test_shrinking_of_the_parity_images() -> None:
    small = shrink(parity.images(), (8, 8))
    expected = [0.5174811059, 0.5014123378, 1.0, 0.2078464202]
    assert parity.statistics(small) == pytest.approx(expected, abs=1e-8)
    for place, value in (
        ((0, 0, 0, 0), -0.01607448759),
        ((0, 2, 3, 5), 0.1273200255),
        ((1, 1, 7, 7), -0.7578995814),
        ((1, 2, 0, 6), 0.3433916629),
    ):
        assert float(small[place]) == pytest.approx(value, abs=1e-8)


def test_resize_shows_colours_scaled_over_the_batch() -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 9 - 2
    maps = draw(Resize(1.0), 4, 1000, images=images)  # of a pool of 1000, all of them drawn
    picked = images[:, :, ::4, ::4]
    scaled = (picked - picked.min()) / (picked.max() - picked.min()) * 2 - 1
    same = [torch.isclose(maps, scaled[:, c : c + 1], atol=1e-5).all((2, 3)) for c in range(3)]
    shown = torch.stack([match.all(0) for match in same])  # by every sample alike
    assert (shown.sum(0) == 1).all()
    assert shown.sum(1).tolist() == [334, 333, 333]  # of 0..999 modulo 3


def test_images_of_one_value_give_finite_maps() -> None:
    maps = draw(Resize(1.0), 2, 5, images=torch.full((2, 3, 32, 32), 0.7))
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize("images", [None, torch.zeros(8, 2, 48)])
def test_resize_needs_images(images: torch.Tensor | None) -> None:
    with pytest.raises(InvalidValueError, match="'resize' follows images"):
        draw(Resize(1.0), 2, 3, images=images)


# By name --------------------------------------------------------------------------------------


def test_the_bases_of_the_paper_are_there() -> None:
    assert {"sin1d", "sin2d", "dot", "dot_gaussian", "resize"} <= set(list_signals())


@pytest.mark.parametrize("data", [None, [], "dot", 3, {}, {"level": 1.0}])
def test_what_is_no_signal_is_refused(data: object) -> None:
    with pytest.raises(InvalidValueError, match=r"^place.*'kind'"):
        signal_from_dict(data, "place")  # type: ignore[arg-type]


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


UNKNOWN = ("cosine", "", "a\nb", 3, None, ["dot"], "x" * 100_000, 10**5000, nested(10_000))


@pytest.mark.parametrize("kind", UNKNOWN, ids=range(len(UNKNOWN)))
def test_unknown_kinds_are_shown_shortened(kind: object) -> None:
    with pytest.raises(UnknownNameError, match="choose one of dot, dot_gaussian, resize") as info:
        signal_from_dict({"kind": kind, "level": 1.0})
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 300


def test_a_typing_error_is_understood() -> None:
    with pytest.raises(GenNASError, match="did you mean 'dot_gaussian'"):
        signal_from_dict({"kind": "dot_gausian", "level": 1.0})
