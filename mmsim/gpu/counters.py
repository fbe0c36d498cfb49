"""The counters that the MMBench paper reads with Nsight Compute, predicted per stage from the kernels.

Averages are weighted by device time. What a model of tiles and bandwidths can't see is not here: of the
seven stall groups it speaks of four (`STALLS`); synchronisation, instruction fetch and the rest are not predicted.
benchmarks/counters.py compares them with what Nsight Compute read, benchmarks/paper.py with what the paper says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil

from mmsim.gpu.kernel import Bound, Kernel
from mmsim.gpu.machine import Machine
from mmsim.gpu.network import LayerTime, NetworkTime
from mmsim.gpu.occupancy import product_instructions

SIZE_BINS_S = (10e-6, 50e-6, 100e-6)
"""Edges of the paper's kernel-size bins: up to 10 us, to 50 us, to 100 us, longer."""
REFILL = 0.8
"""Memory latencies for which the place of a block that ended stays empty: occupancy of streaming kernels, whose blocks
live 3 to 5 us, is 0.89 to 0.94 on an RTX 2080 Ti, an A100 and a T4."""
DEPENDENT, DEPENDENT_BEFORE_VOLTA = 4, 6
"""Clocks from an instruction of a warp to the next that needs it (Jia et al., arXiv:1804.06826)."""
CHAINED = 0.5
"""Instructions that need the one just before: reasoned, unrolled loops interleave two chains and more."""
STALLS: dict[Bound, str] = {"L2": "Cache", "DRAM": "Mem", "latency": "Mem", "compute": "Pipe"}
"""What bounds a kernel -> the paper's name of what its warps wait for, when not for the instruction before: a short
kernel waits for its first loads."""
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
    stalls: dict[str, float]  # by what warps wait for, weighted by device time
    classes: dict[str, float]  # share of device time by kernel class
    size_bins: tuple[int, int, int, int]  # kernels by duration, edges SIZE_BINS_S
    host_share: float  # of wall time in which the device waits for the host


def dram_utilization(kernel: Kernel, machine: Machine) -> float:
    """``dram__throughput.avg.pct_of_peak_sustained_elapsed``."""
    return min(1.0, kernel.dram_bytes / (kernel.device_s * machine.dram_peak_bytes_per_s))


def achieved_occupancy(kernel: Kernel, machine: Machine) -> float:
    """``sm__warps_active.avg.pct_of_peak_sustained_active``: warps that fit, less the places that stand empty.

    Those are of the last wave, and of blocks that have ended and whose followers have not begun (`REFILL`).
    """
    waves = kernel.blocks / (machine.sms * kernel.resident)
    filled = 1.0
    if waves > 1:
        life = _body_s(kernel, machine) / waves
        filled = waves / ceil(waves) * life / (life + REFILL * machine.device.memory_latency_s)
    active = max(1.0, min(kernel.resident, kernel.blocks / machine.sms)) * kernel.warps
    return min(1.0, active / machine.device.warps_per_sm) * filled


def ipc(kernel: Kernel, machine: Machine) -> float:
    """``smsp__inst_executed.avg.per_cycle_active``: of the parts of SMs that hold warps, while they do."""
    parts = min(machine.sms, kernel.blocks) * min(SUB_PARTITIONS, kernel.warps * ceil(kernel.blocks / machine.sms))
    return min(1.0, instructions(kernel) / (_body_s(kernel, machine) * machine.clock_hz * parts))


def instructions(kernel: Kernel) -> float:
    """Warp instructions of a kernel; of one that does not say (fused attention), a product's."""
    tensor = kernel.work.startswith("tensor")
    return kernel.instructions or product_instructions(128, 64, kernel.flops / 2, tensor=tensor)


def _body_s(kernel: Kernel, machine: Machine) -> float:
    """The time in which SMs are at work: without the launch, and at least what one warp takes alone."""
    alone = instructions(kernel) / (kernel.blocks * kernel.warps) * _dependent(machine) / machine.clock_hz
    return max(kernel.device_s - machine.device.launch_s, alone + 2 * machine.device.memory_latency_s)


def stalls(kernel: Kernel, machine: Machine) -> dict[str, float]:
    """What its warps wait for, shares of 1: execution dependency, and what bounds the kernel.

    A warp issues every (warps of a part / `ipc`) clocks; some of these it waits for the instruction before (`Exec`).
    """
    warps = max(1.0, achieved_occupancy(kernel, machine) * machine.device.warps_per_sm / SUB_PARTITIONS)
    execution = min(1.0, CHAINED * _dependent(machine) * ipc(kernel, machine) / warps)
    return {"Exec": execution, STALLS[kernel.bound]: 1 - execution}


def _dependent(machine: Machine) -> float:
    return DEPENDENT if machine.device.compute_capability >= 7 else DEPENDENT_BEFORE_VOLTA


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

    def shares(parts: Callable[[Kernel], dict[str, float]]) -> dict[str, float]:
        found: dict[str, float] = {}
        for kernel in kernels:
            for name, part in parts(kernel).items():
                found[name] = found.get(name, 0.0) + part * kernel.total_s / total_s
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
        stalls=shares(lambda kernel: stalls(kernel, machine)),
        classes=shares(lambda kernel: {kernel.kind: 1.0}),
        size_bins=(bins[0], bins[1], bins[2], bins[3]),
        host_share=max(0.0, 1 - total_s / wall_s) if wall_s else 0.0,
    )
