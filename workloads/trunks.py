"""Convolutional trunks, without their classifiers: VGG, ResNet, DenseNet. [B, 3, H, W] -> [B, C, H/32, W/32].

The layer tables are those of the papers; widths of every trunk are in its ``features``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmsim.errors import InputError

VGGS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
RESNETS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
DENSENETS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


class VGG(nn.Module):
    """VGG without batch norm (Simonyan and Zisserman 2015), classifier to 1000 included: [B, 3, H, W] -> [B, 1000]."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for convolutions, width in zip(depth_of(VGGS, depth, "VGG"), (64, 128, 256, 512, 512), strict=True):
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.trunk = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()),
            nn.Linear(4096, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.trunk(x)).flatten(1))


class ResNet(nn.Sequential):
    """ResNet trunk (He et al. 2016): ``stem``, then ``layer1`` to ``layer4``, each but the first halving the map.

    Depths 18 and 34 have basic blocks and 512 features, 50 and more bottlenecks and 2048.
    """

    def __init__(self, depth: int, channels: int = 3) -> None:
        super().__init__()
        block = BasicBlock if depth < 50 else Bottleneck
        self.stem = nn.Sequential(
            *(nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        )
        before = 64
        for number, (blocks, width) in enumerate(
            zip(depth_of(RESNETS, depth, "ResNet"), (64, 128, 256, 512), strict=True), start=1
        ):
            layer = nn.Sequential()
            for position in range(blocks):
                layer.append(block(before, width, stride=2 if position == 0 and number > 1 else 1))
                before = width * block.expansion
            self.add_module(f"layer{number}", layer)
        self.features = before


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)); the shortcut is a convolution where the shape changes."""

    expansion: int

    def __init__(self, body: nn.Module, channels: int, out: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and channels == out
        self.body = body
        self.shortcut = nn.Identity() if same else nn.Sequential(*normed(channels, out, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class BasicBlock(Residual):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        body = nn.Sequential(*normed(channels, width, 3, stride), nn.ReLU(), *normed(width, width, 3))
        super().__init__(body, channels, width, stride)


class Bottleneck(Residual):
    """1x1 to ``width``, 3x3 with the stride, 1x1 to four times the width."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        body = nn.Sequential(
            *normed(channels, width, 1),
            nn.ReLU(),
            *normed(width, width, 3, stride),
            nn.ReLU(),
            *normed(width, 4 * width, 1),
        )
        super().__init__(body, channels, 4 * width, stride)


class DenseNet(nn.Sequential):
    """DenseNet trunk (Huang et al. 2017), growth 32, ending with the batch norm and without its ReLU."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        )
        channels = 64
        for number, layers in enumerate(depth_of(DENSENETS, depth, "DenseNet"), start=1):
            if number > 1:
                self.add_module(f"transition{number - 1}", transition(channels))
                channels //= 2
            self.add_module(f"block{number}", nn.Sequential(*(DenseLayer(channels + 32 * n) for n in range(layers))))
            channels += 32 * layers
        self.norm = nn.BatchNorm2d(channels)
        self.features = channels


class DenseLayer(nn.Module):
    """32 new channels beside those that came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.new = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 128, 1, bias=False)),
            *(nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 32, 3, padding=1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], 1)


def transition(channels: int) -> nn.Sequential:
    """Half the channels, a quarter of the map."""
    convolution = nn.Conv2d(channels, channels // 2, 1, bias=False)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), convolution, nn.AvgPool2d(2))


def normed(channels: int, out: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """A convolution without bias that keeps the size but for its stride, and its batch norm."""
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)


def depth_of(table: Mapping[int, Sequence[int]], depth: int, family: str) -> Sequence[int]:
    if depth not in table:
        raise InputError(f"no {family}-{depth}: there are {', '.join(map(str, table))}")
    return table[depth]
