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
from dataclasses import dataclass, replace
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
    plain: bool = False  # no loop of its dimension has a remainder

    @property
    def alike(self) -> dict[int, int]:
        """Steps that behave alike: one of each kind -> how many there are.

        >>> NestLoop("C", 5, 3, 1, "time").alike      # before the end of the remainder, at it, beyond
        {0: 2, 2: 1, 3: 2}
        """
        if self.plain:
            return {0: self.factor}
        beyond = {self.residual: self.factor - self.residual} if self.factor > self.residual else {}
        before = {0: self.residual - 1} if self.residual > 1 else {}
        return before | {self.residual - 1: 1} | beyond


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

    def left(self, moved: Vector) -> Held:
        """The same after steps without this kind of child, in which the others `moved`."""
        return Held(_plus(self.behind, moved), self.move, self.sizes, ())


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
        self.idle: dict[Status, tuple[bool, ...]] = {}
        self.tile: dict[tuple[int, ...], Vector] = {}
        self.asked: dict[tuple[Region, ...], Asked] = {}
        self.steps = [self._step(loop) for loop in self.loops]
        self._place(unicast)

    def run(self) -> Asked:
        """All words asked for in the whole run."""
        plain = {loop.dim for loop in self.loops if loop.plain}
        status: Status = tuple(
            (FULL if dim in plain else LAST,) * len(kinds) for dim, kinds in zip(self.dims, self.kinds, strict=True)
        )
        if not self.reuse and self.mesh is None:  # every step asks for all: where tiles stood does not matter
            self.steps = [self.zero] * len(self.loops)
        return self._walk(0, status, (None,) * len(self.classes), self.zero)[0]

    def _step(self, loop: NestLoop) -> Vector:
        """Words along each rank by which the tile moves with one step."""
        return tuple(sum(c * loop.stride for dim, c in rank if dim == loop.dim) for rank in self.space.projection)

    def _kinds(self, dim: str) -> list[tuple[int, ...]]:
        """Kinds of children along a dimension: one index that stands for its kind, for each child loop."""
        here = [loop for loop in self.loops if loop.kind == "child" and loop.dim == dim]
        return list(itertools.product(*(loop.alike for loop in here)))

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
                options = list(loops[i].alike)
                place = place * len(options) + np.searchsorted(options, grid[i], side="right") - 1
            index = index * len(kinds) + place
        return index

    def _walk(self, i: int, status: Status, state: State, jump: Vector) -> Result:
        """Run loops `i` and inwards; `jump` is how far the tiles stand from where they were last.

        Children that are idle throughout only fall behind, so they are left out of what is looked up.
        """
        idle = self._idle(status)
        inside = tuple(None if out else held for held, out in zip(state, idle, strict=True)) if any(idle) else state
        asked, after_run, net = self._run(i, status, inside, jump)
        if inside is not state:
            moved = _plus(jump, net)
            pairs = zip(state, after_run, idle, strict=True)
            after_run = tuple(old and old.left(moved) if out else new for old, new, out in pairs)
        return asked, after_run, net

    def _idle(self, status: Status) -> tuple[bool, ...]:
        """Which kinds of children do nothing in this run."""
        if status not in self.idle:
            self.idle[status] = tuple(
                any(status[d][kind] == IDLE for d, kind in enumerate(kinds)) for kinds in self.classes
            )
        return self.idle[status]

    def _run(self, i: int, status: Status, state: State, jump: Vector) -> Result:
        if i == len(self.loops):
            asked, state = self._ask(status, state, jump)
            return asked, state, self.zero
        key = (i, status, state, jump)
        if key not in self.memo:
            run = self._time if self.loops[i].kind == "time" else self._space
            self.memo[key] = run(i, status, state, jump)
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
        total, net = Asked(), self.zero
        kinds = replace(loop, factor=steps).alike if LAST in status[d] else {0: steps}
        for first, count in kinds.items():
            inside = (*status[:d], tuple(after(s, first, loop.residual) for s in status[d]), *status[d + 1 :])
            asked, state, jump, net = self._repeat(i, count, inside, state, jump)
            total += asked
        return total, state, tuple(a * (steps - 1) + b for a, b in zip(self.steps[i], net, strict=True))

    def _repeat(
        self, i: int, left: int, inside: Status, state: State, jump: Vector
    ) -> tuple[Asked, State, Vector, Vector]:
        """Steps of loop `i` with equal insides; once they come round in a cycle, it is not run again."""
        total, net = Asked(), self.zero
        done: list[Asked] = []
        seen: dict[tuple[State, Vector], int] = {}
        while left:
            if (state, jump) in seen:
                cycle = done[seen[state, jump] :]
                rounds, left = divmod(left, len(cycle))
                total += sum(cycle, Asked()) * rounds
                seen = {}
                continue
            seen[state, jump] = len(done)
            asked, state, net = self._walk(i + 1, inside, state, jump)
            jump = _minus(self.steps[i], net)
            done.append(asked)
            total, left = total + asked, left - 1
        return total, state, jump, net

    def _ask(self, status: Status, state: State, jump: Vector) -> tuple[Asked, State]:
        """One step: what every child asks for."""
        kinds = zip(self.classes, state, self._idle(status), strict=True)
        held = tuple(None if idle else self._child(kind, status, old, jump) for kind, old, idle in kinds)
        regions = tuple(now.delta if now else () for now in held)
        if self.mesh and any(old and old.delta for old in state):
            return self._served(regions, self._linked(state, regions, jump)), held
        if regions not in self.asked:
            self.asked[regions] = self._served(regions, None)
        return self.asked[regions], held

    def _served(self, regions: tuple[Region, ...], taken: npt.NDArray[np.bool_] | None) -> Asked:
        """Words read and delivered; children `taken` get theirs from neighbours."""
        words = self._words(regions)
        asks = words > 0
        linked = 0
        if taken is not None:
            linked, asks = int(words[taken].sum()), asks & ~taken
        shape = {region: number for number, region in enumerate(dict.fromkeys(regions))}
        shapes = np.array([shape[region] for region in regions], dtype=np.int64)[self.of_class]
        _, once = np.unique(self.key[asks] * len(shape) + shapes[asks], return_index=True)
        return Asked(int(words[asks][once].sum()), int(words[asks].sum()), linked)

    def _words(self, regions: tuple[Region, ...]) -> Ids:
        """Words that each child asks for."""
        return np.array([volume(region) for region in regions], dtype=np.int64)[self.of_class]

    def _child(self, kinds: tuple[int, ...], status: Status, old: Held | None, jump: Vector) -> Held:
        """One kind of child after a jump: its new tile and the words of it that it lacks."""
        sizes = self._sizes(tuple(status[d][kind] for d, kind in enumerate(kinds)))
        box = (self.zero, sizes)
        if old is None or not self.reuse:
            return Held(self.zero, None, sizes, (box,))
        moved = _plus(old.behind, jump)
        before = (_minus(self.zero, moved), _minus(old.sizes, moved))
        if not any(moved):
            return Held(self.zero, old.move, sizes, () if sizes == old.sizes else subtract(box, before))
        if old.move is None or old.move == moved:
            return Held(self.zero, moved, sizes, subtract(box, before))
        return Held(self.zero, None, sizes, (box,))

    def _sizes(self, ends: tuple[int, ...]) -> Vector:
        """The tile of a child, given for every dimension whether it is at the end."""
        if ends not in self.tile:
            n = {dim: (self.last if end == LAST else self.full)[dim] for dim, end in zip(self.dims, ends, strict=True)}
            ranks = self.space.projection
            self.tile[ends] = tuple(1 + sum((n[dim] - 1) * c for dim, c in rank) for rank in ranks)
        return self.tile[ends]

    def _linked(self, state: State, regions: tuple[Region, ...], jump: Vector) -> npt.NDArray[np.bool_]:
        """Children that get their words from a neighbour's last delta, where that spares reads of the parent."""
        assert self.mesh
        words = self._words(regions)
        shapes: dict[Region, int] = {(): 0}
        now_low, now_shape = self._outline(regions, shapes)
        old_low, old_shape = self._outline(tuple(held.delta if held else () for held in state), shapes)
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

    def _outline(self, regions: tuple[Region, ...], shapes: dict[Region, int]) -> tuple[Ids, Ids]:
        """The low corner of each region's first box, and a number for its shape apart from that corner."""
        lows, numbers = [], []
        for region in regions:
            boxes = sorted(region)
            low = boxes[0][0] if boxes else self.zero
            shape = tuple((_minus(a, low), _minus(b, low)) for a, b in boxes)
            lows.append(low)
            numbers.append(shapes.setdefault(shape, len(shapes)))
        return np.array(lows, dtype=np.int64).reshape(len(regions), -1), np.array(numbers, dtype=np.int64)


def _plus(a: Vector, b: Vector) -> Vector:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _minus(a: Vector, b: Vector) -> Vector:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def points(loops: Sequence[NestLoop], dim: str, full: int, last: int) -> int:
    """Points of `dim` that one instance sees: its tile, and the steps in time of the loops around it."""
    counts = {FULL: full, LAST: last, IDLE: 0}
    for loop in reversed([loop for loop in loops if loop.dim == dim]):
        if loop.kind == "time":
            kinds = replace(loop, plain=False).alike.items()
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
