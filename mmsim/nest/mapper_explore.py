"""Branch and bound over partial mappings: what to look at next, and what need not be looked at.

Partial mappings that equal another in all that matters later and cost no less are dropped
(`mapper_dominance`), and so are those whose lower bound (`mapper_bound`) is no better than the best
mapping found. What is left is taken most promising first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapper_bound import bound, complete
from mmsim.nest.mapper_dominance import undominated
from mmsim.nest.mapper_grow import grow_factors
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows, finish, join, loop, spread
from mmsim.nest.mapspace import Array

Metric: TypeAlias = Literal["latency", "energy", "edp"]
BEAM_FACTORS = 50  # choices of factors for each row of a beam
AT_ONCE, AT_ONCE_INSIDE = 4_000, 30_000  # candidates that one step should make; below a fan-out, where bounds tell less
TOLERANCE = 1e-12  # of sums in another order


@dataclass
class Run:
    """One search: the objective (the first metric, ties by the next), the budget, the best found, the counters."""

    objective: tuple[Metric, ...]
    time_s: float | None = None
    mappings: int | None = None
    start: float = field(default_factory=time.process_time)
    best: tuple[float, ...] = ()
    found: list[tuple[Plan, Rows, int]] = field(default_factory=list)  # ever better complete mappings
    judged: int = 0  # choices looked at: partial or complete mappings
    left_out: float = np.inf  # the least bound of the first metric among what the budget cut off
    growth: dict[int, tuple[int, int]] = field(default_factory=dict)  # rows and their candidates at each slot

    def __post_init__(self) -> None:
        self.best = (np.inf,) * len(self.objective)

    def metrics(self, energy: Array, cycles: Array) -> list[Array]:
        """The objective's metrics, the first one first."""
        every = {"energy": energy, "latency": cycles, "edp": energy * cycles}
        return [every[metric] for metric in self.objective]

    def wins(self, energy: Array, cycles: Array) -> npt.NDArray[np.bool_]:
        """Whether that would be better than the best found."""
        better = np.zeros(len(energy), dtype=bool)
        equal = np.ones(len(energy), dtype=bool)
        for values, best in zip(self.metrics(energy, cycles), self.best, strict=True):
            better |= equal & (values < best * (1 - TOLERANCE))
            equal &= values <= best * (1 + TOLERANCE)
        return better

    def order(self, energy: Array, cycles: Array) -> npt.NDArray[np.int64]:
        """Positions, the best first."""
        return np.lexsort(self.metrics(energy, cycles)[::-1])

    def spent(self) -> bool:
        """Whether the budget is."""
        late = self.time_s is not None and time.process_time() - self.start > self.time_s
        return late or (self.mappings is not None and self.judged >= self.mappings)

    def at_once(self, slot: int, candidates: int) -> int:
        """How many rows to go on with at once, judged by how many candidates they have made so far."""
        rows, made = self.growth.get(slot, (1, 100))
        return max(64, candidates * rows // max(made, 1))

    def give_up(self, rows: Rows) -> None:
        """Remember that `rows` were not looked into."""
        open_ = self.wins(rows.bound, rows.cycles)
        least = self.metrics(rows.bound, rows.cycles)[0][open_].min(initial=np.inf)
        self.left_out = min(self.left_out, float(least))


def explore(run: Run, plan: Plan, start: Rows, width: int | None = None) -> None:
    """Search one plan from its root; with a `width`, only so many rows go on at each slot, and nothing is proven."""
    stack = [start]
    while stack:
        rows = stack.pop()
        rows = rows.take(np.flatnonzero(run.wins(rows.bound, rows.cycles)))
        if not len(rows):
            continue
        if width is None and run.spent():
            for rest in (rows, *stack):
                run.give_up(rest)
            return
        at_once = run.at_once(rows.slot, AT_ONCE_INSIDE if plan.fan_ahead(rows.slot) > 1 else AT_ONCE)
        if len(rows) > at_once:
            stack.append(rows.take(np.arange(at_once, len(rows))))
            rows = rows.take(np.arange(at_once))
        children = step(run, plan, rows, width)
        if children is None:
            continue
        if children.slot > plan.last:
            record(run, plan, children)
            continue
        order = run.order(children.guess, children.cycles)
        if children.slot < plan.last:
            order = order[undominated(plan, children)[order]]
        stack.append(children.take(order[:width]))


def step(run: Run, plan: Plan, rows: Rows, width: int | None) -> Rows | None:
    """Every continuation of `rows` at the next slot that may win; in a beam, the most promising of them."""
    slot = plan.slots[rows.slot]
    pick = None if width is None else lambda energy, cycles: run.order(energy, cycles)[: BEAM_FACTORS * width]
    i, factor, judged = grow_factors(plan, rows, run.wins, pick)
    run.judged += judged
    rows_before, made = run.growth.get(rows.slot, (0, 0))
    run.growth[rows.slot] = (rows_before + len(rows), made + len(i))
    if not len(i):
        return None
    parts = (spread if slot.spatial else loop)(plan, rows, i, factor)
    alive = []
    for part in parts:
        run.judged += len(part)
        if part.slot > plan.last:
            finish(plan, part)
            complete(plan, part)
        else:
            bound(plan, part)
        part = part.take(np.flatnonzero(run.wins(part.bound, part.cycles)))
        if len(part):
            alive.append(part)
    return join(alive) if alive else None


def record(run: Run, plan: Plan, rows: Rows) -> None:
    """Note the best of complete mappings that are better than the best so far."""
    first = int(run.order(rows.bound, rows.cycles)[0])
    run.best = tuple(float(values[first]) for values in run.metrics(rows.bound, rows.cycles))
    run.found.append((plan, rows, first))
