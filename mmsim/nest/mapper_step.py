"""What one more slot does to partial mappings: instances side by side, or loops in every order that matters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mmsim.nest.mapper_count import count, open_flows, settle
from mmsim.nest.mapper_flow import Flow
from mmsim.nest.mapper_orders import OrderClass
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Ints, Live, Rows, product, times, times_along
from mmsim.nest.mapper_slide import shared, slide, sliding
from mmsim.nest.mapspace import Array


def root(plan: Plan) -> Rows:
    """The one row in which nothing is decided."""
    ones = np.ones((plan.dims, 1))
    left = plan.space.sizes[:, None].copy()
    rows = Rows(
        slot=0,
        tile=ones,
        left=left,
        steps=ones,
        last_steps=ones,
        copies=dict.fromkeys(plan.groups, ones),
        last_copies=dict.fromkeys(plan.groups, ones),
        energy=np.full(1, plan.compute_pj + plan.handed_pj),
        words={channel: np.zeros(1) for channel in plan.channels},
        owed={owed: np.zeros(1) for owed in plan.owed},
        live={},
        factor=ones,
        order=np.zeros(1, dtype=np.int64),
        origin=np.zeros(1, dtype=np.int64),
        parent=None,
        family=np.zeros(1, dtype=np.int64),
    )
    open_flows(plan, rows, -1)
    return rows


def spread(plan: Plan, before: Rows, i: Ints, factor: Array) -> list[Rows]:
    """Rows `i` after a spatial slot.

    Under the innermost fan-out compute units stand side by side. Where the first spatial loop leaves a
    data space alone, a unit's neighbour had in the step before what it needs now and hands it on, so
    the data space is read again only when it changes: once for each choice of that first loop.
    """
    found = _spreads(plan, before, i, factor)
    for rows in found:
        settle(plan, rows)
    return found


def _spreads(plan: Plan, before: Rows, i: Ints, factor: Array) -> list[Rows]:
    """`spread`, reads not settled yet."""
    if not plan.is_innermost_fanout(before.slot):
        return [_spread(plan, before, i, factor)]
    if plan.cautious and plan.two_axes(before.slot):
        rows = _spread(plan, before, i, factor)
        if not plan.is_innermost_fanout(rows.slot):
            _hand_on(plan, rows)
        return [rows]
    begun = before.order[i] > 0
    plain = np.flatnonzero(begun | (factor == 1).all(axis=0))
    found = [_spread(plan, before, i[plain], factor.take(plain, axis=1))]
    found[0].order = before.order[i[plain]]
    for dims, relevant in plan.signatures:
        moves = factor[list(dims)] > 1
        here = np.flatnonzero(moves.any(axis=0) & ~begun)
        rows = _spread(plan, before, i[here], factor.take(here, axis=1))
        first = np.array(dims)[np.argmax(moves[:, here], axis=0)]
        rows.order = first + 1
        alone = np.remainder(before.left[first, i[here]], factor[first, here]) == 1  # the last one, cut
        for flow, live in rows.live.items():
            if flow.boundary.child < 0 and not relevant[flow.boundary.space] and not plan.is_unlinked(flow):
                live.open = ~alone | plan.cautious
        found.append(rows)
    return [rows for rows in found if len(rows)]


def _hand_on(plan: Plan, rows: Rows) -> None:
    """Take every word as handed on that any compute unit had in the step before."""
    used = np.prod(rows.tile, axis=0) > 1
    for flow, live in rows.live.items():
        if flow.boundary.child < 0 and not plan.is_unlinked(flow):
            live.open = used
            live.words = np.where(used, plan.whole[flow.boundary.space], live.words)
            live.runs, live.last_runs = (np.where(used, 1.0, runs) for runs in (live.runs, live.last_runs))


def _spread(plan: Plan, before: Rows, i: Ints, factor: Array) -> Rows:
    """Rows `i` after a spatial slot: equal requests of different instances are served by one read."""
    k = before.slot
    rows, pieces = grow(plan, before, i, factor)
    for flow, live in list(rows.live.items()):
        if not flow.boundary.child < k < flow.boundary.parent:
            continue
        if flow.unicast:
            live.last_runs = (pieces - 1) * live.runs + live.last_runs
            live.runs = live.runs * factor
        else:
            live.last_runs = np.where(pieces > 1, live.runs, live.last_runs)
        if flow.boundary.space in plan.halo:
            live.gap = np.where((factor > 1) & (live.fan == 1), before.tile.take(i, axis=1), live.gap)
            live.fan = live.fan * factor
            live.shared = shared(plan, flow.boundary.space, live.tile, live.fan, live.gap)
            if plan.fans_ahead(k, flow) == 0:
                live.fan = live.gap = np.empty((0, len(rows)))
    return rows


def loop(plan: Plan, before: Rows, i: Ints, factor: Array) -> list[Rows]:
    """Rows `i` after a memory's loops, once for each class of loop orders."""
    k = before.slot
    groups = plan.orders.group_dims(k)
    moves = factor > 1
    pattern = np.zeros(len(i), dtype=np.int64)
    for bit, dims in enumerate(groups):
        pattern |= moves[list(dims)].any(axis=0).astype(np.int64) << bit
    found = []
    for code in np.flatnonzero(np.bincount(pattern)):
        here = np.flatnonzero(pattern == code)
        base, pieces = grow(plan, before, i[here], factor.take(here, axis=1))
        inside = {g: times(before, g).take(i[here], axis=1) for g in (None, *plan.groups)}
        for cls in plan.orders.order_classes(k, frozenset(b for b in range(len(groups)) if code >> b & 1)):
            found.append(_ordered(plan, before, base, pieces, inside, cls))
    return found


def _ordered(
    plan: Plan, before: Rows, base: Rows, pieces: Array, inside: dict[int | None, Array], cls: OrderClass
) -> Rows:
    """A copy of `base` in which the loops stand in the order of `cls`."""
    rows = replace(
        base,
        words=dict(base.words),
        owed=dict(base.owed),
        live={flow: replace(live) for flow, live in base.live.items()},
    )
    k = before.slot
    rows.order = np.full(len(rows), plan.orders.order_code(k, cls), dtype=np.int64)
    for flow, live in list(rows.live.items()):
        space = flow.boundary.space
        closes, absorbed = cls.closing[space], cls.absorbed[space]
        if closes or not live.open.all():
            irrelevant = plan.irrelevant[space]
            kept_out = [d for d in irrelevant if d not in absorbed]
            _close(plan, rows, flow, live, pieces, inside, cls, kept_out)
    if plan.kept[k]:
        open_flows(plan, rows, k)
    return rows


def _close(
    plan: Plan,
    rows: Rows,
    flow: Flow,
    live: Live,
    pieces: Array,
    inside: dict[int | None, Array],
    cls: OrderClass,
    kept_out: list[int],
) -> None:
    """Count what the first relevant loop (if any) fixes for open rows, and go on summing closed ones."""
    space = flow.boundary.space
    absorbed = [d for d in plan.irrelevant[space] if d not in kept_out]
    closes = bool(cls.closing[space])
    if closes and space in plan.halo and live.open.any():
        starts = times(rows, plan.known(flow.child_group))
        step = rows.tile / rows.factor
        words, window = slide(plan, space, live.words, live.tile, step, rows.factor > 1, starts, cls.closing[space])
        live.words = np.where(live.open, words, live.words)
        rows.order = np.where(
            live.open & (window > 0), rows.order // (plan.dims + 1) * (plan.dims + 1) + window, rows.order
        )

    def fetches(group: int | None) -> Array:
        return times_along(rows, group, absorbed) * product(len(rows), inside[group][kept_out])

    ahead = live.runs.size > 0
    if closes:
        closing = live.open
        fills = (
            np.where(closing, live.words * fetches(plan.known(flow.child_group)), 0.0)
            if flow.fill_pj or plan.counts(flow)
            else np.zeros(len(rows))
        )
        reads = np.zeros(len(rows))
        if not ahead:
            reads = np.where(closing, live.words * live.shared * fetches(plan.known(flow.parent_group)), 0.0)
        if flow.roams and plan.cautious:
            moves = rows.factor[sliding(plan, space, cls.closing[space])] > 1
            roaming = closing & moves.any(axis=0)
            live.words = np.where(roaming, 0.0, live.words)
            reads = np.where(roaming, 0.0 if ahead else plan.whole[space], reads)
        count(plan, rows, flow, reads, fills)
    if ahead:
        irrelevant = plan.irrelevant[space]
        runs, last = live.runs.copy(), live.last_runs.copy()
        for d in irrelevant:
            summed = (~live.open) | (closes and d in kept_out)
            last[d] = np.where(summed, (pieces[d] - 1) * runs[d] + last[d], last[d])
            runs[d] = np.where(summed, runs[d] * rows.factor[d], runs[d])
        live.runs, live.last_runs = runs, last
    if closes:
        live.open = np.zeros(len(rows), dtype=bool)


def grow(plan: Plan, rows: Rows, i: Ints, factor: Array) -> tuple[Rows, Array]:
    """Rows `i` with tiles larger by `factor` (D, R'), nothing counted; and the pieces of the last tile."""
    size = plan.space.sizes[:, None]
    old = rows.tile.take(i, axis=1)
    tile = old * factor
    left = np.ceil(rows.left.take(i, axis=1) / factor)
    pieces = np.ceil((np.remainder(size - 1, tile) + 1) / old)
    steps, last_steps = rows.steps.take(i, axis=1), rows.last_steps.take(i, axis=1)
    copies = {g: a.take(i, axis=1) for g, a in rows.copies.items()}
    last_copies = {g: a.take(i, axis=1) for g, a in rows.last_copies.items()}
    if plan.slots[rows.slot].spatial:
        last_steps = np.where(pieces > 1, steps, last_steps)
        below = plan.space.fanouts_below(rows.slot)
        for g in copies:
            if g <= below:
                last_copies[g] = (pieces - 1) * copies[g] + last_copies[g]
                copies[g] = copies[g] * factor
    else:
        last_steps = (pieces - 1) * steps + last_steps
        steps = steps * factor
        last_copies = {g: np.where(pieces > 1, copies[g], a) for g, a in last_copies.items()}
    grown = Rows(
        rows.slot + 1,
        tile,
        left,
        steps,
        last_steps,
        copies,
        last_copies,
        rows.energy[i],
        {c: a[i] for c, a in rows.words.items()},
        {o: a[i] for o, a in rows.owed.items()},
        {b: live.take(i) for b, live in rows.live.items() if live.pending},
        factor,
        np.zeros(len(i), dtype=np.int64),
        i,
        rows,
        rows.family[i],
    )
    return grown, pieces
