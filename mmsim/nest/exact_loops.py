"""Loops with remainders: how long each run of a loop is, and which steps are alike.

A loop ``C3,2`` has three steps but for its run at the very end of C, which has two. So a run of a loop
is *full*, or *last* (at the end of its dimension), or *idle*: of an instance beyond a remainder.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

FULL, LAST, IDLE = 0, 1, 2
ABOVE = -1  # the hop of loops over instances of the parent


@dataclass(frozen=True, slots=True)
class NestLoop:
    """One loop around a tile, in time or over instances.

    `hop` numbers the fan-outs between parent and child from the innermost, 0; those above the parent
    are `ABOVE`. With `place` only that one instance is looked at.
    """

    dim: str
    factor: int
    residual: int
    stride: int  # points of `dim` that one step covers
    spatial: bool = False
    hop: int = 0
    place: int | None = None
    plain: bool = False  # no loop of its dimension has a remainder: all runs are full

    @property
    def alike(self) -> dict[int, int]:
        """Steps that behave alike: one of each kind -> how many there are.

        >>> NestLoop("C", 5, 3, 1).alike      # before the end of the remainder, at it, beyond
        {0: 2, 2: 1, 3: 2}
        """
        if self.place is not None:
            return {self.place: 1}
        if self.plain:
            return {0: self.factor}
        counts = {0: self.residual - 1, self.residual - 1: 1, self.residual: self.factor - self.residual}
        return {step: count for step, count in counts.items() if count}

    @property
    def changes(self) -> Counter[tuple[int, int]]:
        """(step before, step) for all steps but the first, each step by one that is like it, and how many there are."""
        steps = [step for step in self.alike for _ in range(min(2, self.alike[step]))]
        pairs = Counter(dict.fromkeys(itertools.pairwise(steps), 1))
        for step, count in self.alike.items():
            if count > 1:
                pairs[step, step] = count - 1
        return pairs


def after(status: int, step: int, residual: int) -> int:
    """The status of the run inside one step of a loop, given that of the run of the loop itself.

    >>> [after(LAST, step, 2) for step in range(3)]     # C3,2 at the end of C: steps 0 and 1 only
    [0, 1, 2]
    """
    if status != LAST or step == residual - 1:
        return status
    return FULL if step < residual else IDLE


def points(loops: Sequence[NestLoop], dim: str, full: int, last: int) -> int:
    """Points of `dim` that one instance sees: its tile, and the steps in time of the loops around it."""
    counts = {FULL: full, LAST: last, IDLE: 0}
    for loop in reversed([loop for loop in loops if loop.dim == dim]):
        if loop.spatial:
            counts = {status: counts[after(status, loop.place or 0, loop.residual)] for status in counts}
        else:
            steps = replace(loop, place=None).alike.items()
            at_end = sum(counts[after(LAST, step, loop.residual)] * count for step, count in steps)
            counts = {FULL: counts[FULL] * loop.factor, LAST: at_end, IDLE: 0}
    return counts[LAST]


def steps_in_time(loops: Sequence[NestLoop], dim: str) -> int:
    """Steps that the temporal loops of `dim` take in the whole run; instances step together."""
    counts = {FULL: 1, LAST: 1}
    for loop in reversed([loop for loop in loops if loop.dim == dim]):
        if not loop.spatial:
            counts = {FULL: counts[FULL] * loop.factor, LAST: counts[FULL] * (loop.residual - 1) + counts[LAST]}
        elif loop.residual > 1:
            counts = {FULL: counts[FULL], LAST: counts[FULL]}
    return counts[LAST]
