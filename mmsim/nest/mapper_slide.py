"""Sliding windows of partial mappings: words that stay from one step to the next, or that instances share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Bools
from mmsim.nest.mapper_windows import Rank, overlap_sum, rank_sum, shared_sum, tiles_sum
from mmsim.nest.mapspace import Array


def least_slide(plan: Plan, space: int, tile: Array) -> Array:
    """(R) the least share of a data space's words that a sliding window may leave; it slides along one rank."""
    share = np.ones(tile.shape[1])
    for rank in plan.ranks[space]:
        if len(rank) > 1:
            share = np.minimum(share, _once(plan, rank, tile))
    return share


def _once(plan: Plan, rank: Rank, tile: Array) -> Array:
    """(R) the share of its tiles' words that a rank has."""
    sizes = plan.space.sizes
    count = np.ceil(sizes[:, None] / tile)
    return rank_sum(rank, sizes, np.ones_like(count)) / rank_sum(rank, sizes, count)


def sliding(plan: Plan, space: int, dims: Sequence[int]) -> list[int]:
    """Those of some dimensions that index a rank of a data space together with another one."""
    together = {d for rank in plan.ranks[space] if len(rank) > 1 for d, _ in rank}
    return [d for d in dims if d in together]


def distinct_words(plan: Plan, space: int, tile: Array) -> Array:
    """(R) words of the boxes of all tiles of a data space."""
    return tiles_sum(plan.ranks[space], plan.space.sizes, np.ceil(plan.space.sizes[:, None] / tile))


def slide(
    plan: Plan,
    space: int,
    live_words: Array,
    tile: Array,
    step: Array,
    moves: Bools,
    runs: Array,
    closing: Sequence[int],
) -> tuple[Array, Array]:
    """(R) words without what a window keeps from one step to the next, and the dimension + 1 that slides.

    `step` (D, R) is how far one step of the loops at hand goes, `moves` which of them do, `runs`
    how often a dimension's loop begins anew.
    """
    best, chosen = live_words, np.zeros(len(live_words))
    sizes = plan.space.sizes
    if plan.cautious:
        return _slid_on(plan, space, live_words, tile, moves, closing), chosen.astype(np.int64)
    for rank in plan.ranks[space]:
        for d, _ in rank:
            if len(rank) < 2 or d not in closing:
                continue
            count = np.ceil(sizes[:, None] / tile)
            whole = rank_sum(rank, sizes, count)
            kept = (count[d] - runs[d]) * overlap_sum(rank, d, sizes, tile, step[d])
            words = np.where(moves[d], live_words * (1 - kept / whole), live_words)
            chosen = np.where(words < best, d + 1, chosen)
            best = np.minimum(words, best)
    return best, chosen.astype(np.int64)


def _slid_on(plan: Plan, space: int, live_words: Array, tile: Array, moves: Bools, closing: Sequence[int]) -> Array:
    """(R) words if loops further out go on in the same direction, until every word of a rank has been in the window."""
    best = live_words
    for rank in plan.ranks[space]:
        if len(rank) > 1 and any(d in closing for d, _ in rank):
            moved = np.any([moves[d] for d, _ in rank if d in closing], axis=0)
            best = np.where(moved, np.minimum(best, live_words * _once(plan, rank, tile)), best)
    return best


def shared(plan: Plan, space: int, tile: Array, fan: Array, gap: Array) -> Array:
    """(R) the share of a data space's words left when instances that ask for equal tiles are served at once.

    `fan` (D, R) are the spatial factors since the child with tiles `tile`, `gap` how far apart neighbours lie.
    """
    share = np.ones(fan.shape[1])
    sizes = plan.space.sizes
    count = np.ceil(sizes[:, None] / tile)
    for rank in plan.ranks[space]:
        if len(rank) == 2:
            share = share * (1 - shared_sum(rank, sizes, tile, fan, gap) / rank_sum(rank, sizes, count))
    return share
