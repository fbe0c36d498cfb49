"""The least that filling one memory can cost, for every number of tiles: a table over all dimensions.

The tile sizes alone bound the traffic between a memory and its parents, and the memory's capacity
bounds the tile sizes. The table holds that bound for each combination of tile counts, coarsened to
a few thousand where there are many; its minima over the last dimensions bound a half-made choice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapspace import Array, factors

if TYPE_CHECKING:
    from mmsim.nest.mapper_flow import Flow
    from mmsim.nest.mapper_plan import Plan

CELLS = 200_000
FEW_CELLS = 20_000  # where there are many tables


class Table:
    """Bounds for the memory of slot `k`."""

    def __init__(self, plan: Plan, k: int, cells: int) -> None:
        self.plan, self.k, self.cells = plan, k, cells
        self.low, self.high = self._bins()
        shape = tuple(len(low) for low in self.low)
        cost = np.broadcast_to(self._cost([self._along(d, low) for d, low in enumerate(self.low)]), shape).copy()
        cost[~np.broadcast_to(self._fits(), shape)] = np.inf
        self.least = [cost]
        for axis in range(plan.dims - 1, 0, -1):
            self.least.insert(0, self.least[0].min(axis=axis))
        self.minimum = float(cost.min())

    def _bins(self) -> tuple[list[Array], list[Array]]:
        """For each dimension, ranges of tile counts: the least and the most of each range."""
        counts = []
        for size in self.plan.space.sizes:
            counts.append(np.array(sorted({-(-int(size) // f) for f in factors(int(size))}), dtype=float))
        keep = max(len(c) for c in counts)
        while math.prod(min(len(c), keep) for c in counts) > self.cells:
            keep -= 1
        low, high = [], []
        for c in counts:
            starts = c
            if len(c) > keep:
                starts = c[sorted({round(i) for i in np.linspace(0, len(c) - 1, keep)})]
            low.append(starts)
            last = np.append(np.searchsorted(c, starts[1:]) - 1, len(c) - 1)
            high.append(c[last])
        return low, high

    def _along(self, d: int, values: Array) -> Array:
        return values.reshape([-1 if i == d else 1 for i in range(self.plan.dims)])

    def _fits(self) -> npt.NDArray[np.bool_]:
        tile = [self._along(d, np.ceil(self.plan.space.sizes[d] / high)) for d, high in enumerate(self.high)]
        total: Array = np.zeros([1] * self.plan.dims)
        for space in self.plan.kept[self.k]:
            words: Array = np.ones([1] * self.plan.dims)
            for rank in self.plan.ranks[space]:
                if rank:
                    words = words * (1 + sum((c * (tile[d] - 1) for d, c in rank), start=np.zeros(1)))
            total = total + words
        return np.asarray(total <= self.plan.capacity[self.k])

    def exact(self, left: list[Array]) -> Array:
        """(R) the bound for these numbers of tiles of all dimensions."""
        return self._cost(left).reshape(-1)

    def _cost(self, count: list[Array]) -> Array:
        flows = [flow for flow in self.plan.flows if flow.boundary.child == self.k]
        costs = [self._flow(flow, count) for flow in flows]
        best: Array = np.full([1] * self.plan.dims, np.inf)
        for dims, relevant in self.plan.signatures:
            moves = np.asarray(sum((count[d] > 1 for d in dims), start=np.zeros([1] * self.plan.dims)) > 0)
            case = sum(
                (costs[i][0] if relevant[f.boundary.space] else costs[i][1] for i, f in enumerate(flows)),
                start=np.zeros([1] * self.plan.dims),
            )
            best = np.minimum(best, np.where(moves, case, np.inf))
        least = sum((c[1] for c in costs), start=np.zeros([1] * self.plan.dims))
        return np.where(np.isfinite(best), best, least)

    def _flow(self, flow: Flow, count: list[Array]) -> tuple[Array, Array]:
        """Cost when the innermost loop around refetches the tile, and when it keeps it."""
        plan, space = self.plan, flow.boundary.space
        words = self._words(space, count)
        ahead = plan.fan_between(self.k + 1, flow)
        halo = space in plan.halo
        refetch: Array = np.ones([1] * plan.dims)
        for d in plan.irrelevant[space]:
            refetch = refetch * count[d]
        whole = plan.whole[space]
        most = [np.minimum(refetch, plan.fan_ahead(0, group)) for group in (flow.parent_group, flow.child_group)]
        reads = np.maximum(whole, words * refetch / ahead * (not flow.roams))
        now = flow.net_pj(reads, words * refetch, whole * most[0], whole * most[1])
        once = np.maximum(whole, words / ahead * (not flow.roams) if halo else words)
        return now, flow.net_pj(once, words, whole * most[0], whole * most[1])

    def _words(self, space: int, count: list[Array]) -> Array:
        """Words of all tiles of a data space, less what the best of its dimensions saves by sliding all the way."""
        words: Array = np.ones([1] * self.plan.dims)
        share: Array = np.ones([1] * self.plan.dims)
        for rank in self.plan.ranks[space]:
            if rank:
                every, slid = self._along_rank(rank, count)
                words = words * every
                share = np.minimum(share, slid / every)
        return words * share

    def _along_rank(self, rank: tuple[tuple[int, int], ...], count: list[Array]) -> tuple[Array, Array]:
        """Words along a rank: of all tiles, and when the window slides all the way."""
        sizes = self.plan.space.sizes
        if len(rank) == 1:
            ((d, c),) = rank
            every = np.asarray(count[d] + c * (sizes[d] - count[d]))
            return every, every
        if len(rank) > 2:
            once = np.full([1] * self.plan.dims, 1.0 + sum(c * (sizes[d] - 1) for d, c in rank))
            return once, once
        (p, a), (r, b) = rank
        once = np.full([1] * self.plan.dims, 1.0 + a * (sizes[p] - 1) + b * (sizes[r] - 1))
        every = count[p] * count[r] + a * (sizes[p] - count[p]) * count[r] + b * (sizes[r] - count[r]) * count[p]
        return np.asarray(every), np.asarray(np.minimum(once, every))

    def at(self, left: list[Array]) -> Array:
        """(R) the bound when the first dimensions are left with so many tiles and the others are free."""
        i = tuple(np.searchsorted(self.low[d], n, side="right") - 1 for d, n in enumerate(left))
        return np.asarray(self.least[len(left) - 1][i])
