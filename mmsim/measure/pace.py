"""How fast the CPU is just now: small programs, timed when it was calibrated and again in each measurement.

The machine may be shared, its clock may vary: a ratio of two paces says how much of an error that explains.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmsim.arch.cpu import KEPT
from mmsim.measure.clock import Clock
from mmsim.measure.op_samples import AMONG, samples
from mmsim.measure.op_times import kept_s, sample
from mmsim.measurement import spread

TIMES = 20
HEAP_BLOCK = 31 << 20  # just under glibc's largest M_MMAP_THRESHOLD


def keep_blocks() -> None:
    """Have the C library keep freed memory for use again, as it does once a large network was loaded.

    Otherwise it gives blocks back and takes page faults for them, or does not, as chance and history will have it.
    """
    torch.empty(HEAP_BLOCK, dtype=torch.uint8)


def seconds(clock: Clock) -> dict[str, float]:
    """What each program takes, the lower quartile of some runs: arithmetic, moving data, dispatching ops.

    And under `KEPT` for how long the caches keep what is not used.
    """
    generator = torch.Generator().manual_seed(0)
    matrix, vector = (torch.randn(shape, generator=generator) for shape in ((256, 256), (1 << 20,)))
    small = vector[:16]

    def dispatches() -> None:
        for _ in range(20):
            torch.relu(small)

    programs: dict[str, Callable[[], Any]] = {
        "arithmetic": partial(_product, matrix), "data": partial(torch.relu, vector), "dispatch": dispatches,
    }  # fmt: skip
    with torch.no_grad():
        found = {name: _quiet(program, clock) for name, program in programs.items()}
    return {**found, KEPT: kept_s([sample(name, samples()[name][0], clock) for name in AMONG])}


def _product(matrix: Tensor) -> Tensor:
    return matrix @ matrix @ matrix


def _quiet(program: Callable[[], Any], clock: Clock) -> float:
    program()
    return spread([clock.timed(program).device_s for _ in range(TIMES)]).p25
