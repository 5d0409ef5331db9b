"""Which feature maps of a module are its taps."""

from __future__ import annotations

import pytest
import torch
from plain_modules import Language, Shared, Squeeze, Stages, Tokens, quick
from torch import nn

from gennas_optuna import GenNASError
from gennas_optuna._module_taps import ModuleTaps
from gennas_optuna.taps import TapInfo

# Which taps ----------------------------------------------------------------------------------


def found_taps(model: nn.Module, shape=(3, 32, 32), **options) -> list[tuple[str, int, tuple]]:
    taps = ModuleTaps(model, shape, **options).taps
    return [(tap.name, tap.channels, tap.size) for tap in taps]


def test_taps_are_the_ends_of_stages_not_what_is_squeezed_or_expanded() -> None:
    assert found_taps(Squeeze()) == [
        ("stages.1", 4, (8, 8)),
        ("stages.2", 4, (4, 4)),
        ("stages", 4, (2, 2)),
    ]
    # A last stage of one place is one where it would grow with the image.
    assert found_taps(Squeeze(5))[-1] == ("stages", 4, (1, 1))


@pytest.mark.parametrize("special", [0, 1, 2, 5])
def test_tokens_become_maps_without_the_special_ones(special: int) -> None:
    tapped = ModuleTaps(Tokens(special=special), (3, 32, 32))
    assert [(tap.name, tap.size) for tap in tapped.taps] == [
        ("blocks.1", (4, 4)),
        ("blocks.3", (4, 4)),
        ("blocks.5", (4, 4)),
    ]
    model, seen = tapped.model, []
    model.blocks[3].register_forward_hook(lambda m, x, out: seen.append(out))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tap = tapped(x)[1]
    for row in range(4):
        for column in range(4):
            token = seen[0][:, special + 4 * row + column]
            assert torch.equal(tap[:, :, row, column], token)


def test_maps_may_be_channels_last_or_tokens_first() -> None:
    class Last(nn.Module):
        def __init__(self, order: str) -> None:
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(c, 6, 3, 2, 1) for c in (3, 6, 6)])
            self.turn = nn.ModuleList([nn.Identity() for _ in range(3)])
            self.order = order

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for conv, turn in zip(self.convs, self.turn, strict=True):
                x = conv(x)
                if self.order == "NHWC":
                    turn(x.permute(0, 2, 3, 1))
                else:
                    turn(x.flatten(2).permute(2, 0, 1))
            return x

    for order in ("NHWC", "LND"):
        model = Last(order)
        names = [f"turn.{i}" for i in range(3)]
        tapped = ModuleTaps(model, (3, 32, 32), taps=names)
        assert [(tap.channels, tap.size) for tap in tapped.taps] == [
            (6, (16, 16)),
            (6, (8, 8)),
            (6, (4, 4)),
        ]
        x = torch.randn(2, 3, 32, 32)
        assert torch.equal(tapped(x)[0], model.convs[0](x))


def test_a_transformer_with_a_convolutional_stem_is_tapped_along_its_depth() -> None:
    class Hybrid(Tokens):
        def __init__(self) -> None:
            super().__init__(patch=8)
            self.patch = nn.Sequential(*(nn.Conv2d(c, 16, 3, 2, 1) for c in (3, 16, 16)))

    assert [name for name, *_ in found_taps(Hybrid())] == ["blocks.1", "blocks.3", "blocks.5"]


def test_each_call_of_a_shared_module_is_a_tap_of_its_own() -> None:
    model = Shared()
    names = ["pool#1", "pool#2", "pool"]
    taps = quick(model, taps=names).taps
    assert [(tap.name, tap.size) for tap in taps] == [
        ("pool#1", (16, 16)),
        ("pool#2", (8, 8)),
        ("pool#3", (4, 4)),
    ]
    for name, text in (("pool#4", "run 3 times"), ("pool#x", "3 times"), ("unused", "not run")):
        with pytest.raises(GenNASError, match=text):
            quick(model, taps=["pool#1", "pool#2", name])


def test_the_taps_are_printed_and_returned(capsys: pytest.CaptureFixture[str]) -> None:
    found = quick(Stages(), verbose=True)
    assert capsys.readouterr().err == "taps: a: 4 x 16 x 16; b: 8 x 8 x 8; c: 4 x 4 x 4\n"
    assert "tap b: 8 x 8 x 8" in str(found)


# Sequences and tokens ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_order_of_a_sequences_axes_does_not_matter(kind: type[nn.Module]) -> None:
    first, last = kind(6, 10, 2, batch_first=True), kind(6, 10, 2)
    a, b = quick(first, (8, 6)), quick(last, (8, 6))
    assert a.loss == pytest.approx(b.loss, rel=1e-6)
    assert a.taps == b.taps == (TapInfo("", 10, (8,), "LND"),)


def test_the_axes_can_be_named() -> None:
    pointwise = nn.Sequential(nn.Linear(6, 10), nn.Tanh())
    losses = [quick(pointwise, (8, 6), batch_first=order).loss for order in (True, False, None)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] == losses[2]


def test_tokens_are_replaced_by_sequences_and_logits_are_no_features() -> None:
    found = quick(Language(), (10,))
    assert found.taps == (TapInfo("encoder", 12, (10,), "LND"),)
    assert found.params == sum(p.numel() for p in Language().parameters())
    named = quick(Language(), (10,), taps=["logits"])
    assert named.taps[0].channels == 50
    gru = nn.Sequential(nn.Embedding(50, 12), nn.GRU(12, 8))
    assert quick(gru, (10,)).taps == (TapInfo("1", 8, (10,), "LND"),)
