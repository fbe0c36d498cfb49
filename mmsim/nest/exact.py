"""Exact counts for loops with remainders: what the executed nest asks for, added up without executing it.

Timeloop counts a loop such as ``C3,2`` as if nearly all of its runs were of full length. Here a tile at
the end of its dimension is smaller, instances beyond a remainder are idle, and positions are the true
ones. Whether an instance is idle, how far its tile moves and how long it is follow in each dimension
from the loops of that dimension alone (`Dimension`). So the steps of one loop fall into few kinds in
each dimension, and the words of all steps are a sum over the loops of products over the dimensions:
no loop is run, and the time does not depend on the factors.

The rule of reuse is Timeloop's: a tile that moves on as its innermost loop moves it asks for its new
words, one that stands still for nothing, any other for all of its words.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from mmsim.errors import InputError
from mmsim.nest.exact_dimension import Dimension, Ids, Turn
from mmsim.nest.exact_loops import ABOVE, NestLoop
from mmsim.problem import DataSpace, Rank

Vector: TypeAlias = tuple[int, ...]
Kinds: TypeAlias = tuple[int, ...]  # the kind of instance in each dimension of a part
Groups: TypeAlias = Counter[frozenset[Kinds]]  # the kinds among instances that share words -> how many such groups
Region: TypeAlias = tuple[Vector, tuple[tuple[int, int], ...]]  # the tile's lengths, and the box in it held already

FIRST = -1  # the position that stands for the very first step
MAX_GRID = 2**22  # instances looked at one by one


@dataclass(frozen=True, slots=True)
class Tile:
    """The tile of some instances along some ranks at one step, and the tile before."""

    move: Vector
    before: Vector
    now: Vector
    moving: int  # the innermost loop that moved it last within the step before, -1 when none did


class Part:
    """Ranks that are indexed by common dimensions, with those dimensions; or one dimension that indexes none."""

    def __init__(self, dims: Mapping[str, Dimension], ranks: Sequence[Rank], unicast: frozenset[int]) -> None:
        self.dims, self.ranks, self.unicast = dict(dims), tuple(ranks), unicast

    def tiles(self, position: int, groups: Groups) -> Counter[frozenset[Tile]]:
        """For the steps of the loop at `position`: the different tiles in a group, and how often that happens."""
        found: Counter[frozenset[Tile]] = Counter()
        for case in itertools.product(*(dim.turns(position) for dim in self.dims.values())):
            count = math.prod(times for _, times in case)
            for members, number in groups.items():
                seen = ([turns[k] for (turns, _), k in zip(case, kinds, strict=True)] for kinds in members)
                tiles = frozenset(self._tile(turns) for turns in seen if all(turn.busy for turn in turns))
                if tiles:
                    found[tiles] += count * number
        return found

    def _tile(self, turns: Sequence[Turn]) -> Tile:
        if not self.ranks:
            return Tile((), (), (), -1)
        here = dict(zip(self.dims, turns, strict=True))
        return Tile(
            tuple(sum(c * here[dim].shift for dim, c in rank) for rank in self.ranks),
            tuple(1 + sum(c * (here[dim].before - 1) for dim, c in rank) for rank in self.ranks),
            tuple(1 + sum(c * (here[dim].now - 1) for dim, c in rank) for rank in self.ranks),
            max(turn.moving for turn in turns),
        )

    @cached_property
    def alone(self) -> Groups:
        """Every instance a group of its own."""
        kinds = itertools.product(*(range(len(dim.kinds)) for dim in self.dims.values()))
        return Counter({frozenset([one]): self._count(one) for one in kinds})

    @cached_property
    def shared(self) -> Groups:
        """Instances whose tiles lie alike within every fan-out, but for those that serve each for itself."""
        spatial = [loop for dim in self.dims.values() for loop in dim.spatial]
        if len(self.dims) > 1 and spatial:
            return self._overlapping(spatial)
        if self.ranks:
            return self.alone
        (dim,) = self.dims.values()
        apart = [i for i, loop in enumerate(spatial) if self._is_apart(loop)]
        members: dict[Kinds, set[Kinds]] = {}
        for kind, steps in enumerate(dim.kinds):
            members.setdefault(tuple(steps[i] for i in apart), set()).add((kind,))
        groups: Groups = Counter()
        for steps, kinds in members.items():
            groups[frozenset(kinds)] += math.prod(dim.places[i][step] for i, step in zip(apart, steps, strict=True))
        return groups

    def _is_apart(self, loop: NestLoop) -> bool:
        """Whether the instances along a loop share nothing, whatever they hold."""
        return loop.hop == ABOVE or loop.hop in self.unicast

    def _count(self, kinds: Kinds) -> int:
        return math.prod(dim.count(kind) for dim, kind in zip(self.dims.values(), kinds, strict=True))

    def _overlapping(self, spatial: Sequence[NestLoop]) -> Groups:
        """Groups where several dimensions index one rank: instances are looked at one by one."""
        grid = places(spatial)
        keys = [grid[i] for i, loop in enumerate(spatial) if self._is_apart(loop)]
        for hop in {loop.hop for loop in spatial if not self._is_apart(loop)}:
            mine = [i for i, loop in enumerate(spatial) if loop.hop == hop]
            keys += [np.asarray(sum(grid[i] * along(spatial[i], rank) for i in mine)) for rank in self.ranks]
        first = 0
        for dim in self.dims.values():
            keys.append(dim.kind_at(grid[first : first + len(dim.spatial)]))
            first += len(dim.spatial)
        members: dict[Kinds, set[Kinds]] = {}
        for row in np.unique(np.array(keys), axis=1).T.tolist():
            members.setdefault(tuple(row[: -len(self.dims)]), set()).add(tuple(row[-len(self.dims) :]))
        return Counter(frozenset(group) for group in members.values())


class Nest:
    """The nest around the tiles of one data space: loops in time and over instances, outermost first.

    `full` and `last` are the points of each dimension in a tile inside and at the end of its
    dimension. With `keeps` a tile stays while the loops around do not move it; without, every step
    asks for all of it. Hops in `unicast` send every child its own copy.

    Five words in tiles of two, ``P3`` around ``P2,1``: two, two and one are read (Timeloop counts six).

    >>> row = DataSpace("Inputs", ((("P", 1),),), bits=8, is_output=False)
    >>> Nest(row, [NestLoop("P", 3, 3, stride=2)], full={"P": 2}, last={"P": 1}).read()
    5
    """

    def __init__(
        self,
        space: DataSpace,
        loops: Sequence[NestLoop],
        full: Mapping[str, int],
        last: Mapping[str, int],
        *,
        keeps: bool = True,
        unicast: frozenset[int] = frozenset(),
    ) -> None:
        self.space, self.loops, self.keeps = space, tuple(loops), keeps
        placed = list(enumerate(loops))
        self.dims = {d: Dimension([one for one in placed if one[1].dim == d], full[d], last[d]) for d in full}
        self.parts = [
            Part({d: self.dims[d] for d in dims}, ranks, unicast) for dims, ranks in _connected(space, list(full))
        ]
        self.ranks = [rank for part in self.parts for rank in part.ranks]

    @property
    def in_time(self) -> list[int]:
        """The positions of the loops in time."""
        return [i for i, loop in enumerate(self.loops) if not loop.spatial]

    def read(self) -> int:
        """Words that the parents read: equal requests of instances that share words once."""
        return sum(self._words(position, [part.shared for part in self.parts]) for position in (FIRST, *self.in_time))

    def delivered(self) -> int:
        """Words that the children get."""
        return sum(self._words(position, [part.alone for part in self.parts]) for position in (FIRST, *self.in_time))

    def _words(self, position: int, groups: Sequence[Groups]) -> int:
        """Words asked for in the steps of one loop."""
        tables = [part.tiles(position, group).items() for part, group in zip(self.parts, groups, strict=True)]
        total = 0
        for choice in itertools.product(*tables):
            members = itertools.product(*(tiles for tiles, _ in choice))
            asked = {self._asked(position, tiles) for tiles in members}
            total += sum(map(_volume, asked)) * math.prod(count for _, count in choice)
        return total

    def _asked(self, position: int, tiles: Sequence[Tile]) -> Region:
        """What an instance asks for at a step; its parts in the order of `ranks`."""
        now = tuple(length for tile in tiles for length in tile.now)
        move = tuple(words for tile in tiles for words in tile.move)
        inner = max(tile.moving for tile in tiles)
        usual = move if inner < 0 else tuple(along(self.loops[inner], rank) for rank in self.ranks)
        if position == FIRST or not self.keeps or (any(move) and move != usual):
            return now, ()
        before = (length for tile in tiles for length in tile.before)
        held = tuple((max(0, -m), min(n, b - m)) for n, b, m in zip(now, before, move, strict=True))
        return now, held if all(low < high for low, high in held) else ()


def along(loop: NestLoop, rank: Rank) -> int:
    """Words along a rank by which a step of the loop moves a tile."""
    return sum(c * loop.stride for dim, c in rank if dim == loop.dim)


def places(loops: Sequence[NestLoop]) -> Ids:
    """(loops, instances) the step of every instance in every loop, inner loops fastest."""
    choices = [range(loop.factor) if loop.place is None else (loop.place,) for loop in loops]
    count = math.prod(map(len, choices))
    if count > MAX_GRID:
        raise InputError(f"more than {MAX_GRID} instances with common words are not supported")
    grid = np.indices([len(steps) for steps in choices], dtype=np.int64).reshape(len(loops), count)
    return grid + np.array([[steps[0]] for steps in choices], dtype=np.int64).reshape(len(loops), 1)


def _connected(space: DataSpace, dims: Sequence[str]) -> Iterator[tuple[list[str], list[Rank]]]:
    """Dimensions that index a rank together, and the ranks; dimensions that index nothing come one by one."""
    left = list(dims)
    while left:
        mine = {left[0]}
        for _ in space.projection:  # as many rounds as a chain of ranks can be long
            mine |= {dim for rank in space.projection for dim, _ in rank if mine & {d for d, _ in rank}}
        left = [dim for dim in left if dim not in mine]
        yield sorted(mine), [rank for rank in space.projection if mine & {d for d, _ in rank}]


def _volume(region: Region) -> int:
    now, held = region
    return math.prod(now) - (math.prod(high - low for low, high in held) if held else 0)
