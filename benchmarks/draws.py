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
NAMES = ("gemm_h100", "gemm_a100", "attention", "linear")


def draw_figures(measured: Path) -> list[dict[str, Any]]:
    """For each table of the groups, the errors of the rows not fitted on, one for each draw."""
    return [row for name in NAMES for row in _of(GROUPS[name], measured)]


def _of(group: Group, measured: Path) -> list[dict[str, Any]]:
    found = [{"op": op, "arch": _table(file)[3], "mape_percent": []} for file, op in group.tables]
    for draw in DRAWS:
        with restored():
            constants = Constants()
            fit(group, measured, constants, EVALUATIONS, draw)
            for row, (file, op) in zip(found, group.tables, strict=True):
                row["mape_percent"].append(_unseen(file, op, measured, constants, draw))
    return found


def _unseen(file: str, op: str, measured: Path, constants: Constants, draw: int) -> float:
    """MAPE of the rows that the fit did not see."""
    _, _, dtype, arch, mode, *_ = _table(file)
    pairs = validate.kernels(measured / f"{file}.csv", op, dtype, constants.arch(arch), mode)
    seen = fitted(len(pairs), draw)
    return 100 * float(np.mean([abs(pair.error) for pair, one in zip(pairs, seen, strict=True) if not one]))


def _table(file: str) -> tuple[Any, ...]:
    return next(table for table in TABLES if table[0] == file)
