"""The mapper: the best mapping of a problem on an architecture, with a proof or the gap to a lower bound.

Branch and bound over `mapper_rows`, from the compute outwards. Partial mappings that equal another
in all that matters later and cost no less are dropped (`mapper_dominance`), and so are those whose
lower bound (`mapper_bound`) is no better than the best mapping found. What is left is taken best
bound first, after a narrow beam has found a good mapping to compare with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.arch.model import Arch, Fanout, Storage
from mmsim.errors import InputError
from mmsim.nest.evaluate import Evaluation, evaluate
from mmsim.nest.mapper_bound import bound, final_cycles
from mmsim.nest.mapper_dominance import undominated
from mmsim.nest.mapper_grow import grow_factors
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows, finish, join, loop, root, spread
from mmsim.nest.mapping import Level, Loop, Mapping
from mmsim.nest.mapspace import Array, Mapspace
from mmsim.problem import Problem

Objective: TypeAlias = Literal["latency", "energy", "edp"]
BEAMS = (8, 64)
AT_ONCE = 60_000  # candidates that one step should make


@dataclass
class Run:
    """One search: the objective, the budget, the best found and the counters."""

    objective: Objective
    time_s: float | None = None
    mappings: int | None = None
    start: float = field(default_factory=time.process_time)
    score: float = np.inf
    found: list[tuple[float, Plan, Rows, int]] = field(default_factory=list)
    judged: int = 0
    left_out: float = np.inf  # the least bound among what the budget cut off
    growth: dict[int, float] = field(default_factory=dict)

    def scores(self, energy: Array, cycles: Array) -> Array:
        """What the objective makes of energy and cycles."""
        return {"energy": energy, "latency": cycles, "edp": energy * cycles}[self.objective]

    def wins(self, energy: Array, cycles: Array) -> npt.NDArray[np.bool_]:
        """Whether that would be better than the best found."""
        return self.scores(energy, cycles) < self.score * (1 - 1e-12)

    def spent(self) -> bool:
        """Whether the budget is."""
        late = self.time_s is not None and time.process_time() - self.start > self.time_s
        return late or (self.mappings is not None and self.judged >= self.mappings)


def explore(run: Run, plan: Plan, width: int | None = None) -> None:
    """Search one plan; with a `width`, only that many rows go on at each slot and nothing is proven."""
    rows = root(plan)
    bound(plan, rows)
    stack = [rows]
    while stack:
        rows = stack.pop()
        rows = rows.take(np.flatnonzero(run.wins(rows.bound, rows.cycles)))
        if not len(rows):
            continue
        if width is None and run.spent():
            for rest in (rows, *stack):
                run.left_out = min(run.left_out, float(run.scores(rest.bound, rest.cycles).min(initial=np.inf)))
            return
        at_once = int(max(16, AT_ONCE / run.growth.get(rows.slot, 30)))
        if len(rows) > at_once:
            stack.append(rows.take(np.arange(at_once, len(rows))))
            rows = rows.take(np.arange(at_once))
        children = step(run, plan, rows)
        if children is None:
            continue
        if children.slot > plan.last:
            record(run, plan, children)
            continue
        children = children.take(undominated(plan, children))
        children = children.take(np.argsort(run.scores(children.guess, children.cycles), kind="stable")[:width])
        stack.append(children)


def step(run: Run, plan: Plan, rows: Rows) -> Rows | None:
    """Every continuation of `rows` at the next slot that may win."""
    slot = plan.slots[rows.slot]
    i, factor, judged = grow_factors(plan, rows, run.wins)
    run.judged += judged
    run.growth[rows.slot] = max(run.growth.get(rows.slot, 1.0), len(i) / len(rows))
    if not len(i):
        return None
    parts = [spread(plan, rows, i, factor)] if slot.spatial else loop(plan, rows, i, factor)
    alive = []
    for part in parts:
        if part.slot > plan.last:
            finish(plan, part)
            part.bound, part.cycles, part.guess = part.energy, final_cycles(plan, part), part.energy
        else:
            bound(plan, part)
        part = part.take(np.flatnonzero(run.wins(part.bound, part.cycles)))
        if len(part):
            alive.append(part)
    return join(alive) if alive else None


def record(run: Run, plan: Plan, rows: Rows) -> None:
    scores = run.scores(rows.bound, rows.cycles)
    j = int(np.argmin(scores))
    if scores[j] < run.score:
        run.score = float(scores[j])
        run.found.append((run.score, plan, rows, j))


def best_mapping(problem, arch, objective="edp", time_s=None, mappings=None):
    space = Mapspace(problem, arch)
    run = Run(objective, time_s, mappings)
    for keep in space.keeps():
        plan = Plan(space, keep)
        for width in (*BEAMS, None):
            explore(run, plan, width)
            print("width", width, run.score, run.judged, run.left_out, round(time.process_time() - run.start, 3))
    return run


def mapping_of(plan: Plan, rows: Rows, row: int) -> Mapping:
    """The mapping that a complete row stands for."""
    decided: dict[int, tuple[Array, int]] = {}
    here: Rows | None = rows
    while here is not None and here.parent is not None:
        decided[here.slot - 1] = (here.factor[:, row], int(here.order[row]))
        row, here = int(here.origin[row]), here.parent
    size = plan.space.sizes.copy()
    loops: dict[int, list[Loop]] = {}
    for k in range(len(plan.slots)):
        factor, code = decided[k]
        left = np.ceil(size / factor)
        residual = size - (left - 1) * factor
        dims = range(plan.dims) if plan.slots[k].spatial else plan.order_dims(k, code)
        loops[k] = [Loop(plan.space.dims[d], int(factor[d]), int(residual[d])) for d in dims if factor[d] > 1]
        size = left
    return Mapping(tuple(_levels(plan, loops)))


def _levels(plan: Plan, loops: dict[int, list[Loop]]) -> Iterator[Level]:
    storages = [s.name for s in plan.space.arch.storages]
    for node in plan.space.arch.nodes:
        here = [k for k, slot in enumerate(plan.slots) if slot.node is node]
        if isinstance(node, Storage):
            yield Level(node.name, keep=plan.keep[storages.index(node.name)], temporal=tuple(loops[here[0]]))
        elif isinstance(node, Fanout):
            x = [loop for k in here if plan.slots[k].axis == "X" for loop in loops[k]]
            y = [loop for k in here if plan.slots[k].axis == "Y" for loop in loops[k]]
            yield Level(node.name, spatial=tuple(x + y), split=len(x))
