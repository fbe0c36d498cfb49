"""Whether the rows of one table of vector kernels were taken at one clock.

`validation.py` runs it. PyTorch's pointwise kernels run over the elements of contiguous tensors, so that at
equal elements a row of the table must take as long as another. Those of fewer than `ROWS` rows do not where the SMs
bound the kernel: then the table was taken in two states of the GPU.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from mmsim import validate
from mmsim.arch import load

ROWS = 4096
POINTWISE = ("add", "div", "pow")
FLOOR = 1.15  # times what the host alone takes, above which a kernel's time shows


def clock_figures(folder: Path) -> list[dict[str, Any]]:
    """For each GPU and op, the median time of the rows of few rows over the others' at equal work."""
    return [
        {"arch": arch} | {op: _pointwise(folder, arch, op) for op in POINTWISE}
        | {op: _by_model(folder, arch, op) for op in validate.ROW_OPS}
        for arch in ("v100_pcie", "t4", "a100_pcie_40gb")
    ]  # fmt: skip


def _pointwise(folder: Path, arch: str, op: str) -> float:
    """At equal elements: the times of the tall tables interpolated."""
    table = csv.DictReader((folder / f"vector_fp32_{arch}.csv").read_text().splitlines())
    rows = [(int(r["rows"]), int(r["cols"]), float(r["latency_ms"])) for r in table if r["op"] == op]
    tall = sorted((height * width, time) for height, width, time in rows if height >= ROWS)
    elements, times = np.array(tall).T
    low = [(n * m, time) for n, m, time in rows if n < ROWS and elements[0] < n * m < elements[-1]]
    pairs = [(time, float(np.interp(size, elements, times))) for size, time in low]
    floor = FLOOR * float(np.quantile([time for *_, time in rows], 0.05))
    return float(np.median([time / other for time, other in pairs if max(time, other) > floor]))


def _by_model(folder: Path, arch: str, op: str) -> float:
    """Against the model, which sees the shape; softmax beyond 1024 columns, where a block takes a row."""
    pairs = validate.kernels(folder / f"vector_fp32_{arch}.csv", op, "fp32", load(arch), "eager")
    floor = FLOOR * min(pair.predicted_s for pair in pairs)
    found: tuple[list[float], list[float]] = ([], [])
    for pair in pairs:
        height, width = (int(size) for size in pair.label.split()[1::2])
        if pair.predicted_s > floor and (op != "softmax" or width > 1024):
            found[height >= ROWS].append(pair.measured_s / pair.predicted_s)
    return float(np.median(found[0]) / np.median(found[1]))
