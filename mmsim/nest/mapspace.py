"""The mapspace: which tile factors, loop orders, spatial unrollings and bypasses a mapping may choose.

A mapping is a walk from the compute outwards through *slots*: one for the loops of each memory, one
for each axis of each fan-out. At a slot every dimension gets a factor; the tile below it grows by
that factor. Factors need not divide: a dimension of 512 over 14 columns takes 37 steps, the last
of them on 8 columns. Of all factors that leave the same number of tiles the smallest is as good as
any (same counts, least capacity), so only those are tried: see `factors`.

What a mapping costs is decided at *boundaries*: for each data space, between a memory that keeps it
and the next one inwards that does (or the compute).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.arch.model import Arch, Constraints, Fanout, LoopConstraints, Storage
from mmsim.nest.constraints import resolved
from mmsim.problem import DataSpace, Problem

Array: TypeAlias = npt.NDArray[np.float64]
Keep: TypeAlias = tuple[frozenset[str], ...]
"""For each memory, outermost first, the data spaces that it keeps."""


@dataclass(frozen=True)
class Slot:
    """A place for loops, counted from the compute outwards: a memory's loops or one axis of a fan-out."""

    node: Storage | Fanout
    constraints: Constraints
    axis: str = ""  # X or Y of a fan-out, "" for a memory
    mesh: int = 1  # the most that the product of spatial factors may be

    @property
    def spatial(self) -> bool:
        """Whether its loops run at once, on different instances."""
        return bool(self.axis)

    @property
    def limits(self) -> LoopConstraints:
        """What its loops may be."""
        return self.constraints.spatial if self.spatial else self.constraints.temporal


@dataclass(frozen=True)
class Boundary:
    """Where `space` moves between the memory of slot `parent` and that of slot `child` (-1 for the compute)."""

    space: int
    parent: int
    child: int


@lru_cache(maxsize=65536)
def factors(tiles: int) -> tuple[int, ...]:
    """The factors worth trying on a dimension that `tiles` tiles still cover.

    One for each number of tiles that can be left, the smallest that leaves it.

    >>> factors(10)    # they leave 10, 5, 4, 3, 2 and 1 tiles
    (1, 2, 3, 4, 5, 10)
    """
    found = [1]
    while found[-1] < tiles:
        left = -(-tiles // found[-1])
        found.append(-(-tiles // (left - 1)))
    return tuple(found)


@dataclass(frozen=True)
class Mapspace:
    """All mappings of `problem` on `arch` that the search considers.

    Temporal and spatial factors are any whole numbers (perfect or not), loop orders are free, any
    data space may bypass any memory but the outermost, a dimension lies along one axis of a fan-out;
    the architecture's constraints narrow all four. Dimensions of size 1 have no loops.
    """

    problem: Problem
    arch: Arch

    @cached_property
    def dims(self) -> tuple[str, ...]:
        """The dimensions that have loops; one of a problem of a single step."""
        return tuple(dim for dim, size in self.problem.shape.items() if size > 1) or tuple(self.problem.shape)[:1]

    @cached_property
    def sizes(self) -> Array:
        """The size of each of `dims`."""
        shape = self.problem.shape
        return np.array([shape[dim] for dim in self.dims], dtype=float)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Innermost first."""
        found: list[Slot] = []
        for node in reversed(self.arch.nodes):
            if isinstance(node, Storage):
                found.append(Slot(node, self.constraints[node.name]))
            elif isinstance(node, Fanout):
                meshes = (("X", node.mesh_x), ("Y", node.mesh_y))
                found += [Slot(node, self.constraints[node.name], axis, mesh) for axis, mesh in meshes if mesh > 1]
        return tuple(found)

    @cached_property
    def constraints(self) -> dict[str, Constraints]:
        """Each node's constraints, spelled out for this problem."""
        nodes = [node for node in self.arch.nodes if isinstance(node, (Storage, Fanout))]
        return {node.name: resolved(node, self.problem) for node in nodes}

    @cached_property
    def tables(self) -> dict[object, Any]:
        """Bounds that plans share; filled by them."""
        return {}

    @cached_property
    def has_choice(self) -> bool:
        """Whether there is more than one choice of what memories keep."""
        return any(len(choices) > 1 for choices in self.keep_choices())

    @cached_property
    def spaces(self) -> tuple[DataSpace, ...]:
        """The data spaces."""
        return self.problem.data_spaces

    @cached_property
    def relevant(self) -> npt.NDArray[np.bool_]:
        """Whether data space i is indexed by dimension j."""
        return np.array([[dim in space.dims for dim in self.dims] for space in self.spaces])

    @cached_property
    def halo(self) -> tuple[int, ...]:
        """The data spaces with a rank that two or more dimensions index."""
        return tuple(i for i in range(len(self.spaces)) if any(len(rank) > 1 for rank in self.rank_terms(i)))

    @cached_property
    def window_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of dimensions that index one rank together; instances share nothing of longer ranks."""
        ranks = [rank for i in range(len(self.spaces)) for rank in self.rank_terms(i)]
        return tuple((rank[0][0], rank[1][0]) for rank in ranks if len(rank) == 2)

    def rank_terms(self, space: int) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each rank of a data space, its (dimension's number, coefficient), dimensions with loops only."""
        number = {dim: i for i, dim in enumerate(self.dims)}
        return tuple(
            tuple((number[dim], coefficient) for dim, coefficient in rank if dim in number)
            for rank in self.spaces[space].projection
        )

    def least_words(self, space: int) -> float:
        """Words of a data space that have to move at least; a stride may leave some out."""
        words = 1.0
        for rank in self.rank_terms(space):
            span = 1 + sum(c * (self.sizes[d] - 1) for d, c in rank)
            steps = math.prod(self.sizes[d] for d, _ in rank)
            words *= span if self.spaces[space].is_output else min(span, steps)
        return float(words)

    def keeps(self) -> Iterator[Keep]:
        """Every choice of what each memory keeps, those that keep most first."""
        return itertools.product(*self.keep_choices())

    def keep_choices(self) -> list[list[frozenset[str]]]:
        """For each memory, outermost first, what it may keep; the most first."""
        return [self._keep_choices(i, storage) for i, storage in enumerate(self.arch.storages)]

    def _keep_choices(self, position: int, storage: Storage) -> list[frozenset[str]]:
        names = [space.name for space in self.spaces]
        if position == 0:
            return [frozenset(names)]
        constraints = self.constraints[storage.name]
        keep, bypass = constraints.keep, constraints.bypass
        free = [name for name in names if name not in keep and name not in bypass]
        return [
            frozenset(keep) | frozenset(extra)
            for count in range(len(free), -1, -1)
            for extra in itertools.combinations(free, count)
        ]

    def boundaries(self, keep: Keep) -> tuple[Boundary, ...]:
        """Every place where data moves, innermost child first."""
        kept_in = dict(zip((storage.name for storage in self.arch.storages), keep, strict=True))
        found = []
        for i, space in enumerate(self.spaces):
            holders = [
                k for k, slot in enumerate(self.slots) if not slot.spatial and space.name in kept_in[slot.node.name]
            ]
            found += [Boundary(i, parent, child) for child, parent in itertools.pairwise([-1, *holders])]
        return tuple(sorted(found, key=lambda b: (b.child, b.space)))

    def fanouts_below(self, k: int) -> int:
        """How many spatial slots stand inside slot `k`."""
        return sum(slot.spatial for slot in self.slots[: max(k, 0)])


def capacity(storage: Storage) -> float:
    """Words that tiles may fill; infinite where unlimited."""
    if storage.capacity_words is None:
        return math.inf
    return math.floor(storage.capacity_words / storage.multiple_buffering)


def dim_limits(slot: Slot, dim: str, dims: tuple[str, ...], size: int) -> tuple[int, int]:
    """The least and the greatest factor that the architecture's constraints leave `dim` at `slot`.

    A factor greater than the dimension is ignored, as Timeloop does.
    """
    limits = slot.limits
    if slot.spatial and limits.split is not None:
        order = [*limits.permutation, *(d for d in dims if d not in limits.permutation)]
        along_x = dim in order[: limits.split]
        if along_x != (slot.axis == "X"):
            return 1, 1
    low, high = limits.min_factor or 1, limits.max_factor or size
    relation, value = next(((r, v) for name, r, v in limits.factors if name == dim), ("<=", size))
    if value > size:
        return 1, size
    if relation == "=":
        return value, value
    return (max(low, value), high) if relation == ">=" else (min(low, value), min(high, value))
