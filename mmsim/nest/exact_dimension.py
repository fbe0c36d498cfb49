"""One dimension of a nest with remainders: what each step of a loop is to every kind of instance.

Which runs of the loops of a dimension are cut, how far its tile moves, and which instances are idle
follows from the loops of that dimension that are at their last step, and from nothing else.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.nest.exact_loops import FULL, IDLE, LAST, NestLoop, after

Status: TypeAlias = tuple[int, ...]  # of a run, for each kind of instance
Ids: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """What the loops inside some point do in one run; sizes and distances are points of the dimension."""

    steps: int
    reach: int  # how far the last tile lies from the first
    first: int  # size of the first tile
    last: int
    moving: int  # the innermost loop that moved before the end, -1 when none did


@dataclass(frozen=True, slots=True)
class Turn:
    """A step as one kind of instance sees it in one dimension."""

    busy: bool
    shift: int  # from the tile before to this one
    before: int  # sizes of the two
    now: int
    moving: int  # the innermost loop that moved within the step before, -1 when none did
    until_now: bool  # whether the instance was busy until the step before was over


class Dimension:
    """The loops of one dimension, outermost first, each with its position in the whole nest.

    `full` and `last` are the points in a tile inside and at the end of the dimension. `kinds` are the
    kinds of instances that behave alike, each as the step it takes in every spatial loop.
    """

    def __init__(self, loops: Sequence[tuple[int, NestLoop]], full: int, last: int) -> None:
        self.positions = [position for position, _ in loops]
        self.loops = [loop for _, loop in loops]
        self.full, self.last = full, last
        self.spatial = [loop for loop in self.loops if loop.spatial]
        self.places = [loop.alike for loop in self.spatial]
        self.kinds = list(itertools.product(*self.places))
        self.start = FULL if any(loop.plain for loop in self.loops) else LAST
        self.known: dict[tuple[int, int, int], Run | None] = {}

    def count(self, kind: int) -> int:
        """How many instances are of that kind."""
        return math.prod(places[step] for places, step in zip(self.places, self.kinds[kind], strict=True))

    def kind_at(self, steps: Ids) -> Ids:
        """The kind of each of many instances (I), given the step of each in every spatial loop (loops, I)."""
        kind = np.zeros(steps.shape[1], dtype=np.int64)
        for taken, options in zip(steps, map(list, self.places), strict=True):
            kind = kind * len(options) + np.searchsorted(options, taken, side="right") - 1
        return kind

    def turns(self, position: int) -> list[tuple[tuple[Turn, ...], int]]:
        """What the steps after the first of the loop at `position` are to every kind, and how many such steps.

        The loop may be of another dimension: then its inner loops begin anew. Position -1 stands for
        the very first step of all.
        """
        outer = sum(other < position for other in self.positions)
        found: Counter[tuple[Turn, ...]] = Counter()
        for status, count in self._statuses(outer).items():
            if position not in self.positions:
                found[self._turns(outer, status, status, 0)] += count
                continue
            loop = self.loops[outer]
            for (before, now), times in loop.changes.items():
                runs = self._inside(outer, status, before), self._inside(outer, status, now)
                found[self._turns(outer + 1, *runs, loop.stride)] += count * times
        return [(turns, count) for turns, count in found.items() if any(turn.busy for turn in turns)]

    def _statuses(self, outer: int) -> Counter[Status]:
        """What the runs inside the `outer` outermost loops are, and how many there are of each."""
        found = Counter({(self.start,) * len(self.kinds): 1})
        for i, loop in enumerate(self.loops[:outer]):
            inner: Counter[Status] = Counter()
            for status, count in found.items():
                for step, times in {0: 1}.items() if loop.spatial else loop.alike.items():
                    inner[self._inside(i, status, step)] += count * times
            found = inner
        return found

    def _inside(self, i: int, status: Status, step: int) -> Status:
        """What the runs inside a step of loop `i` are; of a spatial loop every kind takes its own step."""
        loop = self.loops[i]
        steps = [kind[self._place(i)] for kind in self.kinds] if loop.spatial else [step] * len(self.kinds)
        return tuple(after(one, at, loop.residual) for one, at in zip(status, steps, strict=True))

    def _place(self, i: int) -> int:
        """Which of the spatial loops loop `i` is."""
        return sum(loop.spatial for loop in self.loops[:i])

    def _turns(self, inner: int, before: Status, now: Status, stride: int) -> tuple[Turn, ...]:
        olds = [self._run(inner, kind, status) for kind, status in enumerate(before)]
        news = [self._run(inner, kind, status) for kind, status in enumerate(now)]
        longest = max((old.steps for old in olds if old), default=0)
        return tuple(
            Turn(bool(new), stride - old.reach, old.last, new.first if new else 0, old.moving, old.steps == longest)
            if old
            else Turn(False, 0, 0, 0, -1, False)  # who is idle now is idle in the next step too
            for old, new in zip(olds, news, strict=True)
        )

    def _run(self, i: int, kind: int, status: int) -> Run | None:
        """The run of loops `i` and inwards; None when the instance is idle throughout."""
        key = i, kind, status
        if key not in self.known:
            self.known[key] = None if status == IDLE else self._follow(i, kind, status)
        return self.known[key]

    def _follow(self, i: int, kind: int, status: int) -> Run | None:
        if i == len(self.loops):
            size = self.last if status == LAST else self.full
            return Run(1, 0, size, size, -1)
        loop = self.loops[i]
        if loop.spatial:
            return self._run(i + 1, kind, after(status, self.kinds[kind][self._place(i)], loop.residual))
        steps = loop.residual if status == LAST else loop.factor
        at_end = self._run(i + 1, kind, after(status, steps - 1, loop.residual))
        if steps == 1:
            return at_end
        inside = self._run(i + 1, kind, FULL)
        assert inside is not None
        if at_end is None:  # beyond the remainder
            steps, at_end = steps - 1, inside
        return Run(
            steps=inside.steps * (steps - 1) + at_end.steps,
            reach=loop.stride * (steps - 1) + at_end.reach,
            first=inside.first if steps > 1 else at_end.first,
            last=at_end.last,
            moving=at_end.moving if at_end.moving >= 0 or steps == 1 else self.positions[i],
        )
