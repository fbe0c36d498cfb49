"""Many partial mappings at once, as columns of numpy arrays, and what one more slot does to them.

A row is a mapping decided from the compute up to some slot. Per dimension it knows the tile so far
(`tile`), how many of them cover the dimension (`left`), and the time steps of a full tile and of the
last, cut one (`steps`, `last_steps`). Counts are exact for cut tiles: per dimension they are always
(left - 1) x that of a full tile + that of the last one, and a data space's count is the product over
the dimensions that do not index it times the words of its distinct tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapper_plan import Flow, OrderClass, Owed, Plan
from mmsim.nest.mapspace import Array

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass
class Live:
    """A boundary whose traffic is not all counted yet, for each row.

    While `open`, no loop over a dimension of the data space has been met above the child: what is
    inside keeps the tile. Then each dimension's refetches are summed (`runs`, `last_runs`) until the
    last fan-out below the parent has had its chance to serve equal requests with one read.
    """

    open: Bools  # (R)
    words: Array  # (R) words of the distinct tiles, sliding windows already subtracted
    tile: Array  # (D, R) the child's tile; empty unless windows overlap
    fan: Array  # (D, R) spatial factors since the child; empty unless windows overlap
    gap: Array  # (D, R) how far apart instances lie
    shared: Array  # (R) part of the words left when instances with equal tiles are served at once
    runs: Array  # (D, R)
    last_runs: Array  # (D, R)

    @property
    def pending(self) -> bool:
        """Whether anything is still to be counted."""
        return bool(self.runs.size or self.open.any())

    def take(self, i: Ints) -> Live:
        """The rows `i`."""
        columns = (getattr(self, name) for name in Live.__dataclass_fields__)
        picked: list[Any] = [a[..., i] if len(a) else np.empty((0, len(i))) for a in columns]
        return Live(*picked)


@dataclass
class Rows:
    """Partial mappings in columns; `parent` and `origin` lead back to the rows they grew from."""

    slot: int  # the next slot to decide
    tile: Array  # (D, R)
    left: Array  # (D, R)
    steps: Array  # (D, R)
    last_steps: Array  # (D, R)
    copies: dict[int, Array]  # fan-outs below -> (D, R) instances of one dimension's tiles
    last_copies: dict[int, Array]
    energy: Array  # (R) pJ counted so far
    words: dict[tuple[int, str], Array]  # (slot, "read" | "write") -> (R) words, where bandwidth is finite
    owed: dict[Owed, Array]  # (R) words of outputs of which the first accesses will be free
    live: dict[Flow, Live]
    factor: Array  # (D, R) factors at the slot before
    order: Ints  # (R) code of the loop order at the slot before
    origin: Ints  # (R) row of `parent`
    parent: Rows | None
    family: Ints  # (R) rows of one family compete for places in a beam
    bound: Array = field(default_factory=lambda: np.empty(0))  # (R) lower bound of the energy
    cycles: Array = field(default_factory=lambda: np.empty(0))  # (R) lower bound of the cycles
    guess: Array = field(default_factory=lambda: np.empty(0))  # (R) energy by which rows are put in order
    fixed: Array = field(default_factory=lambda: np.empty(0))  # (R) lower bound without open boundaries
    now: Array = field(default_factory=lambda: np.empty((2, 0, 0)))  # (2, S, R) of those, if refetched as of now
    least: Array = field(default_factory=lambda: np.empty((2, 0, 0)))  # (2, S, R) of those, if they keep their tile
    tally: dict[Flow, tuple[float, float]] | None = None  # reads and fills of a single row, where wanted

    def __len__(self) -> int:
        return len(self.energy)

    def take(self, i: Ints) -> Rows:
        """The rows `i`."""
        return Rows(
            self.slot,
            self.tile[:, i],
            self.left[:, i],
            self.steps[:, i],
            self.last_steps[:, i],
            {g: a[:, i] for g, a in self.copies.items()},
            {g: a[:, i] for g, a in self.last_copies.items()},
            self.energy[i],
            {c: a[i] for c, a in self.words.items()},
            {o: a[i] for o, a in self.owed.items()},
            {b: live.take(i) for b, live in self.live.items()},
            self.factor[:, i],
            self.order[i],
            self.origin[i],
            self.parent,
            self.family[i],
            self.bound[i] if self.bound.size else self.bound,
            self.cycles[i] if self.cycles.size else self.cycles,
            self.guess[i] if self.guess.size else self.guess,
            self.fixed[i] if self.fixed.size else self.fixed,
            self.now[:, :, i] if self.now.size else self.now,
            self.least[:, :, i] if self.least.size else self.least,
        )


def _join_live(parts: list[Live]) -> Live:
    columns: list[Any] = [
        np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in Live.__dataclass_fields__
    ]
    return Live(*columns)


def join(parts: list[Rows]) -> Rows:
    """Rows of the same slot and parent, one after another."""
    a = parts[0]

    def cat(arrays: list[Array]) -> Array:
        return np.concatenate(arrays, axis=-1)

    live = {b: _join_live([p.live[b] for p in parts]) for b in a.live}
    return Rows(
        a.slot,
        cat([p.tile for p in parts]),
        cat([p.left for p in parts]),
        cat([p.steps for p in parts]),
        cat([p.last_steps for p in parts]),
        {g: cat([p.copies[g] for p in parts]) for g in a.copies},
        {g: cat([p.last_copies[g] for p in parts]) for g in a.copies},
        cat([p.energy for p in parts]),
        {c: cat([p.words[c] for p in parts]) for c in a.words},
        {o: cat([p.owed[o] for p in parts]) for o in a.owed},
        live,
        cat([p.factor for p in parts]),
        np.concatenate([p.order for p in parts]),
        np.concatenate([p.origin for p in parts]),
        a.parent,
        np.concatenate([p.family for p in parts]),
        cat([p.bound for p in parts]),
        cat([p.cycles for p in parts]),
        cat([p.guess for p in parts]),
        cat([p.fixed for p in parts]),
        cat([p.now for p in parts]),
        cat([p.least for p in parts]),
    )


def root(plan: Plan, *, tally: bool = False) -> Rows:
    """The one row in which nothing is decided; with `tally`, reads and fills are noted flow by flow."""
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
        energy=np.full(1, plan.compute_pj),
        words={channel: np.zeros(1) for channel in plan.channels},
        owed={owed: np.zeros(1) for owed in plan.owed},
        live={},
        factor=ones,
        order=np.zeros(1, dtype=np.int64),
        origin=np.zeros(1, dtype=np.int64),
        parent=None,
        family=np.zeros(1, dtype=np.int64),
        tally={} if tally else None,
    )
    open_flows(plan, rows, -1)
    return rows


def open_flows(plan: Plan, rows: Rows, child: int) -> None:
    """Begin counting at the boundaries above slot `child`."""
    for flow in plan.flows:
        if flow.boundary.child != child:
            continue
        spans = plan.fans_ahead(child, flow) > 0
        space = flow.boundary.space
        empty = np.empty((0, len(rows)))
        live = Live(
            open=np.full(len(rows), flow.keeps),
            words=plan.distinct_words(space, rows.tile),
            tile=rows.tile if space in plan.halo else empty,
            fan=np.ones_like(rows.tile) if space in plan.halo else empty,
            gap=rows.tile if space in plan.halo else empty,
            shared=np.ones(len(rows)),
            runs=np.ones_like(rows.tile) if spans else empty,
            last_runs=np.ones_like(rows.tile) if spans else empty,
        )
        if not flow.keeps and not spans:
            count(
                plan, rows, flow, live.words * np.prod(rows.left[plan.irrelevant[space]], axis=0), np.zeros(len(rows))
            )
        else:
            rows.live[flow] = live


def count(plan: Plan, rows: Rows, flow: Flow, reads: Array, fills: Array) -> None:
    """Add words to the energy and to the channels that they use."""
    reads_pj, fills_pj = flow.read_pj - flow.first_read_pj, flow.fill_pj - flow.first_fill_pj
    rows.energy = rows.energy + reads * reads_pj + fills * fills_pj
    if rows.tally is not None:
        so_far = rows.tally.get(flow, (0.0, 0.0))
        rows.tally[flow] = so_far[0] + float(reads[0]), so_far[1] + float(fills[0])
    for owed, words in ((Owed(flow, False), reads), (Owed(flow, True), fills)):
        if owed in rows.owed:
            rows.owed[owed] = rows.owed[owed] + words
    for channel, by_fills, _ in plan.uses(flow):
        words = fills if by_fills else reads
        rows.words[channel] = rows.words[channel] + words * plan.scale(channel[0], flow.boundary.space)


def grow(plan: Plan, rows: Rows, i: Ints, factor: Array) -> tuple[Rows, Array]:
    """Rows `i` with tiles larger by `factor` (D, R'), nothing counted; and the pieces of the last tile."""
    size = plan.space.sizes[:, None]
    old = rows.tile[:, i]
    tile = old * factor
    left = np.ceil(rows.left[:, i] / factor)
    pieces = np.ceil((np.remainder(size - 1, tile) + 1) / old)
    steps, last_steps = rows.steps[:, i], rows.last_steps[:, i]
    copies = {g: a[:, i] for g, a in rows.copies.items()}
    last_copies = {g: a[:, i] for g, a in rows.last_copies.items()}
    if plan.slots[rows.slot].spatial:
        last_steps = np.where(pieces > 1, steps, last_steps)
        below = plan.fanouts_below(rows.slot)
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
    grown.tally = None if rows.tally is None else dict(rows.tally)
    return grown, pieces


def times(rows: Rows, group: int | None) -> Array:
    """(D, R) instances of tiles along each dimension, fan-outs from `group` on counted one by one."""
    if group is None or group not in rows.copies:
        return rows.left
    return (rows.left - 1) * rows.copies[group] + rows.last_copies[group]


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
    begun = before.order[i] > 0
    plain = np.flatnonzero(begun | (factor == 1).all(axis=0))
    found = [_spread(plan, before, i[plain], factor[:, plain])]
    found[0].order = before.order[i[plain]]
    for dims, relevant in plan.signatures:
        moves = factor[list(dims)] > 1
        here = np.flatnonzero(moves.any(axis=0) & ~begun)
        rows = _spread(plan, before, i[here], factor[:, here])
        first = np.array(dims)[np.argmax(moves[:, here], axis=0)]
        rows.order = first + 1
        alone = np.remainder(before.left[first, i[here]], factor[first, here]) == 1  # the last one, cut
        for flow, live in rows.live.items():
            if flow.boundary.child < 0 and not relevant[flow.boundary.space] and not plan.is_unlinked(flow):
                live.open = ~alone
        found.append(rows)
    return [rows for rows in found if len(rows)]


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
            live.gap = np.where((factor > 1) & (live.fan == 1), before.tile[:, i], live.gap)
            live.fan = live.fan * factor
            live.shared = plan.shared(flow.boundary.space, live.tile, live.fan, live.gap)
            if plan.fans_ahead(k, flow) == 0:
                live.fan = live.gap = np.empty((0, len(rows)))
    return rows


def settle(plan: Plan, rows: Rows) -> None:
    """Count the reads of closed rows of boundaries whose last fan-out was the slot before."""
    k = rows.slot - 1
    for flow, live in rows.live.items():
        if not flow.boundary.child < k < flow.boundary.parent or plan.fans_ahead(k, flow):
            continue
        irrelevant = plan.irrelevant[flow.boundary.space]
        runs = (rows.left[irrelevant] - 1) * live.runs[irrelevant] + live.last_runs[irrelevant]
        reads = live.words * live.shared * np.prod(runs, axis=0)
        count(plan, rows, flow, np.where(live.open, 0.0, reads), np.zeros(len(rows)))
        live.runs = live.last_runs = np.empty((0, len(rows)))


def loop(plan: Plan, before: Rows, i: Ints, factor: Array) -> list[Rows]:
    """Rows `i` after a memory's loops, once for each class of loop orders."""
    k = before.slot
    groups = plan.group_dims(k)
    moves = factor > 1
    pattern = np.zeros(len(i), dtype=np.int64)
    for bit, dims in enumerate(groups):
        pattern |= moves[list(dims)].any(axis=0).astype(np.int64) << bit
    found = []
    for code in np.unique(pattern):
        here = np.flatnonzero(pattern == code)
        base, pieces = grow(plan, before, i[here], factor[:, here])
        inside = {g: times_before(before, i[here], g) for g in (None, *plan.groups)}
        for cls in plan.order_classes(k, frozenset(b for b in range(len(groups)) if code >> b & 1)):
            found.append(_ordered(plan, before, base, pieces, inside, cls))
    return found


def times_before(before: Rows, i: Ints, group: int | None) -> Array:
    """`times` of the rows `i` before the slot."""
    if group is None or group not in before.copies:
        return before.left[:, i]
    return (before.left[:, i] - 1) * before.copies[group][:, i] + before.last_copies[group][:, i]


def _ordered(
    plan: Plan, before: Rows, base: Rows, pieces: Array, inside: dict[int | None, Array], cls: OrderClass
) -> Rows:
    """A copy of `base` in which the loops stand in the order of `cls`."""
    rows = replace(
        base,
        words=dict(base.words),
        owed=dict(base.owed),
        live={flow: replace(live) for flow, live in base.live.items()},
        tally=None if base.tally is None else dict(base.tally),
    )
    k = before.slot
    rows.order = np.full(len(rows), plan.order_code(k, cls), dtype=np.int64)
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
        words, window = plan.slide(space, live.words, live.tile, step, rows.factor > 1, starts, cls.closing[space])
        live.words = np.where(live.open, words, live.words)
        rows.order = np.where(
            live.open & (window > 0), rows.order // (plan.dims + 1) * (plan.dims + 1) + window, rows.order
        )

    def product(group: int | None) -> Array:
        whole = times(rows, group)
        return np.asarray(np.prod(whole[absorbed], axis=0) * np.prod(inside[group][kept_out], axis=0))

    ahead = live.runs.size > 0
    if closes:
        closing = live.open
        fills = (
            np.where(closing, live.words * product(plan.known(flow.child_group)), 0.0)
            if flow.fill_pj or plan.counts(flow)
            else np.zeros(len(rows))
        )
        reads = np.zeros(len(rows))
        if not ahead:
            reads = np.where(closing, live.words * live.shared * product(plan.known(flow.parent_group)), 0.0)
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


def finish(plan: Plan, rows: Rows) -> None:
    """Count what is still open when every loop is placed, and what first reads and fills save."""
    for flow, live in list(rows.live.items()):
        irrelevant = plan.irrelevant[flow.boundary.space]

        def product(group: int, irrelevant: list[int] = irrelevant) -> Array:
            return np.asarray(np.prod(times(rows, plan.known(group))[irrelevant], axis=0))

        reads = np.where(live.open, live.words * live.shared * product(flow.parent_group), 0.0)
        fills = np.where(live.open, live.words * product(flow.child_group), 0.0)
        count(plan, rows, flow, reads, fills)
        del rows.live[flow]
    for owed, words in rows.owed.items():
        space = owed.flow.boundary.space
        copies = np.prod(times(rows, plan.known(owed.group))[plan.irrelevant[space]], axis=0)
        rows.energy = rows.energy + owed.pj * (words - plan.whole[space] * copies)
    _spare_first(plan, rows)


def _spare_first(plan: Plan, rows: Rows) -> None:
    """Take the first reads and fills of outputs out of the bandwidth used."""
    for flow in plan.flows:
        space = flow.boundary.space
        for channel, _, spared in plan.uses(flow):
            if spared is not None:
                copies = np.prod(times(rows, plan.known(spared))[plan.irrelevant[space]], axis=0)
                first = plan.whole[space] * copies * plan.scale(channel[0], space)
                rows.words[channel] = rows.words[channel] - first
