"""A problem on an accelerator solved: the best mapping for multiply-accumulates, streaming for everything else."""

from __future__ import annotations

from mmsim.arch.model import Arch, Storage
from mmsim.nest.evaluate import Evaluation
from mmsim.nest.mapping import to_text
from mmsim.nest.search import best_mapping
from mmsim.nest.streaming import stream
from mmsim.problem import Problem
from mmsim.size import concrete
from mmsim.solution import Objective, Solution, Traffic


def solve(
    problem: Problem,
    arch: Arch,
    objective: Objective = "edp",
    *,
    time_s: float | None = None,
    mappings: int | None = None,
) -> Solution:
    """Latency, energy and traffic of all instances of `problem`, run one after the other.

    The search for the best mapping ends when it is proven, or after `time_s` seconds of CPU time or
    `mappings` judged mappings; `Solution.proof` says which. A budget in mappings gives the same answer
    on every machine.

    Words are the architecture's own: a memory of 16-bit words moves a 32-bit tensor as as many words,
    as Timeloop does. Raises `InputError` when no mapping fits, naming the memory, and while a size is
    symbolic.
    """
    if problem.kind != "mac":
        return stream(problem, arch)
    found = best_mapping(problem, arch, objective, time_s=time_s, mappings=mappings)
    cost, times = found.evaluation, concrete(problem.instances)
    unit = {"latency": arch.cycle_s * times, "energy": 1e-12 * times, "edp": 1e-12 * arch.cycle_s * times**2}[objective]
    return Solution(
        latency_s=cost.cycles * arch.cycle_s * times,
        energy_j=cost.energy_pj * 1e-12 * times,
        bound=cost.bound,
        utilization=cost.utilization,
        traffic=_traffic(cost, arch, times),
        mapping=to_text(found.mapping),
        proof=found.proof,
        lower_bound=found.lower_bound * unit,
        detail=f"{found.judged_mappings} mappings judged",
    )


def _traffic(cost: Evaluation, arch: Arch, times: int) -> tuple[Traffic, ...]:
    """Accesses of all instances of every memory, over all instances of the problem."""
    word_bits = {node.name: node.word_bits for node in arch.nodes if isinstance(node, Storage)}
    found = []
    for level, one in cost.levels.items():
        for space, access in one.data_spaces.items():
            many = access.utilized_instances * times
            moved = (access.reads + access.fills + access.updates) * many
            found.append(
                Traffic(
                    level=level,
                    data_space=space,
                    reads=access.reads * many,
                    fills=access.fills * many,
                    updates=access.updates * many,
                    bytes=moved * word_bits[level] / 8,
                    energy_j=access.energy_pj * 1e-12 * times,
                )
            )
    return tuple(found)
