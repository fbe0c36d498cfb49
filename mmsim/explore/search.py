"""Every candidate's figures on a network, and from them the best shared accelerator, per-stage ones, and the front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from typing import Any

import numpy as np

from mmsim import schedule
from mmsim.errors import InputError
from mmsim.explore.front import Floats, front, most_candidates, useful
from mmsim.explore.space import Candidate
from mmsim.graph import Graph
from mmsim.nest.solve import solve
from mmsim.run import MAPPINGS, Cost, Progress, run
from mmsim.solution import Objective


@dataclass(frozen=True)
class Evaluated:
    """A candidate's figures on the network. Overheads are a GPU's, once however many stages it serves."""

    candidate: Candidate
    overhead_s: float
    overhead_j: float
    stages: Mapping[str, Cost]
    layers_s: Mapping[int, float]  # layer's id -> latency
    proven: float  # share of the latency in mappings that are proven optimal

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name

    @property
    def area_mm2(self) -> float:
        """The candidate's."""
        return self.candidate.area_mm2


@dataclass(frozen=True)
class Assignment:
    """The name of the candidate that each stage runs on, and what the network then takes, stages one after another."""

    accelerators: Mapping[str, str]
    latency_s: float
    energy_j: float
    area_mm2: float

    @property
    def edp_js(self) -> float:
        """Energy-delay product."""
        return self.latency_s * self.energy_j

    def figure(self, objective: Objective) -> float:
        """What is to be small."""
        return {"latency": self.latency_s, "energy": self.energy_j, "edp": self.edp_js}[objective]


@dataclass(frozen=True)
class Exploration:
    """The answer. `front` has every assignment that no other matches in latency, energy and area.

    `shared` is the best that uses one accelerator for all stages, `best` the best of all, and
    `within_shared` the best that takes no more area than `shared`. `alone` gives each stage the
    accelerator that is best for it by itself; the others keep to the area limit. `left_out` are the
    candidates that are larger than it, or that a layer does not fit, with the reason. Where there are too
    many sets of accelerators to look at, no assignment has more than `most_accelerators` different ones.
    """

    graph: Graph
    objective: Objective
    area_limit_mm2: float
    candidates: tuple[Evaluated, ...]
    shared: Assignment
    within_shared: Assignment
    best: Assignment
    alone: Assignment
    front: tuple[Assignment, ...]
    most_accelerators: int | None
    left_out: Mapping[str, str]

    def __getitem__(self, name: str) -> Evaluated:
        """The candidate of that name."""
        return next(one for one in self.candidates if one.name == name)

    @property
    def stages(self) -> tuple[str, ...]:
        """The network's stages, as ``encoder:image``."""
        return tuple(self.alone.accelerators)

    def side_by_side_s(self, assignment: Assignment) -> float:
        """Latency when stages that wait for nothing run at the same time on different accelerators.

        Layers start in their order, when their inputs are there and their accelerator is free. The
        accelerators share nothing: neither the main memory's bandwidth is contended nor a bus.
        """
        used = {name: self[name] for name in dict.fromkeys(assignment.accelerators.values())}
        on = {layer.id: assignment.accelerators[str(layer.stage)] for layer in self.graph.layers}
        latencies = {layer: used[name].layers_s[layer] for layer, name in on.items()}
        spans = schedule.concurrent(self.graph, latencies, lambda layer: on[layer.id])
        return max((span.end_s for span in spans), default=0.0) + sum(one.overhead_s for one in used.values())


def explore(
    graph: Graph,
    candidates: Sequence[Candidate],
    *,
    objective: Objective = "edp",
    area_limit_mm2: float = math.inf,
    mappings: int = MAPPINGS,
    jobs: int = 1,
    progress: Progress = lambda done, of: None,
) -> Exploration:
    """Search the assignments of `candidates` to the stages of `graph`, whose sizes must be concrete.

    Every candidate runs every distinct shape once, by the mapping that is best for `objective` (a GPU
    by its kernel library); then the front is exact. `jobs` processes share the candidates; the answer
    is the same for any number. Raises `InputError` when no candidate is left.
    """
    if not graph.layers:
        raise InputError("the network has no layers")
    small = [one for one in candidates if one.area_mm2 <= area_limit_mm2]
    done = _evaluated(graph, small, objective, mappings, jobs, progress)
    outcomes = dict(zip((one.name for one in small), done, strict=True))
    evaluated = tuple(one for one in outcomes.values() if isinstance(one, Evaluated))
    left_out = {one.name: f"larger, {one.area_mm2:.4g} mm2" for one in candidates if one.name not in outcomes}
    left_out |= {name: why for name, why in outcomes.items() if isinstance(why, str)}
    if not evaluated:
        raise InputError("no accelerator is left: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    names = list(evaluated[0].stages)
    stages = np.array([[(e.stages[s].latency_s, e.stages[s].energy_j) for e in evaluated] for s in names])
    once = np.array([(e.overhead_s, e.overhead_j, e.area_mm2) for e in evaluated])
    found = tuple(
        Assignment({stage: evaluated[i].name for stage, i in zip(names, choice, strict=True)}, *map(float, total))
        for choice, total in zip(*front(stages, once, area_limit_mm2), strict=True)
    )
    members = len(useful(stages, once))
    most = most_candidates(members, len(names))
    shared = _least([assigned(dict.fromkeys(names, one)) for one in evaluated], objective)
    return Exploration(
        graph=graph,
        objective=objective,
        area_limit_mm2=area_limit_mm2,
        candidates=evaluated,
        shared=shared,
        within_shared=_least([one for one in found if one.area_mm2 <= shared.area_mm2], objective),
        best=_least(found, objective),
        alone=assigned({stage: _alone(evaluated, stage, objective) for stage in names}),
        front=found,
        most_accelerators=most if most < min(members, len(names)) else None,
        left_out=left_out,
    )


def _evaluated(
    graph: Graph, candidates: Sequence[Candidate], objective: Objective, mappings: int, jobs: int, progress: Progress
) -> Iterator[Evaluated | str]:
    """Every candidate's figures, in order, or why it has none; progress is told in shapes."""
    shapes = len(graph.distinct_problems())
    if min(jobs, len(candidates)) <= 1:
        for i, candidate in enumerate(candidates):
            told = partial(_offset, progress, i * shapes, len(candidates) * shapes)
            yield evaluate(graph, candidate, objective, mappings, told)
    else:
        with ProcessPoolExecutor(min(jobs, len(candidates)), get_context("spawn")) as pool:
            work = pool.map(evaluate, repeat(graph), candidates, repeat(objective), repeat(mappings))
            for i, done in enumerate(work):
                progress((i + 1) * shapes, len(candidates) * shapes)
                yield done


def _offset(progress: Progress, before: int, of: int, done: int, _: int) -> None:
    progress(before + done, of)


def evaluate(
    graph: Graph,
    candidate: Candidate,
    objective: Objective = "edp",
    mappings: int = MAPPINGS,
    progress: Progress = lambda done, of: None,
) -> Evaluated | str:
    """One candidate's figures on the network, or why a layer does not fit it."""
    try:
        how = partial(solve, mappings=mappings)
        done = run(graph, candidate.arch, objective=objective, solve=how, progress=progress)
    except InputError as error:
        return str(error)
    solutions = [solution for layer in done.layers for solution in layer.solutions]
    gap_s = sum(solution.latency_s for solution in solutions if solution.proof == "gap")
    return Evaluated(
        candidate=candidate,
        overhead_s=done.overhead_s,
        overhead_j=done.overhead_j,
        stages=done.by_stage(),
        layers_s={cost.layer.id: cost.latency_s for cost in done.layers},
        proven=1 - gap_s / done.latency_s if done.latency_s else 1.0,
    )


def assigned(accelerators: Mapping[str, Evaluated]) -> Assignment:
    """What the network takes when each stage runs on that accelerator; summed as `front` sums."""
    sums: Floats = np.zeros(2)
    for stage, one in accelerators.items():
        sums += one.stages[stage].latency_s, one.stages[stage].energy_j
    used = {one.name: one for one in accelerators.values()}.values()
    latency_s = float(sums[0]) + sum(one.overhead_s for one in used)
    energy_j = float(sums[1]) + sum(one.overhead_j for one in used)
    names = {stage: one.name for stage, one in accelerators.items()}
    return Assignment(names, latency_s, energy_j, sum(one.area_mm2 for one in used))


def _alone(candidates: Sequence[Evaluated], stage: str, objective: Objective) -> Evaluated:
    """The best for one stage by itself; of equals the smallest."""

    def order(one: Evaluated) -> tuple[float, float]:
        cost = one.stages[stage]
        return Assignment({}, cost.latency_s, cost.energy_j, one.area_mm2).figure(objective), one.area_mm2

    return min(candidates, key=order)


def _least(assignments: Sequence[Assignment], objective: Objective) -> Assignment:
    """The best; of equals the smallest, then the one of least EDP."""
    return min(assignments, key=lambda one: (one.figure(objective), one.area_mm2, one.edp_js))


def record(found: Exploration) -> dict[str, Any]:
    """The answer for programs."""
    return {
        "objective": found.objective,
        "area_limit_mm2": None if math.isinf(found.area_limit_mm2) else found.area_limit_mm2,
        "most_accelerators": found.most_accelerators,
        "stages": list(found.stages),
        "left_out": dict(found.left_out),
        "candidates": [_candidate(one) for one in found.candidates],
        "alone": _assignment(found, found.alone),
        "shared": _assignment(found, found.shared),
        "within_shared_area": _assignment(found, found.within_shared),
        "best": _assignment(found, found.best),
        "gain": gain(found.shared, found.best),
        "front": [_totals(one) for one in found.front],
    }


def gain(shared: Assignment, other: Assignment) -> dict[str, float | None]:
    """The shared accelerator's figures over another assignment's: above 1, the other is better; none: it has zero."""
    names = {"latency": "latency_s", "energy": "energy_j", "edp": "edp_js", "area": "area_mm2"}
    figures = {name: (getattr(shared, field), getattr(other, field)) for name, field in names.items()}
    return {name: ours / theirs if theirs else None for name, (ours, theirs) in figures.items()}


def _candidate(one: Evaluated) -> dict[str, Any]:
    total = assigned(dict.fromkeys(one.stages, one))
    return {
        "name": one.name,
        "architecture": one.candidate.base,
        "varied": dict(one.candidate.varied),
        "rescaled": list(one.candidate.rescaled),
        **{key: value for key, value in _totals(total).items() if key != "accelerators"},
        "overhead_s": one.overhead_s,
        "overhead_j": one.overhead_j,
        "proven_share": one.proven,
        "by_stage": {
            stage: {"latency_s": cost.latency_s, "energy_j": cost.energy_j, "bound": cost.bound}
            for stage, cost in one.stages.items()
        },
    }


def _assignment(found: Exploration, one: Assignment) -> dict[str, Any]:
    return {**_totals(one), "side_by_side_s": found.side_by_side_s(one)}


def _totals(one: Assignment) -> dict[str, Any]:
    return {
        "accelerators": dict(one.accelerators),
        "latency_s": one.latency_s,
        "energy_j": one.energy_j,
        "edp_js": one.edp_js,
        "area_mm2": one.area_mm2,
    }
