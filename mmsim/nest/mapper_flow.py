"""Flows: the boundaries at which words move, with what each word costs there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsim.arch.model import Storage
from mmsim.nest.evaluate import energy_of
from mmsim.nest.mapspace import Array, Boundary, Mapspace, Slot


@dataclass(frozen=True)
class Flow:
    """A boundary with what its words cost. `reads` are counted at the parent, `fills` at the child's instances.

    For an output a read stands for an update and, but for the first of each word, a read of the
    partial sum; `first_read_pj` and `first_fill_pj` are what that exception saves per word.
    """

    boundary: Boundary
    is_output: bool
    read_pj: float
    fill_pj: float
    first_read_pj: float
    first_fill_pj: float
    parent_group: int  # fan-outs below the parent
    child_group: int  # fan-outs below the child
    unicast: bool  # whether instances are served one by one
    spares_reads: bool  # whether the first read of each word is spared
    spares_fills: bool
    keeps: bool  # whether a tile stays while the loops around do not move it
    roams: bool  # whether a sliding window's words may come from neighbouring children instead
    free: bool = False  # whether its words are counted already

    def net_pj(self, reads: Array, fills: Array, free_reads: Array, free_fills: Array) -> Array:
        """Energy of so many words when, of an output, so many are first accesses."""
        always = reads * (self.read_pj - self.first_read_pj) + fills * (self.fill_pj - self.first_fill_pj)
        again = self.first_read_pj * np.maximum(0.0, reads - free_reads)
        return np.asarray(always + again + self.first_fill_pj * np.maximum(0.0, fills - free_fills))


@dataclass(frozen=True)
class Owed:
    """The reads or the fills of an output's flow: the first of each word costs less by `pj`, in each instance."""

    flow: Flow
    fills: bool

    @property
    def pj(self) -> float:
        """What all but the first access cost more."""
        return self.flow.first_fill_pj if self.fills else self.flow.first_read_pj

    @property
    def group(self) -> int:
        """Fan-outs below the instances that access."""
        return self.flow.child_group if self.fills else self.flow.parent_group


def flow_of(mapspace: Mapspace, b: Boundary) -> Flow:
    """The flow at boundary `b`."""
    space = mapspace.spaces[b.space]
    parent, child = mapspace.slots[b.parent], mapspace.slots[b.child] if b.child >= 0 else None
    read, update = _word_pj(mapspace, parent, "read"), _word_pj(mapspace, parent, "update")
    fill = _word_pj(mapspace, child, "write") if child else 0.0
    between = [slot for slot in mapspace.slots[b.child + 1 : b.parent] if slot.spatial]
    elided = [space.is_output and space.name not in s.constraints.rmw_first_update for s in (parent, child) if s]
    linked = any(space.name not in slot.constraints.no_link_transfer for slot in between)
    unicast = any(space.name in slot.constraints.no_multicast for slot in between)
    return Flow(
        boundary=b,
        is_output=space.is_output,
        read_pj=read + update if space.is_output else read,
        fill_pj=fill,
        first_read_pj=read if elided[0] else 0.0,
        first_fill_pj=fill if elided[-1] else 0.0,
        parent_group=mapspace.fanouts_below(b.child if unicast else b.parent),
        child_group=mapspace.fanouts_below(b.child),
        unicast=unicast,
        spares_reads=elided[0],
        spares_fills=elided[-1],
        keeps=child is not None and space.name not in child.constraints.no_reuse,
        roams=linked and b.space in mapspace.halo,
    )


def _word_pj(mapspace: Mapspace, slot: Slot, action: str) -> float:
    """Energy of moving one word: an action serves a block of words, a row a cluster of instances."""
    node = slot.node
    assert isinstance(node, Storage)
    return energy_of(mapspace.arch, node.name, action) / node.block_size / node.cluster_size
