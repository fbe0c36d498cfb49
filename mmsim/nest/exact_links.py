"""Words that units of a fan-out hand on to their neighbours, where loops have remainders.

Units that keep nothing (the compute, or a memory with ``no_reuse``) ask for all of their words at every
step. As in Timeloop, a unit gets them from a neighbour on the mesh that had the same words in the step
before; the parent is spared a read when every unit that wants the words is served so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmsim.nest.exact import Nest, along, places
from mmsim.nest.exact_dimension import Ids, Turn


@dataclass(frozen=True, slots=True)
class Handed:
    """Words handed on to units, and words that the parents need not read for that."""

    words: int = 0
    spared: int = 0

    def __add__(self, other: Handed) -> Handed:
        return Handed(self.words + other.words, self.spared + other.spared)

    def __mul__(self, times: int) -> Handed:
        return Handed(self.words * times, self.spared * times)


class Units:
    """All units under one instance of the parent, numbered with inner loops fastest.

    That number is laid row by row onto the mesh of `columns` x `rows` of the innermost fan-out.
    """

    def __init__(self, nest: Nest, columns: int, rows: int, unicast: frozenset[int]) -> None:
        self.nest = nest
        loops = [loop for loop in nest.loops if loop.spatial]
        grid = places(loops)
        moves = np.array([[along(loop, rank) for rank in nest.ranks] for loop in loops], dtype=np.int64)
        moves = moves.reshape(len(loops), len(nest.ranks))
        self.offset = grid.T @ moves  # (units, ranks)
        self.kind = {
            name: dim.kind_at(grid[[i for i, loop in enumerate(loops) if loop.dim == name]])
            for name, dim in nest.dims.items()
        }
        keys = [np.zeros((1, grid.shape[1]), dtype=np.int64)]
        for hop in {loop.hop for loop in loops}:
            mine = [i for i, loop in enumerate(loops) if loop.hop == hop]
            keys.append(grid[mine] if hop in unicast else (grid[mine].T @ moves[mine]).T)
        self.group = _numbered(np.concatenate(keys).T)
        inner = math.prod(loop.factor for loop in loops if loop.hop == 0)
        self.neighbours = _neighbours(grid.shape[1], inner, columns, rows)

    def hand_on(self) -> Handed:
        """All words handed on in the whole run."""
        total = Handed()
        for position in self.nest.in_time:
            for case in itertools.product(*(dim.turns(position) for dim in self.nest.dims.values())):
                turns = dict(zip(self.nest.dims, (turns for turns, _ in case), strict=True))
                total += self._step(turns) * math.prod(count for _, count in case)
        return total

    def _step(self, turns: Mapping[str, Sequence[Turn]]) -> Handed:
        busy, had = (np.all([self._seen(turns, name, key) for name in turns], axis=0) for key in ("busy", "until_now"))
        now, before = self._lengths(turns, "now"), self._lengths(turns, "before")
        low = self.offset - self._along(turns, "shift")  # of the tiles before
        taken = np.zeros(len(busy), dtype=bool)
        for unit, other in self.neighbours:
            same = busy[unit] & had[other] & (now[unit] == before[other]).all(axis=1)
            taken[unit[same & (self.offset[unit] == low[other]).all(axis=1)]] = True
        if not taken.any():
            return Handed()
        wish = _numbered(np.concatenate([self.group[:, None], now], axis=1))
        served = taken & ~np.isin(wish, wish[busy & ~taken])
        words = now.prod(axis=1)
        _, once = np.unique(wish[served], return_index=True)
        return Handed(int(words[served].sum()), int(words[served][once].sum()))

    def _seen(self, turns: Mapping[str, Sequence[Turn]], name: str, key: str) -> Ids:
        """A field of the turns in one dimension, for every unit."""
        return np.array([getattr(turn, key) for turn in turns[name]])[self.kind[name]]

    def _along(self, turns: Mapping[str, Sequence[Turn]], key: str, less: int = 0) -> Ids:
        """(units, ranks) a field of the turns, less so much, summed along each rank."""
        columns = [sum(c * (self._seen(turns, dim, key) - less) for dim, c in rank) for rank in self.nest.ranks]
        return np.array(columns, dtype=np.int64).reshape(len(columns), len(self.offset)).T

    def _lengths(self, turns: Mapping[str, Sequence[Turn]], key: str) -> Ids:
        return 1 + self._along(turns, key, 1)


def _numbered(rows: Ids) -> Ids:
    """A number for each row, equal for equal ones."""
    _, number = np.unique(rows, axis=0, return_inverse=True)
    return number.reshape(-1)


def _neighbours(units: int, inner: int, columns: int, rows: int) -> list[tuple[Ids, Ids]]:
    """(units, the neighbour of each) left, right, above and below; the innermost fan-out has `inner` units in use."""
    unit = np.arange(units)
    at = unit % inner
    column, row = at % columns, at // columns
    sides = ((-1, column > 0), (1, column < columns - 1), (-columns, row > 0), (columns, row < rows - 1))
    found = [unit[inside & (at + step >= 0) & (at + step < inner)] for step, inside in sides]
    return [(these, these + step) for these, (step, _) in zip(found, sides, strict=True)]
