"""A good mapping made better: parts of it chosen anew while the rest is held, as long as that helps.

Early choices of a beam are made before their consequences are known. Starting from a complete mapping
they are known: for a few slots, or a few dimensions, every factor is chosen anew, orders everywhere;
and each data space is kept, or not, in one memory after another. Whatever is better becomes the start
of the next round (large neighbourhood search: Shaw, CP 1998).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from mmsim.nest.mapper_explore import beam
from mmsim.nest.mapper_keeps import Keeps
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows
from mmsim.nest.mapper_run import Run
from mmsim.nest.mapspace import Array, Keep

PLACES = 20


def improve(run: Run, keeps: Keeps) -> None:
    """Search around the best mapping found, until nothing around it is better or the budget is spent."""
    while run.improved < len(run.found) and not run.spent():
        before = run.improved = len(run.found)
        best = run.found[-1]
        plan, factors = best.plan, chosen(best.rows, best.row)
        _search(run, keeps, plan.keep, [factors, *_around(factors, 2)])
        for freed in (0, 1):
            if len(run.found) == before:
                for keep in _other_keeps(plan):
                    _search(run, keeps, keep, [factors, *_around(factors, freed)])


def _search(run: Run, keeps: Keeps, keep: Keep, held: list[Array]) -> None:
    """A beam with one family for each of what is `held`."""
    found = keeps.plan(keep)
    if found and not run.spent():
        plan, start = found
        start = start.take(np.zeros(len(held), dtype=np.int64))
        start.family = np.arange(len(held))
        beam(run, plan, start, PLACES, np.array(held))


def chosen(rows: Rows, row: int) -> Array:
    """(slots, D) the factors of a complete row."""
    found = []
    while rows.parent is not None:
        found.append(rows.factor[:, row])
        row, rows = int(rows.origin[row]), rows.parent
    return np.array(found[::-1])


def _around(factors: Array, free: int) -> Iterator[Array]:
    """What to hold of `factors`: all but so many slots, or all but so many dimensions."""
    slots, dims = factors.shape
    if not free:
        return
    for some in itertools.combinations(range(slots - 1), free):
        held = factors.copy()
        held[list(some)] = 0
        yield held
    for some in itertools.combinations(range(dims), free):
        held = factors.copy()
        held[:, list(some)] = 0
        yield held


def _other_keeps(plan: Plan) -> Iterator[Keep]:
    """What the memories may keep when one of them keeps one data space more or less."""
    choices = plan.space.keep_choices()
    for i, allowed in enumerate(choices):
        for space in plan.space.spaces:
            changed = plan.keep[i] ^ {space.name}
            if changed in allowed:
                yield (*plan.keep[:i], changed, *plan.keep[i + 1 :])
