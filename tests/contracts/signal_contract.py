"""What every signal basis must do. Inherit, and set ``signal`` and its settings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from gennas_optuna.errors import GenNASError
from gennas_optuna.signals import Signal, list_signals, register_signal, signal_from_dict


class SignalContract:
    """Subclasses set ``signal`` (the local form, if it has one) and ``bad``: (field, value)."""

    signal: ClassVar[Signal]
    bad: ClassVar[tuple[tuple[str, Any], ...]] = ()
    images: ClassVar[torch.Tensor] = torch.randn(
        6, 3, 32, 32, generator=torch.Generator().manual_seed(9)
    )

    def draw(self, signal: Signal | None = None, seed: int = 0, **options: Any) -> torch.Tensor:
        settings = {"batch": 6, "channels": 12, "size": (8, 8), "images": self.images, **options}
        generator = torch.Generator().manual_seed(seed)
        return (signal or self.signal).draw(generator=generator, **settings)

    @pytest.mark.usefixtures("global_random_state_untouched")
    def test_shape_type_and_range(self) -> None:
        maps = self.draw()
        assert maps.shape == (6, 12, 8, 8)
        assert maps.dtype == torch.float32
        assert torch.isfinite(maps).all()
        assert maps.abs().max() <= 1 + 1e-6
        assert maps.std() > 0

    def test_the_generator_alone_decides(self) -> None:
        assert torch.equal(self.draw(seed=1), self.draw(seed=1))
        assert not torch.equal(self.draw(seed=1), self.draw(seed=2))

    def test_the_level_is_left_to_the_task(self) -> None:
        assert torch.equal(self.draw(), self.draw(replace(self.signal, level=7.0)))

    def test_local_draws_differ_between_samples(self) -> None:
        if not hasattr(self.signal, "local"):
            pytest.skip("follows the images; has no such switch")
        own = self.draw(replace(self.signal, local=True))
        assert not any(torch.equal(own[0], sample) for sample in own[1:])
        shared = self.draw(replace(self.signal, local=False))
        assert shared.shape == own.shape
        assert all(torch.equal(shared[0], sample) for sample in shared[1:])

    def test_plain_form(self) -> None:
        data = self.signal.to_dict()
        assert data["kind"] == self.signal.kind
        assert signal_from_dict(data) == self.signal
        assert self.signal.kind in list_signals()

    def test_a_name_cannot_be_taken_twice(self) -> None:
        with pytest.raises(GenNASError, match=self.signal.kind):
            register_signal(type(self.signal))

    def test_bad_settings_are_named(self) -> None:
        levels = [("level", v) for v in (0, -1, math.nan, math.inf, "1", True, None)]
        for name, value in (*levels, *self.bad, ("frequencie", 1)):
            with pytest.raises(GenNASError, match=name) as info:
                signal_from_dict({**self.signal.to_dict(), name: value})
            assert "\n" not in str(info.value)

    def test_missing_settings_are_named(self) -> None:
        for name in self.signal.to_dict():
            data = {k: v for k, v in self.signal.to_dict().items() if k != name}
            with pytest.raises(GenNASError, match=name):
                signal_from_dict(data)
