"""LiDAR: a sweep of points to a picture from above, two bands of height, as TransFuser takes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RANGE_M = 32.0
"""What the picture shows: as much ahead of the car, and half as much to either side."""
GROUND_M = -2.0
"""Points below count as ground, the others as obstacles."""
MOST = 5
"""Points in one cell beyond which it is full."""


class BirdsEye(nn.Module):
    """Points [B, N, 3] in metres (right, ahead, up) -> [B, 2, side, side]: how full each cell is, 0 to 1.

    Two histograms on a grid of `side` cells each way, 32 m ahead and 16 m to each side (8 cells a metre
    for a side of 256), the first of points above the ground and the second of those on it. Points
    outside the grid are dropped: they go to one more cell that is cut off.

    In the published code the lateral bin edges span -32 to 33 m, cells of about 0.25 m; the grid here
    is the nominal one of 8 cells a metre both ways. Sizes and operations do not differ.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, points: Tensor) -> Tensor:
        right, ahead, up = points.unbind(-1)  # [B, N] each
        per_metre = self.side / RANGE_M
        column = ((right + RANGE_M / 2) * per_metre).floor().long()
        row = self.side - 1 - (ahead * per_metre).floor().long()  # the car is at the bottom edge
        band = (up <= GROUND_M).long()
        cells = 2 * self.side * self.side
        inside = (column >= 0) & (column < self.side) & (row >= 0) & (row < self.side)
        cell = torch.where(inside, (band * self.side + row) * self.side + column, cells)
        counts = points.new_zeros(points.shape[0], cells + 1).scatter_add(1, cell, torch.ones_like(right))
        full = counts[:, :cells].clamp(max=MOST) / MOST
        return full.unflatten(1, (2, self.side, self.side))


def sweep(batch: int, points: int = 40_000) -> Tensor:
    """A random sweep: points up to 40 m around the car, most of them near the ground."""
    flat = torch.empty(batch, points, 2, device="cpu").uniform_(-40, 40)
    up = torch.empty(batch, points, 1, device="cpu").exponential_(1.0) - 2.5
    return torch.cat((flat, up), -1)
