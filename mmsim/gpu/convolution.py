"""Convolutions as cuDNN runs them: implicit product, Winograd, FFT, depthwise; the fastest is taken.

Implicit product: ``M = N P Q``, ``N = K``, depth ``C R S`` (Chetlur et al., arXiv:1410.0759).
Winograd F(m x m, 3 x 3) turns tiles of (m+2)^2 inputs into m^2 outputs with (m+2)^2 products
(Lavin and Gray, arXiv:1509.09308): F(2x2) fused in one kernel, F(4x4) with separate transforms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mmsim.gpu.machine import Machine
from mmsim.gpu.products import CUDA, HOPPER, TENSOR, Array, Library, Products, products
from mmsim.layer import BITS


@dataclass(frozen=True)
class Shape:
    """Sizes of a convolution, scalars or arrays; `height` and `width` are of the input, `groups` divides C and K."""

    batch: Array
    in_channels: Array
    out_channels: Array
    height: Array
    width: Array
    kernel: tuple[int, int] = (3, 3)
    stride: Array | float = 1.0
    out_height: Array | float = 0.0
    out_width: Array | float = 0.0
    groups: Array | float = 1.0

    @property
    def outputs(self) -> Array:
        """Output pixels over the batch."""
        return np.asarray(self.batch * self.out_height * self.out_width)

    def bytes(self, word: float) -> tuple[Array, Array, Array]:
        """Of input, weights and output."""
        taps = self.kernel[0] * self.kernel[1]
        return (
            self.batch * self.in_channels * self.height * self.width * word,
            self.out_channels * self.in_channels / self.groups * taps * word,
            self.outputs * self.out_channels * word,
        )


IMPLICIT = {
    "cuda": replace(CUDA, splits=(1, 2, 4, 8), efficiency=0.85),
    "tensor": replace(TENSOR, splits=(1, 2, 4, 8), efficiency=0.8),
    "hopper": replace(HOPPER, splits=(1, 2, 4, 8), efficiency=0.8),
}
FUSED = replace(CUDA, tiles=((32, 64), (32, 32)), splits=(1,), efficiency=0.75)
BATCHED = replace(CUDA, splits=(1,), efficiency=0.9)
TRANSFORM = 0.7  # share of the DRAM or L2 bandwidth that the transform kernels of F(4x4) reach


def implicit(machine: Machine, shape: Shape, dtype: str, cold: tuple[Array, Array, Array]) -> Products:
    """The implicit product; weights are rearranged beforehand, the input is read through L1."""
    kernels = IMPLICIT["cuda"]
    if machine.has_tensor(dtype):
        kernels = IMPLICIT["hopper" if machine.device.compute_capability >= 9 else "tensor"]
    a, _, _ = shape.bytes(BITS[dtype] / 8)
    depth = shape.in_channels / shape.groups * shape.kernel[0] * shape.kernel[1]
    one = np.ones_like(np.asarray(shape.outputs, float))
    return products(
        machine, shape.outputs, shape.out_channels / shape.groups * one, depth * one, shape.groups * one, dtype,
        cold=cold, kernels=kernels, a_bytes=np.asarray(a),
    )  # fmt: skip


def winograd(machine: Machine, shape: Shape, dtype: str, cold: tuple[Array, Array, Array], edge: int) -> Products:
    """F(edge x edge, 3 x 3) on CUDA cores: (edge+2)^2 products of depth C, one row per tile.

    Transforms are free when fused (edge 2) and streams of their own otherwise (edge 4).
    """
    tiles = shape.batch * np.ceil(shape.out_height / edge) * np.ceil(shape.out_width / edge)
    points = float((edge + 2) ** 2)
    word = BITS[dtype] / 8
    a, b, c = shape.bytes(word)
    fused = edge == 2
    p = products(
        machine, tiles, shape.out_channels, shape.in_channels * (points if fused else 1.0),
        np.full_like(tiles, 1.0 if fused else points), dtype,
        cold=cold, kernels=FUSED if fused else BATCHED, a_bytes=np.asarray(a),
    )  # fmt: skip
    if fused:
        return p
    device = machine.device
    inner = points * tiles * word  # times channels: the transformed tiles
    moved = a + inner * shape.in_channels + inner * shape.out_channels + c + b * (1 + points / 9)
    fits = moved / 2 <= device.l2_resident_bytes
    rate = np.where(fits, machine.l2_bytes_per_s, machine.dram_bytes_per_s) * TRANSFORM
    extra = moved / rate + 3 * device.gap_s
    return replace(p, seconds=p.seconds + extra, dram_s=p.dram_s + extra, dram_bytes=p.dram_bytes + np.where(fits, 0, moved))
