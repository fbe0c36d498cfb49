"""A GPU played by the CPU: the calls of `torch.cuda` and NVML that mmsim makes, after the sources of PyTorch 2.11.

Tensors stay on the CPU. Events read a clock of this module; a CUDA graph keeps the events that were recorded
while it was captured, and a replay records them anew, 10 us apart. What a GPU refuses is refused: a time between
events that were never recorded, or that the host has not waited for (c10/cuda/CUDAEvent.h); a capture within another,
on the default stream, or of what was not warmed up on a side stream; in a capture a wait, an op whose result the host
needs, a replay. A capture that such a thing broke cannot be ended, and leaves its stream behind (torch/cuda/graphs.py).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmsim.measure import built, kernels, subject

L2_BYTES = 60 << 20
STEP_S = 10e-6


class Stream:
    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream)


class Machine:
    """What happens on the device; `capturing` is the graph under capture."""

    def __init__(self) -> None:
        self.capturing: Graph | None = None
        self.stream = self.default = Stream()
        self.waiting: list[Event] = []  # recorded since the host last waited
        self.warmed = False  # something ran on a side stream
        self.full = False  # the next capture runs out of memory
        self.refuses = False  # the next capture fails

    def synchronize(self) -> None:
        self.refuse("synchronize")
        for event in self.waiting:
            event.done = True
        self.waiting.clear()

    def refuse(self, what: str) -> None:
        """Break the capture that is underway."""
        if self.capturing is not None:
            self.capturing.broken = True
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {what}")


class Event:
    machine: Machine

    def __init__(self, enable_timing: bool = False, external: bool = False) -> None:
        self.timed, self.external, self.at, self.done = enable_timing, external, None, False

    def record(self, stream: Stream | None = None) -> None:
        assert stream is None or isinstance(stream, Stream)
        graph = self.machine.capturing
        if graph is None:
            self._now(time.perf_counter())
            return
        assert stream in (None, self.machine.stream), "a stream outside the capture"
        assert self.external, "an event that no replay records: its time cannot be asked for"
        graph.events.append(self)

    def _now(self, at: float) -> None:
        self.at, self.done = at, False
        self.machine.waiting.append(self)

    def elapsed_time(self, end: Event) -> float:
        if not (self.timed and end.timed):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self.at is None or end.at is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if not (self.done and end.done):
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return (end.at - self.at) * 1e3


class Graph:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.captured = self.broken = False

    def replay(self) -> None:
        assert self.captured, "called before capture_end"
        Event.machine.refuse("replay")
        now = time.perf_counter()
        for index, event in enumerate(self.events):
            event._now(now + index * STEP_S)
        time.sleep(len(self.events) * STEP_S)


class Capturing(TorchDispatchMode):
    """No op whose result the host needs."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._opname in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal"):
            Event.machine.refuse(func._opname)
        return func(*args, **(kwargs or {}))


def install(patch: pytest.MonkeyPatch) -> Machine:
    """Put the fake in the place of `torch.cuda` and NVML; networks that are built stay on the CPU."""
    machine = Event.machine = Machine()

    @contextmanager
    def graph(captured: Graph, stream: Stream) -> Iterator[None]:
        machine.synchronize()
        assert machine.warmed, "what is captured must have run on a side stream"
        assert stream is not machine.default, "a capture on the default stream"
        before, machine.stream, machine.capturing = machine.stream, stream, captured
        captured.broken = machine.refuses
        try:
            with Capturing():
                if machine.full:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
                yield
        finally:
            machine.capturing = None
            if captured.broken:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture\nmore")
            machine.stream, captured.captured = before, True

    @contextmanager
    def stream(used: Stream) -> Iterator[None]:
        before, machine.stream, machine.warmed = machine.stream, used, True
        try:
            yield
        finally:
            machine.stream = before

    found = SimpleNamespace(name="NVIDIA H200", total_memory=150 << 30, L2_cache_size=L2_BYTES, uuid="abc")
    calls: dict[str, Any] = {
        "is_available": lambda: True,
        "synchronize": machine.synchronize,
        "empty_cache": lambda: machine.refuse("empty_cache"),
        "current_stream": lambda: machine.stream,
        "set_stream": lambda used: setattr(machine, "stream", used),
        "get_device_properties": lambda device: found,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 1000,
        "max_memory_allocated": lambda: 5000,
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": graph,
        "stream": stream,
    }
    for name, call in calls.items():
        patch.setattr(torch.cuda, name, call)
    patch.setattr(torch.version, "cuda", "13.0")
    patch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    patch.setitem(sys.modules, "pynvml", nvml())
    patch.setattr(built, "subject_of", _on_cpu)
    patch.setattr(kernels, "record", _recorded)
    real = torch.randn
    patch.setattr(torch, "randn", lambda *shape, device=None, **more: real(*shape, **more))
    return machine


def _on_cpu(source: Any, *, batch: int, dtype: str, device: torch.device) -> subject.Subject:
    found = subject.subject_of(source, batch=batch, dtype=dtype, device=torch.device("cpu"))
    return replace(found, device=device)


def _recorded(run: Any, passes: int, *, cuda: bool) -> list[Any]:
    """The CPU's own profile, every outermost op made into a launch and the kernel that it launches."""
    assert cuda
    events = _REAL_RECORD(run, passes, cuda=False)
    launched: list[Any] = []
    for number, op in enumerate(kernels._outermost([e for e in events if e.get("ph") == "X"])):
        call = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "tid": op["tid"], "ts": op["ts"]}
        name = f"void at::native::vectorized_elementwise_kernel<{op['name']}>"
        kernel = {"ph": "X", "cat": "kernel", "name": name, "tid": 7, "ts": op["ts"] + 500, "dur": 3.0}
        for event in ({**call, "dur": 2.0}, kernel):
            launched.append({**event, "args": {"correlation": number}})
    after = max(e["ts"] + e["dur"] for e in launched) + 1e5
    wait = {"ph": "X", "cat": "cuda_runtime", "name": "cudaDeviceSynchronize", "tid": launched[0]["tid"], "ts": after}
    return [*events, *launched, {**wait, "dur": 1.0}]


_REAL_RECORD = kernels.record


def nvml() -> Any:
    """NVML with an energy counter that counts 100 W, and no utilization (as in some virtual machines)."""

    class NVMLError(Exception):
        pass

    def refused(*_: Any) -> Any:
        raise NVMLError("Not Supported")

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetCount=lambda: 1,
        nvmlSystemGetDriverVersion=lambda: "580.159.04",
        nvmlDeviceGetClockInfo=lambda handle, kind: {1: 1980, 2: 3201}[kind],
        nvmlDeviceGetPowerManagementLimit=lambda handle: 700_000,
        nvmlDeviceGetCurrentClocksEventReasons=lambda handle: 0x4 | 0x1,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: int(time.perf_counter() * 100_000),
        nvmlDeviceGetPowerUsage=lambda handle: 100_000,
        nvmlDeviceGetUtilizationRates=refused,
    )
