"""Vector and movement problems on an accelerator: every word once through the memories, to the vector unit and back.

Softmax, norms, elementwise work, pooling and copies reuse next to nothing, so their cost is that of
the path: each memory from the outermost to the vector unit's (`Arch.vector`) passes every input
inwards and every output outwards. Where the architecture names no vector unit, the arithmetic array
does the operations, one a cycle and unit, fed by the last memory that all of it shares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmsim.arch.model import Arch, Fanout, Storage
from mmsim.nest.evaluate import energy_of
from mmsim.problem import DataSpace, Problem
from mmsim.size import concrete
from mmsim.solution import Solution, Traffic


@dataclass(frozen=True, slots=True)
class _Words:
    """Words that all instances of one memory pass on."""

    reads: int
    fills: int
    updates: int


def stream(problem: Problem, arch: Arch) -> Solution:
    """Latency, energy and traffic of all instances of a vector or movement problem."""
    path = _path(arch)
    words = {
        (level.name, space.name): _passed(level, space, problem, arch)
        for level in path
        for space in problem.data_spaces
    }
    busy = {
        level.name: _cycles(
            level, arch.instances(level.name), [words[level.name, space.name] for space in problem.data_spaces]
        )
        for level in path
    }
    operations = concrete(problem.points) * problem.ops_per_point if problem.kind != "movement" else 0
    rate = arch.vector.ops_per_cycle if arch.vector else arch.instances(arch.compute.name)
    busy["compute"] = operations / rate
    bound = max(busy, key=lambda name: busy[name])
    cycles = math.ceil(busy[bound])
    times = concrete(problem.instances)
    traffic = tuple(
        _traffic(arch, level, space, words[level.name, space.name], times)
        for level in path
        for space in problem.data_spaces
    )
    leak_pj = sum(energy_of(arch, level.name, "leak") * arch.instances(level.name) for level in path) * cycles * times
    energy_pj = _operation_pj(arch) * operations * times + leak_pj
    return Solution(
        latency_s=cycles * arch.cycle_s * times,
        energy_j=sum(one.energy_j for one in traffic) + energy_pj * 1e-12,
        bound=bound,
        utilization=busy["compute"] / cycles if cycles else 0.0,
        traffic=traffic,
        detail=f"streamed through {', '.join(level.name for level in path)}",
    )


def _path(arch: Arch) -> list[Storage]:
    """The memories that every word passes, outermost first."""
    path = []
    for node in arch.nodes:
        if isinstance(node, Storage):
            path.append(node)
            if arch.vector and node.name == arch.vector.level:
                break
        elif isinstance(node, Fanout) and not arch.vector:
            break
    return path


def _passed(level: Storage, space: DataSpace, problem: Problem, arch: Arch) -> _Words:
    """Words of `space` that a memory takes in and gives out, each word of the data space once."""
    count = math.ceil(concrete(problem.words(space)) * space.bits / level.word_bits)
    outermost = level is arch.nodes[0]
    if space.is_output:
        return _Words(0 if outermost else count, 0, count)
    return _Words(count, 0 if outermost else count, 0)


def _cycles(level: Storage, instances: int, passed: list[_Words]) -> float:
    """Cycles that the bandwidths of all instances together need."""
    reads = sum(one.reads for one in passed) / instances
    writes = sum(one.fills + one.updates for one in passed) / instances
    limits = (
        (level.read_words_per_cycle, reads),
        (level.write_words_per_cycle, writes),
        (level.shared_words_per_cycle, reads + writes),
    )
    return max((words / rate for rate, words in limits if rate is not None), default=0.0)


def _traffic(arch: Arch, level: Storage, space: DataSpace, words: _Words, times: int) -> Traffic:
    pj = sum(
        math.ceil(count / level.block_size) * energy_of(arch, level.name, action)
        for count, action in ((words.reads, "read"), (words.fills, "write"), (words.updates, "update"))
    )
    moved = words.reads + words.fills + words.updates
    return Traffic(
        level=level.name,
        data_space=space.name,
        reads=words.reads * times,
        fills=words.fills * times,
        updates=words.updates * times,
        bytes=moved * level.word_bits / 8 * times,
        energy_j=pj * times * 1e-12,
    )


def _operation_pj(arch: Arch) -> float:
    if arch.vector and arch.vector.energy_pj_per_op is not None:
        return arch.vector.energy_pj_per_op
    return energy_of(arch, arch.compute.name, "compute")
