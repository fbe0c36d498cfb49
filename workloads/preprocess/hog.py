"""Histograms of oriented gradients with 31 features a cell (Felzenszwalb et al. 2010)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SIGNED, UNSIGNED = 18, 9
"""Directions that tell light from dark, and those that do not."""


class HOG(nn.Module):
    """[N, 1, side, side] -> [N, cells * cells * 31], a cell's edge of border left out on every side.

    A pixel's gradient votes, by its length, for the nearest of 18 directions. A cell's histogram is
    divided by the energy of each of the four blocks of 2x2 cells that it lies in and cut at 0.2: the
    means over the four give 18 signed and 9 unsigned features, the sums over directions 4 more.
    """

    directions: Tensor

    def __init__(self, cell: int) -> None:
        super().__init__()
        self.cell = cell
        angles = torch.arange(SIGNED) * (2 * math.pi / SIGNED)
        self.register_buffer(
            "directions", torch.stack([angles.cos(), angles.sin()], 1)[..., None, None]
        )  # [18, 2, 1, 1]

    def forward(self, picture: Tensor) -> Tensor:
        right = functional.pad(picture, (1, 1, 0, 0), mode="replicate")
        down = functional.pad(picture, (0, 0, 1, 1), mode="replicate")
        gradient = torch.cat([right[..., 2:] - right[..., :-2], down[..., 2:, :] - down[..., :-2, :]], 1)
        along = functional.conv2d(gradient, self.directions)  # [N, 18, side, side]
        votes = (along == along.amax(1, keepdim=True)) * gradient.square().sum(1, keepdim=True).sqrt()
        cells = functional.avg_pool2d(votes, self.cell)  # [N, 18, c, c]
        return features(cells).flatten(1)


def features(cells: Tensor) -> Tensor:
    """Histograms of all cells to the features of the inner ones: [N, 18, c, c] -> [N, 31, c-2, c-2]."""
    unsigned = cells[:, :UNSIGNED] + cells[:, UNSIGNED:]
    energy = unsigned.square().sum(1, keepdim=True)
    blocks = 4 * functional.avg_pool2d(energy, 2, 1) + 1e-6  # [N, 1, c-1, c-1]
    corners = [
        blocks[..., :-1, :-1], blocks[..., :-1, 1:], blocks[..., 1:, :-1], blocks[..., 1:, 1:]
    ]  # fmt: skip
    norms = torch.stack(corners, 1).rsqrt()  # [N, 4, 1, c-2, c-2]
    signed = (cells[:, None, :, 1:-1, 1:-1] * norms).clamp(max=0.2)
    plain = (unsigned[:, None, :, 1:-1, 1:-1] * norms).clamp(max=0.2)
    return torch.cat([signed.mean(1), plain.mean(1), signed.sum(2)], 1)
