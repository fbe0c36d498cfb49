"""Loops with remainders: how long each run of a loop is, and what that makes of points and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["time", "child", "instance"]
FULL, LAST, IDLE = 0, 1, 2  # a run of full length, one at the end of its dimension, none


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


def after(status: int, index: int, residual: int) -> int:
    """The status of the run inside step `index` of a loop, given that of the run of the loop itself.

    >>> [after(LAST, index, 2) for index in range(3)]     # C3,2 at the end of C: steps 0 and 1 only
    [0, 1, 2]
    """
    if status != LAST or index < residual - 1:
        return FULL if status == LAST else status
    return LAST if index == residual - 1 else IDLE


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
