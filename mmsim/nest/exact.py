"""Exact counts for loops with remainders, by running the nest once per *kind* of step instead of per step.

Timeloop counts a loop such as ``C3,2`` as if nearly all of its runs were of full length. Here the
nest is executed: a tile at the end of its dimension is smaller, instances beyond a remainder are
idle, and positions are the true ones. What a step asks for depends only on which loops are at their
last step and on how the tiles moved last, so equal runs of inner loops are worked out once (memo).

The rule of reuse is Timeloop's: a tile that keeps moving the same way asks for its new words, a tile
that stands still for nothing, any other for all of its words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.nest.deltas import Region, Vector, subtract, volume
from mmsim.problem import DataSpace

Kind: TypeAlias = Literal["time", "child", "instance"]
FULL, LAST, IDLE = 0, 1, 2  # a run of full length, one at the end of its dimension, none
Status: TypeAlias = tuple[tuple[int, ...], ...]  # for each dimension and each kind of child in it
Ids: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NestLoop:
    """One loop around a tile: in time, over the children that ask, or over other instances (`index` given).

    `hop` numbers the fan-outs between parent and child, innermost 0; children share words hop by hop.
    """

    dim: str
    factor: int
    residual: int
    stride: int  # points of `dim` that one step covers
    kind: Kind
    hop: int = 0
    index: int = 0  # of the instance looked at, for kind "instance"


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


@dataclass(frozen=True, slots=True)
class Held:
    """What one kind of child remembers: how far its tile is behind, its last move, its sizes and last delta."""

    behind: Vector
    move: Vector | None
    sizes: Vector
    delta: Region


State: TypeAlias = tuple[Held | None, ...]
Result: TypeAlias = tuple[Asked, State, Vector]  # words, state after, displacement from the first step to the last


def after(status: int, index: int, residual: int) -> int:
    """The status of the run inside step `index` of a loop, given that of the run of the loop itself.

    >>> [after(LAST, index, 2) for index in range(3)]     # C3,2 at the end of C: steps 0 and 1 only
    [0, 1, 2]
    """
    if status != LAST or index < residual - 1:
        return FULL if status == LAST else status
    return LAST if index == residual - 1 else IDLE


def alike(loop_factor: int, residual: int) -> dict[int, int]:
    """Steps of a loop that behave alike: one of each kind -> how many there are."""
    found = {residual - 1: 1}
    if residual > 1:
        found[0] = residual - 1
    if loop_factor > residual:
        found[residual] = loop_factor - residual
    return dict(sorted(found.items()))


class Execution:
    """The nest around the tiles of one data space, loops outermost first, under one instance of the parent.

    `full` and `last` are the points of each dimension in a tile inside and at the end of its
    dimension. `mesh` is the (columns, rows) of the innermost hop where neighbours hand words on.
    Hops in `unicast` send every child its own copy.
    """

    def __init__(
        self,
        space: DataSpace,
        loops: Sequence[NestLoop],
        full: Dict[str, int],
        last: Dict[str, int],
        *,
        reuse: bool = True,
        unicast: frozenset[int] = frozenset(),
        mesh: tuple[int, int] | None = None,
    ) -> None:
        self.space, self.loops, self.full, self.last = space, tuple(loops), full, last
        self.reuse, self.mesh = reuse, mesh
        self.dims = list(full)
        self.zero: Vector = (0,) * len(space.projection)
        self.kinds = [self._kinds(dim) for dim in self.dims]
        self.classes = list(itertools.product(*(range(len(kinds)) for kinds in self.kinds)))
        self.memo: dict[tuple[int, Status, State, Vector], Result] = {}
        self._place(unicast)

    def run(self) -> Asked:
        """All words asked for in the whole run."""
        status: Status = tuple((LAST,) * len(kinds) for kinds in self.kinds)
        return self._walk(0, status, (None,) * len(self.classes), self.zero)[0]

    def _step(self, loop: NestLoop) -> Vector:
        """Words along each rank by which the tile moves with one step."""
        return tuple(sum(c * loop.stride for dim, c in rank if dim == loop.dim) for rank in self.space.projection)

    def _kinds(self, dim: str) -> list[tuple[int, ...]]:
        """Kinds of children along a dimension: one index that stands for its kind, for each child loop."""
        here = [loop for loop in self.loops if loop.kind == "child" and loop.dim == dim]
        return list(itertools.product(*(alike(loop.factor, loop.residual) for loop in here)))

    def _place(self, unicast: frozenset[int]) -> None:
        """Number the children, outer loops slowest: the class of each, where its tile lies, with whom it shares."""
        loops = [loop for loop in self.loops if loop.kind == "child"]
        children = math.prod(loop.factor for loop in loops)
        grid = np.indices([loop.factor for loop in loops], dtype=np.int64).reshape(len(loops), children)
        self.offset = np.zeros((children, len(self.zero)), dtype=np.int64)
        keys: list[Ids] = [np.zeros((children, 1), dtype=np.int64)]
        for hop in sorted({loop.hop for loop in loops}):
            members = [i for i, loop in enumerate(loops) if loop.hop == hop]
            moved = sum(grid[i][:, None] * np.asarray(self._step(loops[i]), dtype=np.int64) for i in members)
            self.offset = self.offset + moved
            keys.append(grid[members].T if hop in unicast else np.asarray(moved))
        _, self.key = np.unique(np.concatenate(keys, axis=1), axis=0, return_inverse=True)
        self.key = self.key.reshape(-1)
        self.of_class = self._class_of_children(loops, grid, children)
        self.per_node = math.prod(loop.factor for loop in loops if loop.hop == 0)

    def _class_of_children(self, loops: list[NestLoop], grid: Ids, children: int) -> Ids:
        index = np.zeros(children, dtype=np.int64)
        for dim, kinds in zip(self.dims, self.kinds, strict=True):
            here = [i for i, loop in enumerate(loops) if loop.dim == dim]
            place = np.zeros(children, dtype=np.int64)
            for i in here:
                residual = loops[i].residual
                kind = np.where(grid[i] < residual - 1, 0, np.where(grid[i] == residual - 1, residual - 1, residual))
                options = list(alike(loops[i].factor, residual))
                place = place * len(options) + np.searchsorted(options, kind)
            index = index * len(kinds) + place
        return index

    def _walk(self, i: int, status: Status, state: State, jump: Vector) -> Result:
        """Run loops `i` and inwards; `jump` is how far the tiles stand from where they were last."""
        if i == len(self.loops):
            asked, state = self._ask(status, state, jump)
            return asked, state, self.zero
        key = (i, status, state, jump)
        if key not in self.memo:
            loop = self.loops[i]
            self.memo[key] = (self._time if loop.kind == "time" else self._space)(i, status, state, jump)
        return self.memo[key]

    def _space(self, i: int, status: Status, state: State, jump: Vector) -> Result:
        """A spatial loop: every kind of child goes its own way at the same time."""
        loop = self.loops[i]
        d = self.dims.index(loop.dim)
        if loop.kind == "instance":
            inside = tuple(after(s, loop.index, loop.residual) for s in status[d])
        else:
            position = [
                j for j, other in enumerate(self.loops) if other.kind == "child" and other.dim == loop.dim
            ].index(i)
            pairs = zip(status[d], self.kinds[d], strict=True)
            inside = tuple(after(s, kind[position], loop.residual) for s, kind in pairs)
        return self._walk(i + 1, (*status[:d], inside, *status[d + 1 :]), state, jump)

    def _time(self, i: int, status: Status, state: State, jump: Vector) -> Result:
        """A temporal loop, as many steps as its busiest child needs; equal steps are not run again."""
        loop = self.loops[i]
        d = self.dims.index(loop.dim)
        steps = loop.factor if FULL in status[d] else loop.residual if LAST in status[d] else 1
        move, total, net = self._step(loop), Asked(), self.zero
        for first, count in alike(steps, min(loop.residual, steps)).items() if LAST in status[d] else [(0, steps)]:
            inside = (*status[:d], tuple(after(s, first, loop.residual) for s in status[d]), *status[d + 1 :])
            left = count
            while left:
                before = state, jump
                asked, state, net = self._walk(i + 1, inside, state, jump)
                jump = tuple(a - b for a, b in zip(move, net, strict=True))
                repeats = left if (state, jump) == before else 1
                total, left = total + asked * repeats, left - repeats
        return total, state, tuple(a * (steps - 1) + b for a, b in zip(move, net, strict=True))

    def _ask(self, status: Status, state: State, jump: Vector) -> tuple[Asked, State]:
        """One step: what every child asks for."""
        held = tuple(self._child(kinds, status, old, jump) for kinds, old in zip(self.classes, state, strict=True))
        regions: list[Region] = [now.delta if now else () for now in held]
        words = np.array([volume(region) for region in regions], dtype=np.int64)[self.of_class]
        taken = self._linked(state, regions, words, jump) if self.mesh else np.zeros(len(words), dtype=bool)
        shape = {region: number for number, region in enumerate(dict.fromkeys(regions))}
        shapes = np.array([shape[region] for region in regions], dtype=np.int64)[self.of_class]
        asks = (words > 0) & ~taken
        _, once = np.unique(self.key[asks] * len(shape) + shapes[asks], return_index=True)
        asked = Asked(int(words[asks][once].sum()), int(words[asks].sum()), int(words[taken].sum()))
        return asked, held

    def _child(self, kinds: tuple[int, ...], status: Status, old: Held | None, jump: Vector) -> Held | None:
        """One kind of child after a jump: its new tile and the words of it that it lacks."""
        here = {dim: status[d][kind] for d, (dim, kind) in enumerate(zip(self.dims, kinds, strict=True))}
        moved = tuple(a + b for a, b in zip(old.behind, jump, strict=True)) if old else self.zero
        if IDLE in here.values():
            return Held(moved, old.move, old.sizes, ()) if old else None
        sizes = tuple(
            1 + sum(((self.full if here[dim] == FULL else self.last)[dim] - 1) * c for dim, c in rank)
            for rank in self.space.projection
        )
        box = (self.zero, sizes)
        if old is None or not self.reuse:
            return Held(self.zero, None, sizes, (box,))
        before = (tuple(-m for m in moved), tuple(size - m for size, m in zip(old.sizes, moved, strict=True)))
        if not any(moved):
            return Held(self.zero, old.move, sizes, () if sizes == old.sizes else subtract(box, before))
        if old.move is None or old.move == moved:
            return Held(self.zero, moved, sizes, subtract(box, before))
        return Held(self.zero, None, sizes, (box,))

    def _linked(self, state: State, regions: list[Region], words: Ids, jump: Vector) -> npt.NDArray[np.bool_]:
        """Children that get their words from a neighbour's last delta, where that spares reads of the parent."""
        assert self.mesh
        shapes: dict[Region, int] = {(): 0}
        now_low, now_shape = self._outline(regions, shapes)
        old_low, old_shape = self._outline([held.delta if held else () for held in state], shapes)
        here = self.offset + now_low[self.of_class] + np.asarray(jump, dtype=np.int64)
        there = self.offset + old_low[self.of_class]
        ids = np.arange(self.per_node)
        columns, rows = self.mesh
        column, row = ids % columns, ids // columns
        taken = np.zeros((len(words) // self.per_node, self.per_node), dtype=bool)
        for step, inside in (
            (-1, column > 0),
            (1, column < columns - 1),
            (-columns, row > 0),
            (columns, row < rows - 1),
        ):
            local = ids[inside & (ids + step >= 0) & (ids + step < self.per_node)]
            for node in range(len(taken)):
                mine = node * self.per_node + local
                theirs = mine + step
                same = (now_shape[self.of_class[mine]] == old_shape[self.of_class[theirs]]) & (words[mine] > 0)
                taken[node, local] |= same & (here[mine] == there[theirs]).all(axis=1)
        for node in range(len(taken)):
            mine = node * self.per_node + ids
            asked = {
                (k, r): w for k, r, w in zip(self.key[mine], now_shape[self.of_class[mine]], words[mine], strict=True)
            }
            rest = mine[~taken[node]]
            fewer = {
                (k, r): w for k, r, w in zip(self.key[rest], now_shape[self.of_class[rest]], words[rest], strict=True)
            }
            if sum(fewer.values()) >= sum(asked.values()):
                taken[node] = False
        return taken.reshape(-1)

    def _outline(self, regions: list[Region], shapes: dict[Region, int]) -> tuple[Ids, Ids]:
        """The low corner of each region's first box, and a number for its shape apart from that corner."""
        lows, numbers = [], []
        for region in regions:
            boxes = sorted(region)
            low = boxes[0][0] if boxes else self.zero
            shape = tuple((_minus(a, low), _minus(b, low)) for a, b in boxes)
            lows.append(low)
            numbers.append(shapes.setdefault(shape, len(shapes)))
        return np.array(lows, dtype=np.int64).reshape(len(regions), -1), np.array(numbers, dtype=np.int64)


def _minus(a: Vector, b: Vector) -> Vector:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def points(loops: Sequence[NestLoop], dim: str, full: int, last: int) -> int:
    """Points of `dim` that one instance sees: its tile, and the steps in time of the loops around it."""
    counts = {FULL: full, LAST: last, IDLE: 0}
    for loop in reversed([loop for loop in loops if loop.dim == dim]):
        if loop.kind == "time":
            kinds = alike(loop.factor, loop.residual).items()
            at_end = sum(counts[after(LAST, index, loop.residual)] * count for index, count in kinds)
            counts = {FULL: counts[FULL] * loop.factor, LAST: at_end, IDLE: 0}
        else:
            counts = {status: counts[after(status, loop.index, loop.residual)] for status in counts}
    return counts[LAST]


def steps_in_time(loops: Sequence[NestLoop], dim: str) -> int:
    """Steps that the temporal loops of `dim` take in the whole run; instances step together."""
    counts = {FULL: 1, LAST: 1}
    for loop in reversed([loop for loop in loops if loop.dim == dim]):
        if loop.kind == "time":
            counts = {FULL: counts[FULL] * loop.factor, LAST: counts[FULL] * (loop.residual - 1) + counts[LAST]}
        elif loop.residual > 1:
            counts = {FULL: counts[FULL], LAST: counts[FULL]}
    return counts[LAST]
