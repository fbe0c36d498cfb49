"""Kernels without products: elementwise, rows (softmax, norms), pooling, reductions, gathers and copies.

They stream: time is launch + the longest of DRAM, L2 and arithmetic. Row kernels give each row to
one block, so a row also costs a fixed number of clocks (reductions across the block, barriers).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2

from mmsim.gpu.kernel import Class, Kernel
from mmsim.gpu.machine import Machine
from mmsim.gpu.occupancy import STREAMING, WARP, Block
from mmsim.gpu.occupancy import resident as fits
from mmsim.gpu.products import bound

ELEMENTS, ELEMENTS_INDEXED = 4, 2  # of a thread
BOUNDARY = 16  # bytes, of the widest load of a thread
PER_ELEMENT, INDEXED = 5.0, 80.0
"""Instructions of a thread for each element beside its arithmetic: four elements at a time from one address, and one
whose address in each operand is worked out by divisions (PyTorch's OffsetCalculator: broadcasts, permuted copies).
Read of MMBench's kernels on an RTX 2080 Ti: 6 in all, and 75 to 100."""
ISSUED = 128.0  # a clock and SM: four schedulers issue an instruction of a warp each
WARPS = 64  # resident warps of the SM that the row costs below are for


def lost(size: float, capacity: float) -> float:
    """The share of `size` bytes, swept over and over, that a cache does not hold: `products.missing` of one figure."""
    return min(1.0, max(0.0, 2 * (size / capacity - 1)))


@dataclass(frozen=True)
class Traffic:
    """Bytes a kernel touches, and the share of each that DRAM must deliver or take."""

    read: float
    write: float
    cold_read: float = 1.0
    cold_write: float = 1.0

    @property
    def dram(self) -> float:
        """Bytes that cross the DRAM interface."""
        return self.read * self.cold_read + self.write * self.cold_write

    @property
    def l2(self) -> float:
        """Bytes that cross the L2 interface."""
        return self.read + self.write


@dataclass(frozen=True)
class Row:
    """What one row costs an SM with 64 resident warps, in clocks: a fixed part and a part per element.

    Of these clocks the part `waiting` is spent on what other warps hide (reductions, divisions, exponentials), so that
    an SM with half the warps takes up to twice as long. A warp that reads a row from off a 16-byte boundary fetches
    more sectors than it needs: `off_boundary` is the useful share.
    """

    clocks: float
    clocks_per_element: float
    passes: float = 1.0  # times the input is read; beyond the first from L1 or L2 if they hold the rows at work
    apart: bool = False  # whether the last pass is a kernel of its own, so that L2 must hold the whole input
    threads: int = 128  # of a block
    waiting: float = 1.0
    off_boundary: float = 1.0
    by_warp: bool = False  # whether a warp takes a row, or several narrow ones, and not a block


WARP_SOFTMAX = Row(33.0, 0.73, off_boundary=0.85, by_warp=True)  # up to 1024 columns in registers: read once
BLOCK_SOFTMAX = Row(0.0, 1.6, passes=3, threads=1024, waiting=0.62)  # maximum, sum and output
LAYER_NORM = Row(147.0, 1.265, passes=2)  # Welford statistics, each element's on the one before; output
GROUP_NORM = Row(140.0, 0.3, passes=2, apart=True)  # statistics by a wide block, then a pointwise kernel
OVER_NORM = Row(33.0, 0.73, passes=2, apart=True, by_warp=True)  # as the short softmax, then a division
"""PyTorch's row kernels. Fitted on 30 % of the softmax rows of the V100 and T4 and of the ln rows of the V100 and A100;
the others' tables, which hold two clocks, are predicted. Softmax in registers waits for memory wherever float32 is
read; its clocks are of earlier fits and of half precision in networks."""
MOST_BLOCKS = 256 * 1024  # of PyTorch's batch norm; beyond, a block takes several planes
CHANNEL_WAITS = 1.5  # memory latencies until a block of batch norm has its channel's figures and the root of one


def softmax_row(columns: float) -> Row:
    """Which of PyTorch's softmax kernels takes rows of so many columns."""
    return WARP_SOFTMAX if columns <= 1024 else BLOCK_SOFTMAX


def elementwise(
    machine: Machine, elements: float, traffic: Traffic, *, ops: float = 1.0, name: str = "elementwise",
    kind: Class = "Elewise", dtype: str = "float32", sector_use: float = 1.0, indexed: bool = False,
    places: float = 0.0,
) -> Kernel:  # fmt: skip
    """`elements` points of `ops` scalar operations each; `sector_use` is the useful share of each sector moved.

    `indexed` says that operands differ in shape or order, so that each element's address is worked out. `places` are
    the clocks of an SM that other kernels take to find an element's place (`mmsim.gpu.indexing`).
    """
    places = max(places, INDEXED / ISSUED if indexed else 0.0)
    clocks = max(ops / machine.fma_per_clock(dtype, tensor=False), places)
    compute = elements * clocks / (machine.sms * machine.clock_hz)
    each = ELEMENTS_INDEXED if indexed else ELEMENTS
    blocks = max(1, ceil(elements / (STREAMING.threads * each)))
    kernel = _streaming(machine, compute, traffic, blocks, STREAMING, name, kind, elements * ops, sector_use)
    return replace(kernel, instructions=elements / WARP * ((INDEXED if indexed else PER_ELEMENT) + ops))


def rows(
    machine: Machine,
    count: float,
    columns: float,
    traffic: Traffic,
    row: Row,
    *,
    name: str,
    kind: Class,
    ops: float = 5.0,
) -> Kernel:
    """`count` rows of `columns` elements, each row normalised by what its own elements say."""
    device = machine.device
    per_row = (row.clocks + row.clocks_per_element * columns) * (1 + row.waiting * (WARPS / device.warps_per_sm - 1))
    compute = max(count / machine.sms, 1.0) * per_row / machine.clock_hz
    resident = min(device.blocks_per_sm, device.warps_per_sm * 32 // row.threads, max(1.0, count / machine.sms))
    at_work = resident * traffic.read / max(count, 1)  # input of the rows on one SM
    again = (row.passes - 1) * traffic.read * (1.0 if row.apart else lost(at_work, machine.shared_bytes))
    swept = traffic.read if row.apart else machine.sms * at_work
    spilled = again * lost(swept, device.l2_resident_bytes) * traffic.cold_read
    moved = Traffic(
        traffic.read + again,
        traffic.write,
        (traffic.read * traffic.cold_read + spilled) / (traffic.read + again),
        traffic.cold_write,
    )
    blocks, points = max(1, ceil(count / _together(row, columns))), count * columns
    use = row.off_boundary if traffic.write / max(count, 1) % BOUNDARY else 1.0
    kernel = _streaming(machine, compute, moved, blocks, Block(row.threads, 32), name, kind, points * ops, use)
    return replace(kernel, instructions=points / WARP * (PER_ELEMENT + ops))


def _together(row: Row, columns: float) -> float:
    """Rows of a block: PyTorch's softmax gives each the lanes that it needs, and a warp two of up to 128 columns."""
    if not row.by_warp:
        return 1.0
    lanes = 2.0 ** min(5, ceil(log2(max(columns, 1.0))))
    return row.threads / lanes * (2 if columns <= 4 * WARP else 1)


def planes(machine: Machine, count: float, pixels: float, traffic: Traffic, *, name: str, ops: float) -> Kernel:
    """PyTorch's batch norm in evaluation, ``batch_norm_transform_input_kernel``: a block for each channel of each
    picture, of as many threads as a quarter of its pixels, 64 to 512."""
    block = Block(min(512, max(64, 2 ** ceil(log2(max(1.0, pixels / 4))))), 32)
    waits = CHANNEL_WAITS * min(count, MOST_BLOCKS) + count
    latency = machine.device.memory_latency_s
    waiting = max(waits / (machine.sms * fits(block, machine)), CHANNEL_WAITS + 1) * latency
    return _norm(machine, waiting, traffic, count, block, name, count * pixels, ops)


def channels(machine: Machine, count: float, elements: float, traffic: Traffic, *, name: str, ops: float) -> Kernel:
    """cuDNN's batch norm in evaluation, ``bn_fw_inf_1C11_kernel_NCHW``: a block for each channel, over all pictures."""
    return _norm(machine, 0.0, traffic, count, Block(512, 32), name, elements, ops)


def _norm(
    machine: Machine, waiting: float, traffic: Traffic, count: float, block: Block, name: str, points: float, ops: float
) -> Kernel:
    kernel = _streaming(machine, waiting, traffic, max(1, int(count)), block, name, "BNorm", points * ops, 1.0)
    return replace(kernel, instructions=points / WARP * (PER_ELEMENT + ops))


def _streaming(
    machine: Machine,
    compute_s: float,
    traffic: Traffic,
    blocks: int,
    block: Block,
    name: str,
    kind: Class,
    flops: float,
    sector_use: float,
) -> Kernel:
    device = machine.device
    busy = min(1.0, blocks / machine.sms)
    dram = traffic.dram / sector_use / machine.dram_bytes_per_s
    l2 = traffic.l2 / sector_use / machine.l2_bytes_per_s / busy
    seconds = device.launch_s + 2 * device.memory_latency_s + max(compute_s, dram, l2)
    resident = fits(block, machine)
    return Kernel(
        name=name,
        kind=kind,
        device_s=seconds,
        bound=bound(compute_s, l2, dram, seconds),
        flops=flops,
        dram_bytes=traffic.dram / sector_use,
        l2_bytes=traffic.l2 / sector_use,
        blocks=blocks,
        warps=block.warps,
        resident=resident,
        waves=blocks / (machine.sms * resident),
        load_efficiency=sector_use,
    )
