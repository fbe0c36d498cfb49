"""The kernels of vendor libraries for matrix products, by generation: tiles, splits of K, and how well they do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsim.gpu.machine import Machine

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
    stream: float = 1.0  # of the DRAM bandwidth that a plain stream reaches
    fetch: float = 1.0  # bytes that DRAM delivers for each byte of A
    stride: float = 0.0  # exponent of the slow-down by the span of memory that a tile's rows lie in
    pads: bool = False  # whether operands are padded to what tensor cores want (a layout change does it on the way)
    hides_output: bool = False  # whether the next tile computes while one is written

    @cached_property
    def candidates(self) -> tuple[Array, Array, Array]:
        """Rows and columns of the tile, and the split, of every candidate."""
        table = np.array([(a, b, s) for a, b in self.tiles for s in self.splits], float).T
        return table[0], table[1], table[2]


_EDGES = (16, 32, 64, 128, 256)
_TENSOR_TILES = tuple((a, b) for a in _EDGES for b in _EDGES if 1024 <= a * b <= 128 * 256)
_WARPGROUPS = (64, 128, 192, 256)  # rows: a warpgroup's product (wgmma, PTX ISA) has 64, and multiples of 8 columns
_HOPPER_EDGES = (8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)
_HOPPER_TILES = tuple(
    sorted({tile for a in _WARPGROUPS for b in _HOPPER_EDGES if a * b <= 128 * 256 for tile in ((a, b), (b, a))})
)
_CUDA_TILES = tuple((a, b) for a in _EDGES for b in _EDGES if 1024 <= a * b <= 128 * 128)
_SPLITS = (1, 2, 4, 8, 16, 32)

TENSOR = Library(_TENSOR_TILES, _SPLITS, 32, 0.7, 5.77, 5.48, 0.9, 2.95, 0.52, 1, stream=0.825)
"""Fitted on 30 % of the bf16 products of the A100."""
HOPPER = Library(_HOPPER_TILES, _SPLITS, 64, 0.7, 2.15, 4.41, 1.0, 2.38, 0.87, 2, hides_output=True)
"""Fitted on 30 % of the bf16 products of the H100; clusters of two blocks a side share what they fetch; whole waves.
The rows leave the perimeter open (from 0.7 to 28, the share fitted anew): it is the A100's, so that shares compare."""
CUDA = Library(_CUDA_TILES, _SPLITS, 8, 12.1, 75.0, 1.0, 1.0, 2.5, 1.0, 1, stride=0.044)
"""Fitted on 30 % of the FP32 linear rows of the V100, the T4 and the A100 together. Waves are whole, and all SMs reach
DRAM's bandwidth. The rows leave the overlap open (2, 3 and 4 come out within 0.2 points, the others fitted anew): it is
about that of the tensor cores' libraries."""
CUDA_BATCHED = Library(
    ((128, 128), (64, 128), (64, 64), (128, 32)), (1,), 8, 0.0, 75.3, 0.1, 1.0, 1.81, 1.0, 1, efficiency=1.17, fetch=2.0
)
"""Batched products have few tiles (the names of cuBLAS's kernels tell them) and no splits. Fitted on 30 % of the FP32
bmm rows of the V100. `fetch` is reasoned, not fitted: A's rows are read in pieces of `k_step` words, 32 bytes, DRAM
answers with 64 (L2's fetch granularity, CUDA's cudaLimitMaxL2FetchGranularity), and a small L2 has lost the other half
before the next step wants it. Narrow products (n up to 96) take 2 to 3.5 times A's stream on the V100 and the T4,
whatever their tile; on the A100, with seven times the L2, they do not."""
TURING_BATCHED = replace(CUDA_BATCHED, k_clocks=384.0, overlap=3.9, efficiency=1.13)
"""Fitted on 30 % of the FP32 bmm rows of the T4: a block alone on its SM is slower there than its arithmetic."""
AMPERE_BATCHED = Library(((128, 128),), (1,), 8, 3.0, 47.0, 0.05, 1.0, 12.0, 0.42, 1, efficiency=1.024)
"""One tile whatever the shape: 256 clocks per k, as 84 % of the A100's compute-bound bmm rows show."""


def library(machine: Machine, dtype: str, *, batched: bool) -> Library:
    """The kernels that products in `dtype` run with; `batched` means more than one product in a launch."""
    generation = machine.device.compute_capability
    if machine.has_tensor(dtype):
        return HOPPER if generation >= 9 else TENSOR
    if not batched:
        return CUDA
    if generation >= 8:
        return AMPERE_BATCHED
    return TURING_BATCHED if generation == 7.5 else CUDA_BATCHED
