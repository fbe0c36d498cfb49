"""From partial mappings to all their continuations at the next slot, dropping those that cannot fit or win.

Dimensions are decided one after another. Words of a tile grow linearly with the tile along any one
dimension, so the greatest factor that still fits is known before factors are listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapper_bound import least_of_cases, most_shared
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Ints, Rows
from mmsim.nest.mapper_run import Run
from mmsim.nest.mapspace import Array, factors

HALF_MADE, HALF_EACH = 2_000, 100  # choices that a beam goes on with before all dimensions are chosen; and each family
CHOICES = 40_000  # made at once; more of them only when one row alone has more


@lru_cache(maxsize=65536)
def _choices(tiles: int, low: int, high: int) -> npt.NDArray[np.float64]:
    """Factors between `low` and `high` worth trying on a dimension that `tiles` tiles cover."""
    if low > min(tiles, high):
        return np.empty(0)
    return np.array([low, *(f for f in factors(tiles) if low < f <= high)], dtype=float)


def _choices_on_axis(tiles: int, low: int, high: int) -> npt.NDArray[np.float64]:
    """The same on one of two axes: the dimension may lie along the other one instead."""
    found = _choices(tiles, low, high)
    return found if low == 1 else np.append(1.0, found)


class Growth:
    """Half-made choices of the factors at one slot: rows `i`, and columns of what is chosen so far.

    Where `held` (R, D) has a factor, that one is taken; 0 leaves the dimension free.
    """

    def __init__(self, plan: Plan, rows: Rows, held: Array | None = None) -> None:
        self.plan, self.rows, self.k = plan, rows, rows.slot
        self.held = held
        self.slot = plan.slots[self.k]
        self.i: Ints = np.arange(len(rows))
        self.share = rows.share
        self.tile = list(rows.tile)
        self.left: list[Array] = []
        self.factor: list[Array] = []
        self.used = np.ones(len(rows))  # of the fan-out's axis
        self.time = (rows.left - 1) * rows.steps + rows.last_steps  # (D, R) steps along each dimension
        self.steps = np.prod(self.time, axis=0)
        self.energy, self.cycles = rows.bound, rows.cycles
        # the last tile's share of a full one's instances: how much less it may count
        shares = [rows.last_copies[g] / rows.copies[g] for g in rows.copies]
        self.cut = np.min([np.ones_like(rows.left), *shares], axis=0)

    @property
    def factors(self) -> Array:
        """(D, R') what is chosen."""
        return np.array(self.factor) if self.factor else np.ones((0, len(self.i)))

    def take(self, at: Ints | npt.NDArray[np.bool_]) -> None:
        """Go on with the choices at these positions."""
        if at.dtype == bool:
            if at.all():
                return
            at = np.flatnonzero(at)
        self.i = self.i[at]
        self.tile = [a[at] for a in self.tile]
        self.left = [a[at] for a in self.left]
        self.factor = [a[at] for a in self.factor]
        if self.slot.spatial:
            self.used, self.steps = self.used[at], self.steps[at]

    def decided(self, d: int) -> Iterator[Growth]:
        """Every factor of dimension `d` that fits, tried; some `CHOICES` at a time."""
        left, most = self.rows.left[d, self.i], self._most(d)
        every, start, each = self._listed(d, left, most)
        if self.held is not None and self.k < self.plan.last:
            held = np.minimum(self.held[self.i, d], left)
            start = np.where(held > 0, len(every) + np.arange(len(held)), start)
            each = np.where(held > 0, self._allowed(d, held) & (held <= most), each)
            every = np.concatenate([every, held])
        for part in _even_parts(each):
            position = np.repeat(np.arange(part.start, part.stop), each[part])
            offset = np.arange(len(position)) - np.repeat(np.cumsum(each[part]) - each[part], each[part])
            made = self._with(d, position, every[start[position] + offset])
            made.share = self.share * (part.stop - part.start) / len(each)
            yield made

    def _with(self, d: int, position: Ints, factor: Array) -> Growth:
        """The choices at these positions with these factors of dimension `d`."""
        low = self.plan.limits(self.k, d)[0]
        if low > 1 and self.plan.other_axis(self.k):
            enough = (factor >= low) | (self.rows.factor[d, self.i[position]] >= low)
            position, factor = position[enough], factor[enough]
        made = copy(self)
        made.take(position)
        made.left.append(np.ceil(self.rows.left[d, made.i] / factor))
        made.factor.append(factor)
        made.tile[d] = made.tile[d] * factor
        if self.slot.spatial:
            made.used = made.used * factor
            steps, last = self.rows.steps[d, made.i], self.rows.last_steps[d, made.i]
            made.steps = made.steps * ((made.left[-1] - 1) * steps + last) / self.time[d, made.i]
        return made

    def _listed(self, d: int, left: Array, most: Array) -> tuple[Array, Ints, Ints]:
        """Factors to try; for each position where its own begin, and how many of them are not above `most`."""
        low, high = self.plan.limits(self.k, d)
        values, kind = np.unique(left, return_inverse=True)
        if not len(left):
            return left, kind, kind
        if self.k == self.plan.last:  # the outermost memory's loops do whatever is left
            tables = [np.array([v]) if low <= v <= high else np.empty(0) for v in values]
        else:
            listed = _choices_on_axis if self.plan.two_axes(self.k) else _choices
            tables = [listed(int(v), low, high) for v in values]
        count = np.array([len(t) for t in tables])
        start = np.cumsum(count) - count
        every = np.concatenate(tables)
        apart = 2.0 * max(float(values[-1]), 1.0) + 2
        keyed = every + np.repeat(np.arange(len(values)), count) * apart
        end = np.searchsorted(keyed, np.minimum(most, apart - 1) + kind * apart, side="right")
        return every, start[kind], np.maximum(end - start[kind], 0)

    def _allowed(self, d: int, factor: Array) -> npt.NDArray[np.bool_]:
        """Whether constraints allow these factors of dimension `d`."""
        low, high = self.plan.limits(self.k, d)
        return np.asarray(((factor >= low) | ((factor == 1) & self.plan.two_axes(self.k))) & (factor <= high))

    def _most(self, d: int) -> Array:
        """(R) the greatest factor of dimension `d` that the fan-out or the memories allow."""
        if self.slot.spatial:
            most = self.slot.mesh // self.used
            if self.plan.other_axis(self.k):
                most = np.where(self.rows.factor[d, self.i] > 1, 1.0, most)  # a dimension lies along one axis
        else:
            most = np.full(len(self.i), np.inf)
        if self.k == self.plan.last:
            return most
        size = self.plan.space.sizes[d]
        for outer in self.plan.tight(self.k):
            spaces = self.plan.kept[outer]
            if any(self.plan.space.relevant[i, d] for i in spaces):
                fixed, each = self._linear(spaces, d)
                room = self.plan.capacity[outer]
                least = np.floor((room - fixed) / each / self.tile[d] + 1e-9)
                most = np.minimum(most, np.where(fixed + each * size <= room, np.inf, least))
        return most

    def _linear(self, spaces: tuple[int, ...], d: int) -> tuple[Array, Array]:
        """Words of the tiles of `spaces` together: (those of no step along `d`, those of each step)."""
        fixed, each = np.zeros(len(self.i)), np.zeros(len(self.i))
        sizes = self.plan.space.sizes
        for space in spaces:
            words: Array = np.ones(len(self.i))
            at_zero: Array | None = None
            slope = 0.0
            for rank in self.plan.ranks[space]:
                span: Array = np.ones(1)
                here = 0
                for r, c in rank:
                    if r == d:
                        here = c
                        span = span - c
                    else:
                        span = span + c * (np.minimum(self.tile[r], sizes[r]) - 1)
                if here:
                    at_zero, slope = span, float(here)
                elif rank:
                    words = words * span
            fixed = fixed + words * (1.0 if at_zero is None else at_zero)
            each = each + words * slope
        return fixed, each

    def hopes(self) -> tuple[Array, Array]:
        """The least energy and cycles of any completion."""
        energy, cycles = self.energy[self.i], self.cycles[self.i]
        if self.k in self.plan.tables:
            table = self.plan.tables[self.k]
            energy = energy - table.minimum + table.at(self.left)
        if self.slot.spatial:
            room = self.slot.mesh / self.used if len(self.factor) < self.plan.dims else 1.0
            cycles = np.maximum(cycles, self.steps / (self.plan.fan_ahead(self.k + 1) * room))
        return energy, cycles

    def last_hopes(self) -> tuple[Array, Array]:
        """The same when a memory's loops are all chosen: what stays through its loops stays no longer."""
        plan, i = self.plan, self.i
        energy = self.rows.fixed[i]
        if self.k in plan.tables:
            table = plan.tables[self.k]
            energy = energy - table.minimum + table.exact(self.left)
        moves = [np.any([self.factor[d] > 1 for d in dims], axis=0) for dims, _ in plan.signatures]
        still = ~np.any(moves, axis=0)
        now, least = self.rows.now.take(i, axis=2), self.rows.least.take(i, axis=2)
        kept = least.copy()
        for s in range(now.shape[1]):
            ends = np.any([m for m, (_, relevant) in zip(moves, plan.signatures, strict=True) if relevant[s]], axis=0)
            times = np.prod([self.left[d] - 1 + self.cut[d, i] for d in plan.irrelevant[s]], axis=0)
            kept[:, s] = np.where(ends, np.minimum(least[:, s] * np.maximum(times, 1.0), now[:, s]), least[:, s])
        copies = self.rows.copies[0].take(i, axis=1) if 0 in self.rows.copies else None
        most = most_shared(plan, self.k, np.array(self.left), copies)
        best = least_of_cases(plan, self.k, most, moves, now, kept)
        best = np.where(still, 0.0, best)
        return np.maximum(self.energy[i], energy + best), self.cycles[i]


def _even_parts(each: Ints) -> Iterator[slice]:
    """Ranges of positions that make some `CHOICES` together."""
    ends = np.cumsum(each)
    first = 0
    while first < len(each):
        before = ends[first] - each[first]
        last = max(first + 1, int(np.searchsorted(ends, before + CHOICES, side="right")))
        yield slice(first, last)
        first = last


def growths(run: Run, plan: Plan, rows: Rows, held: Array | None = None, most: int | None = None) -> Iterator[Growth]:
    """Every choice of factors that fits and may win, some `CHOICES` at a time, until the budget is spent.

    Where `held` (R, D) has a factor, that one is taken; 0 leaves the dimension free. Of each part,
    `most` choices of a memory's loops for each family: those with the least bounds.
    """
    for growth in _grown(
        run,
        Growth(plan, rows, held),
        0,
        np.inf if most is None else HALF_MADE + HALF_EACH * int(np.count_nonzero(np.bincount(rows.family))),
    ):
        if plan.dims and not growth.slot.spatial and growth.k < plan.last:
            energy, cycles = growth.last_hopes()
            alive = np.flatnonzero(run.wins(energy, cycles))
            if most is not None:
                order = alive[run.order(energy[alive], cycles[alive])]
                alive = first_of_each(rows.family[growth.i], order, most)
            growth.take(alive)
        if len(growth.i):
            yield growth


def first_of_each(family: Ints, order: Ints, most: int) -> Ints:
    """Of `order`, the first `most` positions of each family.

    >>> first_of_each(np.array([7, 7, 8, 7]), np.array([3, 2, 1, 0]), 2)
    array([3, 2, 1])
    """
    together = np.argsort(family[order], kind="stable")
    sorted_family = family[order][together]
    begins = np.where(np.diff(sorted_family, prepend=-1) != 0, np.arange(len(order)), 0)
    place = np.empty(len(order), dtype=np.int64)
    place[together] = np.arange(len(order)) - np.maximum.accumulate(begins)
    return order[place < most]


def _grown(run: Run, growth: Growth, d: int, most: float) -> Iterator[Growth]:
    if d == growth.plan.dims:
        yield growth
        return
    for part in growth.decided(d):
        run.judged += len(part.i)
        hopes = part.hopes()
        part.take(run.wins(*hopes))
        if len(part.i) > most and d + 1 < growth.plan.dims:
            part.take(_spread_out(len(part.i), int(most)))
        if run.spent():
            run.give_up(*hopes)
        elif len(part.i):
            yield from _grown(run, part, d + 1, most)


def _spread_out(count: int, most: int) -> Ints:
    """So many of `count` positions, in order, without any pattern."""
    drawn = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
    return np.sort(np.argpartition(drawn, most)[:most])
