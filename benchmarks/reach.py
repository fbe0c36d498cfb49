"""The rank correlation and the error that smooth functions of the shape reach on a table of vector kernels.

`validation.py` runs it. Each row's rank and time are estimated from all other rows of its op: the model's, corrected by
a local linear regression over the logarithm of the elements (pointwise ops, which run over the elements of contiguous
tensors whatever their rows) or of rows and columns (softmax, layer norm), the best of several widths or none. No bound
in the strict sense, and generous: the width is chosen in view of the result, and rows tell which were taken together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.vector_rows import GPUS, Floats, vector_rows
from mmsim import validate
from mmsim.arch import load

OPS = (*(op for op in validate.ELEMENTWISE_INPUTS if op not in ("sub", "sigmoid", "silu")), *validate.ROW_OPS)
WIDTHS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0, 2.0)  # octaves

Part: TypeAlias = tuple[Floats, Floats, Floats]
"""The shapes of an op's rows (logarithms), measured and predicted times."""


def reach_figures(folder: Path) -> list[dict[str, Any]]:
    """For each GPU and op, and for the whole table: rank correlation and MAPE of the model and of the regression."""
    return [row for arch in GPUS for row in _of(folder, arch)]


def _of(folder: Path, arch: str) -> list[dict[str, Any]]:
    parts = [_part(folder, arch, op) for op in OPS]
    found = [{"arch": arch, "op": op} | _ranks([part]) | _mapes(part) for op, part in zip(OPS, parts, strict=True)]
    return [*found, {"arch": arch, "op": "all"} | _ranks(parts)]


def _part(folder: Path, arch: str, op: str) -> Part:
    rows = vector_rows(folder, arch, op)
    pairs = validate.kernels(folder / f"vector_fp32_{arch}.csv", op, "fp32", load(arch), "eager")
    shape = np.log2([rows.height, rows.width] if op in validate.ROW_OPS else [rows.elements]).T
    return shape, rows.seconds, np.array([pair.predicted_s for pair in pairs])


def _ranks(parts: Sequence[Part]) -> dict[str, float]:
    """Of some ops together, each op's ranks among all corrected by themselves."""
    measured, predicted = (np.concatenate([part[side] for part in parts]) for side in (1, 2))
    true, ours = (validate.ranks(side) for side in (measured, predicted))
    ends = np.cumsum([len(part[1]) for part in parts])[:-1]
    off = list(zip(parts, np.split(true - ours, ends), strict=True))
    tries = [ours + np.concatenate([from_the_others(part[0], some, width) for part, some in off]) for width in WIDTHS]
    return {
        "rank": validate.spearman(measured, predicted),
        "reach": max(validate.spearman(measured, tried) for tried in (predicted, *tries)),
    }


def _mapes(part: Part) -> dict[str, float]:
    shape, measured, predicted = part
    off = np.log(predicted / measured)
    errors = [_mape(off), *(_mape(off - from_the_others(shape, off, width)) for width in WIDTHS)]
    return {"mape": errors[0], "mape_reach": min(errors)}


def from_the_others(shape: Floats, values: Floats, width: float) -> Floats:
    """Each value estimated from all others by a local linear regression over `shape`, weighted by a Gaussian."""
    step = shape[None] - shape[:, None]
    weight = np.exp(-(step**2).sum(-1) / (2 * width**2))
    np.fill_diagonal(weight, 0.0)
    terms = np.concatenate([np.ones_like(step[..., :1]), step], axis=-1)
    weighted = weight[..., None] * terms
    damping = 1e-6 * np.maximum(weight.sum(1), 1e-9)[:, None, None] * np.eye(terms.shape[-1])
    left = np.swapaxes(weighted, 1, 2) @ terms + damping
    right = np.swapaxes(weighted, 1, 2) @ values[:, None]
    return np.asarray(np.linalg.solve(left, right)[:, 0, 0])


def _mape(logarithms: Floats) -> float:
    return float(100 * np.abs(np.exp(logarithms) - 1).mean())
