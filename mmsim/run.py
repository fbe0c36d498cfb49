"""A network on an architecture: every layer's cost, and their sums per stage, modality and network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from mmsim import cpu, gpu, schedule
from mmsim.arch.load import stated_error
from mmsim.arch.model import Arch
from mmsim.gpu import Mode
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.problem import Problem
from mmsim.schedule import Memory
from mmsim.size import concrete
from mmsim.solution import Objective, Solution

Solve: TypeAlias = Callable[[Problem, Arch, Objective], Solution]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, of) as distinct problems are solved."""

MAPPINGS = 300_000
"""Mappings judged for each distinct shape of a network unless told otherwise: some tenths of a second each."""


@dataclass(frozen=True)
class LayerCost:
    """One layer on one architecture. `latency_s` is its share of the network's latency: they add up.

    On a GPU `kernel_s` is what its kernels take on the device, `host_s` what the host takes to
    dispatch them, and `best_s` what the best mapping on the same machine could reach (None where it
    was not asked for). On other architectures the three times are one.
    """

    layer: Layer
    macs: int
    latency_s: float
    kernel_s: float
    host_s: float
    energy_j: float
    bound: str
    kernels: int
    utilization: float
    best_s: float | None = None
    solutions: tuple[Solution, ...] = ()


@dataclass(frozen=True)
class Cost:
    """Sums over some layers. `bound` is what bounds most of the latency."""

    layers: int
    macs: int
    latency_s: float
    kernel_s: float
    host_s: float
    energy_j: float
    kernels: int
    bound: str
    best_s: float | None


@dataclass(frozen=True)
class Run:
    """What a network takes on an architecture. Layers run one after another.

    `overhead_s` belongs to no layer: launching a graph, waiting for the last kernel; `overhead_j` is what the
    board draws meanwhile. `concurrent_s`
    is the time with every encoder on a stream of its own and nothing shared, a bound that no schedule
    can beat with these layers. `counters` are a GPU's, by stage and under ``total``.
    """

    graph: Graph
    arch: Arch
    mode: str
    layers: tuple[LayerCost, ...]
    memory: Memory
    concurrent_s: float
    overhead_s: float = 0.0
    overhead_j: float = 0.0
    counters: dict[str, gpu.Counters] = field(default_factory=dict)

    @property
    def total(self) -> Cost:
        """All layers."""
        return total(self.layers)

    @property
    def latency_s(self) -> float:
        """One forward pass, layers in series, with the overhead."""
        return self.total.latency_s + self.overhead_s

    @property
    def energy_j(self) -> float:
        """One forward pass, with the overhead."""
        return self.total.energy_j + self.overhead_j

    @property
    def average_w(self) -> float:
        """Energy over latency."""
        return self.energy_j / self.latency_s if self.latency_s else 0.0

    def by_stage(self) -> dict[str, Cost]:
        """Costs per stage, as ``encoder:image``."""
        return _grouped(self.layers, lambda layer: str(layer.stage))

    def by_modality(self) -> dict[str, Cost]:
        """Costs per modality; fusion and head stand under their own names."""
        return _grouped(self.layers, lambda layer: layer.stage.modality or layer.stage.kind)


def total(costs: Iterable[LayerCost]) -> Cost:
    """The sum of some layers' costs."""
    costs = tuple(costs)
    bounds: Counter[str] = Counter()
    for cost in costs:
        bounds[cost.bound] += cost.latency_s  # type: ignore[assignment]  # a Counter of seconds
    best = [cost.best_s for cost in costs]
    return Cost(
        layers=sum(1 for cost in costs if cost.latency_s > 0),
        macs=sum(cost.macs for cost in costs),
        latency_s=sum(cost.latency_s for cost in costs),
        kernel_s=sum(cost.kernel_s for cost in costs),
        host_s=sum(cost.host_s for cost in costs),
        energy_j=sum(cost.energy_j for cost in costs),
        kernels=sum(cost.kernels for cost in costs),
        bound=max(bounds, key=lambda name: bounds[name], default="-"),
        best_s=None if None in best else sum(s for s in best if s is not None),
    )


def _grouped(costs: tuple[LayerCost, ...], key: Callable[[Layer], str]) -> dict[str, Cost]:
    groups: dict[str, list[LayerCost]] = {}
    for cost in costs:
        groups.setdefault(key(cost.layer), []).append(cost)
    return {name: total(group) for name, group in groups.items()}


def run(
    graph: Graph,
    arch: Arch,
    *,
    mode: Mode = "eager",
    objective: Objective = "edp",
    solve: Solve | None = None,
    best: bool = False,
    progress: Progress = lambda done, of: None,
) -> Run:
    """Evaluate `graph`, whose sizes must be concrete, on `arch`.

    A GPU (an architecture with a ``device`` part) runs what its kernel library would in `mode`;
    `best` adds what the best mapping on the same machine could reach. Other architectures run the
    best mapping for `objective`. Equal problems are solved once, by `solve` (default: the built-in
    model). Raises `InputError` for symbolic sizes and for a layer that does not fit the machine.
    """
    overhead, overhead_j, counters = 0.0, 0.0, {}
    if arch.device is not None:
        times = gpu.network(graph, arch, mode)
        costs = tuple(_of_kernels(time, graph) for time in times.layers)
        overhead, overhead_j = times.wall_s - sum(cost.latency_s for cost in costs), times.overhead_j
        counters = gpu.by_stage(times, gpu.machine(arch))
        if best:
            bests = _solved(graph, arch, "latency", solve, progress)
            costs = tuple(_with_best(cost, graph, bests) for cost in costs)
    elif arch.cpu is not None:
        costs = _on_cpu(graph, arch, arch.cpu.power_w)
    else:
        solutions = _solved(graph, arch, objective, solve, progress)
        costs = tuple(_on_accelerator(layer, graph, solutions) for layer in graph.layers)
    latencies = {cost.layer.id: cost.latency_s for cost in costs}
    return Run(
        graph=graph,
        arch=arch,
        mode=mode if arch.device is not None else "serial",
        layers=costs,
        memory=schedule.memory(graph),
        concurrent_s=max((span.end_s for span in schedule.concurrent(graph, latencies)), default=0.0) + overhead,
        overhead_s=overhead,
        overhead_j=overhead_j,
        counters=counters,
    )


def _solved(
    graph: Graph,
    arch: Arch,
    objective: Objective,
    solve: Solve | None,
    progress: Progress,
) -> dict[Problem, Solution]:
    if solve is None:
        from mmsim.nest.solve import solve as builtin

        solve = partial(builtin, mappings=MAPPINGS)
    problems = list(graph.distinct_problems())
    ones: dict[Problem, Solution] = {}  # problems that differ in their number of instances are solved together
    for done, problem in enumerate(problems):
        progress(done, len(problems))
        one = replace(problem, instances=1)
        if one not in ones:
            ones[one] = solve(one, arch, objective)
    progress(len(problems), len(problems))
    return {p: ones[replace(p, instances=1)].times(concrete(p.instances)) for p in problems}


def _on_accelerator(layer: Layer, graph: Graph, solutions: dict[Problem, Solution]) -> LayerCost:
    problems = graph.problems(layer)
    found = tuple(solutions[problem] for problem in problems)
    latency = sum(solution.latency_s for solution in found)
    slowest = max(found, key=lambda solution: solution.latency_s, default=None)
    return LayerCost(
        layer=layer,
        macs=sum(concrete(problem.macs) for problem in problems),
        latency_s=latency,
        kernel_s=latency,
        host_s=0.0,
        energy_j=sum(solution.energy_j for solution in found),
        bound=slowest.bound if slowest else "-",
        kernels=len(found),
        utilization=sum(s.utilization * s.latency_s for s in found) / latency if latency else 0.0,
        best_s=latency,
        solutions=found,
    )


def _of_kernels(time: gpu.LayerTime, graph: Graph) -> LayerCost:
    slowest = max(time.kernels, key=lambda kernel: kernel.total_s, default=None)
    hidden = slowest is None or time.wall_s > 1.5 * time.kernel_s  # the device waited for the host
    return LayerCost(
        layer=time.layer,
        macs=sum(concrete(problem.macs) for problem in graph.problems(time.layer)),
        latency_s=time.wall_s,
        kernel_s=time.kernel_s,
        host_s=time.host_s,
        energy_j=time.energy_j,
        bound="launch" if hidden and time.wall_s > 0 else slowest.bound if slowest else "-",
        kernels=sum(kernel.count for kernel in time.kernels),
        utilization=0.0,
    )


def _on_cpu(graph: Graph, arch: Arch, power_w: float) -> tuple[LayerCost, ...]:
    """Every layer's cost as PyTorch on a CPU runs it."""
    return tuple(
        LayerCost(
            layer=layer,
            macs=sum(concrete(problem.macs) for problem in graph.problems(layer)),
            latency_s=time.seconds,
            kernel_s=time.seconds,
            host_s=time.dispatch_s,
            energy_j=time.seconds * power_w,
            bound=time.bound,
            kernels=len(graph.problems(layer)),
            utilization=0.0,
        )
        for layer, time in zip(graph.layers, cpu.network(graph, arch), strict=True)
    )


def _with_best(cost: LayerCost, graph: Graph, solutions: dict[Problem, Solution]) -> LayerCost:
    found = tuple(solutions[problem] for problem in graph.problems(cost.layer))
    return replace(cost, best_s=sum(solution.latency_s for solution in found), solutions=found)


def record(run: Run) -> dict[str, Any]:
    """The answer for programs: one architecture's figures."""
    return {
        "mode": run.mode,
        **_figures(run.total),
        "latency_s": run.latency_s,
        "overhead_s": run.overhead_s,
        "concurrent_encoders_s": run.concurrent_s,
        "energy_j": run.energy_j,
        "overhead_j": run.overhead_j,
        "average_power_w": run.average_w,
        **({"stated_errors": stated_error(run.arch)} if run.arch.device is not None else {}),
        "peak_memory_bytes": run.memory.peak_bytes,
        "memory": {
            "weights_bytes": run.memory.weights_bytes,
            "inputs_bytes": run.memory.inputs_bytes,
            "intermediates_bytes": run.memory.intermediates_bytes,
        },
        **({"counters": {name: asdict(found) for name, found in run.counters.items()}} if run.counters else {}),
        "by_stage": {name: _figures(cost) for name, cost in run.by_stage().items()},
        "by_modality": {name: _figures(cost) for name, cost in run.by_modality().items()},
        "layers": [
            {
                "id": cost.layer.id,
                "name": cost.layer.name,
                "op": cost.layer.op,
                "stage": str(cost.layer.stage),
                "macs": cost.macs,
                "latency_s": cost.latency_s,
                "kernel_s": cost.kernel_s,
                "host_s": cost.host_s,
                "energy_j": cost.energy_j,
                "bound": cost.bound,
                "utilization": cost.utilization,
                **({"best_mapping_s": cost.best_s} if cost.best_s is not None else {}),
                **({"proof": sorted({s.proof for s in cost.solutions})} if cost.solutions else {}),
            }
            for cost in run.layers
            if cost.latency_s > 0
        ],
    }


def _figures(cost: Cost) -> dict[str, Any]:
    return {
        "latency_s": cost.latency_s,
        "kernel_s": cost.kernel_s,
        "host_s": cost.host_s,
        "energy_j": cost.energy_j,
        "macs": cost.macs,
        "layers": cost.layers,
        "kernels": cost.kernels,
        "bound": cost.bound,
        **({"best_mapping_s": cost.best_s} if cost.best_s is not None else {}),
    }
