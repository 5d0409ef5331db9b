"""What every signal basis must do. Inherit, and set ``signal`` and its settings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.signals import (
    Dot,
    DotGaussian,
    Resize,
    Signal,
    Sin1D,
    Sin2D,
    list_signals,
    register_signal,
    signal_from_dict,
)

levels = st.floats(0.001, 1e6)
frequencies = st.lists(st.floats(0, 1), min_size=2, max_size=10).map(tuple)

STRATEGIES: dict[type[Signal], st.SearchStrategy[Signal]] = {
    Sin1D: st.builds(Sin1D, levels, frequencies, st.booleans()),
    Sin2D: st.builds(Sin2D, levels, frequencies, st.booleans()),
    Dot: st.builds(Dot, levels, st.floats(0, 1), st.booleans()),
    DotGaussian: st.builds(DotGaussian, levels, st.floats(0, 1), st.booleans()),
    Resize: st.builds(Resize, levels),
}
"""Any signal of a basis."""

NO_NUMBERS = (math.nan, math.inf, "1", True, None, [1.0], 10**400)
"""What may not stand for a number."""


class SignalContract:
    """Subclasses set ``signal`` and ``bad``: its settings' names and values to refuse."""

    signal: ClassVar[Signal]
    bad: ClassVar[dict[str, tuple[Any, ...]]] = {}
    images: ClassVar[torch.Tensor] = torch.randn(
        6, 3, 32, 32, generator=torch.Generator().manual_seed(9)
    )

    def draw(self, signal: Signal | None = None, seed: int = 0, **options: Any) -> torch.Tensor:
        arguments = {"batch": 6, "channels": 12, "size": (8, 8), "images": self.images, **options}
        generator = torch.Generator().manual_seed(seed)
        return (signal or self.signal).draw(generator=generator, **arguments)

    # Maps

    @pytest.mark.parametrize("size", [(8, 8), (5, 5), (8, 48)])
    @pytest.mark.usefixtures("global_random_state_untouched")
    def test_shape_type_and_range(self, size: tuple[int, int]) -> None:
        maps = self.draw(size=size)
        assert maps.shape == (6, 12, *size)
        assert maps.dtype == torch.float32
        assert torch.isfinite(maps).all()
        assert maps.abs().max() <= 1 + 1e-6
        assert maps.std() > 0

    def test_the_generator_alone_decides(self) -> None:
        first = self.draw(seed=1)
        torch.rand(3)  # whatever happened to the global state in between
        assert torch.equal(first, self.draw(seed=1))
        assert not torch.equal(first, self.draw(seed=2))

    def test_a_generator_moves_on(self) -> None:
        generator = torch.Generator().manual_seed(0)
        options = {"batch": 6, "channels": 12, "size": (8, 8), "images": self.images}
        one, other = (self.signal.draw(generator=generator, **options) for _ in range(2))
        assert not torch.equal(one, other)

    def test_the_level_is_left_to_the_task(self) -> None:
        assert torch.equal(self.draw(), self.draw(replace(self.signal, level=7.0)))

    # Settings

    def test_plain_form_round_trips(self) -> None:
        @settings(max_examples=50, deadline=None, database=None)
        @given(STRATEGIES[type(self.signal)])
        def check(signal: Signal) -> None:
            data = signal.to_dict()
            assert data["kind"] == self.signal.kind
            assert signal_from_dict(data) == signal
            assert hash(signal_from_dict(data)) == hash(signal)

        check()

    def test_equal_signals_have_equal_plain_forms(self) -> None:
        whole, decimal = replace(self.signal, level=2), replace(self.signal, level=2.0)
        assert whole == decimal
        assert str(whole.to_dict()) == str(decimal.to_dict())

    def test_it_is_registered_and_its_name_cannot_be_taken_again(self) -> None:
        assert self.signal.kind in list_signals()
        with pytest.raises(InvalidValueError, match=f"{self.signal.kind!r} is registered"):
            register_signal(type(self.signal))

    def test_bad_settings_are_named(self) -> None:
        bad = {"level": (0, -1, -math.inf, 1e300, *NO_NUMBERS), **self.bad}
        for name, values in bad.items():
            for value in values:
                with pytest.raises(InvalidValueError, match=name) as info:
                    replace(self.signal, **{name: value})
                assert "\n" not in str(info.value)
                data = {**self.signal.to_dict(), name: value}
                with pytest.raises(InvalidValueError, match=f"place.*{name}"):
                    signal_from_dict(data, "place")

    def test_unknown_settings_are_named_with_what_was_meant(self) -> None:
        with pytest.raises(InvalidValueError, match=r"'levle'.*did you mean 'level'"):
            signal_from_dict({**self.signal.to_dict(), "levle": 1.0})

    def test_missing_settings_are_named(self) -> None:
        for name in self.signal.to_dict():
            data = {k: v for k, v in self.signal.to_dict().items() if k != name}
            with pytest.raises(GenNASError, match=name):
                signal_from_dict(data)


class LocalSignalContract(SignalContract):
    """Of the bases that draw maps per sample or for the whole batch; ``signal`` is local."""

    def test_local_draws_differ_between_samples(self) -> None:
        own = self.draw(replace(self.signal, local=True))
        for k, sample in enumerate(own):
            assert not any(torch.equal(sample, other) for other in own[k + 1 :])

    def test_other_draws_are_the_same_for_all_samples(self) -> None:
        shared = self.draw(replace(self.signal, local=False))
        assert shared.shape == (6, 12, 8, 8)
        assert all(torch.equal(shared[0], sample) for sample in shared)
        assert len({tuple(m.flatten().tolist()) for m in shared[0]}) == 12  # but not of all maps

    def test_whether_it_is_local_is_true_or_false(self) -> None:
        for value in (1, 0, "true", None, 1.0):
            with pytest.raises(InvalidValueError, match=r"local=.*true or false"):
                replace(self.signal, local=value)
