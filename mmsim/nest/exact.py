"""Exact counts for loops with remainders, by running the nest once per *kind* of step instead of per step.

Timeloop counts a loop such as ``C3,2`` as if nearly all of its runs were of full length. Here the
nest is executed: a tile at the end of its dimension is smaller, instances beyond a remainder are
idle, and positions are the true ones. What a step asks for depends only on which loops are at their
last step and on how the tiles moved last, so equal runs of inner loops are worked out once (memo).

The rule of reuse is Timeloop's: a tile that keeps moving the same way asks for its new words, a tile
that stands still for nothing, any other for all of its words.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mmsim.nest.deltas import Region, Vector, minus, plus, subtract
from mmsim.nest.exact_children import Asked, Children
from mmsim.nest.exact_loops import FULL, IDLE, LAST, NestLoop, after
from mmsim.problem import DataSpace

Status: TypeAlias = tuple[tuple[int, ...], ...]  # for each dimension and each kind of child in it


@dataclass(frozen=True, slots=True)
class Held:
    """What one kind of child remembers: how far its tile is behind, its last move, its sizes and last delta."""

    behind: Vector
    move: Vector | None
    sizes: Vector
    delta: Region
    only_delta: bool = False  # of a child that is idle now: a neighbour may still have its last words

    def left(self, moved: Vector) -> Held | None:
        """The same after steps without this kind of child, in which the others `moved`."""
        return None if self.only_delta else Held(plus(self.behind, moved), self.move, self.sizes, ())

    def last_words(self) -> Held | None:
        """What neighbours may need of a child that is idle from now on."""
        return Held((), None, (), self.delta, True) if self.delta else None


State: TypeAlias = tuple[Held | None, ...]
Result: TypeAlias = tuple[Asked, State, Vector]  # words, state after, displacement from the first step to the last


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
        self.steps = [self._step(loop) for loop in self.loops]
        spatial = [i for i, loop in enumerate(self.loops) if loop.kind == "child"]
        self.children = Children(
            self.dims,
            [self.loops[i] for i in spatial],
            [self.steps[i] for i in spatial],
            order=len(self.zero),
            unicast=unicast,
            mesh=mesh,
        )
        self.position = {i: self._position(i) for i in spatial}
        self.memo: dict[tuple[int, Status, State, Vector], Result] = {}
        self.idle: dict[Status, tuple[bool, ...]] = {}
        self.tile: dict[tuple[int, ...], Vector] = {}

    def run(self) -> Asked:
        """All words asked for in the whole run."""
        plain = {loop.dim for loop in self.loops if loop.plain}
        status: Status = tuple(
            (FULL if dim in plain else LAST,) * len(kinds)
            for dim, kinds in zip(self.dims, self.children.kinds, strict=True)
        )
        if not self.reuse and self.mesh is None:  # every step asks for all: where tiles stood does not matter
            self.steps = [self.zero] * len(self.loops)
        return self._walk(0, status, (None,) * len(self.children.classes), self.zero)[0]

    def _step(self, loop: NestLoop) -> Vector:
        """Words along each rank by which the tile moves with one step."""
        return tuple(sum(c * loop.stride for dim, c in rank if dim == loop.dim) for rank in self.space.projection)

    def _position(self, i: int) -> int:
        """Which of the spatial loops of its dimension loop `i` is."""
        return sum(loop.kind == "child" and loop.dim == self.loops[i].dim for loop in self.loops[:i])

    def _walk(self, i: int, status: Status, state: State, jump: Vector) -> Result:
        """Run loops `i` and inwards; `jump` is how far the tiles stand from where they were last.

        Children that are idle throughout only fall behind, so they are left out of what is looked up.
        """
        idle = self._idle(status)
        inside = state
        if any(idle):
            inside = tuple(self._aside(held) if out else held for held, out in zip(state, idle, strict=True))
        asked, after_run, net = self._run(i, status, inside, jump)
        if inside is not state:
            moved = plus(jump, net)
            pairs = zip(state, after_run, idle, strict=True)
            after_run = tuple(old and old.left(moved) if out else new for old, new, out in pairs)
        return asked, after_run, net

    def _aside(self, held: Held | None) -> Held | None:
        """What is left of a child that is idle from now on."""
        return held.last_words() if held and self.mesh else None

    def _idle(self, status: Status) -> tuple[bool, ...]:
        """Which kinds of children do nothing in this run."""
        if status not in self.idle:
            self.idle[status] = tuple(
                any(status[d][kind] == IDLE for d, kind in enumerate(kinds)) for kinds in self.children.classes
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
            pairs = zip(status[d], self.children.kinds[d], strict=True)
            inside = tuple(after(s, kind[self.position[i]], loop.residual) for s, kind in pairs)
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
            jump = minus(self.steps[i], net)
            done.append(asked)
            total, left = total + asked, left - 1
        return total, state, jump, net

    def _ask(self, status: Status, state: State, jump: Vector) -> tuple[Asked, State]:
        """One step: what every child asks for."""
        kinds = zip(self.children.classes, state, self._idle(status), strict=True)
        held = tuple(None if idle else self._child(kind, status, old, jump) for kind, old, idle in kinds)
        return self.children.ask(_deltas(held), _deltas(state), jump), held

    def _child(self, kinds: tuple[int, ...], status: Status, old: Held | None, jump: Vector) -> Held:
        """One kind of child after a jump: its new tile and the words of it that it lacks."""
        sizes = self._sizes(tuple(status[d][kind] for d, kind in enumerate(kinds)))
        box = (self.zero, sizes)
        if old is None or not self.reuse:
            return Held(self.zero, None, sizes, (box,))
        moved = plus(old.behind, jump)
        before = (minus(self.zero, moved), minus(old.sizes, moved))
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


def _deltas(state: State) -> tuple[Region, ...]:
    return tuple(held.delta if held else () for held in state)
