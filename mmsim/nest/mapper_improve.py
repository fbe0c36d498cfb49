"""A good mapping made better: parts of it chosen anew while the rest is held, as long as that helps.

Early choices of a beam are made before their consequences are known. Starting from a complete mapping
they are known: for a few slots, or a few dimensions, every factor is chosen anew, orders everywhere;
and each data space is kept, or not, in one memory after another. Whatever is better becomes the start
of the next round (large neighbourhood search: Shaw, CP 1998).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from mmsim.nest.mapper_explore import beam
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows
from mmsim.nest.mapper_run import Run
from mmsim.nest.mapspace import Array, Keep

PLACES = 60


def improve(run: Run, plan_of: Callable[[Keep], tuple[Plan, Rows] | None]) -> None:
    """Search around the best mapping found, until nothing around it is better or the budget is spent."""
    while run.improved < len(run.found) and not run.spent():
        run.improved = len(run.found)
        plan, rows, row = run.found[-1]
        factors = chosen(rows, row)
        for keep in (plan.keep, *_other_keeps(plan)):
            found = plan_of(keep)
            if found:
                held = np.array(list(_around(*factors.shape, factors))) if keep == plan.keep else factors[None]
                start = found[1].take(np.zeros(len(held), dtype=np.int64))
                start.family = np.arange(len(held))
                beam(run, found[0], start, PLACES, held)


def chosen(rows: Rows, row: int) -> Array:
    """(slots, D) the factors of a complete row."""
    found = []
    while rows.parent is not None:
        found.append(rows.factor[:, row])
        row, rows = int(rows.origin[row]), rows.parent
    return np.array(found[::-1])


def _around(slots: int, dims: int, factors: Array) -> Iterator[Array]:
    """What to hold of `factors`: all but two slots, or all but two dimensions."""
    for pair in itertools.combinations(range(slots - 1), 2):
        held = factors.copy()
        held[list(pair)] = 0
        yield held
    for pair in itertools.combinations(range(dims), 2):
        held = factors.copy()
        held[:, list(pair)] = 0
        yield held


def _other_keeps(plan: Plan) -> Iterator[Keep]:
    """What the memories may keep when one of them keeps one data space more or less."""
    choices = plan.space.keep_choices()
    for i, allowed in enumerate(choices):
        for space in plan.space.spaces:
            changed = plan.keep[i] ^ {space.name}
            if changed in allowed:
                yield (*plan.keep[:i], changed, *plan.keep[i + 1 :])
