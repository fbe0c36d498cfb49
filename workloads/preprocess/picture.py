"""Pictures: bytes as a decoder leaves them, [B, H, W, 3] in RGB, to what a network takes, [B, 3, side, side]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsim.workloads.base import octets

CAFFE_MEANS = (103.939, 116.779, 123.68)
"""Means of blue, green and red over ImageNet, which Caffe's networks take off."""


def picture(batch: int, height: int, width: int, channels: int = 3) -> Tensor:
    """A random picture of bytes."""
    return octets(batch, height, width, channels)


class Square(nn.Module):
    """The centre square at a new size, values still 0..255.

    A picture of which the shorter edge is more than twice as long as asked is first shrunk by the largest
    power of two that leaves it long enough, as a JPEG decoder's draft mode does; the rest is antialiased.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, picture: Tensor) -> Tensor:
        x = picture.permute(0, 3, 1, 2).float()  # [B, C, H, W]
        shrink = 1
        while min(x.shape[2:]) // (2 * shrink) >= self.side:
            shrink *= 2
        x = functional.avg_pool2d(x, shrink) if shrink > 1 else x
        x = centre(x, min(x.shape[2:]))
        return functional.interpolate(x, size=(self.side, self.side), mode="bilinear", antialias=True)


class Frames(nn.Module):
    """Video frames for an ImageNet trunk: [B, T, H, W, 3] -> [B, T, 3, 224, 224].

    Resized to 256, the middle 224 cut out, each channel by ImageNet's mean and deviation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.resize = Square(256)
        self.normalise = ImageNet()

    def forward(self, video: Tensor) -> Tensor:
        frames = centre(self.resize(video.flatten(0, 1)), 224) / 255
        return self.normalise(frames).unflatten(0, video.shape[:2])


class ImageNet(nn.Module):
    """Each channel by its mean and deviation over ImageNet: [B, 3, H, W]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406))[:, None, None])
        self.register_buffer("deviation", torch.tensor((0.229, 0.224, 0.225))[:, None, None])

    def forward(self, picture: Tensor) -> Tensor:
        return (picture - self.mean) / self.deviation


class CentreCrop(nn.Module):
    """The centre square of `side` pixels as it is, values still 0..255."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, picture: Tensor) -> Tensor:
        return centre(picture.permute(0, 3, 1, 2), self.side).float()


class UnitRange(nn.Module):
    """Bytes to 0..1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float() / 255


class Caffe(nn.Module):
    """Red, green, blue in 0..255 to blue, green, red with each one's mean taken off."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(CAFFE_MEANS)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1) - self.means


def centre(x: Tensor, side: int) -> Tensor:
    """The centre square: [B, C, H, W] -> [B, C, side, side]."""
    top, left = ((size - side) // 2 for size in x.shape[2:])
    return x[:, :, top : top + side, left : left + side]
