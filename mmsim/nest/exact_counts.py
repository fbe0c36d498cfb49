"""Exact reads, fills and updates where loops have remainders: totals of the executed nest, per instance in use."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mmsim.arch.model import Fanout
from mmsim.nest.blocks import Block, capacity, words
from mmsim.nest.counts import Counts
from mmsim.nest.exact import Nest
from mmsim.nest.exact_links import Handed, Units
from mmsim.nest.exact_loops import ABOVE, NestLoop, points, steps_in_time
from mmsim.problem import DataSpace


@dataclass(frozen=True, slots=True)
class Asked:
    """Words asked for: `read` once each from the parent, `delivered` to children, `linked` from neighbours."""

    read: int = 0
    delivered: int = 0
    linked: int = 0


def count_exactly(blocks: list[Block], space: DataSpace) -> dict[str, Counts]:
    """The accesses to `space` at every level that keeps it, averaged over the instances in use."""
    kept = [i for i, block in enumerate(blocks) if block.keeps(space)]
    asked = {i: _asked(blocks, space, inner, i) for inner, i in itertools.pairwise([-1, *kept])}
    counts = {}
    for i, outer in itertools.zip_longest(kept, kept[1:]):
        block = blocks[i]
        above = asked[outer] if outer is not None else Asked()
        below, linked, filled = asked[i].read, above.linked, above.delivered + above.linked
        first = 0
        if space.is_output and space.name not in block.constraints.rmw_first_update:
            first = _first_updates(blocks, space, i)
        again = (below + linked - first) / block.instances if space.is_output else 0.0
        counts[block.name] = Counts(
            capacity=capacity(blocks, i, space),
            reads=_tidy(again if space.is_output else (below + linked) / block.instances),
            fills=_tidy((filled - (first if outer is not None else 0)) / block.instances),
            updates=_tidy(below / block.instances if space.is_output else 0),
            temporal_reductions=_tidy(again),
        )
    return counts


def time_steps(blocks: list[Block], dim: str) -> int:
    """Steps in time that the loops of `dim` take; the product over dimensions is the compute's cycles."""
    return steps_in_time(list(_loops(blocks, 0, 0)), dim)


def _tidy(value: float) -> float:
    """Whole numbers as such, so that they are written without a point."""
    return int(value) if value == int(value) else value


def _asked(blocks: list[Block], space: DataSpace, child: int, parent: int) -> Asked:
    """What all instances of level `child` (-1: the compute) ask of all instances of level `parent`."""
    unit = dict.fromkeys(blocks[0].inner.full, 1)
    full, last = (blocks[child].tile.full, blocks[child].tile.last) if child >= 0 else (unit, unit)
    keeps = child >= 0 and space.name not in blocks[child].constraints.no_reuse
    unicast = frozenset(
        i - child - 1 for i in range(child + 1, parent + 1) if space.name in blocks[i].constraints.no_multicast
    )
    loops = list(_loops(blocks, child + 1, parent + 1))
    nest = Nest(space, loops, full, last, keeps=keeps, unicast=unicast)
    handed, hop = Handed(), blocks[child + 1]
    if (
        not keeps
        and isinstance(hop.node, Fanout)
        and hop.spatial
        and space.name not in hop.constraints.no_link_transfer
    ):
        for located, count in _instances(loops):
            nest_here = Nest(space, located, full, last, keeps=keeps, unicast=unicast)
            handed += Units(nest_here, hop.node.mesh_x, hop.node.mesh_y, unicast).hand_on() * count
    return Asked(nest.read() - handed.spared, nest.delivered() - handed.words, handed.words)


def _first_updates(blocks: list[Block], space: DataSpace, i: int) -> int:
    """Words that the instances of level `i` see for the first time, each instance for itself."""
    tile = blocks[i].tile
    total = 0
    for loops, count in _instances(list(_loops(blocks, i + 1, i + 1))):
        seen = {dim: points(loops, dim, tile.full[dim], tile.last[dim]) for dim in tile.full}
        if all(seen[dim] for dim in space.dims):
            total += words(space, seen) * count * _busy(loops, space)
    return total


def _busy(loops: list[NestLoop], space: DataSpace) -> bool:
    """Whether this kind of instance ever works: it may stand beyond the remainder of an irrelevant dimension."""
    return all(points(loops, dim, 1, 1) for dim in {loop.dim for loop in loops} - space.dims)


def _loops(blocks: list[Block], inside: int, outside: int) -> Iterator[NestLoop]:
    """The loops from level `inside` out, outermost first; fan-outs from level `outside` are above the parent."""
    cut = {step.dim for block in blocks for step in (*block.spatial, *block.temporal) if step.factor != step.residual}
    for i in reversed(range(inside, len(blocks))):
        for steps, spatial in ((blocks[i].temporal, False), (blocks[i].spatial, True)):
            for step in reversed(steps):
                hop = i - inside if i < outside else ABOVE
                plain = step.dim not in cut
                yield NestLoop(step.dim, step.factor, step.residual, step.stride, spatial, hop, plain=plain)


def _instances(loops: list[NestLoop]) -> Iterator[tuple[list[NestLoop], int]]:
    """Every kind of instance of the parent, as loops that name its place, and how many there are."""
    over = [loop.alike if loop.spatial and loop.hop == ABOVE else {-1: 1} for loop in loops]
    for places in itertools.product(*over):
        located = [
            replace(loop, place=place) if place >= 0 else loop for loop, place in zip(loops, places, strict=True)
        ]
        yield located, math.prod(kinds[place] for kinds, place in zip(over, places, strict=True))
