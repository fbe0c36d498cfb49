"""How many words a tile asks of its parent while the loops around it run: Timeloop's rules, in closed form.

A tile is a box of words that moves by a fixed step with every loop around it. It asks its parent for
its *delta*: the words of the new box that the box before did not hold. Two rules of Timeloop decide
what "before" means:

- a loop of N steps stands for its steps 0 and 1, the second counted N - 1 times, with the boxes as
  they were left by the inner loops (at *their* step 1);
- only a box that keeps moving the same way is reused: after a move that differs from the last move,
  the whole box is fetched anew. A box that stands still asks for nothing.

So a chain of k loops has k kinds of move, whatever the factors, and `Demand` sums over them without
running the loops. `tests/test_nest_eval_twin.py` runs them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Vector: TypeAlias = tuple[int, ...]
Box: TypeAlias = tuple[Vector, Vector]  # low corner, high corner (exclusive)
Region: TypeAlias = tuple[Box, ...]  # disjoint boxes, relative to the low corner of the tile

STILL: Region = ()


@dataclass(frozen=True, slots=True)
class Move:
    """One loop around a tile: `factor` steps of `step` words along each rank."""

    factor: int
    step: Vector


@dataclass(frozen=True, slots=True)
class Demand:
    """Words asked for by one tile, sorted by how the delta is related to the one before.

    `by_shift[w]` counts the words of deltas that are the previous delta moved by `w` (a neighbour
    that stands `w` further on may have them); `by_shift[None]` counts all others.
    """

    by_shift: Counter[Vector | None]

    @property
    def words(self) -> int:
        """All words asked for."""
        return self.by_shift.total()


def subtract(box: Box, other: Box) -> Region:
    """`box` without `other`, cut into slabs rank by rank.

    >>> subtract(((0, 0), (2, 3)), ((0, 1), (2, 4)))
    (((0, 0), (2, 1)),)
    """
    low, high = list(box[0]), list(box[1])
    if any(high[r] <= other[0][r] or other[1][r] <= low[r] for r in range(len(low))):
        return (box,)
    slabs: list[Box] = []
    for rank in range(len(low)):
        if low[rank] < other[0][rank]:
            slabs.append((tuple(low), (*high[:rank], other[0][rank], *high[rank + 1 :])))
            low[rank] = other[0][rank]
        if other[1][rank] < high[rank]:
            slabs.append(((*low[:rank], other[1][rank], *low[rank + 1 :]), tuple(high)))
            high[rank] = other[1][rank]
    return tuple(slabs)


def volume(region: Region) -> int:
    """Words in a region."""
    total = 0
    for low, high in region:
        words = 1
        for a, b in zip(low, high, strict=True):
            words *= b - a
        total += words
    return total


def demand(sizes: Vector, moves: Sequence[Move], *, reuse: bool) -> Demand:
    """What a box of these rank `sizes` asks for under `moves`, the innermost first.

    Without `reuse` every step asks for the whole box (the operands of the compute, or ``no_reuse``).

    >>> demand((3,), [Move(4, (1,))], reuse=True).words   # a window of 3 sliding by 1: 3 + 1 + 1 + 1
    6
    """
    return _Walk(sizes, tuple(moves), reuse).run()


@dataclass(frozen=True, slots=True)
class _State:
    """What is remembered between two steps: the last move that counts, and the last delta."""

    move: Vector | None
    delta: Region


class _Walk:
    """The sum over all steps of a nest of moves, by recursion over loops instead of steps."""

    def __init__(self, sizes: Vector, moves: tuple[Move, ...], reuse: bool) -> None:
        self.order = len(sizes)
        self.box: Box = ((0,) * self.order, sizes)
        self.moves = tuple(move for move in moves if move.factor > 1)
        self.reuse = reuse
        # jumps[j]: how the box moves when loop j steps and the loops inside it go back to 0
        self.jumps: list[Vector] = []
        back = (0,) * self.order
        for move in self.moves:
            self.jumps.append(minus(move.step, back))
            back = plus(back, move.step)
        self.memo: dict[tuple[int, _State], tuple[Counter[Vector | None], _State]] = {}

    def run(self) -> Demand:
        whole: Region = (self.box,)
        counts: Counter[Vector | None] = Counter({None: volume(whole)})
        inner, _ = self.inner(len(self.moves), _State(None, whole))
        counts.update(inner)
        return Demand(counts)

    def inner(self, depth: int, state: _State) -> tuple[Counter[Vector | None], _State]:
        """Words asked for by the steps of the `depth` innermost loops after their first, and the state then."""
        if depth == 0:
            return Counter(), state
        key = (depth, state)
        if key not in self.memo:
            first, at_end = self.inner(depth - 1, state)
            words, moved = self.step(self.jumps[depth - 1], at_end)
            again, last = self.inner(depth - 1, moved)
            times = self.moves[depth - 1].factor - 1
            counts = Counter(first)
            for part in (words, again):
                for shift, count in part.items():
                    counts[shift] += count * times
            self.memo[key] = counts, last
        return self.memo[key]

    def step(self, jump: Vector, state: _State) -> tuple[Counter[Vector | None], _State]:
        """One jump of the box: its delta, and whether that is the last delta moved."""
        delta, move = self.delta(jump, state.move)
        shift = _shift(state.delta, delta, jump)
        return Counter({shift: volume(delta)} if delta else {}), _State(move, delta)

    def delta(self, jump: Vector, last: Vector | None) -> tuple[Region, Vector | None]:
        """The words not held before a jump, and the move that the next jump is compared with."""
        if not self.reuse:
            return (self.box,), None
        if not any(jump):
            return STILL, last
        if last is None or last == jump:
            low, high = self.box
            return subtract(self.box, (minus(low, jump), minus(high, jump))), jump
        return (self.box,), None


def _shift(before: Region, after: Region, jump: Vector) -> Vector | None:
    """By how much the delta `before` moved to become `after`, in a box `jump` further on; None if they differ."""
    if not before or not after or len(before) != len(after):
        return None
    a, b = sorted(before), sorted(after)
    offset = minus(b[0][0], a[0][0])
    moved = all((plus(x[0], offset), plus(x[1], offset)) == y for x, y in zip(a, b, strict=True))
    return plus(offset, jump) if moved else None


def plus(a: Vector, b: Vector) -> Vector:
    """The sum of two vectors."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def minus(a: Vector, b: Vector) -> Vector:
    """The difference of two vectors."""
    return tuple(x - y for x, y in zip(a, b, strict=True))
