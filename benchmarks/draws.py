"""How much an error owes to the draw of the rows that its constants were fitted on: fits on other draws.

`validation.py --left-out` runs it. Each fit starts at the committed constants, takes three rows in ten by another draw,
and is judged by the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fit import GROUPS, Constants, Group, fit, restored
from benchmarks.validation import TABLES, fitted
from mmsim import validate

EVALUATIONS = 150
DRAWS = (1, 2, 3, 4)
NAMES = ("gemm_h100", "gemm_a100", "attention", "linear_ampere")


def draw_figures(measured: Path) -> list[dict[str, Any]]:
    """For each group of one table, the errors of the rows not fitted on, one for each draw."""
    return [_of(GROUPS[name], measured) for name in NAMES]


def _of(group: Group, measured: Path) -> dict[str, Any]:
    ((file, op),) = group.tables
    _, _, dtype, arch, mode, *_ = next(table for table in TABLES if table[0] == file)
    found = []
    for draw in DRAWS:
        with restored():
            constants = Constants()
            fit(group, measured, constants, EVALUATIONS, draw)
            pairs = validate.kernels(measured / f"{file}.csv", op, dtype, constants.arch(arch), mode)
        seen = fitted(len(pairs), draw)
        found.append(100 * float(np.mean([abs(pair.error) for pair, one in zip(pairs, seen, strict=True) if not one])))
    return {"op": op, "arch": arch, "mape_percent": found}
