"""What memories keep: every choice with a quick lower bound, so that most of them need no closer look.

The holders of a data space are chosen apart from those of the others. For each choice of them it is
known what the compute has to read from the innermost one, and that every word passes every boundary
at least once; how much of the fan-outs the data spaces may share is bounded for all together.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from mmsim.nest.evaluate import energy_of
from mmsim.nest.mapper_bound import bound, water_filled
from mmsim.nest.mapper_flow import flow_of
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows
from mmsim.nest.mapper_step import root
from mmsim.nest.mapspace import Array, Boundary, Keep, Mapspace


@dataclass(frozen=True)
class Held:
    """One choice of the memories that hold a data space, and the least energy that its words cost."""

    memories: tuple[int, ...]  # positions among the architecture's memories, outermost first
    alone_pj: float  # what no fan-out lessens
    shared_pj: float  # reads of the compute, were each unit served alone
    once_pj: float  # of reading every word once
    fan: float  # units that one read may serve


class Keeps:
    """Every choice of what memories keep, those of the least bound first; plans are made when asked for."""

    def __init__(self, space: Mapspace) -> None:
        self.space = space
        self.plans: dict[Keep, tuple[Plan, Rows] | None] = {}
        options = [self._options(i) for i in range(len(space.spaces))]
        energy = self._energy(options).ravel()
        order = np.argsort(energy, kind="stable")
        self.energy: Array = energy[order]
        shape = [len(one) for one in options]
        chosen = np.array(np.unravel_index(order, shape)).T
        self.keeps = [self._keep([one[i] for one, i in zip(options, row, strict=True)]) for row in chosen.tolist()]
        steps = math.prod(space.problem.shape.values()) / math.prod(s.mesh for s in space.slots if s.spatial)
        self.cycles: Array = np.full(len(order), float(math.ceil(steps - 1e-9)))

    def plan(self, keep: Keep) -> tuple[Plan, Rows] | None:
        """A choice worked out, and the row in which nothing is decided; None when nothing fits."""
        if keep not in self.plans:
            plan = Plan(self.space, keep)
            start = self._start(plan)
            self.plans[keep] = (plan, start) if math.isfinite(start.bound[0]) else None
        return self.plans[keep]

    def cautious_plan(self, keep: Keep) -> tuple[Plan, Rows] | None:
        """The same with bounds that hold whatever compute units hand on."""
        found = self.plan(keep)
        if found is None or found[0].is_certain:
            return found
        plan = Plan(self.space, keep, cautious=True)
        return plan, self._start(plan)

    def _start(self, plan: Plan) -> Rows:
        start = root(plan)
        bound(plan, start)
        return start

    def _options(self, i: int) -> list[Held]:
        choices = self.space.keep_choices()
        name = self.space.spaces[i].name
        free = [m for m, allowed in enumerate(choices) if len({name in kept for kept in allowed}) > 1]
        fixed = [m for m, allowed in enumerate(choices) if m not in free and name in allowed[0]]
        found = [
            sorted({*fixed, *extra})
            for count in range(len(free), -1, -1)
            for extra in itertools.combinations(free, count)
        ]
        return [self._held(i, tuple(memories)) for memories in found]

    def _held(self, i: int, memories: tuple[int, ...]) -> Held:
        space = self.space
        slots = [k for k, slot in enumerate(space.slots) if not slot.spatial][::-1]
        whole = space.least_words(i)
        holders = [slots[m] for m in memories][::-1]
        flows = [flow_of(space, Boundary(i, outer, inner)) for inner, outer in itertools.pairwise([-1, *holders])]
        alone = sum(
            whole * (f.read_pj - f.first_read_pj + f.fill_pj - f.first_fill_pj) for f in flows if f.boundary.child >= 0
        )
        first = flows[0]
        once = whole * (first.read_pj - first.first_read_pj)
        fan = math.prod(slot.mesh for slot in space.slots[: first.boundary.parent] if slot.spatial)
        every = math.prod(space.problem.shape.values()) * (first.read_pj - first.first_read_pj)
        if space.slots[0].spatial:
            every = once  # neighbours may hand on what the memory read once
        return Held(memories, alone + every * (fan == 1), every * (fan > 1), once * (fan > 1), fan)

    def _energy(self, options: list[list[Held]]) -> Array:
        """The least energy of every combination of options, one axis a data space."""

        def along(field: str) -> list[Array]:
            columns = [np.array([float(getattr(one, field)) for one in choices]) for choices in options]
            return list(np.broadcast_arrays(*np.ix_(*columns)))

        shared, fans = along("shared_pj"), along("fan")
        most = self._most_shared(np.max(fans, axis=0))
        floors = sum(np.maximum(o, s / f) for o, s, f in zip(along("once_pj"), shared, fans, strict=True))
        each = energy_of(self.space.arch, self.space.arch.compute.name, "compute")
        compute = math.prod(self.space.problem.shape.values()) * each
        return np.asarray(compute + sum(along("alone_pj")) + np.maximum(floors, water_filled(shared, most)))

    def _most_shared(self, fan: Array) -> Array:
        """The most that the data spaces' shares of so many instances multiply to."""
        space = self.space
        for d, size in enumerate(space.sizes):
            fan = fan * np.minimum(size, fan) ** max(0, int((~space.relevant[:, d]).sum()) - 1)
        for first, second in space.window_pairs:
            fan = fan * np.minimum(min(space.sizes[first], space.sizes[second]), fan)
        return fan

    def _keep(self, held: list[Held]) -> Keep:
        names = [space.name for space in self.space.spaces]
        return tuple(
            frozenset(name for name, one in zip(names, held, strict=True) if m in one.memories)
            for m in range(len(self.space.arch.storages))
        )
