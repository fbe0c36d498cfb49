"""From partial mappings to all their continuations at the next slot, dropping those that cannot fit or win."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapper_bound import fits
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Ints, Rows
from mmsim.nest.mapspace import Array, Slot, factors

Hopeful: TypeAlias = Callable[[Ints, Array], npt.NDArray[np.bool_]]
"""(origins, factors so far) -> which of them may still lead to something better."""


@lru_cache(maxsize=65536)
def _choices(tiles: int, low: int, high: int) -> npt.NDArray[np.float64]:
    """Factors between `low` and `high` worth trying on a dimension that `tiles` tiles cover."""
    inside = [f for f in factors(tiles) if low < f <= high]
    return np.array([low, *inside] if low <= tiles else [], dtype=float)


def choices(plan: Plan, rows: Rows, i: Ints, d: int) -> tuple[Ints, Array]:
    """For each row, every factor of dimension `d`: (positions in `i`, factors)."""
    slot = plan.slots[rows.slot]
    left = rows.left[d, i]
    low, high = plan.limits(rows.slot, d)
    values, kind = np.unique(left, return_inverse=True)
    if rows.slot == plan.last:  # the outermost memory's loops do whatever is left
        tables = [np.array([v]) if low <= v <= high else np.empty(0) for v in values]
    else:
        tables = [_choices(int(v), low, min(high, slot.mesh) if slot.spatial else high) for v in values]
    count = np.array([len(t) for t in tables])
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    every = np.concatenate(tables)
    each = count[kind]
    position = np.repeat(np.arange(len(i)), each)
    offset = np.arange(len(position)) - np.repeat(np.cumsum(each) - each, each)
    return position, every[start[kind][position] + offset]


def grow_factors(plan: Plan, rows: Rows, i: Ints) -> tuple[Ints, Array]:
    """Every choice of factors for the rows `i` that fits: (origins, factors (D, R'))."""
    slot = plan.slots[rows.slot]
    chosen: list[Array] = []
    for d in range(plan.dims):
        position, factor = choices(plan, rows, i, d)
        i = i[position]
        chosen = [c[position] for c in chosen] + [factor]
        keep = _possible(plan, rows, slot, i, chosen)
        i, chosen = i[keep], [c[keep] for c in chosen]
    return i, np.array(chosen).reshape(plan.dims, len(i))


def _possible(plan: Plan, rows: Rows, slot: Slot, i: Ints, chosen: list[Array]) -> npt.NDArray[np.bool_]:
    """Whether tiles fit and fan-outs suffice, with the dimensions after the chosen ones left as they are."""
    d = len(chosen) - 1
    keep = np.ones(len(i), dtype=bool)
    if slot.spatial:
        keep &= np.prod(chosen, axis=0) <= slot.mesh
        other = plan.other_axis(rows.slot)
        if other:
            keep &= (chosen[d] == 1) | (rows.factor[d, i] == 1)
    if rows.slot < plan.last:
        tile = rows.tile[:, i]
        tile[: d + 1] *= chosen
        keep &= fits(plan, rows.slot, tile)
    return keep

