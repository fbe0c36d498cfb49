"""What a mapping costs: cycles, energy and accesses per level and data space, counted as Timeloop counts.

The steps, one function each: loops put in their places (`_blocks`), the tile of every data space and
what its children ask of it (`_tiles`, with `deltas` and `spread`), bypassed levels taken out
(`_bypass`), reads, fills and updates (`_count`), then energy and cycles (`_level_cost`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from itertools import pairwise

from mmsim.arch.model import Arch, Constraints, Fanout, Storage
from mmsim.errors import InputError
from mmsim.nest.constraints import resolve
from mmsim.nest.deltas import Move, Vector, demand
from mmsim.nest.mapping import Level, Loop, Mapping, check
from mmsim.nest.spread import Accesses, Spread
from mmsim.problem import DataSpace, Problem


@dataclass(frozen=True, slots=True)
class Access:
    """One data space at one level. Words are of one instance, energy is of all of them."""

    reads: int
    fills: int
    updates: int
    temporal_reductions: float
    utilized_capacity: int
    utilized_instances: int
    energy_pj: float


@dataclass(frozen=True, slots=True)
class LevelCost:
    """One memory: the data spaces kept there, and how far its bandwidth stretches the run."""

    data_spaces: Dict[str, Access]
    cycles: int
    throttling: float  # 1 when the bandwidth suffices, else the share of the demand that it serves
    leak_pj: float = 0.0

    @property
    def energy_pj(self) -> float:
        """Accesses and leakage of all instances."""
        return sum(access.energy_pj for access in self.data_spaces.values()) + self.leak_pj


@dataclass(frozen=True)
class Evaluation:
    """The cost of one mapping of one problem (one instance of it)."""

    cycles: int
    utilization: float  # computes over what all units could do in these cycles
    computes: int
    compute_cycles: int
    compute_pj: float
    levels: Dict[str, LevelCost]

    @property
    def energy_pj(self) -> float:
        """All levels and the compute."""
        return sum(level.energy_pj for level in self.levels.values()) + self.compute_pj

    @property
    def bound(self) -> str:
        """The memory whose bandwidth sets the cycles, or ``compute``."""
        slowest = max(self.levels, key=lambda name: self.levels[name].cycles)
        return slowest if self.levels[slowest].cycles > self.compute_cycles else "compute"

    @property
    def edp(self) -> float:
        """Energy times delay in pJ cycles."""
        return self.energy_pj * self.cycles


def evaluate(arch: Arch, problem: Problem, mapping: Mapping) -> Evaluation:
    """The cost of `mapping`; raises `InputError` naming the level when it does not fit `arch`.

    Energies are 0 for components that `arch.energy_pj` does not name.
    """
    check(mapping, arch, problem)
    blocks = _blocks(arch, problem, mapping)
    _check_kept(blocks, problem)
    _check_capacity(blocks, problem)
    accesses = {space.name: _accesses(blocks, space) for space in problem.data_spaces}
    compute_cycles = math.prod(block.temporal_factor for block in blocks)
    computes = compute_cycles * math.prod(block.spatial_factor for block in blocks)
    costs = {
        block.name: _level_cost(arch, block, {name: levels[i] for name, levels in accesses.items()}, compute_cycles)
        for i, block in enumerate(blocks)
        if isinstance(block.node, Storage)
    }
    busy = max([compute_cycles, *(cost.cycles for cost in costs.values())])
    cycles = busy + sum(block.node.fill_latency_cycles + block.node.drain_latency_cycles for block in blocks)
    return Evaluation(
        cycles=cycles,
        utilization=computes / arch.instances(arch.compute.name) / cycles,
        computes=computes,
        compute_cycles=compute_cycles,
        compute_pj=computes * energy_of(arch, arch.compute.name, "compute"),
        levels={
            block.name: _with_leak(arch, costs[block.name], block, busy)
            for block in reversed(blocks)
            if block.name in costs
        },
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """A loop in its place: one step covers `stride` points of `dim`."""

    dim: str
    factor: int
    stride: int

    def move(self, space: DataSpace) -> Move:
        """How the tile of `space` moves with this loop."""
        along = tuple(sum(c * self.stride for dim, c in rank if dim == self.dim) for rank in space.projection)
        return Move(self.factor, along)


@dataclass(frozen=True, slots=True)
class _Block:
    """One level of the mapping with its node; loops are innermost first."""

    node: Storage | Fanout
    level: Level
    spatial: tuple[_Step, ...]
    temporal: tuple[_Step, ...]
    inner: Dict[str, int]  # points of each dimension that the loops of the levels below cover
    served: Dict[str, int]  # the same with this level's spatial loops: what all children hold together
    tile: Dict[str, int]  # the same with all of this level's loops
    instances: int  # in use
    columns: int  # in use along X, of all instances
    rows: int
    constraints: Constraints

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def spatial_factor(self) -> int:
        return math.prod(step.factor for step in self.spatial)

    @property
    def temporal_factor(self) -> int:
        return math.prod(step.factor for step in self.temporal)

    def keeps(self, space: DataSpace) -> bool:
        return isinstance(self.node, Storage) and space.name in self.level.keep


def _blocks(arch: Arch, problem: Problem, mapping: Mapping) -> list[_Block]:
    """The mapping's levels, innermost first. Raises `InputError` where a fan-out is too small."""
    nodes = [node for node in arch.nodes if isinstance(node, (Storage, Fanout))]
    columns, rows = _used(mapping, nodes)
    extent = dict.fromkeys(problem.shape, 1)
    blocks = []
    for i in reversed(range(len(nodes))):
        level, inner = mapping.levels[i], dict(extent)
        spatial = tuple(_place(loop, extent) for loop in level.spatial)
        served = dict(extent)
        temporal = tuple(_place(loop, extent) for loop in level.temporal)
        limits = resolve(nodes[i].constraints, problem)
        x, y = columns[i], rows[i]
        blocks.append(_Block(nodes[i], level, spatial, temporal, inner, served, dict(extent), x * y, x, y, limits))
    return blocks


def _place(loop: Loop, extent: dict[str, int]) -> _Step:
    """The loop with its stride; `extent` grows by it."""
    step = _Step(loop.dim, loop.factor, extent[loop.dim])
    extent[loop.dim] *= loop.factor
    return step


def _used(mapping: Mapping, nodes: list[Storage | Fanout]) -> tuple[list[int], list[int]]:
    """Instances in use along X and Y, for every level from the outermost in."""
    x, y = 1, 1
    columns, rows = [], []
    for level, node in zip(mapping.levels, nodes, strict=True):
        columns.append(x)
        rows.append(y)
        if not isinstance(node, Fanout) and level.spatial:
            raise InputError("has spatial loops but no fan-out", field=level.node)
        wide = math.prod(loop.factor for loop in level.spatial[: level.split])
        high = math.prod(loop.factor for loop in level.spatial[level.split :])
        if isinstance(node, Fanout) and (wide > node.mesh_x or high > node.mesh_y):
            have = f"{node.mesh_x} x {node.mesh_y}"
            raise InputError(f"mapped to {wide} x {high} instances, there are {have}", field=level.node)
        x, y = x * wide, y * high
    return columns, rows


def _check_kept(blocks: list[_Block], problem: Problem) -> None:
    for space in problem.data_spaces:
        if not any(block.keeps(space) for block in blocks):
            raise InputError(f"{space.name} is bypassed at every level")


def _check_capacity(blocks: list[_Block], problem: Problem) -> None:
    for block in blocks:
        if not isinstance(block.node, Storage) or block.node.capacity_words is None:
            continue
        room = int(block.node.capacity_words // block.node.multiple_buffering)
        used = sum(_words(space, block.tile) for space in problem.data_spaces if block.keeps(space))
        if used > room:
            raise InputError(f"tiles of {used} words exceed its {room}", field=block.name)
        if used < room * block.constraints.min_utilization:
            raise InputError(f"tiles of {used} words are below min_utilization of {room}", field=block.name)


def _words(space: DataSpace, tile: Dict[str, int]) -> int:
    """Words of the bounding box of a tile."""
    return math.prod(_sizes(space, tile))


def _sizes(space: DataSpace, tile: Dict[str, int]) -> Vector:
    return tuple(1 + sum((tile[dim] - 1) * c for dim, c in rank) for rank in space.projection)


@dataclass(slots=True)
class _Tile:
    """One data space at one level while its accesses are worked out; `accesses` are by the children."""

    size: int  # 0 once the level is bypassed
    partition: int  # words of the data space that belong to one instance
    accesses: Accesses
    fanout: int
    instances: int
    from_parent: float = 0.0  # words that one instance gets from above
    from_peers: float = 0.0  # words that it gets from neighbours, and hands on to them
    kept: bool = True


@dataclass(frozen=True, slots=True)
class _Count:
    """Words that one instance reads, fills and updates."""

    tile: _Tile
    reads: int = 0
    fills: int = 0
    updates: int = 0
    temporal_reductions: float = 0.0


def _accesses(blocks: list[_Block], space: DataSpace) -> list[_Count]:
    """The accesses to `space` at every level, innermost first."""
    tiles = _tiles(blocks, space)
    for tile, parent in pairwise(tiles):
        tile.from_parent = parent.accesses.weighted / parent.fanout
    _bypass(tiles)
    for tile, parent in pairwise(tiles):
        tile.from_peers = parent.accesses.link_words / tile.instances
    return [_count(tiles, i, space, block.constraints) for i, block in enumerate(blocks)]


def _tiles(blocks: list[_Block], space: DataSpace) -> list[_Tile]:
    """The tile of every level, innermost first, and what its children ask of it, nothing bypassed yet."""
    tiles = []
    for i, block in enumerate(blocks):
        around = [step.move(space) for outer in blocks[i:] for step in outer.temporal]
        reuse = i > 0 and space.name not in blocks[i - 1].constraints.no_reuse
        wanted = demand(_sizes(space, block.inner), around, reuse=reuse)
        mesh = block.node if isinstance(block.node, Fanout) else Fanout("")
        children = Spread([step.move(space) for step in block.spatial], mesh.mesh_x, mesh.mesh_y, len(space.projection))
        accesses = children.serve(
            wanted,
            multicast=space.name not in block.constraints.no_multicast,
            links=bool(block.spatial) and space.name not in block.constraints.no_link_transfer,
        )
        tiles.append(
            _Tile(
                _words(space, block.tile), 0, accesses, block.spatial_factor, block.instances, kept=block.keeps(space)
            )
        )
    _partition(tiles, blocks, space)
    return tiles


def _partition(tiles: list[_Tile], blocks: list[_Block], space: DataSpace) -> None:
    """Divide the data space among instances: all of it at the outermost, then by tile size, rounded down."""
    share = tiles[-1].size
    tiles[-1].partition = share
    for tile, parent in zip(tiles[-2::-1], blocks[:0:-1], strict=True):
        together = _words(space, parent.served) if parent.spatial else tile.size
        share = share * tile.size // together
        tile.partition = share


def _bypass(tiles: list[_Tile]) -> None:
    """Take out the levels that do not keep the data space: their children ask the next level out."""
    for i, tile in enumerate(tiles):
        if tile.kept:
            continue
        if i + 1 < len(tiles):
            parent = tiles[i + 1]
            asked = tile.accesses.total * parent.fanout
            scale = asked / parent.accesses.weighted
            parent.accesses.by_signature = {key: words * scale for key, words in parent.accesses.by_signature.items()}
            parent.accesses.link_words = 0.0
        tile.size = 0
    outermost = next(tile for tile in reversed(tiles) if tile.size)
    outermost.from_parent = 0.0
    for tile in tiles[tiles.index(outermost) + 1 :]:
        tile.accesses = Accesses()


def _count(tiles: list[_Tile], i: int, space: DataSpace, constraints: Constraints) -> _Count:
    """Accesses turned into reads, fills and updates."""
    tile = tiles[i]
    if not tile.size:
        return _Count(tile)
    below = tile.accesses.total
    if not space.is_output:
        return _Count(tile, reads=_round(below + tile.from_peers), fills=int(tile.from_parent + tile.from_peers))
    first = 0 if space.name in constraints.rmw_first_update else tile.partition
    outermost = not any(outer.size for outer in tiles[i + 1 :])
    again = _round(below + tile.from_peers - first)
    fills = _round(tile.from_parent + tile.from_peers - (0 if outermost else first))
    return _Count(tile, again, fills, _round(below), again)


def _round(value: float) -> int:
    """To the nearest whole number, halves up."""
    return max(0, math.floor(value + 0.5))


def _level_cost(arch: Arch, block: _Block, counts: Dict[str, _Count], compute_cycles: int) -> LevelCost:
    assert isinstance(block.node, Storage)
    slowdown = _slowdown(block.node, counts, compute_cycles)
    return LevelCost(
        data_spaces={name: _access(arch, block, count) for name, count in counts.items() if count.tile.size},
        cycles=math.ceil(compute_cycles / slowdown),
        throttling=slowdown,
    )


def _access(arch: Arch, block: _Block, count: _Count) -> Access:
    node = block.node
    assert isinstance(node, Storage)
    pj = sum(
        -(-words // node.block_size) * energy_of(arch, node.name, action)
        for words, action in ((count.reads, "read"), (count.fills, "write"), (count.updates, "update"))
    )
    clusters = min(block.instances, arch.instances(node.name) // node.cluster_size)
    sharing = block.instances / clusters
    return Access(
        count.reads,
        count.fills,
        count.updates,
        count.temporal_reductions,
        count.tile.size,
        block.instances,
        pj / sharing * block.instances,
    )


def _slowdown(node: Storage, counts: Dict[str, _Count], compute_cycles: int) -> float:
    """Bandwidth over demand where it is below 1, else 1."""
    reads = writes = 0.0
    for name, count in counts.items():
        scale = node.bandwidth_scale.get(name, 1.0)
        reads += count.reads / compute_cycles * scale
        writes += (count.fills + count.updates) / compute_cycles * scale
    slowdown = 1.0
    for limit, wanted in (
        (node.read_words_per_cycle, reads),
        (node.write_words_per_cycle, writes),
        (node.shared_words_per_cycle, writes + reads),
    ):
        if limit is not None and limit < wanted:
            slowdown = min(slowdown, limit / wanted)
    return slowdown


def _with_leak(arch: Arch, cost: LevelCost, block: _Block, cycles: int) -> LevelCost:
    leak = energy_of(arch, block.name, "leak") * cycles * block.instances
    return replace(cost, leak_pj=leak)


_ACTIONS = {
    "read": ("random_read", "read"),
    "write": ("random_fill", "random_write", "fill", "write"),
    "update": ("random_update", "random_write", "update", "write"),
    "compute": ("mac_random", "mult_random", "mac", "mult", "compute"),
    "leak": ("leak",),
}


def energy_of(arch: Arch, component: str, action: str) -> float:
    """pJ of one action, looked up under the names that Timeloop tries in turn; 0 when none is given."""
    table = arch.energy_pj.get(component, {})
    return next((table[name] for name in _ACTIONS[action] if name in table), 0.0)
