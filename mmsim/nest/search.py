"""The mapper: the best mapping of a problem on an architecture, with a proof or the gap to a lower bound.

Narrow beams (`mapper_explore`) find a good mapping for the most promising choices of what memories keep
(`mapper_keeps`), a search around it (`mapper_improve`) makes it better; then branch and bound goes
through what could be better still, until nothing is left or the budget is spent. Nothing is drawn
by lot, so the same input gives the same answer. docs/mapper.md tells why nothing is lost.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mmsim.arch.model import Arch
from mmsim.errors import InputError
from mmsim.nest.evaluate import Evaluation
from mmsim.nest.mapper_answer import judged
from mmsim.nest.mapper_explore import beam, explore
from mmsim.nest.mapper_improve import improve
from mmsim.nest.mapper_keeps import Keeps
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_run import ROUNDING, Metric, Run
from mmsim.nest.mapping import Mapping
from mmsim.nest.mapspace import Mapspace
from mmsim.problem import Problem

MAPPINGS = 1_200_000  # judged at most to find a good mapping when no budget is given
BEAM_PLANS = 48  # choices of what is kept that are looked at more closely
BEAMS = ((1, 16), (24, 4), (96, 2))  # how many rows go on at each slot, and for how many choices of what is kept
TINY = 2**12  # steps up to which whole accesses are looked at, where they matter
JUDGED_AGAIN = 8  # the last improvements, evaluated one by one
METRICS: tuple[Metric, ...] = get_args(Metric)


@dataclass(frozen=True)
class Result:
    """The best mapping found, its cost by `mmsim.nest.evaluate`, and how good it is.

    `proof` is ``optimal`` when every mapping of the mapspace was evaluated or soundly ruled out, else
    ``gap``; `lower_bound` is what no mapping can beat in the objective's first metric (cycles, pJ, or
    pJ x cycles). `judged_mappings` counts the partial and complete mappings looked at.
    """

    mapping: Mapping
    evaluation: Evaluation
    objective: tuple[Metric, ...]
    score: float
    proof: Literal["optimal", "gap"]
    lower_bound: float
    judged_mappings: int
    cpu_seconds: float


def best_mapping(
    problem: Problem,
    arch: Arch,
    objective: str = "edp",
    *,
    time_s: float | None = None,
    mappings: int | None = None,
) -> Result:
    """The mapping of `problem` on `arch` that is best in `objective`.

    `objective` is ``edp``, ``energy``, ``latency`` or several of them in order of importance, as in
    ``latency,energy``. The search stops after `time_s` seconds of CPU time or when it has looked at so
    many `mappings`; with neither given, after about a second's work, or more where that gives a proof.
    Raises `InputError` when no mapping fits, naming the memory or the constraint.
    """
    run = Run(objective_of(objective), time_s, mappings)
    if time_s is None and mappings is None:
        run.mappings = MAPPINGS
    space = Mapspace(problem, arch)
    _refuse_unsearched(space)
    _check_feasible(space)
    keeps = Keeps(space)
    _find_good(run, keeps)
    if time_s is None and mappings is None:
        run.mappings, run.proof_from = None, run.judged
    run.proving, run.left_out = True, math.inf
    run.one_by_one |= any(not found.plan.is_certain for found in run.found)
    _prove(run, keeps)
    if not run.found:
        raise InputError("no mapping satisfies the architecture's constraints and capacities", field=arch.name)
    return _result(run)


def objective_of(text: str) -> tuple[Metric, ...]:
    """The metrics in a comma-separated list; raises `InputError` for an unknown one."""
    names = [name.strip() for name in text.split(",")]
    found = tuple(metric for name in names for metric in METRICS if metric == name)
    if len(found) != len(names):
        raise InputError(f"{text!r} is not a list of {', '.join(METRICS)}", field="objective")
    return found


def _find_good(run: Run, keeps: Keeps) -> None:
    """Complete mappings by beams, ever wider for ever fewer choices of what is kept, and improve the best."""
    made = (keeps.plan(keep) for keep in keeps.keeps)
    plans = list(itertools.islice((plan for plan in made if plan), BEAM_PLANS))
    energy, cycles = (
        np.array([values[0] for values in each]) for each in zip(*((s.bound, s.cycles) for _, s in plans), strict=False)
    )
    plans = [plans[i] for i in run.order(energy, cycles)]
    tiny = math.prod(keeps.space.sizes) <= TINY
    run.thorough = tiny and any(plan.rounding_pj > ROUNDING * start.bound[0] for plan, start in plans)
    run.one_by_one = run.thorough or not all(plan.is_close for plan, _ in plans)
    for places, count in BEAMS:
        for plan, start in plans[:count]:
            if not run.spent() and run.wins(start.bound, start.cycles)[0]:
                beam(run, plan, start, places)
        improve(run, keeps)
        winners = [found.plan for found in reversed(run.found)]
        plans.sort(key=lambda entry: winners.index(entry[0]) if entry[0] in winners else len(winners))


def _prove(run: Run, keeps: Keeps) -> None:
    """Branch and bound through every choice of what is kept, that of the best mapping first."""
    best = [found.plan.keep for found in run.found[-1:]]
    order = sorted(np.flatnonzero(run.wins(keeps.energy, keeps.cycles)), key=lambda i: keeps.keeps[i] not in best)
    for done, i in enumerate(order):
        if run.spent():
            run.give_up(keeps.energy[order[done:]], keeps.cycles[order[done:]])
            return
        run.done = done / len(order)
        if run.wins(keeps.energy[i : i + 1], keeps.cycles[i : i + 1])[0] and (
            found := keeps.cautious_plan(keeps.keeps[i])
        ):
            plan, start = found
            start.share = 1 / len(order)
            explore(run, plan, start)


def _result(run: Run) -> Result:
    """The best of the last improvements, judged by `evaluate`, which may differ a little from the search."""
    judgements: list[tuple[tuple[float, ...], Mapping, Evaluation]] = []
    for found in run.found[: -JUDGED_AGAIN - 1 : -1]:
        if judgements and min(score for score, _, _ in judgements) <= found.score:
            break
        for mapping, cost in [found.known] if found.known else judged(found.plan, found.rows, found.row, 1)[0]:
            energy, cycles = np.array([cost.energy_pj]), np.array([float(cost.cycles)])
            judgements.append((tuple(float(m[0]) for m in run.metrics(energy, cycles)), mapping, cost))
    score, mapping, cost = min(judgements, key=lambda one: one[0])
    lower_bound = min(score[0], run.best[0], run.left_out)
    proven = not math.isfinite(run.left_out) and score[0] <= lower_bound * (1 + ROUNDING)
    return Result(
        mapping=mapping,
        evaluation=cost,
        objective=run.objective,
        score=score[0],
        proof="optimal" if proven else "gap",
        lower_bound=lower_bound,
        judged_mappings=run.judged,
        cpu_seconds=time.process_time() - run.start,
    )


def _refuse_unsearched(space: Mapspace) -> None:
    """Raise `InputError` for constraints that `evaluate` honours and the search knows nothing of."""
    for slot in space.slots:
        for name in ("min_utilization", "no_coalesce"):
            if getattr(slot.constraints, name):
                raise InputError(f"the mapper does not search under {name}; give a mapping", field=slot.node.name)
        if slot.constraints.spatial.maximize:
            what = "maximize_dims, which spares Timeloop's mapper work, is not needed here; leave it out"
            raise InputError(what, field=slot.node.name)


def _check_feasible(space: Mapspace) -> None:
    """Raise `InputError` when even the smallest tiles that constraints allow do not fit."""
    plan = Plan(space, next(iter(_fewest_kept(space))))
    tile = np.ones((plan.dims, 1))
    for k, slot in enumerate(plan.slots):
        if k == plan.last:
            tile = space.sizes[:, None]
        else:
            tile = tile * np.array([[plan.limits(k, d)[0]] for d in range(plan.dims)])
        if slot.spatial or not plan.kept[k]:
            continue
        words = int(sum(plan.box(i, np.minimum(tile, space.sizes[:, None]))[0] for i in plan.kept[k]))
        if words > plan.capacity[k]:
            names = ", ".join(space.spaces[i].name for i in plan.kept[k])
            room = int(plan.capacity[k])
            raise InputError(
                f"the smallest tiles of {names} take {words} words, there is room for {room}", field=slot.node.name
            )


def _fewest_kept(space: Mapspace) -> Iterator[tuple[frozenset[str], ...]]:
    """The choice that keeps no more than it must."""
    yield tuple(choices[-1] for choices in space.keep_choices())
