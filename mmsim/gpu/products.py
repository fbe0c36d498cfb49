"""Matrix products as vendor libraries run them: a menu of tiles and K splits, waves, and what bounds each.

All functions take arrays and look at every candidate of every product at once: the last axis of an
intermediate array is the candidate. The library's choice is taken to be the fastest candidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsim.gpu.kernel import Bound, Class, Kernel
from mmsim.gpu.machine import Machine
from mmsim.layer import BITS

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Library:
    """How one family of product kernels behaves on any device; times in clocks or memory latencies."""

    tiles: tuple[tuple[int, int], ...]
    splits: tuple[int, ...]
    k_step: int
    perimeter: float  # share lost to feeding a tile: perimeter x (1/rows + 1/columns)
    k_clocks: float  # least clocks per k of one block: load, multiply and the loop's dependences
    setup: float  # memory latencies that one wave of blocks waits before and after its main loop
    tail: float  # 1: whole waves; 0: no quantisation (blocks of different speed fill the tail)
    overlap: float  # exponent of the norm that joins compute, L2 and DRAM time; infinity is max()
    spread: float  # share of the SMs that saturates DRAM
    cluster: float  # blocks a side that share what they fetch from L2 (distributed shared memory)
    efficiency: float = 1.0  # of the inner loop against a plain product's: address arithmetic, transforms
    pads: bool = False  # whether operands are padded to what tensor cores want (a layout change does it on the way)
    hides_output: bool = False  # whether the next tile computes while one is written


_EDGES = (16, 32, 64, 128, 256)
_TENSOR_TILES = tuple((a, b) for a in _EDGES for b in _EDGES if 1024 <= a * b <= 128 * 256)
_CUDA_TILES = tuple((a, b) for a in _EDGES for b in _EDGES if 1024 <= a * b <= 128 * 128)
_SPLITS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)

ROW_SETUP = 2.5
"""A product of one row streams its weights: no pipeline to fill, in memory latencies."""
_FEW_TILES = ((128, 128), (128, 64), (64, 128), (64, 64))

TENSOR = Library(_TENSOR_TILES, _SPLITS, 64, 1.0, 5.5, 5.4, 0.6, 2.85, 0.47, 1)
"""Fitted on 30 % of the bf16 products of the A100."""
HOPPER = Library(_TENSOR_TILES, _SPLITS, 64, 3.5, 2.65, 4.06, 0.4, 2.2, 0.57, 4, hides_output=True)
"""Fitted on 30 % of the bf16 products of the H100; clusters of blocks share what they fetch."""
CUDA = Library(_CUDA_TILES, _SPLITS, 8, 0.8, 128.0, 0.72, 0.37, 1.42, 0.42, 1)
"""Up to Turing; fitted on 30 % of the FP32 linear rows of the V100."""
CUDA_BATCHED = Library(_FEW_TILES, (1,), 8, 0.26, 98.0, 0.26, 1.0, 1.67, 0.95, 1)
"""Batched products have few tiles and no splits; fitted on 30 % of the FP32 bmm rows of the V100."""
AMPERE = Library(_CUDA_TILES, _SPLITS, 8, 4.0, 64.0, 0.31, 0.92, 1.1, 1.0, 1)
"""From Ampere on; fitted on 30 % of the FP32 linear rows of the A100."""
AMPERE_BATCHED = Library(((128, 128),), (1,), 8, 3.0, 47.0, 0.05, 1.0, 12.0, 0.42, 1)
"""One tile whatever the shape: 256 clocks per k, as 84 % of the A100's compute-bound bmm rows show."""


@dataclass(frozen=True)
class Products:
    """The chosen candidate of each product: times in s, traffic in bytes, all arrays of one shape."""

    seconds: Array
    compute_s: Array
    l2_s: Array
    dram_s: Array
    l2_bytes: Array
    dram_bytes: Array
    tile_m: Array
    tile_n: Array
    split: Array
    blocks: Array
    waves: Array
    resident: Array


def library(machine: Machine, dtype: str, *, batched: bool) -> Library:
    """The kernels that products in `dtype` run with; `batched` means more than one product in a launch."""
    generation = machine.device.compute_capability
    if machine.has_tensor(dtype):
        return HOPPER if generation >= 9 else TENSOR
    if generation >= 8:
        return AMPERE_BATCHED if batched else AMPERE
    return CUDA_BATCHED if batched else CUDA


def missing(size: Array, resident_bytes: float) -> Array:
    """The share of a repeatedly swept array that L2 does not hold: 0 up to its size, all from 1.5 times that."""
    return np.clip(2 * (size / resident_bytes - 1), 0.0, 1.0)


def products(
    machine: Machine,
    m: Array,
    n: Array,
    k: Array,
    batch: Array,
    dtype: str,
    *,
    cold: tuple[Array, Array, Array],
    kernels: Library | None = None,
    a_bytes: Array | None = None,
) -> Products:
    """``C[b, m, n] = A[b, m, k] x B[b, k, n]`` for arrays of sizes.

    `cold` is the share of A, B and C that DRAM must deliver or take: what a kernel before left in L2,
    or the next one finds there, is not. `a_bytes` is what A takes in memory where that is not m x k
    (a convolution's input, read several times over). Without `kernels` a batch counts as batched when
    all of `batch` exceed 1.
    """
    menu = kernels or library(machine, dtype, batched=bool(np.all(np.asarray(batch) > 1)))
    device, word = machine.device, BITS[dtype] / 8
    tensor = machine.has_tensor(dtype)
    m, n, k, batch, cold_a, cold_b, cold_c = (np.asarray(x, float)[..., None] for x in (m, n, k, batch, *cold))
    tm, tn, split = _candidates(menu)
    latency = device.memory_latency_s

    blocks = np.ceil(m / tm) * np.ceil(n / tn) * batch * split
    depth = np.ceil(np.ceil(k / menu.k_step) / split) * menu.k_step
    share = (
        menu.efficiency
        * (device.tensor_share if tensor else device.cuda_share)
        / (1 + menu.perimeter * (1 / tm + 1 / tn))
    )
    rate = machine.product_fma_per_clock(dtype) * machine.clock_hz * share  # of one SM
    rate = rate * np.where(_aligned(n, k, word), 1.0, 0.5) if tensor and not menu.pads else rate

    per_sm = blocks / machine.sms
    resident = np.clip(128 * 256 // (tm * tn), 1, 8)
    busiest = np.maximum(1, menu.tail * np.ceil(per_sm) + (1 - menu.tail) * per_sm)  # blocks of the busiest SM
    waves = np.maximum(1, busiest / resident)
    loop = np.maximum(busiest * tm * tn * depth / rate, waves * depth * menu.k_clocks / machine.clock_hz)
    work = f"tensor.{dtype}" if tensor else dtype
    setup = np.where(m == 1, np.minimum(menu.setup, ROW_SETUP), menu.setup)
    compute = loop + waves * setup * latency

    a = m * k * batch * word if a_bytes is None else np.asarray(a_bytes, float)[..., None]
    b, c = n * k * batch * word, m * n * batch * word
    busy = np.minimum(1, per_sm)
    l2_bytes = blocks * (tm + tn) / menu.cluster * depth * word
    l2 = l2_bytes / machine.l2_bytes_per_s / busy
    resident_bytes = device.l2_resident_bytes
    lost = missing(a + b + c, resident_bytes)
    write_back = c * np.maximum(cold_c, lost)
    fetched = a * np.maximum(cold_a, lost) + b * np.maximum(cold_b, lost)
    dram_rate = machine.dram_bytes_per_s * np.minimum(1, np.minimum(per_sm, 1) / menu.spread)
    out = write_back / machine.dram_bytes_per_s + (c - write_back) / machine.l2_bytes_per_s
    dram = fetched / dram_rate + (out if menu.hides_output else 0.0)
    reduce = np.where(split > 1, (4 * split + word) / word * c / machine.l2_bytes_per_s + 2 * device.gap_s, 0.0)

    p = menu.overlap
    body = (compute**p + l2**p + dram**p) ** (1 / p)
    compute = compute / clock_share(machine, work, blocks * tm * tn * depth / body, body)
    body = (compute**p + l2**p + dram**p) ** (1 / p)
    seconds = device.launch_s + body + reduce + (0.0 if menu.hides_output else out)
    seconds = np.where((split == 1) | (depth >= 4 * menu.k_step), seconds, np.inf)
    best = np.argmin(seconds, -1)[..., None]

    def pick(x: Array) -> Array:
        return np.take_along_axis(np.broadcast_to(x, seconds.shape), best, -1)[..., 0]

    return Products(
        pick(seconds), pick(compute), pick(l2), pick(dram), pick(l2_bytes + c), pick(fetched + write_back),
        pick(tm), pick(tn), pick(split), pick(blocks), pick(waves), pick(np.minimum(resident, np.ceil(per_sm))),
    )  # fmt: skip


def clock_share(machine: Machine, work: str, rate: Array, seconds: Array) -> Array:
    """The share of the boost clock that the power limit leaves to `rate` multiply-accumulates/s.

    A kernel much shorter than the regulator's time constant still runs at full clock; `seconds` is
    its time there.
    """
    power = machine.device.power
    energy = power.gemm_fma_pj.get(work)
    if energy is None:
        return np.ones_like(seconds)
    sustained = np.minimum(1.0, (power.limit_w - power.idle_w) / (energy * 1e-12 * rate))
    return sustained + (1 - sustained) * power.burst_s / (power.burst_s + seconds)


def gemm(
    m: int,
    n: int,
    k: int,
    batch: int,
    dtype: str,
    machine: Machine,
    *,
    cold: tuple[float, float, float] = (0.0, 1.0, 0.0),
) -> Kernel:
    """One product as a kernel; by default its activations are in L2 and its weights are not.

    A long product on an SM count of one, or with one row, is the same code: the menu decides.
    """
    ms, ns, ks, bs = (np.array(float(x)) for x in (m, n, k, batch))
    a, b, c = (np.array(x) for x in cold)
    p = products(machine, ms, ns, ks, bs, dtype, cold=(a, b, c))
    return kernel_of(p, machine, dtype, name="gemm", kind="Gemm", flops=2.0 * m * n * k * batch)


def kernel_of(p: Products, machine: Machine, dtype: str, *, name: str, kind: Class, flops: float) -> Kernel:
    """One product (scalars in `p`) as a kernel; its tile and split stand in the name."""
    split = f"x{int(p.split)}" if p.split > 1 else ""
    return Kernel(
        name=f"{name}_{int(p.tile_m)}x{int(p.tile_n)}{split}",
        kind=kind,
        device_s=float(p.seconds),
        bound=bound(float(p.compute_s), float(p.l2_s), float(p.dram_s), float(p.seconds)),
        flops=flops,
        dram_bytes=float(p.dram_bytes),
        l2_bytes=float(p.l2_bytes),
        blocks=int(p.blocks),
        warps=int(np.clip(p.tile_m * p.tile_n / 2048, 4, 8)),
        resident=int(p.resident),
        waves=float(p.waves),
        work=f"tensor.{dtype}" if machine.has_tensor(dtype) else dtype,
    )


def bound(compute_s: float, l2_s: float, dram_s: float, total_s: float) -> Bound:
    """What a kernel waits for: the longest part, or latency when all parts together are under half."""
    longest, name = max((compute_s, "compute"), (l2_s, "L2"), (dram_s, "DRAM"))
    return name if longest >= total_s / 2 else "latency"  # type: ignore[return-value]


def _candidates(menu: Library) -> tuple[Array, Array, Array]:
    table = np.array([(a, b, s) for a, b in menu.tiles for s in menu.splits], float).T
    return table[0], table[1], table[2]


def _aligned(n: Array, k: Array, word: float) -> NDArray[np.bool_]:
    """Tensor-core kernels read 16 bytes at a time along K and N."""
    step = 16 / word
    aligned: NDArray[np.bool_] = (n % step == 0) & (k % step == 0)
    return aligned
