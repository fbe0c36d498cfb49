"""A complete row as a mapping, and its words as `mmsim.nest.evaluate` wants them.

`evaluate` can count any mapping by executing it, which takes long where many loops have remainders.
The search has counted its own already: the answer takes those counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmsim.arch.model import Fanout, Storage
from mmsim.nest.counts import Counts
from mmsim.nest.mapper_count import finish
from mmsim.nest.mapper_cycles import instances
from mmsim.nest.mapper_flow import Flow
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows, times_along
from mmsim.nest.mapper_step import loop, root, spread
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


def is_perfect(mapping: Mapping) -> bool:
    """Whether no loop has a remainder."""
    return all(loop.perfect for level in mapping.levels for loop in level.loops)


def counts_of(plan: Plan, steps: list[Decision]) -> dict[str, dict[str, Counts]]:
    """Data space -> memory -> the words that one instance reads, fills and updates on average."""
    rows = _replayed(plan, steps)
    assert rows.tally is not None
    found: dict[str, dict[str, Counts]] = {space.name: {} for space in plan.space.spaces}
    tiles = np.cumprod([step.factor for step in steps], axis=0)
    for flow in plan.flows:
        space = plan.space.spaces[flow.boundary.space]
        k = flow.boundary.parent
        filling = next(
            (f for f in plan.flows if f.boundary.child == k and f.boundary.space == flow.boundary.space), None
        )
        used = float(instances(plan, rows, k)[0])
        reads = rows.tally[flow][0]
        fills = rows.tally[filling][1] if filling else 0.0
        updates = again = 0.0
        if space.is_output:
            updates, reads = reads, reads - flow.spares_reads * _first(plan, rows, flow, flow.parent_group)
            again = reads
            fills -= bool(filling and filling.spares_fills) and _first(plan, rows, flow, flow.parent_group)
        box = plan.box(flow.boundary.space, np.minimum(tiles[k], plan.space.sizes)[:, None])[0]
        words = (_tidy(value / used) for value in (reads, fills, updates, again))
        found[space.name][plan.slots[k].node.name] = Counts(int(box), *words)
    return found


def _replayed(plan: Plan, steps: list[Decision]) -> Rows:
    """The one row of these decisions, its words tallied."""
    rows = root(plan, tally=True)
    only = np.zeros(1, dtype=np.int64)
    for k, step in enumerate(steps):
        spatial = plan.slots[k].spatial
        same = plan.dims + 1 if not spatial else 1  # which window slides follows from the order of groups
        made = (spread if spatial else loop)(plan, rows, only, step.factor[:, None])
        rows = next(one for one in made if int(one.order[0]) // same == step.order // same)
    finish(plan, rows)
    return rows


def _first(plan: Plan, rows: Rows, flow: Flow, group: int) -> float:
    """Words of an output that the instances above `group` fan-outs meet for the first time."""
    space = flow.boundary.space
    copies = times_along(rows, plan.known(group), plan.irrelevant[space])
    return plan.whole[space] * float(copies[0])


def _tidy(value: float) -> float:
    """Whole numbers as such, so that they are written without a point."""
    return int(value) if value == int(value) else value


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
