"""Cycles: of computing, or of the slowest memory; of complete mappings, and the least of partial ones."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from mmsim.nest.mapper_flow import Flow
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows, product, times_along
from mmsim.nest.mapspace import Array

Moved: TypeAlias = tuple[Array, Array]
"""(R) reads at the parent and fills at the child."""


def cycles(plan: Plan, rows: Rows) -> Array:
    """(R) cycles of complete mappings."""
    computing = np.prod(rows.last_steps, axis=0)
    found = computing
    for k in plan.limited:
        used = instances(plan, rows, k)
        reads, writes = rows.words[k, "read"] / used, rows.words[k, "write"] / used
        for words, limit in zip((reads, writes, reads + writes), plan.rates(k), strict=True):
            if limit is not None:  # in `evaluate`'s order of operations, so that it rounds alike
                slowdown = np.minimum(1.0, limit / np.maximum(words / computing, 1e-300))
                found = np.maximum(found, np.ceil(computing / slowdown))
    return np.asarray(found + plan.latency)


def least_cycles(plan: Plan, rows: Rows, moved: dict[Flow, Moved]) -> Array:
    """(R) time steps if every fan-out to come were used in full, or what the words moved at least need."""
    steps = np.prod((rows.left - 1) * rows.steps + rows.last_steps, axis=0)
    found = np.ceil(np.maximum(steps / plan.fan_ahead(rows.slot), plan.least_cycles))
    words = _least_words(plan, rows, moved) if plan.limited else {}
    for k in plan.limited:
        most = most_instances(plan, rows, k)
        reads, writes = (np.maximum(0.0, words[k, action]) / most for action in ("read", "write"))
        for each, limit in zip((reads, writes, reads + writes), plan.rates(k), strict=True):
            if limit is not None:
                found = np.maximum(found, np.floor(each / limit * (1 - 1e-12)))
    return np.asarray(found + plan.latency)


def _least_words(plan: Plan, rows: Rows, moved: dict[Flow, Moved]) -> dict[tuple[int, str], Array]:
    """(R) words that complete mappings move at least through each limited channel: counted, pending and to come.

    Of outputs counted or pending, the first accesses may yet be spared.
    """
    found = dict(rows.words)
    for flow in plan.flows:
        space = flow.boundary.space
        begun = flow.boundary.child < rows.slot
        whole = np.full(len(rows), plan.whole[space])
        nothing = np.zeros(len(rows))
        pending = moved.get(flow, (nothing, nothing)) if begun else (whole, whole)
        for channel, fills, spared in plan.uses(flow):
            words = pending[fills]
            if spared is not None:
                words = words - whole * most_copies(plan, rows, spared, plan.irrelevant[space]) if begun else nothing
            found[channel] = found[channel] + words * plan.scale(channel[0], space)
    return found


def instances(plan: Plan, rows: Rows, k: int) -> Array:
    """(R) instances of slot `k`'s memory in use, once every slot is decided."""
    g = plan.known(plan.space.fanouts_below(k))
    return np.ones(len(rows)) if g is None else np.asarray(np.prod(rows.last_copies[g], axis=0))


def most_instances(plan: Plan, rows: Rows, k: int) -> Array:
    """(R) the most instances of slot `k`'s memory that may come into use."""
    g = plan.known(plan.space.fanouts_below(k))
    if g is None:
        return np.full(len(rows), float(plan.most_instances[k]))
    return np.asarray(np.prod(rows.copies[g], axis=0) * plan.fan_ahead(rows.slot, g))


def once_copies(plan: Plan, rows: Rows, group: int, irrelevant: list[int]) -> Array:
    """(R) instances that must be filled once at least."""
    g = plan.known(group)
    if g is None:
        return np.ones(len(rows))
    left, copies, last = rows.left, rows.copies[g], rows.last_copies[g]
    return product(len(rows), (np.where(left[d] > 1, copies[d], last[d]) for d in irrelevant))


def most_copies(plan: Plan, rows: Rows, group: int, irrelevant: list[int]) -> Array:
    """(R) instances among which an output's words may be spread at most, each sparing its first access."""
    ahead = np.minimum(plan.fan_ahead(rows.slot, group), times_along(rows, None, irrelevant))
    return np.asarray(once_copies(plan, rows, group, irrelevant) * ahead)
