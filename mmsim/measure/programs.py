"""How a captured program is run: op by op, as a CUDA graph, or compiled; with warm caches or cold ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from mmsim.errors import InputError
from mmsim.measure.subject import Subject
from mmsim.measurement import Mode

COLD_BYTES = 256 << 20
"""Written between two cold passes: several times the last cache of any device known to mmsim (H200: 50 MiB)."""


def runner(subject: Subject, mode: Mode) -> Callable[[], Any]:
    """A function that makes one pass. Raises `InputError` for a CUDA graph on a CPU."""
    program, inputs = subject.captured, subject.inputs
    if mode == "graph":
        if subject.device.type != "cuda":
            raise InputError("a CUDA graph needs --device cuda", field="--mode")
        return _graph(subject).replay
    called = torch.compile(program) if mode == "compiled" else program

    def run() -> Any:
        with torch.no_grad():
            return called(*inputs)

    return run


def _graph(subject: Subject) -> torch.cuda.CUDAGraph:
    """The program as a CUDA graph, warmed up on a side stream as PyTorch's notes on graphs ask for."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.no_grad():
        for _ in range(3):
            subject.captured(*subject.inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph), torch.no_grad():
            subject.captured(*subject.inputs)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"this network cannot be captured as a CUDA graph: {reason}", field="--mode") from error
    return graph


def flusher(device: torch.device, cache: Literal["warm", "cold"]) -> Callable[[], None]:
    """What to do before each pass: nothing, or write more than any cache holds."""
    if cache == "warm":
        return lambda: None
    buffer = torch.randn(COLD_BYTES // 4, device=device)

    def flush() -> None:
        buffer.mul_(-1.0)

    return flush
