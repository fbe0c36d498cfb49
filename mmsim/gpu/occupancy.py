"""How many blocks of a kernel an SM holds at once, and the warp instructions that a product's main loop takes.

Threads and registers are those that Nsight Compute and PyTorch's profiler show of cuBLAS's and cuDNN's kernels
(benchmarks/counters.csv names them): the same from Volta to Ampere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from mmsim.gpu.machine import Machine

WARP = 32
REGISTERS = 65536  # of an SM, compute capability 5.0 to 9.0
RESERVED = 1024  # bytes of shared memory that each block takes beside its own, from compute capability 8 on
ACCUMULATORS, TENSOR_ACCUMULATORS = 64, 128  # of a thread: tiles of 8 x 8, and of a quarter of 64 x 128 by a warp
ADDRESSES, TENSOR_WORKING = 24, 100  # registers besides; two sets of a row and a column of operands come on top
NARROW = 256  # threads of a tile with a side of 32 or less
SLICED, SLICED_REGISTERS = 2048, 86  # a tile this small: four groups of threads take a quarter of the depth each
FMA_PER_WARP = {"tensor": 1024.0, "cuda": 32.0}
"""Multiply-accumulates of one warp instruction: mma.m16n8k8 in half precision, and one a lane."""
TENSOR_OVERHEAD = 0.6
"""Further instructions (loads, addresses, barriers) for each on tensor cores: CUTLASS main loops, unmeasured."""
FEEDING = 850.0
"""The same on CUDA cores, times the square of the tile's perimeter over its area: a narrow tile loads more for each
multiply-accumulate into shared memory and, its threads holding less, from there. 0.12 of a tile of 256 x 128, 1.3 of
one of 32 x 128 (instructions a clock of cuBLAS on an H200 and an RTX 2080 Ti)."""
TAPS, TAPS_FEEDING = 0.4, 20.0
"""In a convolution every thread holds 64, so that they grow with the perimeter alone, and each has to know where its
tap lies: 0.7 in all of a tile of 128 x 128, 0.86 of one of 128 x 64 (cuDNN on an RTX 2080 Ti)."""


@dataclass(frozen=True)
class Block:
    """What one block takes: threads, registers of each, bytes of shared memory."""

    threads: int
    registers: int
    shared_bytes: float = 0.0

    @property
    def warps(self) -> int:
        """Warps of the block."""
        return ceil(self.threads / WARP)


STREAMING = Block(128, 32)
"""PyTorch's pointwise kernels: never short of registers."""


def resident(block: Block, machine: Machine) -> int:
    """Blocks that an SM holds: CUDA's occupancy calculator, registers in eights for each thread.

    >>> from mmsim.arch import load
    >>> from mmsim.gpu.machine import machine
    >>> resident(Block(128, 122, 12800), machine(load("a100_sxm_80gb")))  # ampere_sgemm_128x64_tn: 16 of 64 warps
    4
    """
    device = machine.device
    reserved = RESERVED if device.compute_capability >= 8 else 0
    by_registers = REGISTERS // (ceil(block.registers / 8) * 8 * block.warps * WARP)
    by_shared = machine.shared_bytes // (block.shared_bytes + reserved) if block.shared_bytes else device.blocks_per_sm
    return max(1, min(by_registers, int(by_shared), device.warps_per_sm // block.warps, device.blocks_per_sm))


def product_block(rows: int, columns: int, *, tensor: bool, convolution: bool = False) -> Block:
    """The block of a library's product kernel with a tile of rows x columns.

    >>> product_block(128, 64, tensor=False), product_block(32, 128, tensor=False)
    (Block(threads=128, registers=120, shared_bytes=0.0), Block(threads=256, registers=56, shared_bytes=0.0))
    """
    if tensor:
        threads = max(128, rows * columns // TENSOR_ACCUMULATORS)
        return Block(min(threads, 256), rows * columns // min(threads, 256) + TENSOR_WORKING)
    if min(rows, columns) <= WARP and not convolution:
        if rows * columns > SLICED:
            return Block(NARROW, _registers(rows * columns // NARROW))
        return Block(max(64, 4 * rows * columns // 32), SLICED_REGISTERS, 32768.0)
    threads = max(64, rows * columns // ACCUMULATORS)
    return Block(threads, _registers(rows * columns // threads))


def _registers(accumulators: int) -> int:
    """118 to 122 were read for 64 accumulators, 55 to 57 for 16."""
    return accumulators + ADDRESSES + ceil(4 * sqrt(accumulators))


def product_instructions(
    rows: float, columns: float, macs: float, *, tensor: bool, convolution: bool = False
) -> float:  # fmt: skip
    """Warp instructions of `macs` multiply-accumulates, padding included, in tiles of rows x columns."""
    if tensor:
        return macs / FMA_PER_WARP["tensor"] * (1 + TENSOR_OVERHEAD)
    perimeter = 1 / rows + 1 / columns
    more = TAPS + TAPS_FEEDING * perimeter if convolution else FEEDING * perimeter**2
    return macs / FMA_PER_WARP["cuda"] * (1 + more)
