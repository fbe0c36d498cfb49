"""The caches of a CPU, and the bandwidths that PyTorch's own ops reach from each and into each."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from mmsim.measure.clock import Clock
from mmsim.measure.op_times import RULE, quiet
from mmsim.measure.rule import Rule

TURNS = Rule(repeats=20, least_runs=5, warmup_runs=1, warmup_s=0.0, budget_s=2.0)


def caches() -> list[tuple[str, float | None]]:
    """The caches of one core as the operating system names them, innermost first, and DRAM."""
    found: dict[int, float] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        match = re.fullmatch(r"(\d+)([KMG]?)", size)
        if kind != "Instruction" and match:
            found[int(level)] = int(match[1]) * 1024 ** " KMG".index(match[2] or " ")
    sizes = found or {1: 32 << 10, 2: 1 << 20, 3: 16 << 20}
    return [*((f"L{level}", size) for level, size in sorted(sizes.items())), ("DRAM", None)]


def read_rate(size: float | None, clock: Clock) -> float:
    """Bytes a second of a matrix-vector product whose matrix fills a quarter of a level (256 MiB for DRAM)."""
    words = int((size / 4 if size is not None else 256 << 20) / 4)
    columns = min(words, 4096)
    matrix, vector = torch.randn(words // columns, columns), torch.randn(columns)
    small = matrix[:1, :16], vector[:16]
    return _rate(4 * matrix.numel(), partial(torch.mv, matrix, vector), partial(torch.mv, *small), clock)


def write_rate(size: float | None, clock: Clock) -> float:
    """Bytes a second into fresh tensors of a quarter of a level (64 MiB for DRAM), two of them alive."""
    words = int((size / 4 if size is not None else 64 << 20) / 4)

    def fill(words: int) -> None:
        first = torch.full((words,), 0.5)
        torch.full((words,), 0.5)
        del first

    return _rate(8 * words, partial(fill, words), partial(fill, 1), clock)


SIDE, ROWS, SETS = 768, 37, 28


def fetch_s(clock: Clock) -> float:
    """How much longer a product of `ROWS` rows takes whose `SIDE` by `SIDE` weights come from DRAM."""
    rows, sets = torch.randn(ROWS, SIDE), [torch.randn(SIDE, SIDE) for _ in range(SETS)]

    def turn() -> tuple[float, float]:
        far = clock.timed(lambda: [F.linear(rows, weights) for weights in sets]).device_s / SETS
        return far, clock.timed(lambda: [F.linear(rows, sets[0]) for _ in range(4)]).device_s / 4

    with torch.no_grad():
        far, near = map(quiet, zip(*TURNS.samples(turn), strict=True))
    return max(0.0, far - near)


def _rate(size: float, run: Callable[[], Any], nothing: Callable[[], Any], clock: Clock) -> float:
    """Bytes a second, dispatch taken off; short calls in groups, so that the clock's own time does not count."""
    calls = max(1, int(1e6 / size))

    def group(run: Callable[[], Any]) -> float:
        with torch.no_grad():
            return clock.timed(lambda: [run() for _ in range(calls)]).device_s / calls

    samples = RULE.samples(lambda: (group(run), group(nothing)))
    much, little = map(quiet, zip(*samples, strict=True))
    return size / float(max(much - little, 0.2 * much))
