"""Clocks: when the device has done each operation of a marked graph. One for the CPU, one for CUDA."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class Pass:
    """One pass of a program: what the device worked and what the user waited for."""

    device_s: float
    wall_s: float


class Clock(Protocol):
    """What a marked graph calls: `mark(i)` after operation i, -1 before the first."""

    method: str

    def mark(self, index: int) -> None: ...

    def finish(self) -> tuple[list[float], list[float]]:
        """Device seconds and host seconds of each operation of the run just made; ready for the next."""
        ...

    def timed(self, run: Callable[[], Any]) -> Pass:
        """One pass of a program without marks, from an idle device until it is idle again."""
        ...


class CpuClock:
    """Host and device are one: the time between two marks is the operation's.

    With one thread it is the CPU time of that thread, so that other work on the machine takes the
    caches but not the time; with several it is wall time. What a mark itself takes is taken off.
    """

    def __init__(self, threads: int) -> None:
        self._now = time.thread_time if threads == 1 else time.perf_counter
        self._times: list[float] = []
        self._mark_s = self._cost()
        self.method = "CPU time of the one thread" if threads == 1 else f"wall time of {threads} threads"

    def mark(self, index: int) -> None:
        self._times.append(self._now())

    def finish(self) -> tuple[list[float], list[float]]:
        times, self._times = self._times, []
        spans = [max(0.0, after - before - self._mark_s) for before, after in pairwise(times)]
        return spans, spans

    def timed(self, run: Callable[[], Any]) -> Pass:
        start, cpu = time.perf_counter(), self._now()
        run()
        return Pass(self._now() - cpu, time.perf_counter() - start)

    def _cost(self) -> float:
        """Seconds between two marks with nothing between them."""
        for _ in range(2000):
            self.mark(0)
        times, self._times = self._times, []
        return median(after - before for before, after in pairwise(times))


class CudaClock:
    """CUDA events for the device, the host's own clock for dispatch.

    A mark is one event, at which the operation before it ends and the one after it begins. What it adds to each (of
    the device's time, or of the host's where the device waits for it) no event can tell: `excess` finds it from the
    passes without marks. While the device keeps up with the host, an operation's time holds the wait for the host; the
    kernels' own times are those of `mmsim.measure.kernels`.

    Events are `external`: captured into a CUDA graph they become nodes of it, and each replay records them anew.
    """

    method = "CUDA events"

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []
        self._times: list[tuple[float, float]] = []
        self._stream: torch.cuda.Stream | None = None

    def mark(self, index: int) -> None:
        ended = time.perf_counter()
        if index < 0:
            self._stream, self._times = torch.cuda.current_stream(), []
        if index + 1 == len(self._events):
            self._events.append(cuda_event(external=True))
        self._events[index + 1].record(self._stream)
        self._times.append((ended, time.perf_counter()))

    def finish(self) -> tuple[list[float], list[float]]:
        torch.cuda.synchronize()
        marks = self._events[: len(self._times)]
        spans = [before.elapsed_time(after) * 1e-3 for before, after in pairwise(marks)]
        host = [after[0] - before[1] for before, after in pairwise(self._times)]
        return spans, host

    def timed(self, run: Callable[[], Any]) -> Pass:
        before, after = cuda_event(), cuda_event()
        torch.cuda.synchronize()
        start = time.perf_counter()
        before.record()
        run()
        after.record()
        torch.cuda.synchronize()
        wall_s = time.perf_counter() - start
        first, last = run.ends if isinstance(run, Replay) else (before, after)
        return Pass(first.elapsed_time(last) * 1e-3, wall_s)


@dataclass(frozen=True)
class Replay:
    """A CUDA graph to launch, whose first and last nodes are the events `ends`.

    Between those the device waits for nothing; events around the launch would time the launch too, some 10 us.
    """

    launch: Callable[[], None]
    ends: tuple[torch.cuda.Event, torch.cuda.Event]

    def __call__(self) -> None:
        self.launch()


def cuda_event(*, external: bool = False) -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True, external=external)  # type: ignore[no-untyped-call]


def clock_of(device: torch.device) -> Clock:
    """The clock of a device."""
    return CudaClock() if device.type == "cuda" else CpuClock(torch.get_num_threads())


def excess(spans: Sequence[float], whole: float) -> float:
    """What to take off each span, none below 0, that they sum to `whole`; nothing if they take no longer.

    >>> excess([5.0, 3.0, 0.5], 6.0)  # 4 + 2 + 0
    1.0
    """
    ordered, rest = sorted(spans), sum(spans)
    for index, shortest in enumerate(ordered):  # those before it take nothing any more
        each = (rest - whole) / (len(ordered) - index)
        if each <= shortest:
            return max(0.0, each)
        rest -= shortest
    return ordered[-1] if ordered else 0.0
