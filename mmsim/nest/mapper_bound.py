"""Lower bounds: what any completion of a partial mapping must still cost."""

from __future__ import annotations

import numpy as np

from mmsim.nest.mapper_plan import Flow, Plan
from mmsim.nest.mapper_rows import Live, Rows, times
from mmsim.nest.mapspace import Array


def bound(plan: Plan, rows: Rows) -> None:
    """Fill in `rows.bound` and `rows.cycles`, the least energy and cycles of any completion.

    A continuation costs no less than what it continues, so its parent's bounds hold too.
    """
    rows.cycles = cycles_bound(plan, rows)
    leak = sum(plan.leak_pj.values()) * rows.cycles
    closed, rows.now, rows.least = _pending(plan, rows, spare=True)
    rows.fixed = rows.energy + leak + _owed(plan, rows) + closed + plan.future(rows.slot)
    rows.bound = rows.fixed + _first_loop(plan, rows, rows.now, rows.least)
    rows.guess = rows.bound
    if plan.fan_ahead(rows.slot) > 1:
        charged = sum((owed.pj * words for owed, words in rows.owed.items()), start=leak)
        closed, now, least = _pending(plan, rows, spare=False)
        rows.guess = rows.energy + charged + closed + plan.future(rows.slot) + _first_loop(plan, rows, now, least)
    if rows.parent is not None:
        rows.cycles = np.maximum(rows.cycles, rows.parent.cycles[rows.origin])
        rows.bound = np.maximum(rows.bound, rows.parent.bound[rows.origin])


def cycles_bound(plan: Plan, rows: Rows) -> Array:
    """Time steps if every fan-out to come were used in full, or what counted words need."""
    steps = np.prod((rows.left - 1) * rows.steps + rows.last_steps, axis=0)
    cycles = np.ceil(np.maximum(steps / plan.fan_ahead(rows.slot), plan.least_cycles))
    for k in {k for k, _ in rows.words}:
        most = plan.most_instances[k]
        reads, writes = rows.words[k, "read"] / most, rows.words[k, "write"] / most
        for words, limit in zip((reads, writes, reads + writes), plan.rates(k), strict=True):
            if limit is not None:
                cycles = np.maximum(cycles, np.floor(words / limit))
    return np.asarray(cycles + plan.latency)


def _pending(plan: Plan, rows: Rows, *, spare: bool) -> tuple[Array, Array, Array]:
    """What boundaries begun must still cost: closed ones (R); open ones of each data space (S, R) if refetched
    as of now, and if they keep their tile as long as they can.

    With `spare`, these are lower bounds. Without, they serve to put rows in order: first accesses
    count in full, and of the instances to come each data space is served by a share at once.
    """
    total = np.zeros(len(rows))
    now = np.zeros((len(plan.space.spaces), len(rows)))
    least = np.zeros_like(now)
    for flow, live in rows.live.items():
        closed, at_once, at_least = _flow_bounds(plan, rows, flow, live, spare)
        total += closed
        now[flow.boundary.space] += at_once
        least[flow.boundary.space] += at_least
    return total, now, least


def _first_loop(plan: Plan, rows: Rows, now: Array, least: Array) -> Array:
    """(R) the least cost of open boundaries.

    The innermost loop still to come is of some dimension: data spaces that it indexes are refetched
    as of now, only the others may yet keep their tiles. The bound is the best of these cases.
    """
    best = np.full(len(rows), np.inf)
    for dims, relevant in plan.signatures:
        moves = (rows.left[list(dims)] > 1).any(axis=0)
        cost = np.where(np.array(relevant)[:, None], now, least).sum(axis=0)
        best = np.where(moves, np.minimum(best, cost), best)
    return np.where(np.isfinite(best), best, least.sum(axis=0))


def _flow_bounds(plan: Plan, rows: Rows, flow: Flow, live: Live, spare: bool) -> tuple[Array, Array, Array]:
    """Cost of closed rows; of open rows when they close at once; of open rows when they keep their tile."""
    space = flow.boundary.space
    irrelevant = plan.irrelevant[space]
    ahead = plan.fan_between(rows.slot, flow)
    if not spare:
        ahead = ahead ** (1 / len(plan.space.spaces))
    whole = plan.whole[space]
    words = live.words * live.shared
    most = [
        _most_copies(plan, rows, group, irrelevant) if spare else np.zeros(len(rows))
        for group in (flow.parent_group, flow.child_group)
    ]
    zero = np.zeros(len(rows))
    closed = zero
    if live.runs.size:
        runs = (rows.left[irrelevant] - 1) * live.runs[irrelevant] + live.last_runs[irrelevant]
        reads = np.maximum(whole, words * np.prod(runs, axis=0) / ahead)
        if flow.boundary.child < 0 and plan.is_innermost_fanout(rows.slot):
            reads = np.full(len(rows), whole)  # neighbours may yet hand on what the parent read once
        closed = np.where(live.open, 0.0, flow.net_pj(reads, zero, whole * most[0], zero))
    slid = plan.least_slide(space, live.tile) if space in plan.halo else 1.0
    child, parent = times(rows, plan.known(flow.child_group)), times(rows, plan.known(flow.parent_group))
    reads = np.maximum(whole, slid * words * np.prod(parent[irrelevant], axis=0) / ahead)
    fills = slid * live.words * np.prod(child[irrelevant], axis=0)
    at_once = flow.net_pj(reads, fills, whole * most[0], whole * most[1])
    reads = np.maximum(whole, slid * words * _once(plan, rows, flow.parent_group, irrelevant) / ahead)
    fills = slid * live.words * _once(plan, rows, flow.child_group, irrelevant)
    at_least = flow.net_pj(reads, fills, whole * most[0], whole * most[1])
    return closed, np.where(live.open, at_once, zero), np.where(live.open, at_least, zero)


def _once(plan: Plan, rows: Rows, group: int, irrelevant: list[int]) -> Array:
    """(R) instances that must be filled once at least."""
    g = plan.known(group)
    if g is None:
        return np.ones(len(rows))
    copies = np.where(rows.left > 1, rows.copies[g], rows.last_copies[g])
    return np.asarray(np.prod(copies[irrelevant], axis=0))


def _most_copies(plan: Plan, rows: Rows, group: int, irrelevant: list[int]) -> Array:
    """(R) instances among which an output's words may be spread at most, each sparing its first access."""
    ahead = np.minimum(plan.fan_ahead(rows.slot, group), np.prod(rows.left[irrelevant], axis=0))
    return np.asarray(_once(plan, rows, group, irrelevant) * ahead)


def _owed(plan: Plan, rows: Rows) -> Array:
    """(R) what output words counted so far must still add to the energy, first accesses being free."""
    total = np.zeros(len(rows))
    for owed, words in rows.owed.items():
        space = owed.flow.boundary.space
        free = plan.whole[space] * _most_copies(plan, rows, owed.group, plan.irrelevant[space])
        total += owed.pj * np.maximum(0.0, words - free)
    return total


def instances(plan: Plan, rows: Rows, k: int) -> Array:
    """(R) instances of slot `k`'s memory in use, once every slot is decided."""
    g = plan.known(plan.fanouts_below(k))
    return np.ones(len(rows)) if g is None else np.asarray(np.prod(rows.last_copies[g], axis=0))


def complete(plan: Plan, rows: Rows) -> None:
    """Fill in energy and cycles of complete mappings: computing, or the slowest memory; leakage all the while."""
    computing = np.prod(rows.last_steps, axis=0)
    cycles = computing
    for k in {k for k, _ in rows.words}:
        used = instances(plan, rows, k)
        reads, writes = rows.words[k, "read"] / used, rows.words[k, "write"] / used
        for words, limit in zip((reads, writes, reads + writes), plan.rates(k), strict=True):
            if limit is not None:  # in `evaluate`'s order of operations, so that it rounds alike
                slowdown = np.minimum(1.0, limit / np.maximum(words / computing, 1e-300))
                cycles = np.maximum(cycles, np.ceil(computing / slowdown))
    for k, leak in plan.leak_pj.items():
        if leak:
            rows.energy = rows.energy + leak * cycles * instances(plan, rows, k)
    rows.cycles = cycles + plan.latency
    rows.bound = rows.guess = rows.fixed = rows.energy
    rows.now = rows.least = np.empty((0, len(rows)))
