"""How a fan-out serves its children: which of them want the same words (multicast), and which hand words on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.errors import InputError
from mmsim.nest.deltas import Demand, Move, Vector

Signature: TypeAlias = tuple[int, int]  # children that share one delta; how many such groups there are
Ids: TypeAlias = npt.NDArray[np.int64]

MAX_CODE = 2**62


@dataclass
class Accesses:
    """Words read by children, by signature, and words that children hand to neighbours (`link_words`).

    A tile shared by three children is read once: {(3, 1): words}.
    """

    by_signature: dict[Signature, float] = field(default_factory=dict)
    link_words: float = 0.0

    @property
    def total(self) -> float:
        """Words read from the parent."""
        return sum(self.by_signature.values())

    def per_child(self, children: int) -> float:
        """Words delivered to one child on average, added up in Timeloop's order."""
        return sum(words * multicast / children for (multicast, _), words in self.by_signature.items())

    @property
    def weighted(self) -> float:
        """Words delivered to children, each copy counted."""
        return sum(words * multicast for (multicast, _), words in self.by_signature.items())


class Spread:
    """The children of a fan-out in a grid, and by how much each one's tile is offset from the first one's.

    `loops` are the spatial loops, innermost first; children are numbered with the innermost fastest.
    Timeloop lays that number out row by row on the physical grid of `mesh_x` columns, whatever the
    split of the mapping: neighbours are one number or one row apart. An offset is kept as one whole
    number, its ranks as digits: a digit counts the steps that all loops have as common divisor, and
    its base leaves room for differences of either sign.
    """

    def __init__(self, loops: Sequence[Move], mesh_x: int, mesh_y: int, order: int) -> None:
        self.mesh_x, self.mesh_y = mesh_x, mesh_y
        self.unit = [math.gcd(*(loop.step[rank] for loop in loops)) or 1 for rank in range(order)]
        self.reach = [
            sum((loop.factor - 1) * loop.step[rank] for loop in loops) // self.unit[rank] for rank in range(order)
        ]
        if math.prod(2 * reach + 1 for reach in self.reach) > MAX_CODE:
            raise InputError("the tiles of a fan-out lie too far apart to be told apart in 62 bits")
        self.offsets: Ids = np.zeros(1, dtype=np.int64)
        for loop in loops:  # later loops are outer, so they vary slower
            steps = np.arange(loop.factor, dtype=np.int64) * self.code(loop.step)
            self.offsets = (steps[:, None] + self.offsets).reshape(-1)
        _, self.group = np.unique(self.offsets, return_inverse=True)

    def code(self, offset: Vector) -> int:
        """An offset within reach as one number."""
        code = 0
        for words, unit, reach in zip(offset, self.unit, self.reach, strict=True):
            code = code * (2 * reach + 1) + words // unit
        return code

    @property
    def children(self) -> int:
        """How many children are in use."""
        return len(self.offsets)

    def serve(self, demand: Demand, *, multicast: bool, links: bool) -> Accesses:
        """What the parent reads when each child asks for `demand`."""
        served = Accesses()
        alone = self.signatures(np.ones(self.children, dtype=bool), multicast)
        groups = _groups(alone)
        for shift, words in demand.by_shift.items():
            chosen, handed = alone, 0
            if shift is not None and links:
                receivers = self.receivers(shift)
                rest = self.signatures(~receivers, multicast)
                if _groups(rest) < groups:
                    chosen, handed = rest, int(receivers.sum())
            served.link_words += handed * words
            for signature in chosen:
                served.by_signature[signature] = served.by_signature.get(signature, 0.0) + words * signature[1]
        served.by_signature = dict(sorted(served.by_signature.items()))
        return served

    def signatures(self, children: npt.NDArray[np.bool_], multicast: bool) -> list[Signature]:
        """(children sharing one delta, how many such groups) among these children."""
        if not multicast:
            count = int(children.sum())
            return [(1, count)] if count else []
        sizes = np.bincount(self.group[children])
        return sorted(Counter(sizes[sizes > 0].tolist()).items())

    def receivers(self, shift: Vector) -> npt.NDArray[np.bool_]:
        """Children that have a neighbour whose last delta, `shift` away, is what they need now."""
        found = np.zeros(self.children, dtype=bool)
        if any(w % unit or abs(w) > unit * reach for w, unit, reach in zip(shift, self.unit, self.reach, strict=True)):
            return found
        ids = np.arange(self.children)
        column, row = ids % self.mesh_x, ids // self.mesh_x
        want = self.code(shift)
        for step, inside in (
            (-1, column > 0),
            (+1, column < self.mesh_x - 1),
            (-self.mesh_x, row > 0),
            (+self.mesh_x, row < self.mesh_y - 1),
        ):
            there = ids + step
            at = ids[inside & (there >= 0) & (there < self.children)]
            found[at[self.offsets[at + step] - self.offsets[at] == want]] = True
        return found


def _groups(signatures: list[Signature]) -> int:
    return sum(count for _, count in signatures)
