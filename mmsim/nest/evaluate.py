"""What a mapping costs: cycles, energy and accesses per level and data space, counted as Timeloop counts.

The loops are laid onto the architecture (`blocks`), accesses are counted (`counts`, or `exact_counts`
where a loop has a remainder), and this file turns counts into energy and cycles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace

from mmsim.arch.model import Arch, Fanout, Storage, level_name
from mmsim.nest.blocks import Block, lay_out
from mmsim.nest.counts import Counts, count
from mmsim.nest.exact_counts import count_exactly, time_steps
from mmsim.nest.mapping import Mapping, check
from mmsim.problem import Problem


@dataclass(frozen=True, slots=True)
class Access:
    """One data space at one level. Words are of one instance, energy is of all of them."""

    reads: float
    fills: float
    updates: float
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


def evaluate(
    arch: Arch, problem: Problem, mapping: Mapping, counts: Dict[str, Dict[str, Counts]] | None = None
) -> Evaluation:
    """The cost of `mapping`; raises `InputError` naming the level when it does not fit `arch`.

    `counts` (data space -> level -> words) are counted here unless they are known already.

    Perfect loops are counted as Timeloop counts them; with a remainder anywhere the counts are exact
    (see `exact`). Energies are 0 for components that `arch.energy_pj` does not name.
    """
    check(mapping, arch, problem)
    blocks = lay_out(arch, problem, mapping)
    if counts is None:
        counted = count if all(block.perfect for block in blocks) else count_exactly
        counts = {space.name: counted(blocks, space) for space in problem.data_spaces}
    computes = math.prod(problem.shape.values())
    compute_cycles = math.prod(time_steps(blocks, dim) for dim in problem.shape)
    costs = {
        block.name: _level_cost(arch, block, _at(counts, block.name), compute_cycles)
        for block in blocks
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
            block.name: _with_leak(arch, costs[block.name], block, blocks, busy)
            for block in reversed(blocks)
            if isinstance(block.node, Storage)
        },
    )


def _at(counts: Dict[str, Dict[str, Counts]], level: str) -> dict[str, Counts]:
    """Data space -> counts at one level."""
    return {name: levels[level] for name, levels in counts.items() if level in levels}


def _level_cost(arch: Arch, block: Block, counts: Dict[str, Counts], compute_cycles: int) -> LevelCost:
    assert isinstance(block.node, Storage)
    slowdown = _slowdown(block.node, counts, compute_cycles)
    return LevelCost(
        data_spaces={name: _access(arch, block, one) for name, one in counts.items()},
        cycles=math.ceil(compute_cycles / slowdown),
        throttling=slowdown,
    )


def _access(arch: Arch, block: Block, one: Counts) -> Access:
    node = block.node
    assert isinstance(node, Storage)
    pj = sum(
        math.ceil(words / node.block_size) * energy_of(arch, node.name, action)
        for words, action in ((one.reads, "read"), (one.fills, "write"), (one.updates, "update"))
    )
    clusters = min(block.instances, arch.instances(node.name) // node.cluster_size)
    sharing = block.instances / clusters
    return Access(
        one.reads,
        one.fills,
        one.updates,
        one.temporal_reductions,
        one.capacity,
        block.instances,
        pj / sharing * block.instances,
    )


def _slowdown(node: Storage, counts: Dict[str, Counts], compute_cycles: int) -> float:
    """Bandwidth over demand where it is below 1, else 1."""
    reads = writes = 0.0
    for name, one in counts.items():
        scale = node.bandwidth_scale.get(name, 1.0)
        reads += one.reads / compute_cycles * scale
        writes += (one.fills + one.updates) / compute_cycles * scale
    slowdown = 1.0
    for limit, wanted in (
        (node.read_words_per_cycle, reads),
        (node.write_words_per_cycle, writes),
        (node.shared_words_per_cycle, writes + reads),
    ):
        if limit is not None and limit < wanted:
            slowdown = min(slowdown, limit / wanted)
    return slowdown


def _with_leak(arch: Arch, cost: LevelCost, block: Block, blocks: list[Block], cycles: int) -> LevelCost:
    """Leakage of the instances that are switched on: those in use, or all behind a gate that is in use."""
    assert isinstance(block.node, Storage)
    leaking = float(block.instances)
    gate = next((other for other in blocks if level_name(other.node) == block.node.power_gated_at), block)
    behind = arch.instances(block.name) / arch.instances(gate.name, above=isinstance(gate.node, Fanout))
    if behind > 1:
        leaking = behind * gate.instances
    return replace(cost, leak_pj=energy_of(arch, block.name, "leak") * cycles * leaking)


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
