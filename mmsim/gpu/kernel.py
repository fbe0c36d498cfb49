"""What one kernel does on a GPU: its time, what bounds it, and the work and traffic behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Bound: TypeAlias = Literal["compute", "DRAM", "L2", "latency"]
Class: TypeAlias = Literal["Gemm", "Conv", "BNorm", "Elewise", "Pooling", "Relu", "Reduce", "Other"]
"""Kernel classes as the MMBench paper counts them."""


@dataclass(frozen=True)
class Kernel:
    """One launched kernel. `device_s` is its time on the GPU, launch latency included.

    `flops` counts two per multiply-accumulate; `dram_bytes` and `l2_bytes` are the traffic at those
    levels; `blocks` thread blocks of `warps` warps run, up to `resident` of them on an SM at once,
    in `waves` waves, and execute `instructions` of a warp (0: not known); `work` names the unit
    (``tensor.float16``, ``float32``) that computes. A product's `tile_macs` are what its tiles multiply and
    accumulate, padding included, weighted by the operands that each fetches (1 in a tile of 128 x 128). The
    same kernel is launched `count` times, one after another (the steps of a recurrent layer); times and bytes
    are of one launch.
    """

    name: str
    kind: Class
    device_s: float
    bound: Bound
    flops: float
    dram_bytes: float
    l2_bytes: float
    blocks: int
    warps: int = 4
    resident: int = 1
    waves: float = 1.0
    work: str = "float32"
    tile_macs: float = 0.0
    instructions: float = 0.0
    load_efficiency: float = 1.0  # useful share of the 32-byte sectors read
    store_efficiency: float = 1.0
    count: int = 1

    @property
    def total_s(self) -> float:
        """Device time of all its launches."""
        return self.device_s * self.count
