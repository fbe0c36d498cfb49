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

Wins: TypeAlias = Callable[[Array, Array], npt.NDArray[np.bool_]]
"""(least energy, least cycles) -> whether that would be better than the best mapping found."""


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
    if not len(i):
        return i, np.empty(0)
    every = np.concatenate(tables)
    each = count[kind]
    position = np.repeat(np.arange(len(i)), each)
    offset = np.arange(len(position)) - np.repeat(np.cumsum(each) - each, each)
    return position, every[start[kind][position] + offset]


def grow_factors(plan: Plan, rows: Rows, i: Ints, wins: Wins) -> tuple[Ints, Array]:
    """Every choice of factors for the rows `i` that fits and may win: (origins, factors (D, R'))."""
    slot = plan.slots[rows.slot]
    chosen: list[Array] = []
    for d in range(plan.dims):
        position, factor = choices(plan, rows, i, d)
        i = i[position]
        chosen = [c[position] for c in chosen] + [factor]
        keep = _possible(plan, rows, slot, i, chosen)
        i, chosen = i[keep], [c[keep] for c in chosen]
        keep = wins(*_hopes(plan, rows, i, chosen))
        i, chosen = i[keep], [c[keep] for c in chosen]
    return i, np.array(chosen).reshape(plan.dims, len(i))


def _hopes(plan: Plan, rows: Rows, i: Ints, chosen: list[Array]) -> tuple[Array, Array]:
    """The least energy and cycles of any completion of half-made choices."""
    energy, cycles = rows.bound[i], rows.cycles[i]
    k = rows.slot
    left = [np.ceil(rows.left[d, i] / factor) for d, factor in enumerate(chosen)]
    if k in plan.tables:
        table = plan.tables[k]
        energy = energy - table.minimum + table.at(left)
    if plan.slots[k].spatial:
        steps = np.ones(len(i))
        for d in range(plan.dims):
            n = left[d] if d < len(chosen) else rows.left[d, i]
            # the last tile may be a short one: then its steps are those of the last tile inside it
            steps = steps * ((n - 1) * rows.steps[d, i] + rows.last_steps[d, i])
        room = plan.slots[k].mesh / np.prod(chosen, axis=0) if len(chosen) < plan.dims else 1.0
        cycles = np.maximum(cycles, steps / (plan.fan_ahead(k + 1) * room))
    return energy, cycles


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
