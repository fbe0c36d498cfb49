"""Clocks: when the device has done each operation of a marked graph. One for the CPU, one for CUDA."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Protocol

import torch


class Clock(Protocol):
    """What a marked graph calls: `mark(i)` after operation i, -1 before the first."""

    def mark(self, index: int) -> None: ...

    def finish(self) -> tuple[list[float], list[float]]:
        """Device seconds and host seconds of each operation of the run just made; ready for the next."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has nothing left to do."""
        ...


class CpuClock:
    """Host and device are one: the time between two marks is the operation's."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def mark(self, index: int) -> None:
        self._times.append(time.perf_counter())

    def finish(self) -> tuple[list[float], list[float]]:
        times, self._times = self._times, []
        spans = [after - before for before, after in pairwise(times)]
        return spans, spans

    def synchronize(self) -> None:
        pass


class CudaClock:
    """CUDA events between operations for the device, the host's own clock for dispatch.

    While the device keeps up with the host, the time between two events holds the gap between
    kernels as well; `mmsim.measure.kernels` gives the kernels' own time.
    """

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []
        self._times: list[float] = []

    def mark(self, index: int) -> None:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._events.append(event)
        self._times.append(time.perf_counter())

    def finish(self) -> tuple[list[float], list[float]]:
        torch.cuda.synchronize()
        events, self._events = self._events, []
        times, self._times = self._times, []
        device = [before.elapsed_time(after) * 1e-3 for before, after in pairwise(events)]
        return device, [after - before for before, after in pairwise(times)]

    def synchronize(self) -> None:
        torch.cuda.synchronize()


def clock_of(device: torch.device) -> Clock:
    """The clock of a device."""
    return CudaClock() if device.type == "cuda" else CpuClock()
