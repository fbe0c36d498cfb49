"""Convolutions as cuDNN runs them: implicit product, Winograd, FFT, depthwise; the fastest is taken.

Implicit product: ``M = N P Q``, ``N = K``, depth ``C R S`` (Chetlur et al., arXiv:1410.0759).
Winograd F(m x m, 3 x 3) turns tiles of (m+2)^2 inputs into m^2 outputs with (m+2)^2 products
(Lavin and Gray, arXiv:1509.09308): F(2x2) fused in one kernel, F(4x4) with separate transforms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mmsim.gpu.kernel import Kernel
from mmsim.gpu.library import CUDA, HOPPER, TENSOR, Array, Library
from mmsim.gpu.machine import Machine
from mmsim.gpu.products import Products, kernel_of, products
from mmsim.gpu.vector import Traffic, elementwise
from mmsim.layer import BITS


@dataclass(frozen=True)
class Shape:
    """Sizes of a convolution, scalars or arrays; pixels count all spatial axes, `groups` divides C and K."""

    batch: Array
    in_channels: Array
    out_channels: Array
    in_pixels: Array
    out_height: Array
    out_width: Array
    taps: float = 9.0  # of the kernel, all axes
    groups: Array | float = 1.0

    @property
    def outputs(self) -> Array:
        """Output pixels over the batch."""
        return np.asarray(self.batch * self.out_height * self.out_width)

    def bytes(self, word: float) -> tuple[Array, Array, Array]:
        """Of input, weights and output."""
        return (
            self.batch * self.in_channels * self.in_pixels * word,
            self.out_channels * self.in_channels / self.groups * self.taps * word,
            self.outputs * self.out_channels * word,
        )


_BASE = replace(CUDA, splits=(1,), setup=0.33, tail=1.0, overlap=2.0, spread=1.0)
_TILES = ((128, 128), (128, 64), (128, 32))
_WIDE_TILES = tuple(tile for tile in TENSOR.tiles if min(tile) >= 64)
IMPLICIT = {
    "cuda": replace(_BASE, tiles=_TILES, efficiency=1.23, perimeter=12.9, k_clocks=5.5),
    "turing": replace(TENSOR, tiles=_WIDE_TILES, splits=(1,), efficiency=0.59, stream=1.0, pads=True),
    "ampere": replace(TENSOR, splits=(1,), efficiency=0.95, stream=1.0, pads=True),
    "hopper": replace(HOPPER, splits=(1,), k_step=32, efficiency=0.9, pads=True),
}
FUSED = replace(_BASE, tiles=((32, 64), (32, 32)), efficiency=0.358, perimeter=0.0, k_clocks=1.6)
BATCHED = replace(_BASE, efficiency=0.753, perimeter=16.8, k_clocks=211.0)
"""CUDA-core kernels fitted on 30 % of the FP32 3x3 rows of the V100 and T4; tensor-core efficiency set on
half of the float16 networks of the RTX 2080 Ti ("turing") and of the timm networks of the RTX 3090 ("ampere").
A transformed tile of F(4x4) is written once and found again in L2 in part: TRANSFORM is above 1."""
NARROW = 0.85  # what CUDA-core convolutions keep where shared memory gives a lane one byte a clock, not two
TRANSFORM = (
    1.73  # bytes that the transform kernels of F(4x4) move for each that DRAM or L2 delivers: half is found again
)


def _fed(machine: Machine, kernels: Library) -> Library:
    """CUDA-core kernels on this machine: slower where shared memory is narrow (Turing, and SMs of 128 lanes)."""
    per_lane = machine.shared_bytes_per_s / machine.clock_hz / machine.fma_per_clock("float32", tensor=False)
    return kernels if per_lane >= 2 else replace(kernels, efficiency=kernels.efficiency * NARROW)


def implicit(machine: Machine, shape: Shape, dtype: str, cold: tuple[Array, Array, Array]) -> Products:
    """The implicit product; weights are rearranged beforehand, the input is read through L1."""
    kernels = _fed(machine, IMPLICIT["cuda"])
    if machine.has_tensor(dtype):
        generation = machine.device.compute_capability
        kernels = IMPLICIT["hopper" if generation >= 9 else "ampere" if generation >= 8 else "turing"]
    a, _, _ = shape.bytes(BITS[dtype] / 8)
    depth = shape.in_channels / shape.groups * shape.taps
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
        cold=cold, kernels=_fed(machine, FUSED if fused else BATCHED), a_bytes=np.asarray(a),
    )  # fmt: skip
    if fused:
        return p
    device = machine.device
    inner = points * tiles * word  # times channels: the transformed tiles
    moved = a + inner * shape.in_channels + inner * shape.out_channels + c + b * (1 + points / 9)
    fits = moved / 2 <= device.l2_resident_bytes
    rate = np.where(fits, machine.l2_bytes_per_s, machine.dram_bytes_per_s) * TRANSFORM
    extra = moved / rate + 3 * device.gap_s
    return replace(
        p, seconds=p.seconds + extra, dram_s=p.dram_s + extra, dram_bytes=p.dram_bytes + np.where(fits, 0, moved)
    )


DEPTHWISE = 0.2  # share of the FP32 rate that PyTorch's direct depthwise kernels reach; they have no tiles to reuse


def convolution(
    machine: Machine, shape: Shape, dtype: str, *, cold: tuple[float, float, float] = (0.0, 1.0, 0.0),
    three_by_three: bool = False, channels_last: bool = False,
) -> tuple[Kernel, ...]:  # fmt: skip
    """The kernels of one convolution, scalars in `shape`: the fastest algorithm, and layout changes around it.

    `three_by_three` says that Winograd applies: 3 x 3, stride 1, no groups. Tensor cores want
    channels last, so that a channels-first tensor is rearranged before and after.
    """
    word = BITS[dtype] / 8
    inputs, weights, outputs = (float(x) for x in shape.bytes(word))
    macs = float(shape.outputs * shape.out_channels * shape.in_channels / shape.groups) * shape.taps
    if shape.groups > 1 and shape.in_channels == shape.groups:
        return (_depthwise(machine, shape, dtype, macs, Traffic(inputs + weights, outputs, cold[0], cold[2])),)
    arrays = tuple(np.array(float(x)) for x in cold)
    chosen, name = implicit(machine, shape, dtype, (arrays[0], arrays[1], arrays[2])), "implicit_gemm"
    tensor = machine.has_tensor(dtype)
    if three_by_three and dtype == "float32":
        for edge in (2, 4):
            other = winograd(machine, shape, dtype, (arrays[0], arrays[1], arrays[2]), edge)
            if other.seconds < chosen.seconds:
                chosen, name = other, f"winograd_{edge}x{edge}"
    kernel = kernel_of(chosen, machine, dtype, name=name, kind="Conv", flops=2 * macs)
    if not tensor or channels_last or (machine.device.compute_capability >= 8 and dtype == "tfloat32"):
        return (kernel,)
    before = _layout(machine, inputs, word, cold[0], 0.0, "nchw_to_nhwc")
    after = _layout(machine, outputs, word, 0.0, cold[2], "nhwc_to_nchw")
    return before, kernel, after


def _layout(machine: Machine, size: float, word: float, cold_read: float, cold_write: float, name: str) -> Kernel:
    return elementwise(machine, size / word, Traffic(size, size, cold_read, cold_write), name=name, kind="Other")


def _depthwise(machine: Machine, shape: Shape, dtype: str, macs: float, traffic: Traffic) -> Kernel:
    points = float(shape.outputs * shape.out_channels)
    share = DEPTHWISE * machine.fma_per_clock("float32", tensor=False) / machine.fma_per_clock(dtype, tensor=False)
    kernel = elementwise(
        machine, points, traffic, ops=macs / points / share, name="depthwise", kind="Conv", dtype=dtype
    )
    return replace(kernel, flops=2 * macs)
