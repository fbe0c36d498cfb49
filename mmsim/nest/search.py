"""The mapper: the best mapping of a problem on an architecture, with a proof or the gap to a lower bound.

Branch and bound over `mapper_rows`, from the compute outwards. Partial mappings that equal another
in all that matters later and cost no less are dropped (dominance), and so are those whose lower
bound is no better than the best mapping found. What is left is taken best bound first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from mmsim.arch.model import Arch
from mmsim.errors import InputError
from mmsim.nest.evaluate import Evaluation, evaluate
from mmsim.nest.mapper_bound import bound, final_cycles
from mmsim.nest.mapper_grow import grow_factors
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Ints, Rows, finish, join, loop, root, spread
from mmsim.nest.mapping import Level, Loop, Mapping
from mmsim.nest.mapspace import Array, Mapspace
from mmsim.problem import Problem

Objective: TypeAlias = Literal["latency", "energy", "edp"]
WIDE = 100_000  # rows handled at once


@dataclass
class Best:
    """The best mapping so far, and the counters."""

    score: float = np.inf
    rows: Rows | None = None
    row: int = 0
    plan: Plan | None = None
    judged: int = 0
    left_out: float = np.inf  # the least bound among what a budget cut off


def best_mapping(problem, arch, objective="edp", time_s=None, mappings=None):
    space = Mapspace(problem, arch)
    best = Best()
    start = time.process_time()
    for keep in space.keeps():
        plan = Plan(space, keep)
        for width in (8, 64, 512):
            search(plan, best, objective, width)
            print("width", width, best.score, best.judged, time.process_time() - start)
    return best


def score(objective: str, energy: Array, cycles: Array) -> Array:
    return energy if objective == "energy" else cycles if objective == "latency" else energy * cycles


def search(plan: Plan, best: Best, objective: str, width: int) -> None:
    """Beam search: at each slot only the `width` best bounds go on."""
    rows = root(plan)
    bound(plan, rows)
    for k, slot in enumerate(plan.slots):
        parts = []
        i = np.arange(len(rows))
        i, factor = grow_factors(plan, rows, i)
        best.judged += len(i)
        new = [spread(plan, rows, i, factor)] if slot.spatial else loop(plan, rows, i, factor)
        rows = join(new)
        if k == plan.last:
            finish(plan, rows)
            final = score(objective, rows.energy, final_cycles(plan, rows))
            j = int(np.argmin(final))
            if final[j] < best.score:
                best.score, best.rows, best.row, best.plan = float(final[j]), rows, j, plan
            return
        bound(plan, rows)
        s = score(objective, rows.bound, rows.cycles)
        order = np.lexsort((rows.energy, s))
        order = order[s[order] < best.score]
        keep = dominant(plan, rows, order, width)
        rows = rows.take(keep)
        if not len(rows):
            return


def dominant(plan: Plan, rows: Rows, order: Ints, width: int) -> Ints:
    key = rows.tile.T @ np.random.default_rng(1).random(plan.dims)
    for flow, live in rows.live.items():
        key = key + live.open * hash(flow.boundary) % 1009 * 1.37
    _, first = np.unique(key[order], return_index=True)
    return order[np.sort(first)[:width]]


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
    from mmsim.arch.model import Fanout, Storage

    for node in plan.space.arch.nodes:
        here = [k for k, slot in enumerate(plan.slots) if slot.node is node]
        if isinstance(node, Storage):
            yield Level(node.name, keep=plan.keep[storages.index(node.name)], temporal=tuple(loops[here[0]]))
        elif isinstance(node, Fanout):
            x = [loop for k in here if plan.slots[k].axis == "X" for loop in loops[k]]
            y = [loop for k in here if plan.slots[k].axis == "Y" for loop in loops[k]]
            yield Level(node.name, spatial=tuple(x + y), split=len(x))
