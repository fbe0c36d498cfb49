"""The rows of a measured table of vector kernels as arrays."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

GPUS = ("v100_pcie", "t4", "a100_pcie_40gb")

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Vector:
    """Rows of one op: tensors of `height` x `width`."""

    height: Floats
    width: Floats
    seconds: Floats

    @property
    def elements(self) -> Floats:
        return self.height * self.width


def vector_rows(folder: Path, arch: str, op: str) -> Vector:
    """The rows of `op` in a GPU's table, in its order."""
    table = csv.DictReader((folder / f"vector_fp32_{arch}.csv").read_text().splitlines())
    rows = [(float(r["rows"]), float(r["cols"]), 1e-3 * float(r["latency_ms"])) for r in table if r["op"] == op]
    return Vector(*np.array(rows).T)
