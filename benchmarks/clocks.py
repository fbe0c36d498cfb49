"""Whether the rows of one table of vector kernels were taken at one clock.

`validation.py` runs it. PyTorch's pointwise kernels run over the elements of contiguous tensors, so that at
equal elements a row of the table must take as long as another. Those of fewer than `ROWS` rows and `ELEMENTS` elements
do not where the SMs bound the kernel, those of as few rows and more elements do: the table was taken in two states.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.vector_rows import GPUS, Floats, Vector, vector_rows
from mmsim import validate
from mmsim.arch import load
from mmsim.gpu import host
from mmsim.gpu.machine import machine

ROWS, ELEMENTS = 4096, 8e6
POINTWISE = ("add", "div", "pow")
COMPUTING = ("pow", "softmax", "ln")
CLOCKS = np.arange(0.5, 1.55, 0.05)  # of the data sheet's
FLOOR = 1.15  # times what the host alone takes, above which a kernel's time shows


def first(rows: Vector) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The rows that were taken in the first of the two states."""
    return (rows.height < ROWS) & (rows.elements < ELEMENTS)


def clock_figures(folder: Path) -> list[dict[str, Any]]:
    """For each GPU and pointwise op, the median time of the rows of the first state over that of tall rows of as many
    elements; `many`: of rows that are neither tall nor small, for the last op."""
    return [{"arch": arch} | _ratios(folder, arch) for arch in GPUS]


def _ratios(folder: Path, arch: str) -> dict[str, float]:
    tables = {op: vector_rows(folder, arch, op) for op in POINTWISE}
    last = tables[POINTWISE[-1]]
    found = {op: _ratio(rows, first(rows)) for op, rows in tables.items()}
    return found | {"many": _ratio(last, (last.height < ROWS) & ~first(last))}


def _ratio(rows: Vector, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    tall = np.flatnonzero(rows.height >= ROWS)
    tall = tall[np.argsort(rows.elements[tall])]
    at = rows.elements
    within = chosen & (at > at[tall[0]]) & (at < at[tall[-1]])
    other = np.interp(at[within], at[tall], rows.seconds[tall])
    seconds = rows.seconds[within]
    shown = np.maximum(seconds, other) > FLOOR * np.quantile(rows.seconds, 0.05)
    return float(np.median(seconds[shown] / other[shown]))


def state_figures(folder: Path) -> list[dict[str, Any]]:
    """For each GPU and op that computes: the clock at which the model agrees best with the rows of each state, and the
    error of all at the data sheet's clock and at these two."""
    return [{"arch": arch, "op": op} | _states(folder, arch, op) for arch in GPUS for op in COMPUTING]


def _states(folder: Path, arch: str, op: str) -> dict[str, float]:
    rows, sheet = vector_rows(folder, arch, op), machine(load(arch)).clock_hz
    errors = np.array([_errors(rows, arch, op, float(clock) * sheet) for clock in CLOCKS])
    states = [first(rows), ~first(rows)]
    best = [int(errors[:, state].mean(1).argmin()) for state in states]
    apart = sum(float(errors[at, state].sum()) for at, state in zip(best, states, strict=True)) / len(rows.height)
    clocks = [1e-6 * sheet * float(CLOCKS[at]) for at in best]
    one = float(_errors(rows, arch, op, sheet).mean())
    return {"first_mhz": clocks[0], "second_mhz": clocks[1], "one_percent": 100 * one, "two_percent": 100 * apart}


def _errors(rows: Vector, arch: str, op: str, clock_hz: float) -> Floats:
    where = replace(machine(load(arch)), clock_hz=clock_hz)
    predict = validate.PREDICT["vector"]
    found = (
        predict(where, op, {"rows": high, "cols": wide}, "float32")
        for high, wide in zip(rows.height, rows.width, strict=True)
    )
    predicted = np.array([host.alone(where.device.host, units, device_s) for device_s, units in found])
    return np.asarray(np.abs(predicted / rows.seconds - 1))
