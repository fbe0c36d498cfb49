"""The counters that the MMBench paper reads with Nsight Compute, predicted per stage from the kernels.

Averages are weighted by device time. What a model of tiles and bandwidths can't see is not here: of the
seven stall groups it speaks of four (`STALLS`); synchronisation, instruction fetch and the rest are not predicted.
No published counters of these devices were at hand in figures; benchmarks/paper.py compares what the paper says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil

from mmsim.gpu.kernel import Bound, Kernel
from mmsim.gpu.machine import Machine
from mmsim.gpu.network import LayerTime, NetworkTime

SIZE_BINS_S = (10e-6, 50e-6, 100e-6)
"""Edges of the paper's kernel-size bins: up to 10 us, to 50 us, to 100 us, longer."""
FMA_PER_WARP = {"tensor": 1024.0, "cuda": 32.0}
"""Multiply-accumulates of one warp instruction: mma.m16n8k8 in half precision, and one a lane."""
OVERHEAD = {"tensor": 0.6, "cuda": 0.25}
"""Further instructions (loads, addresses, barriers) per multiply-accumulate instruction: CUTLASS main loops."""
STALLS: dict[Bound, str] = {"L2": "Cache", "DRAM": "Mem", "latency": "Exec", "compute": "Pipe"}
"""What bounds a kernel -> the paper's name of what its warps wait for."""
SUB_PARTITIONS = 4  # of an SM; each issues at most one instruction a clock


@dataclass(frozen=True)
class Counters:
    """Shares are between 0 and 1; `ipc` is warp instructions per clock and sub-partition, as in Nsight Compute."""

    kernels: int
    dram_utilization: float
    achieved_occupancy: float
    ipc: float
    gld_efficiency: float
    gst_efficiency: float
    stalls: dict[str, float]  # share of device time by what it waits for
    classes: dict[str, float]  # share of device time by kernel class
    size_bins: tuple[int, int, int, int]  # kernels by duration, edges SIZE_BINS_S
    host_share: float  # of wall time in which the device waits for the host


def dram_utilization(kernel: Kernel, machine: Machine) -> float:
    """``dram__throughput.avg.pct_of_peak_sustained_elapsed``."""
    return min(1.0, kernel.dram_bytes / (kernel.device_s * machine.dram_peak_bytes_per_s))


def achieved_occupancy(kernel: Kernel, machine: Machine) -> float:
    """``sm__warps_active.avg.pct_of_peak_sustained_active``: warps that fit, less the last wave's empty places."""
    waves = kernel.blocks / (machine.sms * kernel.resident)
    filled = waves / ceil(waves) if waves > 1 else 1.0
    active = max(1.0, min(kernel.resident, kernel.blocks / machine.sms)) * kernel.warps
    return min(1.0, active / machine.device.warps_per_sm) * filled


def ipc(kernel: Kernel, machine: Machine) -> float:
    """``smsp__inst_executed.avg.per_cycle_active``, from the arithmetic and what feeds it."""
    unit = "tensor" if kernel.work.startswith("tensor") else "cuda"
    work = kernel.flops / 2 if kernel.kind in ("Gemm", "Conv") else kernel.flops + kernel.l2_bytes / 4
    instructions = work / FMA_PER_WARP[unit] * (1 + OVERHEAD[unit])
    clocks = kernel.device_s * machine.clock_hz * min(machine.sms, kernel.blocks) * SUB_PARTITIONS
    return min(1.0, instructions / clocks)


def by_stage(time: NetworkTime, machine: Machine) -> dict[str, Counters]:
    """Counters of each stage, as ``encoder:image``, and of the whole network under ``total``."""
    stages: dict[str, list[LayerTime]] = {}
    for layer in time.layers:
        stages.setdefault(str(layer.layer.stage), []).append(layer)
    found = {name: _counters(layers, machine) for name, layers in stages.items() if any(t.kernels for t in layers)}
    return found | {"total": _counters(time.layers, machine)}


def _counters(layers: Iterable[LayerTime], machine: Machine) -> Counters:
    layers = tuple(layers)
    kernels = [kernel for layer in layers for kernel in layer.kernels]
    total_s = sum(kernel.total_s for kernel in kernels) or 1.0
    wall_s = sum(layer.wall_s for layer in layers)

    def mean(figure: Callable[[Kernel], float]) -> float:
        return sum(figure(kernel) * kernel.total_s for kernel in kernels) / total_s

    def shares(key: Callable[[Kernel], str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for kernel in kernels:
            found[key(kernel)] = found.get(key(kernel), 0.0) + kernel.total_s / total_s
        return found

    bins = [0, 0, 0, 0]
    for kernel in kernels:
        bins[sum(kernel.device_s > edge for edge in SIZE_BINS_S)] += kernel.count
    return Counters(
        kernels=sum(kernel.count for kernel in kernels),
        dram_utilization=mean(lambda kernel: dram_utilization(kernel, machine)),
        achieved_occupancy=mean(lambda kernel: achieved_occupancy(kernel, machine)),
        ipc=mean(lambda kernel: ipc(kernel, machine)),
        gld_efficiency=mean(lambda kernel: kernel.load_efficiency),
        gst_efficiency=mean(lambda kernel: kernel.store_efficiency),
        stalls=shares(lambda kernel: STALLS[kernel.bound]),
        classes=shares(lambda kernel: kernel.kind),
        size_bins=(bins[0], bins[1], bins[2], bins[3]),
        host_share=max(0.0, 1 - total_s / wall_s) if wall_s else 0.0,
    )
