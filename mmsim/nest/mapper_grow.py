"""From partial mappings to all their continuations at the next slot, dropping those that cannot fit or win.

Dimensions are decided one after another. Words of a tile grow linearly with the tile along any one
dimension, so the greatest factor that still fits is known before factors are listed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Ints, Rows
from mmsim.nest.mapspace import Array, factors

Wins: TypeAlias = Callable[[Array, Array], npt.NDArray[np.bool_]]
"""(least energy, least cycles) -> whether that would be better than the best mapping found."""
Pick: TypeAlias = Callable[[Array, Array], Ints]
"""(least energy, least cycles) -> the positions to go on with."""


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
    """Half-made choices of the factors at one slot: rows `i`, and columns of what is chosen so far."""

    def __init__(self, plan: Plan, rows: Rows) -> None:
        self.plan, self.rows, self.k = plan, rows, rows.slot
        self.slot = plan.slots[self.k]
        self.i: Ints = np.arange(len(rows))
        self.tile = list(rows.tile)
        self.left: list[Array] = []
        self.factor: list[Array] = []
        self.judged = 0
        self.used = np.ones(len(rows))  # of the fan-out's axis
        self.time = (rows.left - 1) * rows.steps + rows.last_steps  # (D, R) steps along each dimension
        self.steps = np.prod(self.time, axis=0)
        self.energy, self.cycles = rows.bound, rows.cycles
        # the last tile's share of a full one's instances: how much less it may count
        shares = [rows.last_copies[g] / rows.copies[g] for g in rows.copies]
        self.cut = np.min([np.ones_like(rows.left), *shares], axis=0)

    def take(self, at: Ints | npt.NDArray[np.bool_]) -> None:
        """Go on with the choices at these positions."""
        self.i = self.i[at]
        self.tile = [a[at] for a in self.tile]
        self.left = [a[at] for a in self.left]
        self.factor = [a[at] for a in self.factor]
        if self.slot.spatial:
            self.used, self.steps = self.used[at], self.steps[at]

    def decide(self, d: int) -> None:
        """Try every factor of dimension `d` that fits."""
        left = self.rows.left[d, self.i]
        position, factor = self._listed(d, left, self._most(d))
        low = self.plan.limits(self.k, d)[0]
        if low > 1 and self.plan.other_axis(self.k):
            enough = (factor >= low) | (self.rows.factor[d, self.i[position]] >= low)
            position, factor = position[enough], factor[enough]
        self.judged += len(position)
        self.take(position)
        left = left[position]
        self.left.append(np.ceil(left / factor))
        self.factor.append(factor)
        self.tile[d] = self.tile[d] * factor
        if self.slot.spatial:
            self.used = self.used * factor
            steps, last = self.rows.steps[d, self.i], self.rows.last_steps[d, self.i]
            self.steps = self.steps * ((self.left[-1] - 1) * steps + last) / self.time[d, self.i]

    def _listed(self, d: int, left: Array, most: Array) -> tuple[Ints, Array]:
        """Positions and factors of all choices not above `most`."""
        low, high = self.plan.limits(self.k, d)
        values, kind = np.unique(left, return_inverse=True)
        if not len(left):
            return np.zeros(0, dtype=np.int64), left
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
        each = np.maximum(end - start[kind], 0)
        position = np.repeat(np.arange(len(left)), each)
        offset = np.arange(len(position)) - np.repeat(np.cumsum(each) - each, each)
        return position, every[start[kind][position] + offset]

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
        now, least = self.rows.now[:, i], self.rows.least[:, i]
        cost = [now[s] for s in range(len(now))]
        kept = []
        for s in range(len(now)):
            ends = np.any([m for m, (_, relevant) in zip(moves, plan.signatures, strict=True) if relevant[s]], axis=0)
            times = np.prod([self.left[d] - 1 + self.cut[d, i] for d in plan.irrelevant[s]], axis=0)
            kept.append(np.where(ends, np.minimum(least[s] * np.maximum(times, 1.0), now[s]), least[s]))
        best = np.full(len(i), np.inf)
        for move, (_, relevant) in zip(moves, plan.signatures, strict=True):
            case = sum((cost[s] if relevant[s] else kept[s] for s in range(len(now))), start=np.zeros(len(i)))
            best = np.where(move, np.minimum(best, case), best)
        best = np.where(still, 0.0, best)
        return np.maximum(self.energy[i], energy + best), self.cycles[i]


def grow_factors(plan: Plan, rows: Rows, wins: Wins, pick: Pick | None = None) -> tuple[Ints, Array, int]:
    """Every choice of factors that fits and may win: (rows, factors (D, R')), and how many were looked at.

    With `pick`, only those that it picks by their bounds.
    """
    growth = Growth(plan, rows)
    for d in range(plan.dims):
        growth.decide(d)
        growth.take(wins(*growth.hopes()))
    if plan.dims and not growth.slot.spatial and rows.slot < plan.last:
        growth.take(wins(*growth.last_hopes()))
        if pick:
            growth.take(pick(*growth.last_hopes()))
    if not plan.dims:
        return growth.i, np.ones((0, len(rows))), 1
    return growth.i, np.array(growth.factor), growth.judged
