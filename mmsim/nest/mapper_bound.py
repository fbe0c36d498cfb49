"""Lower bounds: what any completion of a partial mapping must still cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsim.nest.mapper_cycles import Moved, cycles, instances, least_cycles, most_copies, once_copies
from mmsim.nest.mapper_flow import Flow
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Bools, Live, Rows, times_along
from mmsim.nest.mapspace import Array


def bound(plan: Plan, rows: Rows) -> None:
    """Fill in `rows.bound` and `rows.cycles`, the least energy and cycles of any completion.

    A continuation costs no less than what it continues, so its parent's bounds hold too.
    """
    rows.now, rows.least, moved = pending(plan, rows, spare=True)
    rows.cycles = least_cycles(plan, rows, moved)
    leak = sum(plan.leak_pj.values()) * rows.cycles
    rows.fixed = rows.energy + leak + _owed(plan, rows) + plan.future(rows.slot)
    rows.bound = rows.fixed + _first_loop(plan, rows, rows.now, rows.least)
    if rows.parent is not None:
        rows.cycles = np.maximum(rows.cycles, rows.parent.cycles[rows.origin])
        rows.bound = np.maximum(rows.bound, rows.parent.bound[rows.origin])
    rows.guess = rows.bound


def guess(plan: Plan, rows: Rows) -> None:
    """Fill in `rows.guess`, the energy that a completion is likely to cost: where fan-outs are still to
    come a bound says little."""
    if rows.slot <= plan.last and plan.fan_ahead(rows.slot) > 1:
        leak = sum(plan.leak_pj.values()) * rows.cycles
        charged = sum((owed.pj * words for owed, words in rows.owed.items()), start=leak)
        now, least, _ = pending(plan, rows, spare=False)
        rows.guess = rows.energy + charged + plan.future(rows.slot) + _first_loop(plan, rows, now, least)


def pending(plan: Plan, rows: Rows, *, spare: bool) -> tuple[Array, Array, dict[Flow, Moved]]:
    """(2, S, R) twice: what boundaries begun must still cost if refetched as of now, and if they keep their tile
    as long as they can. First what no fan-out to come can lessen; then reads that it may serve together, were
    each instance served alone. And the least that each flow must still move.

    With `spare`, these are lower bounds. Without, they serve to put rows in order: first accesses
    count in full, and of the instances to come each data space is served by a share at once.
    """
    now = np.zeros((2, len(plan.space.spaces), len(rows)))
    least = np.zeros_like(now)
    moved = {}
    for flow, live in rows.live.items():
        at_once, at_least, moved[flow] = _flow_bounds(plan, rows, flow, live, spare)
        now[:, flow.boundary.space] += at_once
        least[:, flow.boundary.space] += at_least
    return now, least, moved


def _first_loop(plan: Plan, rows: Rows, now: Array, least: Array) -> Array:
    """(R) the least cost of open boundaries.

    The innermost loop still to come is of some dimension: data spaces that it indexes are refetched
    as of now, only the others may yet keep their tiles. The bound is the best of these cases.
    """
    moves = [np.asarray((rows.left[list(dims)] > 1).any(axis=0)) for dims, _ in plan.signatures]
    most = most_shared(plan, rows.slot, rows.left, rows.copies.get(0))
    best = least_of_cases(plan, rows.slot, most, moves, now, least)
    still = ~np.any(moves, axis=0)
    if still.any():
        best[still] = together(plan, rows.slot, most[still], least[:, :, still])
    return best


def least_of_cases(plan: Plan, slot: int, most: Array, moves: Sequence[Bools], refetched: Array, kept: Array) -> Array:
    """(R) the least cost when the innermost loop may be of the dimensions that move; of data spaces that it indexes
    as `refetched`, of the others as `kept` (2, S, R). Infinite where none moves.
    """
    best: Array = np.full(len(most), np.inf)
    for move, (_, relevant) in zip(moves, plan.signatures, strict=True):
        if move.any():
            cost = np.where(np.array(relevant)[:, None], refetched, kept)
            best = np.where(move, np.minimum(best, together(plan, slot, most, cost)), best)
    return best


def together(plan: Plan, slot: int, most: Array, cost: Array) -> Array:
    """(R) the least that all data spaces cost together, of (2, S, R) as `pending` tells them.

    Instances along a dimension ask for the same words of a data space that it does not index. So of F
    instances, m1 may be served at once with one data space and m2 with another, where m1 m2 ... <= F
    (`most`). The least of A1/m1 + A2/m2 + ... with every m >= 1 makes all terms equal, but those that are less
    even if served alone (water-filling). None is less than moving every word once.
    """
    alone, shared = cost
    total: Array = alone.sum(axis=0)
    spanning = plan.spanning(slot)
    if not spanning:
        return np.asarray(total + shared.sum(axis=0))
    floors = sum(
        (np.maximum(np.minimum(once_pj, shared[i]), shared[i] / fan) for i, (fan, once_pj) in spanning.items()),
        start=np.zeros(len(total)),
    )
    least = water_filled([shared[i] for i in spanning], most)
    return np.asarray(total + np.maximum(least, floors))


def water_filled(amounts: list[Array], most: Array) -> Array:
    """The least of A1/m1 + A2/m2 + ..., where every m >= 1 and m1 m2 ... <= `most`.

    >>> water_filled([np.array([8.0]), np.array([2.0]), np.array([1.0])], np.array([4.0]))    # 2 + 2 + 1
    array([5.])
    """
    best = rest = np.sum(amounts, axis=0)
    product = 1 / most
    for k, each in enumerate(_descending(list(amounts)), start=1):
        product = product * each
        rest = rest - each
        level = np.sqrt(product) if k == 2 else product ** (1 / k)
        best = np.where(each >= level, k * level + rest, best)
    return np.asarray(best)


def _descending(columns: list[Array]) -> list[Array]:
    """The same values, the greatest of each row first."""
    for end in range(len(columns) - 1, 0, -1):
        for i in range(end):
            a, b = columns[i], columns[i + 1]
            columns[i], columns[i + 1] = np.maximum(a, b), np.minimum(a, b)
    return columns


def most_shared(plan: Plan, slot: int, left: Array, copies: Array | None) -> Array:
    """(R) the most that the data spaces' shares m1 m2 ... of the fan-outs to come may be.

    A dimension that two data spaces lack counts for both. So do two whose sum indexes one: so many
    places along each, those that fan-outs have already made (`copies`) included, start as many windows
    as the longer row has places at least.
    """
    fan = max((fan for fan, _ in plan.spanning(slot).values()), default=1.0)
    most: Array = np.full(left.shape[1], fan)
    if fan == 1:
        return most
    for d, more in plan.lacking:
        most = most * np.minimum(left[d], fan) ** more
    for pair in plan.space.window_pairs:
        places = [np.minimum(left[d], fan) * (1.0 if copies is None else copies[d]) for d in pair]
        most = most * np.minimum(*places)
    return most


def _most_served(plan: Plan, rows: Rows, flow: Flow) -> Array:
    """(R) how many instances one read may serve at most through fan-outs to come.

    On the second axis of a fan-out only dimensions that do not lie along the first one are left.
    """
    ahead = plan.fan_between(rows.slot, flow)
    if ahead == 1 or not plan.other_axis(rows.slot):
        return np.full(len(rows), float(ahead))
    free = (rows.factor == 1) & (rows.left > 1)
    helps = free[plan.may_share[flow.boundary.space]].any(axis=0)
    return np.where(helps, ahead, ahead / plan.slots[rows.slot].mesh)


def _flow_bounds(plan: Plan, rows: Rows, flow: Flow, live: Live, spare: bool) -> tuple[Array, Array, Moved]:
    """(2, R) twice: cost when open rows close at once, and when they keep their tile; as in `pending`."""
    space = flow.boundary.space
    irrelevant = plan.irrelevant[space]
    ahead = _most_served(plan, rows, flow)
    if not spare:
        ahead = ahead ** (1 / len(plan.space.spaces))
    whole = plan.whole[space]
    words = live.words * live.shared
    most = [
        most_copies(plan, rows, group, irrelevant) if spare else np.zeros(len(rows))
        for group in (flow.parent_group, flow.child_group)
    ]
    zero = np.zeros(len(rows))

    def cost(alone: Array, fills: Array) -> Array:
        """Of so many reads if every instance were served alone."""
        reads = np.maximum(whole, alone / ahead)
        every = flow.net_pj(reads, fills, whole * most[0], whole * most[1])
        if not spare:
            return np.array([every, zero])
        each_pj = np.where(ahead > 1, flow.read_pj - flow.first_read_pj, 0.0)
        return np.array([every - each_pj * reads, each_pj * alone])

    fills = live.slid * live.words * times_along(rows, plan.known(flow.child_group), irrelevant)
    at_once = cost(live.slid * words * times_along(rows, plan.known(flow.parent_group), irrelevant), fills)
    fills = live.slid * live.words * once_copies(plan, rows, flow.child_group, irrelevant)
    alone = live.slid * words * once_copies(plan, rows, flow.parent_group, irrelevant)
    at_least = cost(alone, fills)
    if flow.roams and plan.cautious:
        at_once = at_least = cost(zero, fills)
        alone = zero
    if live.open.all():
        return at_once, at_least, (np.maximum(whole, alone / ahead), fills)
    refetched = zero
    if live.runs.size:
        refetched = words * live.refetches(rows.left, irrelevant)
        if flow.boundary.child < 0 and plan.is_innermost_fanout(rows.slot):
            refetched = np.full(len(rows), whole)  # neighbours may yet hand on what the parent read once
    closed = cost(refetched, zero) if live.runs.size else np.zeros((2, len(rows)))
    reads = np.maximum(whole * bool(live.runs.size), np.where(live.open, alone, refetched) / ahead)
    reads = np.where(live.open, np.maximum(whole, reads), reads)
    moved = reads, np.where(live.open, fills, zero)
    return np.where(live.open, at_once, closed), np.where(live.open, at_least, closed), moved


def _owed(plan: Plan, rows: Rows) -> Array:
    """(R) what output words counted so far must still add to the energy, first accesses being free."""
    total = np.zeros(len(rows))
    for owed, words in rows.owed.items():
        space = owed.flow.boundary.space
        free = plan.whole[space] * most_copies(plan, rows, owed.group, plan.irrelevant[space])
        total += owed.pj * np.maximum(0.0, words - free)
    return total


def complete(plan: Plan, rows: Rows) -> None:
    """Fill in energy and cycles of complete mappings; leakage all the while."""
    rows.cycles = cycles(plan, rows)
    for k, leak in plan.leak_pj.items():
        if leak:
            rows.energy = rows.energy + leak * (rows.cycles - plan.latency) * instances(plan, rows, k)
    rows.bound = rows.guess = rows.fixed = rows.energy
    rows.now = rows.least = np.empty((2, 0, len(rows)))
