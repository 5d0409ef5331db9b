"""Score modules of your own: a convolutional net, an MLP-mixer and a recurrent net.

Nothing is registered or named: the feature maps to read are found by one traced pass, and printed.
Twelve steps instead of 40 keep this example short; leave ``steps`` out for real use.
"""

import torch
from torch import nn

from gennas_optuna import score


class ConvNet(nn.Module):
    """Three stages; any net with a classifier at its end will do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = self.block(3, width, 1)
        self.stages = nn.Sequential(
            *(self.block(width << i, width << (i + 1), 2) for i in range(3))
        )
        self.classifier = nn.Linear(8 * width, 10)

    @staticmethod
    def block(channels: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


class MixerBlock(nn.Module):
    """An MLP over the places, then one over the channels."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.tokens = nn.Sequential(nn.Linear(places, 64), nn.GELU(), nn.Linear(64, places))
        self.channels = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))


class Mixer(nn.Module):
    """Tokens of shape (N, L, D): the maps are found because L is a square."""

    def __init__(self, width: int = 32, depth: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(*(MixerBlock(64, width) for _ in range(depth)))
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def main() -> None:
    for width in (8, 16):
        print(f"convolutional net of width {width}:", score(ConvNet(width), steps=12))
    print("mixer:", score(Mixer(), steps=12))
    print("the same with the taps named:")
    print(score(Mixer(), taps=["blocks.0", "blocks.2", "blocks.5"], steps=12))
    print("GRU on sequences of 8 vectors of 16:")
    print(score(nn.GRU(16, 32, num_layers=2), input_shape=(8, 16), steps=12))


if __name__ == "__main__":
    main()
