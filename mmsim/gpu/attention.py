"""Fused attention (FlashAttention): one kernel, a block per head and 128 queries, a loop over keys.

Dao, FlashAttention-2, arXiv:2307.08691; Shah et al., FlashAttention-3, arXiv:2407.08608: the two
products of a tile and its exponentials run on different units and overlap on Hopper alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsim.gpu.kernel import Kernel
from mmsim.gpu.library import Array
from mmsim.gpu.machine import Machine
from mmsim.gpu.products import bound, clock_share
from mmsim.layer import BITS

QUERIES, KEYS = 192, 128  # of one tile
ROWS = 64  # queries that a tile multiplies at a time: fewer still take these many
COMBINE = 5.0  # memory latencies of the kernel that joins split keys
EXPONENTIALS = 16  # per clock and SM: the special-function units of every generation since Maxwell
HEAD_SIZES = (32, 64, 96, 128, 192, 256)  # a head is padded to the next


@dataclass(frozen=True)
class Loop:
    """How well the loop over keys does: shares of the peak, and waits in memory latencies."""

    efficiency: float
    start: float  # memory latencies before the first product: descriptors, schedule, queries and keys in
    setup: float  # memory latencies that each block adds
    tail: float
    overlap: float  # share of the exponentials hidden behind products


HOPPER = Loop(1.12, 14.5, 15.0, 0.85, 0.05)
OLDER = Loop(1.0, 12.0, 10.0, 0.85, 0.0)
"""HOPPER fitted on 30 % of the attention rows of the H100; OLDER differs by what FlashAttention-3 says it gains."""


@dataclass(frozen=True)
class Fused:
    """Times in s and traffic in bytes of fused attention kernels, arrays of one shape."""

    seconds: Array
    compute_s: Array
    l2_s: Array
    dram_s: Array
    l2_bytes: Array
    dram_bytes: Array
    tile_macs: Array
    blocks: Array
    waves: Array


def fused(
    machine: Machine, batch: Array, heads: Array, queries: Array, keys: Array, head: Array, dtype: str, *,
    causal: bool = False, cold: float = 0.0, loop: Loop | None = None,
) -> Fused:  # fmt: skip
    """softmax(q k^T) v for `batch` x `heads` heads of `queries` x `head` and `keys` x `head`."""
    device = machine.device
    loop = loop or (HOPPER if device.compute_capability >= 9 else OLDER)
    batch, heads, queries, keys, head = (np.asarray(x, float) for x in (batch, heads, queries, keys, head))
    tensor = machine.has_tensor(dtype)
    padded = np.array(HEAD_SIZES, float)[np.minimum(np.searchsorted(HEAD_SIZES, head), len(HEAD_SIZES) - 1)]
    padded = np.maximum(padded, head)

    blocks = batch * heads * np.ceil(queries / QUERIES)
    per_sm = blocks / machine.sms
    busiest = np.maximum(1, loop.tail * np.ceil(per_sm) + (1 - loop.tail) * per_sm)
    steps = np.maximum(keys / KEYS, 0.1) * (0.5 if causal else 1.0)  # the last step is masked, its work skipped
    split = np.where(blocks < 0.8 * machine.sms, np.clip(machine.sms // blocks, 1, np.maximum(1, np.floor(steps))), 1)
    steps = steps / split
    macs = 2.0 * QUERIES * KEYS * padded
    share = device.tensor_share if tensor else device.cuda_share
    product = macs / (machine.product_fma_per_clock(dtype) * share * loop.efficiency)
    softmax = QUERIES * KEYS / EXPONENTIALS
    clocks = np.maximum(product, softmax) + (1 - loop.overlap) * np.minimum(product, softmax)
    compute = busiest * steps * clocks / machine.clock_hz
    work = f"tensor.{dtype}" if tensor else dtype
    compute = compute / clock_share(machine, work, blocks * split * steps * macs / compute, compute)
    filled = np.minimum(1.0, (queries + QUERIES / 2) / (1.5 * QUERIES))  # a part-filled block loads and stores less
    compute = compute + busiest * loop.setup * filled * device.memory_latency_s

    word = BITS[dtype] / 8
    moved = batch * heads * head * (2 * queries + 2 * keys) * word
    l2_bytes = blocks * (2 * KEYS * steps + 2 * QUERIES) * head * word
    l2 = l2_bytes / machine.l2_bytes_per_s
    lost = np.clip(2 * (moved / device.l2_resident_bytes - 1), cold, 1.0)
    dram = moved * lost / machine.dram_bytes_per_s
    seconds = (
        device.launch_s
        + loop.start * device.memory_latency_s
        + np.where(split > 1, COMBINE, 0) * device.memory_latency_s
        + np.maximum(np.maximum(compute, l2), dram)
    )
    rows = ROWS * np.ceil(np.minimum(queries, QUERIES) / ROWS)
    tile_macs = blocks * split * steps * macs * rows / QUERIES
    return Fused(seconds, compute, l2, dram, l2_bytes, moved * lost, tile_macs, blocks, busiest)


def attention(
    machine: Machine, batch: int, heads: int, queries: int, keys: int, head: int, dtype: str, *, causal: bool = False,
    cold: float = 0.0,
) -> Kernel:  # fmt: skip
    """Fused attention as a kernel."""
    b, h, q, k, d = (np.array(float(x)) for x in (batch, heads, queries, keys, head))
    f = fused(machine, b, h, q, k, d, dtype, causal=causal, cold=cold)
    return Kernel(
        name="flash_attention",
        kind="Gemm",
        device_s=float(f.seconds),
        bound=bound(float(f.compute_s), float(f.l2_s), float(f.dram_s), float(f.seconds)),
        flops=4.0 * batch * heads * queries * keys * head * (0.5 if causal else 1.0),
        dram_bytes=float(f.dram_bytes),
        l2_bytes=float(f.l2_bytes),
        blocks=int(f.blocks),
        warps=8,
        waves=float(f.waves),
        work=f"tensor.{dtype}" if machine.has_tensor(dtype) else dtype,
        tile_macs=float(f.tile_macs),
    )
