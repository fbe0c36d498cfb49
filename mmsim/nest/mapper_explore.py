"""Branch and bound over partial mappings: what to look at next, and what need not be looked at.

Partial mappings that equal another in all that matters later and cost no less are dropped
(`mapper_dominance`), and so are those whose lower bound (`mapper_bound`) is no better than the best
mapping found. What is left is taken most promising first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmsim.nest.mapper_bound import bound, complete, guess
from mmsim.nest.mapper_count import finish
from mmsim.nest.mapper_dominance import undominated
from mmsim.nest.mapper_grow import first_of_each, growths
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows, join
from mmsim.nest.mapper_run import Run
from mmsim.nest.mapper_step import loop, spread
from mmsim.nest.mapspace import Array

BEAM_FACTORS = 10  # choices of factors for each place in a beam
SPLIT, EACH = 3, 3  # at this slot every row of a beam begins a family, with so many places
BATCH = 2_000  # rows of different orders that are bounded together
AT_ONCE, AT_ONCE_INSIDE = 4_000, 30_000  # candidates that one step should make; below a fan-out, where bounds tell less


def explore(run: Run, plan: Plan, rows: Rows) -> None:
    """Look at every completion of `rows` that may win, or note what the budget leaves out."""
    if rows.slot > plan.last:
        run.record(plan, rows)
        return
    before = run.done
    for piece, done in _pieces(run, plan, rows):
        if run.spent():
            run.give_up(piece.bound, piece.cycles)
            continue
        for children in continuations(run, plan, piece):
            explore(run, plan, children)
        run.done = before + rows.share * done


def beam(run: Run, plan: Plan, rows: Rows, places: int, held: Array | None = None) -> None:
    """Complete `rows` by the most promising continuations of each family only, so many `places` at each slot.

    Where `held` (families, slots, D) has a factor, that one is taken; 0 leaves the dimension free.
    Nothing is proven.
    """
    while rows.slot <= plan.last:
        here = None if held is None else held[rows.family, rows.slot]
        found = list(continuations(run, plan, rows, here, BEAM_FACTORS * places))
        if not found:
            return
        rows = join(found)
        # around a good mapping lower bounds tell best what to go on with, before there is one guesses do
        order = run.order(rows.guess, rows.cycles)
        rows = rows.take(first_of_each(rows.family, order, places))
        if held is None and rows.slot == SPLIT:
            rows.family = np.arange(len(rows))
            places = EACH
    run.record(plan, rows)


def _pieces(run: Run, plan: Plan, rows: Rows) -> Iterator[tuple[Rows, float]]:
    """What of `rows` may still win, as much at a time as makes some thousand continuations; and the share of
    `rows` that is done with it."""
    first = 0
    while first < len(rows):
        last = first + run.at_once(rows.slot, AT_ONCE_INSIDE if plan.fan_ahead(rows.slot) > 1 else AT_ONCE)
        last = min(last, len(rows))
        wins = first + np.flatnonzero(run.wins(rows.bound[first:last], rows.cycles[first:last]))
        if len(wins):
            piece = rows.take(wins)
            piece.share = rows.share * (last - first) / len(rows)
            yield piece, last / len(rows)
        first = last


def continuations(
    run: Run, plan: Plan, rows: Rows, held: Array | None = None, most: int | None = None
) -> Iterator[Rows]:
    """Every continuation of `rows` at the next slot that may win, part by part, each the most promising first.

    `held` and `most` are as for `growths`.
    """
    grow = spread if plan.slots[rows.slot].spatial else loop
    made = 0
    for growth in growths(run, plan, rows, held, most):
        made += len(growth.i)
        ordered = _in_batches(grow(plan, rows, growth.i, growth.factors))
        alive = [part for batch in ordered if len(part := _that_may_win(run, plan, batch))]
        if alive:
            children = join(alive)
            if held is None:
                guess(plan, children)
            order = run.order(children.guess, children.cycles)
            if children.slot < plan.last and not run.thorough:
                order = order[undominated(plan, children)[order]]
            children = children.take(order)
            children.share = growth.share
            yield children
    if most is None:
        run.note(rows.slot, len(rows), made)


def _in_batches(parts: list[Rows]) -> Iterator[Rows]:
    """The same rows in fewer parts: bounds of some hundred rows take as long as those of one."""
    batch: list[Rows] = []
    for part in parts:
        if batch and sum(map(len, batch)) + len(part) > BATCH:
            yield join(batch)
            batch = []
        batch.append(part)
    if batch:
        yield join(batch)


def _that_may_win(run: Run, plan: Plan, rows: Rows) -> Rows:
    """Those of `rows`, just made, whose bound is better than the best mapping found."""
    run.judged += len(rows)
    if rows.slot > plan.last:
        finish(plan, rows)
        complete(plan, rows)
    else:
        bound(plan, rows)
    wins = run.wins(rows.bound, rows.cycles)
    return rows if wins.all() else rows.take(np.flatnonzero(wins))
