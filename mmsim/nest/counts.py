"""Reads, fills and updates of one data space at every level, counted as Timeloop counts perfect loops.

The tile of every level and what its children ask of it (`_tiles`, with `deltas` and `spread`), then
bypassed levels taken out (`_bypass`), then reads, fills and updates (`_count`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from mmsim.arch.model import Constraints, Fanout
from mmsim.nest.blocks import Block, sizes, words
from mmsim.nest.deltas import demand
from mmsim.nest.spread import Accesses, Spread
from mmsim.problem import DataSpace


@dataclass(frozen=True, slots=True)
class Counts:
    """Words that one instance of a level reads, fills and updates, and holds at most.

    With perfect loops they are whole numbers, as Timeloop rounds them; otherwise an average over the
    instances in use.
    """

    capacity: int
    reads: float
    fills: float
    updates: float = 0
    temporal_reductions: float = 0


@dataclass(slots=True)
class _Tile:
    """One data space at one level while its accesses are worked out; `accesses` are by the children."""

    size: int  # 0 once the level is bypassed
    partition: int  # words of the data space that belong to one instance
    accesses: Accesses
    fanout: int
    instances: int
    from_parent: float = 0.0  # words that one instance gets from above
    from_peers: float = 0.0  # words that it gets from neighbours, and hands on to them
    kept: bool = True
    coalesces: bool = True  # False: kept, yet every access goes on to the parent


def count(blocks: list[Block], space: DataSpace) -> dict[str, Counts]:
    """The accesses to `space` at every level that keeps it; all loops must be perfect."""
    tiles = _tiles(blocks, space)
    for tile, parent in pairwise(tiles):
        tile.from_parent = parent.accesses.per_child(parent.fanout)
    _bypass(tiles)
    for tile, parent in pairwise(tiles):
        tile.from_peers = parent.accesses.link_words / tile.instances
    return {
        block.name: _count(tiles, i, space, block.constraints) for i, block in enumerate(blocks) if block.keeps(space)
    }


def _tiles(blocks: list[Block], space: DataSpace) -> list[_Tile]:
    """The tile of every level, innermost first, and what its children ask of it, nothing bypassed yet."""
    tiles = []
    for i, block in enumerate(blocks):
        around = [step.move(space) for outer in blocks[i:] for step in outer.temporal]
        reuse = i > 0 and space.name not in blocks[i - 1].constraints.no_reuse
        wanted = demand(sizes(space, block.inner.full), around, reuse=reuse)
        mesh = block.node if isinstance(block.node, Fanout) else Fanout("")
        children = Spread([step.move(space) for step in block.spatial], mesh.mesh_x, mesh.mesh_y, len(space.projection))
        accesses = children.serve(
            wanted,
            multicast=space.name not in block.constraints.no_multicast,
            links=bool(block.spatial) and space.name not in block.constraints.no_link_transfer,
        )
        tile = _Tile(words(space, block.tile.full), 0, accesses, block.spatial_factor, block.instances)
        tile.kept = block.keeps(space)
        tile.coalesces = space.name not in block.constraints.no_coalesce
        tiles.append(tile)
    _partition(tiles, blocks, space)
    return tiles


def _partition(tiles: list[_Tile], blocks: list[Block], space: DataSpace) -> None:
    """Divide the data space among instances: all of it at the outermost, then by tile size, rounded down."""
    share = tiles[-1].size
    tiles[-1].partition = share
    for tile, parent in zip(tiles[-2::-1], blocks[:0:-1], strict=True):
        together = words(space, parent.served.full) if parent.spatial else tile.size
        share = share * tile.size // together
        tile.partition = share


def _bypass(tiles: list[_Tile]) -> None:
    """Take out the levels that do not keep the data space: their children ask the next level out."""
    for i, tile in enumerate(tiles):
        if tile.kept and tile.coalesces:
            continue
        if i + 1 < len(tiles):
            parent = tiles[i + 1]
            asked = tile.accesses.total * parent.fanout
            scale = asked / parent.accesses.weighted
            parent.accesses.by_signature = {key: n * scale for key, n in parent.accesses.by_signature.items()}
            parent.accesses.link_words = 0.0
        tile.size = tile.size if tile.kept else 0
    outermost = next(tile for tile in reversed(tiles) if tile.size)
    outermost.from_parent = 0.0
    for tile in tiles[tiles.index(outermost) + 1 :]:
        tile.accesses = Accesses()


def _count(tiles: list[_Tile], i: int, space: DataSpace, constraints: Constraints) -> Counts:
    """Accesses turned into reads, fills and updates."""
    tile = tiles[i]
    below = tile.accesses.total
    if not space.is_output:
        return Counts(tile.size, _round(below + tile.from_peers), int(tile.from_parent + tile.from_peers))
    if not tile.coalesces:  # each access is a read, a fill and an update
        through = _round(below + tile.from_peers)
        return Counts(tile.size, through, through, _round(below), through)
    first = 0 if space.name in constraints.rmw_first_update else tile.partition
    outermost = not any(outer.size for outer in tiles[i + 1 :])
    again = _round(below + tile.from_peers - first)
    fills = _round(tile.from_parent + tile.from_peers - (0 if outermost else first))
    return Counts(tile.size, again, fills, _round(below), again)


def _round(value: float) -> int:
    """To the nearest whole number, halves up."""
    return max(0, math.floor(value + 0.5))
