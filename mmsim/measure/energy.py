"""Energy of one pass over many passes: NVML on NVIDIA, RAPL on a CPU that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from mmsim.measure.machine import gpu
from mmsim.measurement import Energy

LEAST_S = 3.0
"""The counters refresh every 20 to 100 ms: over 3 s that is at most 3 %."""
BURST_S = 0.05
"""Between two waits for the device: long, that it does not idle, and short, that passes of a second do not pile up."""
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


@dataclass(frozen=True)
class Meter:
    """Reads joules since some moment, or else (`is_power`) the watts of now."""

    read: Callable[[], float]
    method: str
    is_power: bool = False


def energy(run: Callable[[], Any], device: torch.device) -> Energy | None:
    """Repeat passes for at least `LEAST_S`; None where the device has no meter that we may read."""
    meter = _nvml(device) if device.type == "cuda" else _rapl()
    if meter is None:
        return None
    burst = _burst(run, device)
    start, passes, readings = time.perf_counter(), 0, [meter.read()]
    while time.perf_counter() - start < LEAST_S:
        for _ in range(burst):
            run()
        passes += burst
        _wait(device)  # the queue must not run ahead of the clock
        if meter.is_power:
            readings.append(meter.read())
    seconds = time.perf_counter() - start
    readings.append(meter.read())
    joules = fmean(readings[1:]) * seconds if meter.is_power else readings[-1] - readings[0]
    if joules <= 0:  # RAPL's counter wrapped
        return None
    return Energy(joules / passes, joules / seconds, meter.method, passes)


def _burst(run: Callable[[], Any], device: torch.device) -> int:
    """How many passes take `BURST_S`, at least one."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return max(1, int(BURST_S / max(time.perf_counter() - start, 1e-6)))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _nvml(device: torch.device) -> Meter | None:
    """The energy counter where there is one (Volta and later), else the power, averaged."""
    nvml = gpu(device)
    if nvml is None:
        return None
    if nvml.ask("nvmlDeviceGetTotalEnergyConsumption") is not None:
        return Meter(lambda: nvml.ask("nvmlDeviceGetTotalEnergyConsumption") * 1e-3, "NVML total energy, idle included")
    if nvml.ask("nvmlDeviceGetPowerUsage") is not None:
        return Meter(lambda: nvml.ask("nvmlDeviceGetPowerUsage") * 1e-3, "NVML power, averaged, idle included", True)
    return None


def _rapl() -> Meter | None:
    try:
        int(RAPL.read_text())
    except (OSError, ValueError):
        return None
    return Meter(lambda: int(RAPL.read_text()) * 1e-6, "RAPL package energy, everything on the package included")
