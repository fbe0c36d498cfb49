"""Single kernels on random shapes, as tables that `mmsim validate kernels` reads: one file an op, format and mode.

Shapes are drawn once and for all, sizes evenly on a logarithmic scale. In ``graph`` mode a row is one kernel inside a
CUDA graph that runs it on `ROTATION` sets of operands in turn; in ``eager`` mode it is one call between two events,
host included, on operands that stay: the mean of the 5 fastest of 25, as in the tables that others published.
"""

from __future__ import annotations

import csv
import io
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import exp, inf, log
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from mmsim import files
from mmsim.errors import InputError
from mmsim.kernel_table import COLUMNS, MEASURED, ROTATION, KernelMode
from mmsim.measure.built import recovered
from mmsim.measure.clock import clock_of
from mmsim.measure.outcome import Outcome
from mmsim.measure.rule import Rule, reason

Row: TypeAlias = dict[str, Any]
OPS = tuple(COLUMNS)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMATS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""torch's names of formats, and those of tables of kernels."""
VECTOR: dict[str, tuple[Callable[..., Tensor], int]] = {
    "add": (torch.add, 2), "mul": (torch.mul, 2), "relu": (torch.relu, 1), "gelu": (F.gelu, 1),
    "tanh": (torch.tanh, 1), "sigmoid": (torch.sigmoid, 1), "softmax": (lambda x: F.softmax(x, -1), 1),
    "ln": (lambda x: F.layer_norm(x, x.shape[-1:]), 1),
}  # fmt: skip
MOST_MACS = {"cuda": 2e11, "cpu": 2e8}
MOST_BYTES = {"cuda": 1 << 30, "cpu": 16 << 20}
OPERANDS_BYTES = 8 << 30
"""Of all sets of operands that a graph runs on."""
FASTEST, TIMES, REPLAYS = 5, 25, 5
IN_GRAPH = Rule(repeats=TIMES, least_runs=5, warmup_runs=3, warmup_s=0.0, budget_s=1.0)


@dataclass(frozen=True)
class Kernel:
    """One row: its sizes, what it takes at least, and how to run it."""

    row: Row
    macs: float
    words: float
    make: Callable[[torch.device, torch.dtype], tuple[Tensor, ...]]
    call: Callable[..., Tensor]


def sweep(
    folder: Path,
    device: torch.device,
    dtypes: Sequence[str],
    modes: Sequence[KernelMode],
    rows: int = 40,
    progress: Callable[[str], None] = lambda name: None,
    within_s: float = inf,
) -> Outcome:
    """Measure every table that `folder` does not hold; after `within_s` seconds no further one is begun.

    A table of which no row can be measured is not written. Raises `InputError` when the GPU no longer answers.
    """
    outcome, start = Outcome(), time.monotonic()
    for op, dtype, mode in product(OPS, dtypes, modes):
        name = f"{op}_{dtype}_{mode}.csv"
        progress(name)
        path = files.inside(folder, name)
        if path.exists():
            outcome.stood.append(name)
        elif time.monotonic() - start > within_s:
            outcome.left += 1
        else:
            timed = (_timed(kernel, device, dtype, mode, name, outcome) for kernel in kernels(op, rows, device.type))
            if table := [row for row in timed if row is not None]:
                files.write_text(path, _csv(op, table))
                outcome.measured.append(name)
    return outcome


def tables(dtypes: Sequence[str], modes: Sequence[KernelMode]) -> int:
    """How many tables a sweep has."""
    return len(OPS) * len(dtypes) * len(modes)


def _timed(
    kernel: Kernel, device: torch.device, dtype: str, mode: KernelMode, name: str, outcome: Outcome
) -> Row | None:
    try:
        seconds = (_in_graph if mode == "graph" else _eager)(kernel, device, DTYPES[dtype])
    except (RuntimeError, MemoryError, InputError) as error:
        row = f"{name} {' '.join(map(str, kernel.row.values()))}"
        outcome.failed[row] = reason(error)
    else:
        return {**kernel.row, MEASURED: f"{1e3 * seconds:.6g}"}
    recovered(row)
    return None


def _csv(op: str, rows: Sequence[Row]) -> str:
    text = io.StringIO()
    out = csv.DictWriter(text, (*COLUMNS[op], MEASURED), lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()


def _eager(kernel: Kernel, device: torch.device, dtype: torch.dtype) -> float:
    operands, clock = kernel.make(device, dtype), clock_of(device)
    with torch.no_grad():
        times = [clock.timed(lambda: kernel.call(*operands)).device_s for _ in range(3 + TIMES)]
    return fmean(sorted(times[3:])[:FASTEST])


def _in_graph(kernel: Kernel, device: torch.device, dtype: torch.dtype) -> float:
    from mmsim.measure.programs import captured

    size = kernel.words * torch.empty((), dtype=dtype).element_size()
    sets = [kernel.make(device, dtype) for _ in range(max(2, min(ROTATION, int(OPERANDS_BYTES / size))))]

    def run() -> list[Tensor]:
        return [kernel.call(*operands) for operands in sets]  # outputs live on: each call writes its own

    replay, clock = captured(run, device), clock_of(device)

    def replays() -> None:
        for _ in range(REPLAYS):  # the launch of all but the first is hidden behind the one before
            replay()

    times = [found.device_s for found in IN_GRAPH.samples(lambda: clock.timed(replays))]
    return median(times) / (REPLAYS * len(sets))


# --- shapes --------------------------------------------------------------------------------------


def kernels(op: str, rows: int, device: str) -> list[Kernel]:
    """The rows of an op's table: always the same ones; none that this kind of device would take long for."""
    draw = random.Random(op)
    drawn = (KINDS[op](draw) for _ in range(1000 * rows))
    fitting = (k for k in drawn if k.macs <= MOST_MACS[device] and 4 * k.words <= MOST_BYTES[device])
    return [kernel for kernel, _ in zip(fitting, range(rows), strict=False)]


def _size(draw: random.Random, low: int, high: int) -> int:
    return round(exp(draw.uniform(log(low), log(high))))


def _normal(*shapes: tuple[int, ...]) -> Callable[[torch.device, torch.dtype], tuple[Tensor, ...]]:
    return lambda device, dtype: tuple(torch.randn(shape, device=device, dtype=dtype) for shape in shapes)


def _gemm(draw: random.Random) -> Kernel:
    m, n, k = (8 * _size(draw, 1, 1024) for _ in range(3))
    row = {"m": m, "n": n, "k": k}
    return Kernel(row, m * n * k, m * k + n * k + m * n, _normal((m, k), (n, k)), F.linear)


def _linear(draw: random.Random) -> Kernel:
    b, m, k, n = 1, _size(draw, 1, 8192), _size(draw, 16, 8192), _size(draw, 16, 8192)
    row = {"batch": b, "m": m, "k_reduction": k, "n": n}
    return Kernel(row, m * n * k, m * k + n * k + m * n, _normal((b, m, k), (n, k), (n,)), F.linear)


def _bmm(draw: random.Random) -> Kernel:
    b, m, k, n = _size(draw, 2, 512), *(_size(draw, 4, 1024) for _ in range(3))
    row = {"batch": b, "m": m, "k_reduction": k, "n": n}
    return Kernel(row, b * m * n * k, b * (m * k + n * k + m * n), _normal((b, m, k), (b, k, n)), torch.bmm)


def _conv(draw: random.Random) -> Kernel:
    n, c, k = _size(draw, 1, 64), _size(draw, 3, 1024), _size(draw, 8, 1024)
    kernel, stride = draw.choice((1, 3, 3, 3, 5, 7)), draw.choice((1, 1, 2))
    size = _size(draw, kernel, 256)
    out = (size + 2 * (kernel // 2) - kernel) // stride + 1
    row = {
        "batch": n, "in_channels": c, "out_channels": k, "kernel": kernel, "input_size": size, "stride": stride,
        "padding": kernel // 2,
    }  # fmt: skip
    words = n * c * size**2 + k * c * kernel**2 + n * k * out**2
    make = _normal((n, c, size, size), (k, c, kernel, kernel))
    return Kernel(
        row, n * k * c * (out * kernel) ** 2, words, make,
        lambda x, w: F.conv2d(x, w, stride=stride, padding=kernel // 2),
    )  # fmt: skip


def _attention(draw: random.Random) -> Kernel:
    b, length, heads, head = _size(draw, 1, 64), _size(draw, 16, 4096), draw.choice((4, 8, 12, 16)), 64
    row = {"batch": b, "seq_len": length, "num_heads": heads, "head_dim": head}
    shape = (b, heads, length, head)
    words = 4 * b * heads * length * head
    make = _normal(shape, shape, shape)
    return Kernel(row, 2 * b * heads * length**2 * head, words, make, F.scaled_dot_product_attention)


def _vector(draw: random.Random) -> Kernel:
    op, rows, columns = draw.choice(tuple(VECTOR)), _size(draw, 1, 65536), _size(draw, 16, 8192)
    call, inputs = VECTOR[op]
    make = _normal(*[(rows, columns)] * inputs)
    return Kernel({"op": op, "rows": rows, "cols": columns}, 0.0, (inputs + 1) * rows * columns, make, call)


KINDS: dict[str, Callable[[random.Random], Kernel]] = {
    "gemm": _gemm, "linear": _linear, "bmm": _bmm, "conv": _conv, "attention": _attention, "vector": _vector,
}  # fmt: skip
