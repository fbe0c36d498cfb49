"""A complete row as a mapping, and what that costs by `mmsim.nest.evaluate`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mmsim.arch.model import Fanout, Storage
from mmsim.nest.evaluate import Evaluation, evaluate
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows
from mmsim.nest.mapping import Level, Loop, Mapping
from mmsim.nest.mapspace import Array


@dataclass(frozen=True)
class Decision:
    """The factors (D) at one slot, and the code of the loops' order."""

    factor: Array
    order: int


def decisions(plan: Plan, rows: Rows, row: int) -> list[Decision]:
    """What a complete row decided, innermost slot first."""
    found: list[Decision] = []
    here: Rows | None = rows
    while here is not None and here.parent is not None:
        found.append(Decision(here.factor[:, row], int(here.order[row])))
        row, here = int(here.origin[row]), here.parent
    return found[::-1]


def mapping_of(plan: Plan, steps: list[Decision]) -> Mapping:
    """The mapping that these decisions make."""
    size = plan.space.sizes.copy()
    loops: list[list[Loop]] = []
    for k, step in enumerate(steps):
        left = np.ceil(size / step.factor)
        residual = size - (left - 1) * step.factor
        dims = sorted(range(plan.dims), key=lambda d: d != step.order - 1)
        if not plan.slots[k].spatial:
            dims = plan.orders.order_dims(k, step.order)
        loops.append(
            [Loop(plan.space.dims[d], int(step.factor[d]), int(residual[d])) for d in dims if step.factor[d] > 1]
        )
        size = left
    return Mapping(tuple(_levels(plan, loops)))


def judged(plan: Plan, rows: Rows, row: int, most: int) -> tuple[list[tuple[Mapping, Evaluation]], bool]:
    """The mapping that a complete row makes and its cost; where orders that the search takes as equal may differ,
    every such order, at `most` so many. And whether that were all.
    """
    mapping = mapping_of(plan, decisions(plan, rows, row))
    some = list(itertools.islice(_alike(plan, mapping), most + 1))
    costs = [(one, evaluate(plan.space.arch, plan.space.problem, one)) for one in some[:most]]
    return costs, len(some) <= most


def _alike(plan: Plan, mapping: Mapping) -> Iterator[Mapping]:
    """Mappings that differ in the order of loops alone: of compute units that may hand words on, and, where windows
    slide, of all memories.
    """
    every = [list(_orders_of(plan, level)) for level in mapping.levels]
    for levels in itertools.product(*every):
        yield Mapping(levels)


def _orders_of(plan: Plan, level: Level) -> Iterator[Level]:
    slot = next(slot for slot in plan.slots if slot.node.name == level.node)
    if plan.is_certain or slot.limits.permutation:
        yield level
    elif not slot.spatial:
        for loops in itertools.permutations(level.temporal) if plan.halo else [level.temporal]:
            yield replace(level, temporal=loops)
    elif slot.node is not plan.slots[0].node:
        yield level
    else:
        along_x, along_y = level.spatial[: level.split], level.spatial[level.split :]
        for x, y in itertools.product(itertools.permutations(along_x), itertools.permutations(along_y)):
            yield replace(level, spatial=(*x, *y))


def _levels(plan: Plan, loops: list[list[Loop]]) -> Iterator[Level]:
    storages = [s.name for s in plan.space.arch.storages]
    for node in plan.space.arch.nodes:
        here = [k for k, slot in enumerate(plan.slots) if slot.node is node]
        if isinstance(node, Storage):
            yield Level(node.name, keep=plan.keep[storages.index(node.name)], temporal=tuple(loops[here[0]]))
        elif isinstance(node, Fanout):
            x = [loop for k in here if plan.slots[k].axis == "X" for loop in loops[k]]
            y = [loop for k in here if plan.slots[k].axis == "Y" for loop in loops[k]]
            yield Level(node.name, spatial=tuple(x + y), split=len(x))
