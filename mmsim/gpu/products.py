"""Matrix products as vendor libraries run them: a menu of tiles and K splits, waves, and what bounds each.

All functions take arrays and look at every candidate of every product at once: the last axis of an
intermediate array is the candidate. The library's choice is taken to be the fastest candidate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsim.gpu.kernel import Bound, Class, Kernel
from mmsim.gpu.library import Array, Library, library
from mmsim.gpu.machine import Machine
from mmsim.gpu.occupancy import WARP, Block, product_block, product_instructions, resident
from mmsim.layer import BITS

ROW_SETUP = 2.5
"""A product of one row streams its weights: no pipeline to fill, in memory latencies."""
VECTOR, VECTOR_OUTPUTS, VECTOR_INSTRUCTIONS = Block(128, 52), 8, 4.0
SECTOR = 32  # bytes that memory delivers at least
TILE = 128  # a product's energy stands for square tiles of this edge; others fetch more operands or fewer
SPAN = 2**20  # bytes from the first to the last operand of such a tile 1024 deep, all rows: `cuda_share` is said there
FETCHING_TENSOR, FETCHING_CUDA = 0.5, 1.0
"""The part of that energy that goes into fetching operands; the rest multiplies and issues. Tensor cores: decoding at
batch 8 to 64 on an H100 takes 4.5 pJ a multiply-accumulate (tiles of 16 rows), a large product at its limit 1.5. CUDA
cores: the T4's clock at its limit by tile."""


@dataclass(frozen=True)
class Products:
    """The chosen candidate of each product: times in s, traffic in bytes, all arrays of one shape."""

    seconds: Array
    compute_s: Array
    l2_s: Array
    dram_s: Array
    l2_bytes: Array
    dram_bytes: Array
    tile_macs: Array
    tile_m: Array
    tile_n: Array
    split: Array
    blocks: Array
    waves: Array
    depth: Array


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
    b_along_k: bool = True,
) -> Products:
    """``C[b, m, n] = A[b, m, k] x B[b, k, n]`` for arrays of sizes.

    `cold` is the share of A, B and C that DRAM must deliver or take: what a kernel before left in L2,
    or the next one finds there, is not. `a_bytes` is what A takes in memory where that is not m x k
    (a convolution's input, read several times over). `b_along_k`: B's columns lie in order, as the weights of a
    linear layer do; otherwise its rows. Without `kernels` a batch counts as batched when
    all of `batch` exceed 1.
    """
    menu = kernels or library(machine, dtype, batched=bool(np.all(np.asarray(batch) > 1)))
    m, n, k, batch, *cold_ = (np.asarray(x, float)[..., None] for x in (m, n, k, batch, *cold))
    given = None if a_bytes is None else np.asarray(a_bytes, float)[..., None]
    sizes = _Sizes(m, n, k, batch, BITS[dtype] / 8, given, b_along_k)
    grid = _grid(machine, menu, sizes)
    traffic = _traffic(machine, menu, sizes, grid, (cold_[0], cold_[1], cold_[2]))
    compute = _compute_s(machine, menu, sizes, grid, dtype)
    tile_macs = _tile_macs(sizes, grid, FETCHING_TENSOR if machine.has_tensor(dtype) else FETCHING_CUDA)
    compute = compute / _clock(machine, dtype, tile_macs, _join(menu, compute, traffic))
    seconds = machine.device.launch_s + _join(menu, compute, traffic) + traffic.after_s
    seconds = np.where((grid.split == 1) | (grid.depth >= 4 * menu.k_step), seconds, np.inf)
    best = np.argmin(seconds, -1)

    def pick(x: Array) -> Array:
        if best.ndim == 0:  # one product: no array of indices
            return np.asarray(x[int(best)] if len(x) > 1 else x[0])
        return np.take_along_axis(np.broadcast_to(x, seconds.shape), best[..., None], -1)[..., 0]

    return Products(
        pick(seconds), pick(compute), pick(traffic.l2_s), pick(traffic.dram_s), pick(traffic.l2_bytes + sizes.c_bytes),
        pick(traffic.dram_bytes), pick(tile_macs), pick(grid.tm), pick(grid.tn), pick(grid.split), pick(grid.blocks),
        pick(grid.waves), pick(grid.depth),
    )  # fmt: skip


@dataclass(frozen=True)
class _Sizes:
    """Of all products; the last axis of every array is the candidate's."""

    m: Array
    n: Array
    k: Array
    batch: Array
    word: float
    a_bytes_given: Array | None
    b_along_k: bool

    @property
    def a_bytes(self) -> Array:
        return self.m * self.k * self.batch * self.word if self.a_bytes_given is None else self.a_bytes_given

    @property
    def b_bytes(self) -> Array:
        return self.n * self.k * self.batch * self.word

    @property
    def c_bytes(self) -> Array:
        return self.m * self.n * self.batch * self.word


@dataclass(frozen=True)
class _Grid:
    """How each candidate cuts each product into blocks, and how they fill the SMs."""

    tm: Array
    tn: Array
    split: Array
    blocks: Array
    depth: Array  # of one block
    per_sm: Array
    resident: Array  # blocks that fit on an SM at once
    busiest: Array  # blocks of the busiest SM
    waves: Array


def _grid(machine: Machine, menu: Library, sizes: _Sizes) -> _Grid:
    tm, tn, split = menu.candidates
    blocks = np.ceil(sizes.m / tm) * np.ceil(sizes.n / tn) * sizes.batch * split
    depth = np.ceil(np.ceil(sizes.k / menu.k_step) / split) * menu.k_step
    per_sm = blocks / machine.sms
    resident = np.clip(128 * 256 // (tm * tn), 1, 8)
    busiest = np.maximum(1, menu.tail * np.ceil(per_sm) + (1 - menu.tail) * per_sm)
    return _Grid(tm, tn, split, blocks, depth, per_sm, resident, busiest, np.maximum(1, busiest / resident))


def _compute_s(machine: Machine, menu: Library, sizes: _Sizes, grid: _Grid, dtype: str) -> Array:
    """Of the main loops and what stands before and after them."""
    device, tensor = machine.device, machine.has_tensor(dtype)
    sustained = menu.efficiency * (device.tensor_share if tensor else device.cuda_share)
    fed = 1 + menu.perimeter * (1 / grid.tm + 1 / grid.tn)
    if not tensor:  # what CUDA cores sustain is said of the tile of 128 x 128, so that devices compare
        fed = fed / (1 + menu.perimeter * 2 / TILE)
    share = sustained / fed / _stride(menu, sizes, grid)
    if tensor and not menu.pads:
        share = share * np.where(_aligned(sizes.n, sizes.k, sizes.word), 1.0, 0.5)
    rate = machine.product_fma_per_clock(dtype) * machine.clock_hz * share  # of one SM
    least = grid.waves * grid.depth * menu.k_clocks / machine.clock_hz
    setup = np.where(sizes.m == 1, np.minimum(menu.setup, ROW_SETUP), menu.setup)
    rows = np.where(sizes.m == 1, 1.0, grid.tm)  # of a vector no tile is padded: each weight is used once
    loop = np.maximum(grid.busiest * rows * grid.tn * grid.depth / rate, least)
    return np.asarray(loop + grid.waves * setup * device.memory_latency_s)


def _stride(menu: Library, sizes: _Sizes, grid: _Grid) -> Array:
    """Rows of a tile lie k words apart: the deeper the product, the more memory each step of a block reaches into, and
    the more translations and DRAM rows it waits for. Of B it is a step's few rows alone where they lie along n."""
    span = (grid.tm + grid.tn * sizes.b_along_k) * sizes.k * sizes.word
    return np.asarray((span / SPAN) ** menu.stride)


@dataclass(frozen=True)
class _Traffic:
    """Bytes through L2 and DRAM, their times beside the main loop, and the time after it."""

    l2_bytes: Array
    dram_bytes: Array
    l2_s: Array
    dram_s: Array
    after_s: Array


def _traffic(machine: Machine, menu: Library, sizes: _Sizes, grid: _Grid, cold: tuple[Array, Array, Array]) -> _Traffic:
    device, c = machine.device, sizes.c_bytes
    l2_bytes = grid.blocks * (grid.tm + grid.tn) / menu.cluster * grid.depth * sizes.word
    lost = missing(sizes.a_bytes + sizes.b_bytes + c, device.l2_resident_bytes)
    fetched = menu.fetch * sizes.a_bytes * np.maximum(cold[0], lost) + sizes.b_bytes * np.maximum(cold[1], lost)
    written = c * np.maximum(cold[2], lost)
    dram_rate = machine.dram_bytes_per_s * menu.stream
    dram_s = fetched / dram_rate / np.minimum(1, np.minimum(grid.per_sm, 1) / menu.spread)
    out = written / dram_rate + (c - written) / machine.l2_bytes_per_s
    sums = (4 * grid.split + sizes.word) / sizes.word * c / machine.l2_bytes_per_s + 2 * device.gap_s
    after = np.where(grid.split > 1, sums, 0.0)
    if menu.hides_output:
        dram_s = dram_s + out
    else:
        after = after + out
    l2_s = l2_bytes / machine.l2_bytes_per_s / np.minimum(1, grid.per_sm)
    return _Traffic(l2_bytes, fetched + written, l2_s, dram_s, after)


def _join(menu: Library, compute_s: Array, traffic: _Traffic) -> Array:
    p = menu.overlap
    return np.asarray((compute_s**p + traffic.l2_s**p + traffic.dram_s**p) ** (1 / p))


def _tile_macs(sizes: _Sizes, grid: _Grid, fetching: float) -> Array:
    """Multiply-accumulates in units of a square tile's: a tile that fetches more operands for each draws more power.

    A product of one row has no tile: every weight is read once.
    """
    fetches = TILE / 2 * (1 / grid.tm + 1 / grid.tn)
    weight = 1 - fetching + fetching * fetches
    one_row = sizes.n * sizes.k * sizes.batch
    return np.where(sizes.m == 1, one_row, grid.blocks * grid.tm * grid.tn * grid.depth * weight)


def _clock(machine: Machine, dtype: str, tile_macs: Array, body_s: Array) -> Array:
    """The share of the boost clock left."""
    return clock_share(machine, f"tensor.{dtype}" if machine.has_tensor(dtype) else dtype, tile_macs / body_s, body_s)


def clock_share(machine: Machine, work: str, rate: Array, seconds: Array) -> Array:
    """The share of the boost clock that the power limit leaves to `rate` multiply-accumulates/s.

    A kernel much shorter than the regulator's time constant still runs at full clock; `seconds` is
    its time there.
    """
    power = machine.device.power
    energy = power.gemm_fma_pj.get(work)
    if energy is None:
        return np.ones_like(seconds)
    sustained = np.minimum(1.0, power.headroom_w / (energy * 1e-12 * rate))
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
    b_along_k: bool = True,
) -> Kernel:
    """One product as a kernel; by default its activations are in L2 and its weights are not, and lie along k.

    A long product on an SM count of one, or with one row, is the same code: the menu decides.
    """
    ms, ns, ks, bs = (np.array(float(x)) for x in (m, n, k, batch))
    a, b, c = (np.array(x) for x in cold)
    p = products(machine, ms, ns, ks, bs, dtype, cold=(a, b, c), b_along_k=b_along_k)
    word = BITS[dtype] / 8
    useful = (_aligned_sectors(k, word), _aligned_sectors(k if b_along_k else n, word))
    kernel = kernel_of(p, machine, dtype, name="gemm", kind="Gemm", flops=2.0 * m * n * k * batch, useful=useful)
    return _vector(kernel, max(m, n) * batch, machine) if min(m, n) == 1 else kernel


def _vector(kernel: Kernel, outputs: int, machine: Machine) -> Kernel:
    """A matrix by a vector, which streams: as cuBLAS's ``gemv2T_kernel_val`` is launched."""
    macs = kernel.flops / 2
    return replace(
        kernel, blocks=-(-outputs // VECTOR_OUTPUTS), warps=VECTOR.warps, resident=resident(VECTOR, machine),
        instructions=macs / WARP * VECTOR_INSTRUCTIONS,
    )  # fmt: skip


def kernel_of(
    p: Products, machine: Machine, dtype: str, *, name: str, kind: Class, flops: float,
    useful: tuple[float, float] = (1.0, 1.0),
) -> Kernel:  # fmt: skip
    """One product (scalars in `p`) as a kernel; its tile and split stand in the name.

    `useful` is the useful share of the sectors read of A and of B.
    """
    split = f"x{int(p.split)}" if p.split > 1 else ""
    tensor, rows, columns = machine.has_tensor(dtype), int(p.tile_m), int(p.tile_n)
    form = {"tensor": tensor, "convolution": kind == "Conv"}
    block = product_block(rows, columns, **form)
    macs = float(p.blocks * p.depth) * rows * columns
    return Kernel(
        name=f"{name}_{int(p.tile_m)}x{int(p.tile_n)}{split}",
        kind=kind,
        device_s=float(p.seconds),
        bound=bound(float(p.compute_s), float(p.l2_s), float(p.dram_s), float(p.seconds)),
        flops=flops,
        dram_bytes=float(p.dram_bytes),
        l2_bytes=float(p.l2_bytes),
        blocks=int(p.blocks),
        warps=block.warps,
        resident=resident(block, machine),
        waves=float(p.waves),
        work=f"tensor.{dtype}" if tensor else dtype,
        tile_macs=float(p.tile_macs),
        instructions=product_instructions(rows, columns, macs, **form),
        load_efficiency=(rows + columns) / (rows / useful[0] + columns / useful[1]),
    )


def _aligned_sectors(row: int, word: float) -> float:
    """The useful share of the sectors that a step of 32 bytes touches where rows of `row` words start anywhere."""
    return 1.0 if row * word % SECTOR == 0 else SECTOR / (2 * SECTOR - word)


def bound(compute_s: float, l2_s: float, dram_s: float, total_s: float) -> Bound:
    """What a kernel waits for: the longest part, or latency when all parts together are under half."""
    longest, name = max((compute_s, "compute"), (l2_s, "L2"), (dram_s, "DRAM"))
    return name if longest >= total_s / 2 else "latency"  # type: ignore[return-value]


def _aligned(n: Array, k: Array, word: float) -> NDArray[np.bool_]:
    """Tensor-core kernels read 16 bytes at a time along K and N."""
    step = 16 / word
    aligned: NDArray[np.bool_] = (n % step == 0) & (k % step == 0)
    return aligned
