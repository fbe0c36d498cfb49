"""ResNet trunks (He et al., 2016) without the classifier, cut into the parts between which networks like TransFuser fuse."""

from __future__ import annotations

import torch
from torch import nn

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks in each of the four residual layers, by the network's depth (table 1 of the paper)."""

WIDTHS = (64, 128, 256, 512)
"""Channels inside the blocks of the four residual layers."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: ResNet-18 and -34."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.shortcut = _shortcut(channels, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))  # (B, width, H / stride, W / stride)


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up around a shortcut: ResNet-50 and deeper. The 3x3 convolution strides, as in torchvision."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.shortcut = _shortcut(channels, 4 * width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + self.shortcut(x))  # (B, 4 width, H / stride, W / stride)


class ResNet(nn.Module):
    """The convolutional part of a ResNet: `stem`, `layers` (four) and `pool`.

    `channels` is the width of the input (3 for a picture, 2 for a LiDAR bird's-eye view). The features
    are (B, 512) for depths 18 and 34, (B, 2048) for 50, 101 and 152. Parameters without the classifier:
    11,176,512 for ResNet-18, 21,284,672 for ResNet-34, 58,143,808 for ResNet-152.
    """

    def __init__(self, depth: int, channels: int = 3) -> None:
        super().__init__()
        block = BasicBlock if depth < 50 else Bottleneck
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.layers = nn.ModuleList()
        channels = 64
        for index, (blocks, width) in enumerate(zip(DEPTHS[depth], WIDTHS, strict=True)):
            self.layers.append(_residual_layer(block, channels, width, blocks, stride=2 if index else 1))
            channels = width * block.expansion
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)  # (B, 64, H/4, W/4)
        for layer in self.layers:
            x = layer(x)  # (B, C, H/32, W/32) after the last
        return self.pool(x)  # (B, C)


def _residual_layer(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    rest = [block(width * block.expansion, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(block(channels, width, stride), *rest)


def _shortcut(channels: int, out: int, stride: int) -> nn.Module:
    """A 1x1 convolution where the shape changes, nothing elsewhere."""
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
