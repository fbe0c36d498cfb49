"""MRI volumes: crop to the brain, standardise over the brain, cut out the cube that a network takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

VOLUME = (240, 240, 155)
"""A BraTS volume, one voxel a cubic millimetre."""


class BrainCube(nn.Module):
    """Co-registered, skull-stripped scans [B, S, 240, 240, 155] of int16 -> [B, S, cube, cube, cube], standardised.

    The cube lies at the centre of the box around all voxels that are not zero in some scan, or as near
    to it as the volume allows. Each scan has mean 0 and deviation 1 over its own non-zero voxels; the
    rest stays 0. Nothing here depends on how many voxels the brain has, so the shapes are static.
    """

    def __init__(self, cube: int) -> None:
        super().__init__()
        self.cube = cube

    def forward(self, scans: Tensor) -> Tensor:
        inside = scans != 0
        mean, deviation = moments(scans)
        cube = self.cut(scans, inside.any(1)).float()
        return torch.where(cube != 0, (cube - mean) / deviation, 0.0)

    def cut(self, scans: Tensor, brain: Tensor) -> Tensor:
        """The cube about the brain, by one gather with an index an axis."""
        steps = torch.arange(self.cube, device=scans.device)
        batch, scan = (torch.arange(size, device=scans.device) for size in scans.shape[:2])
        x, y, z = (self.start(brain.any(others).int())[:, None] + steps for others in ((2, 3), (1, 3), (1, 2)))
        return scans[
            batch[:, None, None, None, None],
            scan[:, None, None, None],
            x[:, None, :, None, None],
            y[:, None, None, :, None],
            z[:, None, None, None, :],
        ]

    def start(self, shadow: Tensor) -> Tensor:
        """Where the cube starts on an axis, [B], from which of its slices hold brain, [B, size]."""
        size = shadow.shape[1]
        first, last = shadow.argmax(1), size - 1 - shadow.flip(1).argmax(1)
        return ((first + last + 1 - self.cube) // 2).clamp(0, size - self.cube)


def moments(scans: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each scan's voxels that are not zero: [B, S, 1, 1, 1] each."""
    axes = (2, 3, 4)
    values = scans.float()
    count = torch.count_nonzero(scans, axes).clamp_min(1)[:, :, None, None, None]
    mean = values.sum(axes, keepdim=True) / count
    variance = values.square().sum(axes, keepdim=True) / count - mean.square()
    return mean, variance.sqrt().clamp_min(1e-6)


def heads(batch: int, scans: int) -> Tensor:
    """Random volumes of the true size and format: a bright ellipsoid, the brain, on zero."""
    grid = torch.meshgrid(*(torch.linspace(-1, 1, size, device="cpu") for size in VOLUME), indexing="ij")
    brain = sum(axis.square() / extent for axis, extent in zip(grid, (0.40, 0.50, 0.70), strict=True)) < 1
    values = torch.randint(100, 1000, (batch, scans, *VOLUME), dtype=torch.int16, device="cpu")
    return values * brain
