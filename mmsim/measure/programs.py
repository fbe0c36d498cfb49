"""How a captured program is run: op by op, as a CUDA graph, or compiled; with warm caches or cold ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch

from mmsim.errors import InputError
from mmsim.measure.clock import Replay, cuda_event
from mmsim.measure.subject import Subject
from mmsim.measurement import Mode

COLD_BYTES = 256 << 20
"""Written between two cold passes, or four times the device's L2 where that is more (H200: 60 MB of L2)."""


def runner(subject: Subject, mode: Mode) -> Callable[[], Any]:
    """A function that makes one pass. Raises `InputError` for a CUDA graph on a CPU."""
    program, inputs = subject.captured, subject.inputs
    if mode == "graph":
        return _graph(subject)
    if mode == "compiled":
        torch._dynamo.reset()  # forget what was compiled before: its memory, and the limit on compiling again
    called = torch.compile(program) if mode == "compiled" else program.forward  # errors without the module's own print

    def run() -> Any:
        with torch.no_grad():
            return called(*inputs)

    return run


def _graph(subject: Subject) -> Replay:
    _check(subject.device)
    waiting = next((layer.name for layer in subject.graph.layers if layer.attr("sync")), None)
    if waiting:  # found out in a capture, it would leave the allocator in one
        raise InputError(f"a CUDA graph cannot wait for a value on the host, as {waiting} does", field="--mode")
    first, last = (cuda_event(external=True) for _ in range(2))

    def run() -> None:
        first.record()
        subject.captured.forward(*subject.inputs)
        last.record()

    return Replay(captured(run, subject.device), (first, last))


def _check(device: torch.device) -> None:
    if device.type != "cuda":
        raise InputError("a CUDA graph needs --device cuda", field="--mode")


def captured(run: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """What replays `run` as a CUDA graph, warmed up on a side stream as PyTorch's notes on graphs ask for.

    Raises `InputError` for a program that cannot be captured, and on a CPU.
    """
    _check(device)
    before = torch.cuda.current_stream()
    side = _side()
    side.wait_stream(before)
    with torch.cuda.stream(side), torch.no_grad():
        for _ in range(3):
            run()
    before.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=side), torch.no_grad():
            run()
    except RuntimeError as error:
        torch.cuda.set_stream(before)  # `torch.cuda.graph` leaves its own behind where the capture cannot be ended
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"this network cannot be captured as a CUDA graph: {reason}", field="--mode") from error
    return graph.replay


@lru_cache(maxsize=1)
def _side() -> torch.cuda.Stream:
    """One for all captures: cuBLAS keeps a workspace for every stream that it has seen, 32 MiB on Hopper."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def flusher(device: torch.device, cache: Literal["warm", "cold"]) -> Callable[[], None]:
    """What to do before each pass: nothing, or write more than any cache holds."""
    if cache == "warm":
        return lambda: None
    size = COLD_BYTES
    if device.type == "cuda":
        size = max(size, 4 * torch.cuda.get_device_properties(device).L2_cache_size)
    buffer = torch.randn(size // 4, device=device)

    def flush() -> None:
        buffer.neg_()

    return flush
