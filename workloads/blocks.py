"""Blocks that several networks share: MLP, Maxout, LeNet, recurrent feature encoders."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Sequential):
    """Linear, ReLU, Linear: [..., features] -> [..., out]."""

    def __init__(self, features: int, hidden: int, out: int) -> None:
        super().__init__(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, out))


class Maxout(nn.Module):
    """The largest of two linear pieces (Goodfellow et al. 2013): [..., features] -> [..., out]."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(-1, (-1, 2)).amax(-1)


class MaxoutMLP(nn.Sequential):
    """Two batch-normalised Maxout layers, and a linear tail if ``out`` is given (GMU, Arevalo et al. 2017)."""

    def __init__(self, features: int, hidden: int, width: int, out: int | None = None) -> None:
        super().__init__(
            nn.BatchNorm1d(features, eps=1e-4),
            Maxout(features, hidden),
            nn.BatchNorm1d(hidden),
            nn.Dropout(0.3),
            Maxout(hidden, width),
            nn.BatchNorm1d(width),
            nn.Dropout(0.3),
            *([] if out is None else [nn.Linear(width, out)]),
        )


class LeNet(nn.Module):
    """Convolution blocks that halve the map and double the channels: [B, in, H, W] -> [B, 2^blocks channels].

    ``spare_means`` keeps the global mean that the reference computes after every block and throws away.
    """

    def __init__(self, inputs: int, channels: int, blocks: int, spare_means: bool = False) -> None:
        super().__init__()
        widths = [channels * 2**block for block in range(blocks + 1)]
        self.blocks = nn.ModuleList(
            [lenet_block(inputs, channels, kernel=5)]
            + [lenet_block(narrow, wide, kernel=3) for narrow, wide in pairwise(widths)]
        )
        self.spare_means = spare_means
        self.features = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
            if self.spare_means:
                x.mean((2, 3))
        return x.flatten(1)


def lenet_block(inputs: int, out: int, kernel: int) -> nn.Sequential:
    """Convolution of unchanged size, batch norm, ReLU, halving max pool."""
    convolution = nn.Conv2d(inputs, out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2))


class GRULast(nn.Module):
    """A one-layer GRU's last state, through a linear layer if ``out`` is given: [B, T, features] -> [B, out]."""

    def __init__(self, features: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.gru = nn.GRU(features, hidden, batch_first=True)
        self.linear = nn.Identity() if out is None else nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.gru(x)
        return self.linear(last[-1])
