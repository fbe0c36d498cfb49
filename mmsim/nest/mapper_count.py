"""Words counted as partial mappings grow: when a boundary opens, when it closes, and what outputs spare."""

from __future__ import annotations

import numpy as np

from mmsim.nest.mapper_flow import Flow, Owed
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Live, Rows, times_along
from mmsim.nest.mapper_slide import distinct_words, least_slide
from mmsim.nest.mapspace import Array


def open_flows(plan: Plan, rows: Rows, child: int) -> None:
    """Begin counting at the boundaries above slot `child`."""
    for flow in plan.flows:
        if flow.boundary.child != child:
            continue
        spans = plan.fans_ahead(child, flow) > 0
        space = flow.boundary.space
        empty = np.empty((0, len(rows)))
        live = Live(
            open=np.full(len(rows), flow.keeps),
            words=distinct_words(plan, space, rows.tile),
            slid=least_slide(plan, space, rows.tile),
            tile=rows.tile if space in plan.halo else empty,
            fan=np.ones_like(rows.tile) if space in plan.halo else empty,
            gap=rows.tile if space in plan.halo else empty,
            shared=np.ones(len(rows)),
            runs=np.ones_like(rows.tile) if spans else empty,
            last_runs=np.ones_like(rows.tile) if spans else empty,
        )
        if not flow.keeps and not spans:
            reads = live.words * times_along(rows, None, plan.irrelevant[space])
            count(plan, rows, flow, reads, np.zeros(len(rows)))
        else:
            rows.live[flow] = live


def count(plan: Plan, rows: Rows, flow: Flow, reads: Array, fills: Array) -> None:
    """Add words to the energy and to the channels that they use."""
    reads_pj, fills_pj = flow.read_pj - flow.first_read_pj, flow.fill_pj - flow.first_fill_pj
    rows.energy = rows.energy + reads * reads_pj + fills * fills_pj
    for owed, words in ((Owed(flow, False), reads), (Owed(flow, True), fills)):
        if owed in rows.owed:
            rows.owed[owed] = rows.owed[owed] + words
    for channel, by_fills, _ in plan.uses(flow):
        words = fills if by_fills else reads
        rows.words[channel] = rows.words[channel] + words * plan.scale(channel[0], flow.boundary.space)


def settle(plan: Plan, rows: Rows) -> None:
    """Count the reads of closed rows of boundaries whose last fan-out was the slot before."""
    k = rows.slot - 1
    for flow, live in rows.live.items():
        if not flow.boundary.child < k < flow.boundary.parent or plan.fans_ahead(k, flow):
            continue
        irrelevant = plan.irrelevant[flow.boundary.space]
        reads = live.words * live.shared * live.refetches(rows.left, irrelevant)
        count(plan, rows, flow, np.where(live.open, 0.0, reads), np.zeros(len(rows)))
        live.runs = live.last_runs = np.empty((0, len(rows)))


def finish(plan: Plan, rows: Rows) -> None:
    """Count what is still open when every loop is placed, and what first reads and fills save."""
    for flow, live in list(rows.live.items()):
        irrelevant = plan.irrelevant[flow.boundary.space]
        parent, child = (times_along(rows, plan.known(g), irrelevant) for g in (flow.parent_group, flow.child_group))
        reads = np.where(live.open, live.words * live.shared * parent, 0.0)
        fills = np.where(live.open, live.words * child, 0.0)
        count(plan, rows, flow, reads, fills)
        del rows.live[flow]
    for owed, words in rows.owed.items():
        space = owed.flow.boundary.space
        copies = times_along(rows, plan.known(owed.group), plan.irrelevant[space])
        rows.energy = rows.energy + owed.pj * (words - plan.whole[space] * copies)
    _spare_first(plan, rows)


def _spare_first(plan: Plan, rows: Rows) -> None:
    """Take the first reads and fills of outputs out of the bandwidth used."""
    for flow in plan.flows:
        space = flow.boundary.space
        for channel, _, spared in plan.uses(flow):
            if spared is not None:
                copies = times_along(rows, plan.known(spared), plan.irrelevant[space])
                first = plan.whole[space] * copies * plan.scale(channel[0], space)
                rows.words[channel] = rows.words[channel] - first
