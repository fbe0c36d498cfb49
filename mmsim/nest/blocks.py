"""A mapping laid onto its architecture: every level with its loops in place, checked for fit."""

from __future__ import annotations

import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace

from mmsim.arch.model import Arch, Constraints, Fanout, Storage
from mmsim.errors import InputError
from mmsim.nest.constraints import both, resolve
from mmsim.nest.deltas import Move, Vector
from mmsim.nest.mapping import Level, Loop, Mapping
from mmsim.problem import DataSpace, Problem

MAX_CHILDREN = 2**20  # each is looked at by itself; a whole wafer of cores


@dataclass(frozen=True, slots=True)
class Step:
    """A loop in its place: one step covers `stride` points of `dim`."""

    dim: str
    factor: int
    residual: int
    stride: int

    def move(self, space: DataSpace) -> Move:
        """How the tile of `space` moves with this loop."""
        along = tuple(sum(c * self.stride for dim, c in rank if dim == self.dim) for rank in space.projection)
        return Move(self.factor, along)


@dataclass(frozen=True, slots=True)
class Tile:
    """Points of each dimension that some loops cover: `full` inside a dimension, `last` at its end."""

    full: Dict[str, int]
    last: Dict[str, int]


@dataclass(frozen=True, slots=True)
class Block:
    """One level of the mapping with its node; loops are innermost first."""

    node: Storage | Fanout
    level: Level
    spatial: tuple[Step, ...]
    temporal: tuple[Step, ...]
    inner: Tile  # what the loops of the levels below cover
    served: Tile  # the same with this level's spatial loops: what all children hold together
    tile: Tile  # the same with all of this level's loops
    instances: int  # in use
    constraints: Constraints

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    @property
    def spatial_factor(self) -> int:
        """Children in use under one instance."""
        return math.prod(step.factor for step in self.spatial)

    @property
    def perfect(self) -> bool:
        """Whether no loop has a remainder."""
        return all(step.factor == step.residual for step in (*self.spatial, *self.temporal))

    def keeps(self, space: DataSpace) -> bool:
        """Whether tiles of `space` stay here."""
        return isinstance(self.node, Storage) and space.name in self.level.keep


def lay_out(arch: Arch, problem: Problem, mapping: Mapping) -> list[Block]:
    """The mapping's levels, innermost first. Raises `InputError` naming the level where it does not fit."""
    mapping = _without_empty_runs(mapping)
    nodes = [node for node in arch.nodes if isinstance(node, (Storage, Fanout))]
    _check_clusters(arch)
    instances = _instances(mapping, nodes)
    extent = Tile(dict.fromkeys(problem.shape, 1), dict.fromkeys(problem.shape, 1))
    blocks = []
    for node, level, count in list(zip(nodes, mapping.levels, instances, strict=True))[::-1]:
        inner = extent
        spatial, served = _place(level.spatial, inner)
        temporal, extent = _place(level.temporal, served)
        limits = resolve(both(node.constraints, level.limits), problem)
        blocks.append(Block(node, level, spatial, temporal, inner, served, extent, count, limits))
    _check_kept(blocks, problem)
    _check_capacity(blocks, problem)
    return blocks


def _without_empty_runs(mapping: Mapping) -> Mapping:
    """The outermost loop of a dimension has only its residual run: that is its length."""
    seen: set[str] = set()

    def cut(loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
        kept = []
        for loop in reversed(loops):
            kept.append(loop if loop.dim in seen else Loop(loop.dim, loop.residual))
            if loop.residual > 1 or loop.dim in seen:
                seen.add(loop.dim)
        return tuple(kept[::-1])

    levels = []
    for level in mapping.levels:
        temporal = cut(level.temporal)
        levels.append(replace(level, temporal=temporal, spatial=cut(level.spatial)))
    return Mapping(tuple(levels))


def _place(loops: tuple[Loop, ...], extent: Tile) -> tuple[tuple[Step, ...], Tile]:
    """The loops with their strides, and what they cover on top of `extent`."""
    full, last = dict(extent.full), dict(extent.last)
    steps = []
    for loop in loops:
        steps.append(Step(loop.dim, loop.factor, loop.residual, full[loop.dim]))
        last[loop.dim] += full[loop.dim] * (loop.residual - 1)
        full[loop.dim] *= loop.factor
    return tuple(steps), Tile(full, last)


def _instances(mapping: Mapping, nodes: list[Storage | Fanout]) -> list[int]:
    """Instances in use at every level, from the outermost in."""
    count = 1
    counts = []
    for level, node in zip(mapping.levels, nodes, strict=True):
        counts.append(count)
        if not isinstance(node, Fanout):
            if level.spatial:
                raise InputError("has spatial loops but no fan-out", field=level.node)
            continue
        wide = math.prod(loop.factor for loop in level.spatial[: level.split])
        high = math.prod(loop.factor for loop in level.spatial[level.split :])
        if wide > node.mesh_x or high > node.mesh_y:
            have = f"{node.mesh_x} x {node.mesh_y}"
            raise InputError(f"mapped to {wide} x {high} instances, there are {have}", field=level.node)
        if wide * high > MAX_CHILDREN:
            raise InputError(f"more than {MAX_CHILDREN} instances at one fan-out are not supported", field=level.node)
        count *= wide * high
    return counts


def _check_clusters(arch: Arch) -> None:
    for storage in arch.storages:
        count = arch.instances(storage.name)
        if count % storage.cluster_size:
            raise InputError(
                f"cluster_size {storage.cluster_size} does not divide its {count} instances", field=storage.name
            )


def _check_kept(blocks: list[Block], problem: Problem) -> None:
    for space in problem.data_spaces:
        kept = [block for block in blocks if block.keeps(space)]
        if not kept:
            raise InputError(f"{space.name} is bypassed at every level")
        if space.name in kept[-1].constraints.no_coalesce:  # Timeloop then counts none of its accesses
            raise InputError(f"no_coalesce of {space.name} needs a memory further out", field=kept[-1].name)


def _check_capacity(blocks: list[Block], problem: Problem) -> None:
    for i, block in enumerate(blocks):
        if not isinstance(block.node, Storage) or block.node.capacity_words is None:
            continue
        room = int(block.node.capacity_words // block.node.multiple_buffering)
        used = sum(capacity(blocks, i, space) for space in problem.data_spaces if block.keeps(space))
        if used > room:
            raise InputError(f"tiles of {used} words exceed its {room}", field=block.name)
        if used < room * block.constraints.min_utilization:
            raise InputError(f"tiles of {used} words are below min_utilization of {room}", field=block.name)


def capacity(blocks: list[Block], i: int, space: DataSpace) -> int:
    """Words of the largest tile of `space` at level `i`."""
    tile = blocks[i].tile
    around = {step.dim for outer in blocks[i + 1 :] for step in (*outer.spatial, *outer.temporal) if step.factor > 1}
    return words(space, {dim: (tile.full if dim in around else tile.last)[dim] for dim in tile.full})


def words(space: DataSpace, points: Dict[str, int]) -> int:
    """Words of the bounding box of a tile."""
    return math.prod(sizes(space, points))


def sizes(space: DataSpace, points: Dict[str, int]) -> Vector:
    """The bounding box of a tile, rank by rank."""
    return tuple(1 + sum((points[dim] - 1) * c for dim, c in rank) for rank in space.projection)
