"""Words of a data space's tiles, cut and overlapping ones too: sums over all tiles in closed form.

Along a rank indexed by ``a*p + b*r`` a tile of p and r steps spans ``a*(p-1) + b*(r-1) + 1`` words. Summed
over all tiles (the last ones cut) the lengths ``p`` add up to the dimension's size, so the sum of the
spans needs only the numbers of tiles.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapspace import Array

Rank: TypeAlias = tuple[tuple[int, int], ...]
"""(dimension's number, coefficient) of each term."""


def box(ranks: tuple[Rank, ...], tile: Array) -> Array:
    """(R) words of the bounding box of one tile (D, R)."""
    words = np.ones(tile.shape[1])
    for rank in ranks:
        if rank:
            words = words * (1 + sum(c * (tile[d] - 1) for d, c in rank))
    return words


def rank_sum(rank: Rank, sizes: Array, count: Array) -> Array:
    """(R) spans of all tiles along one rank, where dimension d is cut into `count[d]` tiles (D, R)."""
    every = np.prod([count[d] for d, _ in rank], axis=0)
    total = every
    for d, coefficient in rank:
        total = total + coefficient * (sizes[d] - count[d]) * (every / count[d])
    return np.asarray(total)


def tiles_sum(ranks: tuple[Rank, ...], sizes: Array, count: Array) -> Array:
    """(R) words of the boxes of all tiles."""
    words = np.ones(count.shape[1])
    for rank in ranks:
        if rank:
            words = words * rank_sum(rank, sizes, count)
    return words


def overlap_sum(rank: Rank, moving: int, sizes: Array, tile: Array, step: Array) -> Array:
    """(R) words that a tile shares with the one `step` of dimension `moving` before it, over all tiles of the others.

    Ranks of two dimensions only; longer ones are taken to share nothing.
    """
    if len(rank) != 2:
        return np.zeros(tile.shape[1])
    (a,) = (c for d, c in rank if d == moving)
    ((other, b),) = ((d, c) for d, c in rank if d != moving)
    count = np.ceil(sizes[other] / tile[other])
    last = np.remainder(sizes[other] - 1, tile[other]) + 1
    reach = a * (tile[moving] - 1) + 1 - a * step

    def shared(length: Array) -> Array:
        return np.asarray(np.maximum(0.0, reach + b * (length - 1)))

    return np.asarray((count - 1) * shared(tile[other]) + shared(last))


def repeated(first: Array, first_step: Array, second: Array, second_step: Array) -> Array:
    """(R) how many of ``i*first_step + j*second_step``, i < first, j < second, repeat an earlier one.

    >>> repeated(*(np.array([float(v)]) for v in (3, 1, 14, 1)))    # 42 sums, 16 different ones
    array([26.])
    """
    a, b = first_step.astype(np.int64), second_step.astype(np.int64)
    common: npt.NDArray[np.int64] = np.gcd(a, b)
    again = np.maximum(0, first - b // common) * np.maximum(0, second - a // common)
    return np.asarray(again, dtype=float)


def shared_sum(rank: Rank, sizes: Array, tile: Array, fan: Array, gap: Array) -> Array:
    """(R) words along a rank that instances need not be sent, as another one gets the same tile at the same time.

    Instances stand `gap` apart along each dimension, `fan` of them (D, R). Tiles that are cut at the
    end of their dimension equal no other one.
    """
    (p, a), (r, b) = rank
    count = np.zeros(tile.shape[1])
    for groups_p, fan_p in _groups(sizes[p], tile[p], fan[p], gap[p]):
        for groups_r, fan_r in _groups(sizes[r], tile[r], fan[r], gap[r]):
            count = count + groups_p * groups_r * repeated(fan_p, a * gap[p], fan_r, b * gap[r])
    times = gap[p] / tile[p] * (gap[r] / tile[r])
    return np.asarray(count * times * (a * (tile[p] - 1) + b * (tile[r] - 1) + 1))


def _groups(size: float, tile: Array, fan: Array, gap: Array) -> list[tuple[Array, Array]]:
    """(how many groups of instances, instances of each): the full ones, and the last one without a cut tile."""
    units = np.floor(size / gap)  # steps of `gap` that are whole
    full = np.floor(units / fan)
    return [(full, fan), (np.ones_like(full), units - full * fan)]
