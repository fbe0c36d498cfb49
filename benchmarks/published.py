"""Rates that others published of GPUs without tables of these kernels, beside the model.

`validation.py` runs it. `published.csv` holds the figures, each with its source: a repository on GitHub, with the issue
that reports it, or (rtferraz's) on Hugging Face. They are torch's or cuBLAS's products, repeated and timed together.
None served to set a constant, but for those that an architecture file or `mmsim/gpu/library.py` names.
"""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mmsim import gpu
from mmsim.arch import load
from mmsim.gpu import vector

TABLE = Path(__file__).resolve().parent / "published.csv"
STREAM_BYTES = 2.0**30


def published_figures() -> list[dict[str, Any]]:
    """For each board, format and source: how far the model's times are off, and both rates of the largest kernel."""
    rows = list(csv.DictReader(TABLE.read_text().splitlines()))
    found = []
    for (arch, board, kernel, dtype, source), group in groupby(rows, key=_series):
        pairs = [(float(row["figure"]), _rate(row)) for row in group]
        errors = [100 * (measured / predicted - 1) for measured, predicted in pairs]  # of the times
        measured, predicted = pairs[-1]
        found.append(
            {"arch": arch, "board": board, "kernel": kernel, "dtype": dtype, "source": source, "rows": len(pairs),
             "measured": measured, "predicted": predicted, "mape_percent": float(np.mean(np.abs(errors))),
             "bias_percent": float(np.mean(errors))}
        )  # fmt: skip
    return found


def _series(row: dict[str, str]) -> tuple[str, ...]:
    return row["arch"], row["board"], row["kernel"], row["dtype"], row["source"]


def _rate(row: dict[str, str]) -> float:
    """TFLOP/s of a product, GB/s of a stream."""
    where = gpu.machine(load(row["arch"]))
    if row["kernel"] == "stream":
        traffic = vector.Traffic(STREAM_BYTES, STREAM_BYTES)
        return 2e-9 * STREAM_BYTES / vector.elementwise(where, STREAM_BYTES / 4, traffic).device_s
    m, n, k = (int(row[size]) for size in "mnk")
    return 2e-12 * m * n * k / gpu.products.gemm(m, n, k, 1, row["dtype"], where, b_along_k=False).device_s
