"""Convolutions as cuDNN runs them: implicit product, Winograd, FFT, depthwise; the fastest is taken.

Implicit product: ``M = N P Q``, ``N = K``, depth ``C R S`` (Chetlur et al., arXiv:1410.0759).
Winograd F(m x m, 3 x 3) turns tiles of (m+2)^2 inputs into m^2 outputs with (m+2)^2 products
(Lavin and Gray, arXiv:1509.09308): F(2x2) fused in one kernel, F(4x4) with separate transforms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mmsim.gpu.kernel import Kernel
from mmsim.gpu.library import CUDA, HOPPER, TENSOR, Array
from mmsim.gpu.machine import Machine
from mmsim.gpu.occupancy import TAPS, WARP
from mmsim.gpu.products import Products, kernel_of, missing, products
from mmsim.gpu.vector import Traffic, elementwise, lost
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


_BASE = replace(CUDA, splits=(1,), setup=0.2, tail=1.0, overlap=4.0, spread=1.0, stride=0.0)
_TILES = ((128, 128), (128, 64), (128, 32))
_TURING_TILES = ((256, 128), (128, 128), (256, 64))  # all that cuDNN's s884cudnn and s1688cudnn kernels are named after
_CUDA = replace(_BASE, tiles=_TILES, overlap=1.4, perimeter=1.05, k_clocks=203.0, hides_output=True)
IMPLICIT = {
    "cuda": _CUDA,
    "cuda_last": replace(_CUDA, tiles=_TILES[:1]),
    "half": replace(_CUDA, tiles=_TILES[:2]),  # profiles name fp16_scudnn_fp16_128x64 (apache/mxnet #9774), none of 32
    "turing": replace(TENSOR, tiles=_TURING_TILES, splits=(1,), efficiency=0.7, stream=1.0, pads=True),
    "ampere": replace(TENSOR, splits=(1,), efficiency=0.95, stream=1.0, pads=True),
    "hopper": replace(HOPPER, splits=(1,), k_step=32, efficiency=0.9, pads=True),
}
FUSED = replace(_BASE, tiles=((32, 32),), efficiency=0.95, perimeter=0.0, k_clocks=14.0, hides_output=True)
BATCHED = replace(
    _BASE, tiles=((128, 128), (64, 128), (128, 64), (64, 64), (128, 32), (32, 128)), efficiency=0.73, perimeter=19.1,
    k_clocks=184.0,
)  # fmt: skip
"""CUDA-core kernels fitted on 30 % of the FP32 3x3 rows of the V100 and T4; tensor-core efficiency set on
half of the float16 networks of the RTX 2080 Ti ("turing") and of the timm networks of the RTX 3090 ("ampere").
Channels last, CUDA cores have one kernel (``volta_scudnn_128x128_relu_exp_small_nhwc_tn_v1``), whatever the channels:
nothing was set for it."""
VECTOR = 8
"""Channels that a tensor core's load takes in half precision; cuDNN pads to them (Developer Guide 7.6, tensor cores).
From Ampere on first layers have kernels of their own, and groups of four channels before."""
PATCHES = ((1, 8, 16), (2, 4, 16))  # images, rows and columns of outputs that one block of F(2x2) takes
FUSED_START = 20.5  # channels' worth of products that the transforms of a fused tile and its store take
TRANSFORM = 0.614  # of the time that streams of the tiles' size take: some of what one kernel writes, the next finds
FILTER_TRANSFORM = 1.546  # the same for the weights, which are read and written in strides


def implicit(
    machine: Machine, shape: Shape, dtype: str, cold: tuple[Array, Array, Array], *, channels_last: bool = False
) -> Products:
    """The implicit product; weights are rearranged beforehand, the input is read through L1."""
    kernels = IMPLICIT["cuda_last" if channels_last else "half" if BITS[dtype] == 16 else "cuda"]
    if machine.has_tensor(dtype):
        generation = machine.device.compute_capability
        kernels = IMPLICIT["hopper" if generation >= 9 else "ampere" if generation >= 8 else "turing"]
    a, _, _ = shape.bytes(BITS[dtype] / 8)
    channels = shape.in_channels / shape.groups
    if kernels is IMPLICIT["turing"] and np.all(np.asarray(shape.groups) == 1):
        channels = np.ceil(channels / VECTOR) * VECTOR
    depth = channels * shape.taps
    one = np.ones_like(np.asarray(shape.outputs, float))
    return products(
        machine, shape.outputs, shape.out_channels / shape.groups * one, depth * one, shape.groups * one, dtype,
        cold=cold, kernels=kernels, a_bytes=np.asarray(a),
    )  # fmt: skip


def fused_winograd(machine: Machine, shape: Shape, dtype: str, cold: tuple[Array, Array, Array]) -> Products:
    """F(2 x 2, 3 x 3): a kernel that transforms the weights (cuDNN's ``generateWinogradTilesKernel``), then one for the
    rest. A block of it takes 32 tiles of a patch: small pictures leave much of it empty."""
    blocks = [
        np.ceil(shape.batch / n) * np.ceil(shape.out_height / h) * np.ceil(shape.out_width / w) for n, h, w in PATCHES
    ]
    tiles = 32 * np.minimum(*blocks)
    channels = np.ceil(shape.in_channels / 8) * 8 + FUSED_START
    a, b, _ = shape.bytes(BITS[dtype] / 8)
    p = products(
        machine, tiles, shape.out_channels, 16 * channels, np.ones_like(tiles), dtype, cold=cold,
        kernels=FUSED, a_bytes=np.asarray(a),
    )  # fmt: skip
    before = FILTER_TRANSFORM * _stream(machine, b, 16 / 9 * b) + machine.device.gap_s
    return replace(p, seconds=p.seconds + before, dram_s=p.dram_s + before)


def winograd(machine: Machine, shape: Shape, dtype: str, cold: tuple[Array, Array, Array]) -> Products:
    """F(4 x 4, 3 x 3) on CUDA cores: input and weights transformed, 36 products, output transformed."""
    tiles = shape.batch * np.ceil(shape.out_height / 4) * np.ceil(shape.out_width / 4)
    word = BITS[dtype] / 8
    a, b, c = shape.bytes(word)
    before, weights, after = 36 * tiles * shape.in_channels * word, 4 * b, 36 * tiles * shape.out_channels * word
    resident = machine.device.l2_resident_bytes
    p = products(
        machine, tiles, shape.out_channels, shape.in_channels, np.full_like(tiles, 36.0), dtype,
        cold=(missing(before, resident), missing(weights, resident), missing(after, resident)),
        kernels=BATCHED,
    )  # fmt: skip
    around = (_stream(machine, a, before), _stream(machine, after, c), _stream(machine, b, weights))
    extra = TRANSFORM * (around[0] + around[1]) + FILTER_TRANSFORM * around[2] + 3 * machine.device.gap_s
    moved = a + before + after + c + b + weights
    return replace(
        p,
        seconds=p.seconds + extra,
        dram_s=p.dram_s + extra,
        dram_bytes=p.dram_bytes + moved * missing(moved, resident),
    )


def _stream(machine: Machine, read: Array, written: Array) -> Array:
    """Seconds of a kernel that reads one array and writes another, each in L2 or not by its size."""
    lost = [(size, missing(size, machine.device.l2_resident_bytes)) for size in (read, written)]
    return np.asarray(
        sum(size * (gone / machine.dram_bytes_per_s + (1 - gone) / machine.l2_bytes_per_s) for size, gone in lost)
    )


UNFUSED_NAME = "winograd_4x4"
DEPTHWISE = 0.2  # share of the FP32 rate that cuDNN's depthwise kernels reach; they have no tiles to reuse
CUDNN_TAPS = (1.0, 9.0, 25.0)  # kernels of 1 x 1, 3 x 3 and 5 x 5: PyTorch gives them to cuDNN in half precision
MOST_TAPS, GROUPS_OF_A_TILE = 49.0, 64.0
"""cuDNN's channels-last depthwise kernels stand for 3 x 3, 5 x 5 and 7 x 7 (`conv2d_c1_k1_nhwc_kernel_specialized`);
beyond, it takes its grouped product, a tile of which holds 64 channels and, depthwise, zeros but for its diagonal."""
LOADS, START = 2.24, 18.0
"""PyTorch's own depthwise kernel: every tap of a point loads an input and a weight through L1, four bytes a lane at
most, and each point costs some taps' worth of index arithmetic. Set on table 1 of RepLKNet, layers of 3 x 3 to
31 x 31 on an RTX 2080 Ti (Ding et al., arXiv:2203.06717): a tap takes 1.12 times two loads of the data-sheet's L1; the
table's 30 times are met within 6.8 % on average (`tests/test_gpu.py`)."""


def convolution(
    machine: Machine, shape: Shape, dtype: str, *, cold: tuple[float, float, float] = (0.0, 1.0, 0.0),
    three_by_three: bool = False, channels_last: bool = False, unfused_host_s: float = 0.0,
) -> tuple[Kernel, ...]:  # fmt: skip
    """The kernels of one convolution, scalars in `shape`: the fastest algorithm, and layout changes before it.

    `three_by_three` says that Winograd applies: 3 x 3, stride 1, no groups. Tensor cores want channels last, so that
    a channels-first input and its weights are rearranged; the output is written channels first by the kernel itself
    (cuDNN's ``nhwc2nchw`` and ``nhwckrsc_nchw``; traces count two `nchwToNhwcKernel` to each such convolution, and
    kernels that need a third one behind them lose where cuDNN's benchmark chooses). Before Ampere groups with the
    channels first stay on the CUDA cores: they are no faster in half precision than in float32 (pytorch/pytorch,
    issue 10290, Titan V; NVIDIA/apex, issue 196, RTX 2080 Ti). `unfused_host_s` is what
    several kernels cost beyond one where nothing runs meanwhile: cuDNN's benchmark times whole calls.
    """
    word = BITS[dtype] / 8
    inputs, weights, outputs = (float(x) for x in shape.bytes(word))
    macs = float(shape.outputs * shape.out_channels * shape.in_channels / shape.groups) * shape.taps
    if shape.groups > 1 and shape.in_channels == shape.groups:
        moved = Traffic(inputs + weights, outputs, cold[0], cold[2])
        if not channels_last and not (word == 2 and shape.taps in CUDNN_TAPS):
            return (_native_depthwise(machine, shape, dtype, macs, moved),)
        if shape.taps <= MOST_TAPS:
            return (_depthwise(machine, shape, dtype, macs, moved),)
        shape = replace(shape, groups=np.ceil(shape.groups / GROUPS_OF_A_TILE))
    if shape.groups > 1 and not channels_last and machine.device.compute_capability < 8:
        machine = machine.without_tensor_cores()
    before: tuple[Kernel, ...] = ()
    if machine.has_tensor(dtype) and not channels_last:
        before = _rearrange(machine, inputs, cold[0], word), _rearrange(machine, weights, cold[1], word)
        resident = machine.device.l2_resident_bytes
        cold = (lost(inputs, resident), lost(weights, resident), cold[2])
    arrays = tuple(np.array(float(x)) for x in cold)
    last = channels_last and not machine.has_tensor(dtype)
    chosen = implicit(machine, shape, dtype, (arrays[0], arrays[1], arrays[2]), channels_last=last)
    name = "implicit_gemm"
    if three_by_three and dtype == "float32" and not last:
        one = fused_winograd(machine, shape, dtype, (arrays[0], arrays[1], arrays[2]))
        if one.seconds < chosen.seconds:
            chosen, name = one, "winograd_2x2"
        several = winograd(machine, shape, dtype, (arrays[0], arrays[1], arrays[2]))
        if several.seconds + unfused_host_s < chosen.seconds:
            chosen, name = several, UNFUSED_NAME
    read = (1.0 if channels_last or machine.has_tensor(dtype) else _strided(shape), 1.0)
    product = kernel_of(chosen, machine, dtype, name=name, kind="Conv", flops=2 * macs, useful=read)
    return (*before, product)


def _strided(shape: Shape) -> float:
    """The useful share of the sectors read of a channels-first input: every `stride`-th pixel of a row."""
    stride = np.sqrt(float(shape.in_pixels) / float(shape.out_height * shape.out_width))
    return float(1 / np.clip(stride, 1.0, 8.0))


def _rearrange(machine: Machine, size: float, cold: float, word: float) -> Kernel:
    traffic = Traffic(size, size, cold, lost(size, machine.device.l2_resident_bytes))
    return elementwise(machine, size / word, traffic, name="nchw_to_nhwc", kind="Other")


def _depthwise(machine: Machine, shape: Shape, dtype: str, macs: float, traffic: Traffic) -> Kernel:
    points = float(shape.outputs * shape.out_channels)
    share = DEPTHWISE * machine.fma_per_clock("float32", tensor=False) / machine.fma_per_clock(dtype, tensor=False)
    kernel = elementwise(
        machine, points, traffic, ops=macs / points / share, name="depthwise", kind="Conv", dtype=dtype
    )
    return replace(kernel, flops=2 * macs, instructions=macs / WARP * (1 + TAPS))


def _native_depthwise(machine: Machine, shape: Shape, dtype: str, macs: float, traffic: Traffic) -> Kernel:
    points = float(shape.outputs * shape.out_channels)
    loads = LOADS * (shape.taps + START) / (machine.shared_bytes_per_s / 4)  # of one point, on one SM
    rate = machine.fma_per_clock("float32", tensor=False) * machine.clock_hz
    kernel = elementwise(machine, points, traffic, ops=loads * rate, name="native_depthwise", kind="Conv")
    return replace(kernel, flops=2 * macs, instructions=macs / WARP * (1 + LOADS))
