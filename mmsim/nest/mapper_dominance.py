"""Which partial mappings another one makes superfluous: the same in all that matters later, and no cheaper."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Bools, Rows
from mmsim.nest.mapspace import Array


def undominated(plan: Plan, rows: Rows) -> Bools:
    """(R) whether the cheapest row of the same future is not cheaper in all respects."""
    key = _hash(_future(plan, rows), len(rows))
    costs = _costs(plan, rows)
    order = np.lexsort((rows.cycles, rows.bound, key))
    first = np.concatenate([[True], key[order][1:] != key[order][:-1]])
    leader = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    worse = np.ones(len(order), dtype=bool)
    for cost in costs:
        worse &= cost[leader] <= cost[order]
    keep = np.empty(len(order), dtype=bool)
    keep[order] = first | ~worse
    return keep


def _future(plan: Plan, rows: Rows) -> list[Array]:
    """Columns that decide what a row may still become and what that adds."""
    columns = [rows.family.astype(float), *rows.tile]
    if plan.space.fanouts_below(rows.slot):
        columns += [*rows.steps, *rows.last_steps]
        for g in rows.copies:
            columns += [*rows.copies[g], *rows.last_copies[g]]
        if plan.other_axis(rows.slot):
            columns += [*rows.factor, (rows.order > 0).astype(float)]
    for flow, live in rows.live.items():
        columns += [live.open.astype(float), live.shared]
        if flow.boundary.space in plan.halo:
            columns += [*np.where(live.open, live.tile, 0), *live.fan, *live.gap]
    return columns


def _costs(plan: Plan, rows: Rows) -> list[Array]:
    """Columns of which less is never worse."""
    columns = [rows.energy, *rows.words.values(), *rows.owed.values()]
    for flow, live in rows.live.items():
        if live.runs.size:
            irrelevant = plan.irrelevant[flow.boundary.space]
            columns += [np.where(live.open, 0, live.words), *live.runs[irrelevant], *live.last_runs[irrelevant]]
    return columns


def _hash(columns: list[Array], rows: int) -> npt.NDArray[np.uint64]:
    """(R) 64 bits of each row's values."""
    key = np.zeros(rows, dtype=np.uint64)
    for column in columns:
        bits = np.ascontiguousarray(column).view(np.uint64)
        key = (key ^ bits ^ (bits >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(32)
    return key
