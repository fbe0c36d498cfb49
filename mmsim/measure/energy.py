"""Energy of one pass, from the device's own counter over many passes: NVML on NVIDIA, RAPL on a CPU that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mmsim.measure.machine import nvml_handle
from mmsim.measurement import Energy

LEAST_S = 3.0
"""The counters refresh every 20 to 100 ms: over 3 s that is at most 3 %."""
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def energy(run: Callable[[], Any], device: torch.device) -> Energy | None:
    """Repeat passes for at least `LEAST_S`; None where the device has no counter that we may read."""
    counter = _nvml() if device.type == "cuda" else _rapl()
    if counter is None:
        return None
    joules, method = counter
    _wait(device)
    start, before, passes = time.perf_counter(), joules(), 0
    while time.perf_counter() - start < LEAST_S:
        run()
        passes += 1
        if passes % 16 == 0:
            _wait(device)  # the queue must not run ahead of the clock
    _wait(device)
    seconds, used = time.perf_counter() - start, joules() - before
    if used <= 0:  # RAPL's counter wrapped
        return None
    return Energy(used / passes, used / seconds, method, passes)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _nvml() -> tuple[Callable[[], float], str] | None:
    found = nvml_handle()
    if found is None:
        return None
    pynvml, handle = found
    try:
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3, "NVML total energy, idle included"


def _rapl() -> tuple[Callable[[], float], str] | None:
    try:
        int(RAPL.read_text())
    except (OSError, ValueError):
        return None
    return lambda: int(RAPL.read_text()) * 1e-6, "RAPL package energy, everything on the package included"
