"""Many partial mappings at once, as columns of numpy arrays, and what one more slot does to them.

A row is a mapping decided from the compute up to some slot. Per dimension it knows the tile so far
(`tile`), how many of them cover the dimension (`left`), and the time steps of a full tile and of the
last, cut one (`steps`, `last_steps`). Counts are exact for cut tiles: per dimension they are always
(left - 1) x that of a full tile + that of the last one, and a data space's count is the product over
the dimensions that do not index it times the words of its distinct tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapper_flow import Flow, Owed
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
    slid: Array  # (R) the least share of them that a window sliding on may leave
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

    def refetches(self, left: Array, irrelevant: Sequence[int]) -> Array:
        """(R) how often all tiles together are fetched, of closed rows, when so many tiles are left."""
        return product(len(self.open), ((left[d] - 1) * self.runs[d] + self.last_runs[d] for d in irrelevant))

    def take(self, i: Ints) -> Live:
        """The rows `i`."""
        columns = (getattr(self, name) for name in Live.__dataclass_fields__)
        picked: list[Any] = [a.take(i, axis=-1) if len(a) else np.empty((0, len(i))) for a in columns]
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
    share: float = 1.0  # of a proof that it is to look at all completions, were all choices equal

    def __len__(self) -> int:
        return len(self.energy)

    def take(self, i: Ints) -> Rows:
        """The rows `i`."""
        return Rows(
            self.slot,
            self.tile.take(i, axis=1),
            self.left.take(i, axis=1),
            self.steps.take(i, axis=1),
            self.last_steps.take(i, axis=1),
            {g: a.take(i, axis=1) for g, a in self.copies.items()},
            {g: a.take(i, axis=1) for g, a in self.last_copies.items()},
            self.energy[i],
            {c: a[i] for c, a in self.words.items()},
            {o: a[i] for o, a in self.owed.items()},
            {b: live.take(i) for b, live in self.live.items()},
            self.factor.take(i, axis=1),
            self.order[i],
            self.origin[i],
            self.parent,
            self.family[i],
            self.bound[i] if self.bound.size else self.bound,
            self.cycles[i] if self.cycles.size else self.cycles,
            self.guess[i] if self.guess.size else self.guess,
            self.fixed[i] if self.fixed.size else self.fixed,
            self.now.take(i, axis=2) if self.now.size else self.now,
            self.least.take(i, axis=2) if self.least.size else self.least,
        )


def _join_live(parts: list[Live]) -> Live:
    columns: list[Any] = [
        np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in Live.__dataclass_fields__
    ]
    return Live(*columns)


def join(parts: list[Rows]) -> Rows:
    """Rows of the same slot and parent, one after another."""
    a = parts[0]
    if len(parts) == 1:
        return a

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


def times(rows: Rows, group: int | None) -> Array:
    """(D, R) instances of tiles along each dimension, fan-outs from `group` on counted one by one."""
    if group is None or group not in rows.copies:
        return rows.left
    return (rows.left - 1) * rows.copies[group] + rows.last_copies[group]


def times_along(rows: Rows, group: int | None, dims: Sequence[int]) -> Array:
    """(R) the product of `times` over some dimensions."""
    left = rows.left
    if group is None or group not in rows.copies:
        return product(len(rows), (left[d] for d in dims))
    copies, last = rows.copies[group], rows.last_copies[group]
    return product(len(rows), ((left[d] - 1) * copies[d] + last[d] for d in dims))


def product(rows: int, columns: Iterable[Array]) -> Array:
    """(R) all columns multiplied; 1 where there are none."""
    every = list(columns)
    return reduce(np.multiply, every) if every else np.ones(rows)
