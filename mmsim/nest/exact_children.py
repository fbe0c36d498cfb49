"""The children of one parent instance, tile by tile: of what kind each is, who shares words and who hands them on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmsim.nest.deltas import Region, Vector, minus, volume
from mmsim.nest.exact_loops import NestLoop

Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Asked:
    """Words asked for: `read` once each from the parent, `delivered` to children, `linked` from neighbours."""

    read: int = 0
    delivered: int = 0
    linked: int = 0

    def __add__(self, other: Asked) -> Asked:
        return Asked(self.read + other.read, self.delivered + other.delivered, self.linked + other.linked)

    def __mul__(self, times: int) -> Asked:
        return Asked(self.read * times, self.delivered * times, self.linked * times)


class Children:
    """Children numbered with outer loops slowest; `classes` are the kinds of them that behave alike.

    `loops` are the spatial loops between parent and child, outermost first, and `steps` the words by
    which a tile moves with each. Hops in `unicast` send every child its own copy. `mesh` is the
    (columns, rows) of the innermost hop where neighbours hand words on.
    """

    def __init__(
        self,
        dims: Sequence[str],
        loops: Sequence[NestLoop],
        steps: Sequence[Vector],
        *,
        order: int,
        unicast: frozenset[int],
        mesh: tuple[int, int] | None,
    ) -> None:
        self.loops, self.mesh = tuple(loops), mesh
        self.kinds = [
            list(itertools.product(*(loop.alike for loop in loops if loop.dim == dim))) for dim in dims
        ]  # for each dimension, one index of each of its loops for each kind
        self.classes = list(itertools.product(*(range(len(kinds)) for kinds in self.kinds)))
        self.zero: Vector = (0,) * order
        self.per_node = math.prod(loop.factor for loop in loops if loop.hop == 0)
        grid = np.indices([loop.factor for loop in loops], dtype=np.int64)
        grid = grid.reshape(len(loops), math.prod(loop.factor for loop in loops))  # (loops, children)
        self.of_class = self._class_of(dims, grid)
        self.offset, self.key = self._place(grid, steps, unicast)
        self.known: dict[tuple[Region, ...], Asked] = {}

    def _place(self, grid: Ids, steps: Sequence[Vector], unicast: frozenset[int]) -> tuple[Ids, Ids]:
        """Where every child's tile lies, and a number for those that share words."""
        offset = np.zeros((grid.shape[1], len(self.zero)), dtype=np.int64)
        keys: list[Ids] = [np.zeros((grid.shape[1], 1), dtype=np.int64)]
        for hop in sorted({loop.hop for loop in self.loops}):
            members = [i for i, loop in enumerate(self.loops) if loop.hop == hop]
            moved = sum(grid[i][:, None] * np.asarray(steps[i], dtype=np.int64) for i in members)
            offset = offset + moved
            keys.append(grid[members].T if hop in unicast else np.asarray(moved))
        _, key = np.unique(np.concatenate(keys, axis=1), axis=0, return_inverse=True)
        return offset, key.reshape(-1)

    def _class_of(self, dims: Sequence[str], grid: Ids) -> Ids:
        index = np.zeros(grid.shape[1], dtype=np.int64)
        for dim, kinds in zip(dims, self.kinds, strict=True):
            place = np.zeros(grid.shape[1], dtype=np.int64)
            for i, loop in enumerate(self.loops):
                if loop.dim == dim:
                    options = list(loop.alike)
                    place = place * len(options) + np.searchsorted(options, grid[i], side="right") - 1
            index = index * len(kinds) + place
        return index

    def ask(self, now: tuple[Region, ...], before: tuple[Region, ...], jump: Vector) -> Asked:
        """Words read and delivered when the classes lack `now` and lacked `before` one step ago, `jump` back."""
        if self.mesh and any(before):
            return self._served(now, self._linked(now, before, jump, self.mesh))
        if now not in self.known:
            self.known[now] = self._served(now, None)
        return self.known[now]

    def _served(self, now: tuple[Region, ...], taken: Flags | None) -> Asked:
        """Words read and delivered; children `taken` get theirs from neighbours."""
        words, shapes = self._words(now), self._shapes(now)
        asks = words > 0
        linked = 0
        if taken is not None:
            linked, asks = int(words[taken].sum()), asks & ~taken
        _, once = np.unique(self.key[asks] * len(now) + shapes[asks], return_index=True)
        return Asked(int(words[asks][once].sum()), int(words[asks].sum()), linked)

    def _words(self, regions: tuple[Region, ...]) -> Ids:
        """Words that each child asks for."""
        return np.array([volume(region) for region in regions], dtype=np.int64)[self.of_class]

    def _shapes(self, regions: tuple[Region, ...]) -> Ids:
        """A number for the region that each child asks for."""
        number = {region: i for i, region in enumerate(dict.fromkeys(regions))}
        return np.array([number[region] for region in regions], dtype=np.int64)[self.of_class]

    def _linked(
        self, now: tuple[Region, ...], before: tuple[Region, ...], jump: Vector, mesh: tuple[int, int]
    ) -> Flags:
        """Children that get their words from a neighbour's last delta, where that spares reads of the parent."""
        words, shapes = self._words(now), self._shapes(now)
        outlines: dict[Region, int] = {(): 0}
        now_low, now_outline = self._outlines(now, outlines)
        old_low, old_outline = self._outlines(before, outlines)
        here = self.offset + now_low + np.asarray(jump, dtype=np.int64)
        there = self.offset + old_low
        taken = np.zeros(len(words), dtype=bool)
        for first in range(0, len(words), self.per_node):
            node = np.arange(first, first + self.per_node)
            for local, step in _neighbours(self.per_node, *mesh):
                mine, theirs = node[local], node[local] + step
                same = (now_outline[mine] == old_outline[theirs]) & (words[mine] > 0)
                taken[mine] |= same & (here[mine] == there[theirs]).all(axis=1)
            rest = node[~taken[node]]
            if self._read(rest, words, shapes) >= self._read(node, words, shapes):
                taken[node] = False
        return taken

    def _read(self, children: Ids, words: Ids, shapes: Ids) -> int:
        """Words read for these children, those that they share once."""
        _, once = np.unique(self.key[children] * (int(shapes.max()) + 1) + shapes[children], return_index=True)
        return int(words[children][once].sum())

    def _outlines(self, regions: tuple[Region, ...], known: dict[Region, int]) -> tuple[Ids, Ids]:
        """For each child the low corner of its region's first box, and a number for its shape apart from that."""
        lows, numbers = [], []
        for region in regions:
            boxes = sorted(region)
            low = boxes[0][0] if boxes else self.zero
            shape = tuple((minus(a, low), minus(b, low)) for a, b in boxes)
            lows.append(low)
            numbers.append(known.setdefault(shape, len(known)))
        corner = np.array(lows, dtype=np.int64).reshape(len(regions), len(self.zero))
        return corner[self.of_class], np.array(numbers, dtype=np.int64)[self.of_class]


def _neighbours(children: int, columns: int, rows: int) -> list[tuple[Ids, int]]:
    """(children that have one, how far on in number it is) for the neighbours left, right, above and below."""
    ids = np.arange(children)
    column, row = ids % columns, ids // columns
    sides = ((-1, column > 0), (1, column < columns - 1), (-columns, row > 0), (columns, row < rows - 1))
    return [(ids[inside & (ids + step >= 0) & (ids + step < children)], step) for step, inside in sides]
