"""What the search knows before it starts: energies per word, bandwidths and the order classes of one keep choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.arch.model import Storage
from mmsim.nest.evaluate import energy_of
from mmsim.nest.mapper_table import CELLS, FEW_CELLS, Table
from mmsim.nest.mapper_windows import Rank, box, overlap_sum, rank_sum, shared_sum, tiles_sum
from mmsim.nest.mapspace import Array, Boundary, Keep, Mapspace, Slot, capacity, dim_limits

Bools: TypeAlias = npt.NDArray[np.bool_]


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


@dataclass(frozen=True)
class OrderClass:
    """Loop orders of one slot that cost the same, for loops in the groups of one pattern only.

    `order` lists the groups innermost first. For each data space, `absorbed` are the dimensions whose
    loops stand inside its first relevant loop (its tile stays through them) and `closing` the
    dimensions of the group in which that first relevant loop stands; empty when there is none.
    """

    order: tuple[int, ...]
    absorbed: tuple[frozenset[int], ...]
    closing: tuple[tuple[int, ...], ...]


class Plan:
    """One keep choice of a mapspace, with everything static worked out."""

    def __init__(self, space: Mapspace, keep: Keep) -> None:
        self.space, self.keep = space, keep
        self.slots = space.slots
        self.dims = len(space.dims)
        self.flows = tuple(self._flow(boundary) for boundary in space.boundaries(keep))
        self.fanouts = sum(slot.spatial for slot in self.slots)
        groups = {g for f in self.flows for g in (f.parent_group, f.child_group) if g < self.fanouts}
        self.groups = tuple(sorted(groups))
        self.kept = {
            k: tuple(i for i, s in enumerate(space.spaces) if s.name in self._keep_of(k))
            for k, slot in enumerate(self.slots)
            if not slot.spatial
        }
        self.capacity = {
            k: capacity(slot.node)
            for k, slot in enumerate(self.slots)
            if isinstance(slot.node, Storage) and not slot.spatial
        }
        self.last = len(self.slots) - 1
        self.ranks: tuple[tuple[Rank, ...], ...] = tuple(space.rank_terms(i) for i in range(len(space.spaces)))
        self.irrelevant = [[d for d in range(self.dims) if not row[d]] for row in space.relevant]
        self.may_share = [
            sorted({*irrelevant, *(d for rank in ranks if len(rank) > 1 for d, _ in rank)})
            for irrelevant, ranks in zip(self.irrelevant, self.ranks, strict=True)
        ]
        self.whole = [float(box(ranks, space.sizes[:, None])[0]) for ranks in self.ranks]
        self.channels = tuple(
            (k, action)
            for k, slot in enumerate(self.slots)
            if isinstance(slot.node, Storage) and limited(slot.node)
            for action in ("read", "write")
        )
        self.limited = tuple(sorted({k for k, _ in self.channels}))
        self.signatures = [(dims, tuple(bool(row[dims[0]]) for row in space.relevant)) for dims in self._same_reuse()]
        self.most_instances = {
            k: math.prod(s.mesh for s in self.slots[k + 1 :] if s.spatial) for k in range(len(self.slots))
        }
        self.least_cycles = self._least_cycles()
        self._tight: dict[int, tuple[int, ...]] = {}
        self._limits: dict[tuple[int, int], tuple[int, int]] = {}
        self._spanning: dict[int, dict[int, tuple[float, float]]] = {}
        self._future: dict[int, float] = {}
        self._orders: dict[int, list[OrderClass]] = {}
        self._classes: dict[tuple[int, frozenset[int]], tuple[OrderClass, ...]] = {}

    def _keep_of(self, k: int) -> frozenset[str]:
        names = [storage.name for storage in self.space.arch.storages]
        return self.keep[names.index(self.slots[k].node.name)]

    def fanouts_below(self, k: int) -> int:
        """How many spatial slots stand inside slot `k`."""
        return sum(slot.spatial for slot in self.slots[: max(k, 0)])

    def _flow(self, b: Boundary) -> Flow:
        space = self.space.spaces[b.space]
        parent, child = self.slots[b.parent], self.slots[b.child] if b.child >= 0 else None
        read, update = self._word_pj(parent, "read"), self._word_pj(parent, "update")
        fill = self._word_pj(child, "write") if child else 0.0
        between = [slot for slot in self.slots[b.child + 1 : b.parent] if slot.spatial]
        elided = [space.is_output and space.name not in s.constraints.rmw_first_update for s in (parent, child) if s]
        unicast = any(space.name in slot.constraints.no_multicast for slot in between)
        return Flow(
            boundary=b,
            is_output=space.is_output,
            read_pj=read + update if space.is_output else read,
            fill_pj=fill,
            first_read_pj=read if elided[0] else 0.0,
            first_fill_pj=fill if elided[-1] else 0.0,
            parent_group=self.fanouts_below(b.child if unicast else b.parent),
            child_group=self.fanouts_below(b.child),
            unicast=unicast,
            spares_reads=elided[0],
            spares_fills=elided[-1],
            keeps=child is not None and space.name not in child.constraints.no_reuse,
        )

    @cached_property
    def halo(self) -> tuple[int, ...]:
        """The data spaces with a rank that two or more dimensions index."""
        return tuple(
            i for i in range(len(self.space.spaces)) if any(len(rank) > 1 for rank in self.space.rank_terms(i))
        )

    def group_dims(self, k: int) -> tuple[tuple[int, ...], ...]:
        """Dimensions that reuse alike, together; each alone where slot `k`'s order is fixed."""
        fixed = [d for d in self.slots[k].limits.permutation if d in self.space.dims]
        if fixed or len(self.halo) > 1:
            dims = [self.space.dims.index(d) for d in fixed]
            return tuple((d,) for d in dims + [d for d in range(self.dims) if d not in dims])
        return self._same_reuse()

    def _same_reuse(self) -> tuple[tuple[int, ...], ...]:
        """Dimensions that index the same data spaces, together."""
        signatures: dict[tuple[bool, ...], list[int]] = {}
        for d in range(self.dims):
            signatures.setdefault(tuple(self.space.relevant[:, d].tolist()), []).append(d)
        return tuple(tuple(dims) for dims in signatures.values())

    def order_classes(self, k: int, pattern: frozenset[int]) -> tuple[OrderClass, ...]:
        """The different ways to order loops in just the groups of `pattern` at slot `k`."""
        if (k, pattern) not in self._classes:
            self._classes[k, pattern] = self._order_classes(k, pattern)
        return self._classes[k, pattern]

    def order_code(self, k: int, cls: OrderClass) -> int:
        """A number from which `order_dims` finds the order again; the window's dimension + 1 may be added."""
        known = self._orders.setdefault(k, [])
        if cls not in known:
            known.append(cls)
        return known.index(cls) * (self.dims + 1)

    def order_dims(self, k: int, code: int) -> list[int]:
        """Dimensions innermost first, as an order code means."""
        index, window = divmod(code, self.dims + 1)
        groups = self.group_dims(k)
        order = self._orders[k][index].order
        dims = [d for g in order for d in sorted(groups[g], key=lambda d: d != window - 1)]
        return dims + [d for d in range(self.dims) if d not in dims]

    def known(self, group: int) -> int | None:
        """The group, or None when no fan-out stands above it."""
        return group if group in self.groups else None

    def fan_ahead(self, slot: int, group: int = 0) -> float:
        """The most instances that slots from `slot` on add, of fan-outs numbered `group` or more."""
        fans = [k for k, s in enumerate(self.slots) if s.spatial]
        return math.prod(self.slots[k].mesh for n, k in enumerate(fans) if k >= slot and n >= group)

    def fan_between(self, slot: int, flow: Flow) -> float:
        """The most instances that slots from `slot` on put below the flow's parent."""
        return math.prod(s.mesh for s in self.slots[slot : flow.boundary.parent] if s.spatial)

    def spanning(self, slot: int) -> dict[int, tuple[float, float]]:
        """The data spaces whose flow runs through fan-outs that begin at `slot` or further out.

        For each, the most instances of these fan-outs, and the energy of reading every word once.
        """
        if slot not in self._spanning:
            self._spanning[slot] = {
                f.boundary.space: (fan, self.whole[f.boundary.space] * (f.read_pj - f.first_read_pj))
                for f in self.flows
                if f.boundary.child < slot and (fan := self.fan_between(slot, f)) > 1
            }
        return self._spanning[slot]

    @cached_property
    def lacking(self) -> tuple[tuple[int, int], ...]:
        """Dimensions that more than one data space lacks: (dimension, how many more)."""
        many = [sum(d in irrelevant for irrelevant in self.irrelevant) - 1 for d in range(self.dims)]
        return tuple((d, more) for d, more in enumerate(many) if more > 0)

    @cached_property
    def window_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of dimensions that index one rank together; instances share nothing of longer ranks."""
        ranks = [rank for ranks in self.ranks for rank in ranks]
        return tuple((rank[0][0], rank[1][0]) for rank in ranks if len(rank) == 2)

    def future(self, slot: int) -> float:
        """Energy that boundaries not yet begun must cost when `slot` is next."""
        if slot not in self._future:
            self._future[slot] = sum(
                self.tables[k].minimum if k in self.tables else self._once_pj(k) for k in range(slot, len(self.slots))
            )
        return self._future[slot]

    def _once_pj(self, k: int) -> float:
        """Energy of moving every word that slot `k`'s memory keeps once."""
        flows = [flow for flow in self.flows if flow.boundary.child == k]
        return sum(
            self.whole[f.boundary.space] * (f.read_pj - f.first_read_pj + f.fill_pj - f.first_fill_pj) for f in flows
        )

    @cached_property
    def tables(self) -> dict[int, Table]:
        """For each memory of finite capacity below the outermost, what filling it costs at least."""
        return {
            k: self._table(k)
            for k, spaces in self.kept.items()
            if spaces and k < self.last and math.isfinite(self.capacity[k])
        }

    def _table(self, k: int) -> Table:
        """The table of slot `k`'s memory, which plans with the same flows into it share."""
        key = tuple(flow for flow in self.flows if flow.boundary.child == k)
        if key not in self.space.tables:
            rough = self.space.has_choice or self.fan_ahead(k) > 1  # fan-outs above hide most of the traffic
            self.space.tables[key] = Table(self, k, FEW_CELLS if rough else CELLS)
        table: Table = self.space.tables[key]
        return table

    def _least_cycles(self) -> float:
        """Cycles that computing takes with every unit busy, or a memory that moves every word once."""
        cycles = math.prod(self.space.sizes) / math.prod(s.mesh for s in self.slots if s.spatial)
        for k in self.limited:
            reads = writes = 0.0
            for flow in self.flows:
                words, b = self.whole[flow.boundary.space], flow.boundary
                reads += words * (b.parent == k and not flow.is_output)
                writes += words * ((b.parent == k and flow.is_output) or (b.child == k and not flow.is_output))
            for words, rate in zip((reads, writes, reads + writes), self.rates(k), strict=True):
                if rate is not None:
                    cycles = max(cycles, words / rate / self.most_instances[k])
        return math.ceil(cycles - 1e-9)

    def tight(self, k: int) -> tuple[int, ...]:
        """The memory of slot `k` or the next one out, and those further out that are hardly larger."""
        if k not in self._tight:
            finite = [j for j in self.kept if j >= k and math.isfinite(self.capacity[j]) and self.kept[j]]
            first = self.capacity[finite[0]] if finite else 0.0
            self._tight[k] = tuple(j for j in finite if j == finite[0] or self.capacity[j] <= 16 * first)
        return self._tight[k]

    def is_idle(self, k: int, d: int) -> bool:
        """Whether loops over `d` do as well innermost at the next memory out as at slot `k`'s.

        So it is when no data space kept here is indexed by `d`, and all that are still open are.
        """
        slot, after = self.slots[k], self.slots[k + 1] if k < self.last else None
        if slot.spatial or after is None or after.spatial or slot.limits != after.limits:
            return False
        here = self.kept[k]
        inner = {f.boundary.space for f in self.flows if 0 <= f.boundary.child < k}
        relevant = self.space.relevant[:, d]
        return not any(relevant[i] for i in here) and all(relevant[i] for i in inner)

    def limits(self, k: int, d: int) -> tuple[int, int]:
        """The least and greatest factor of dimension `d` at slot `k` that constraints allow."""
        if (k, d) not in self._limits:
            low, high = dim_limits(self.slots[k], self.space.dims[d], self.space.dims, int(self.space.sizes[d]))
            self._limits[k, d] = (low, 1 if low == 1 and self.is_idle(k, d) else high)
        return self._limits[k, d]

    def other_axis(self, k: int) -> bool:
        """Whether the slot before is the other axis of the same fan-out."""
        return k > 0 and self.slots[k - 1].spatial and self.slots[k - 1].node is self.slots[k].node

    def is_innermost_fanout(self, k: int) -> bool:
        """Whether slot `k` belongs to a fan-out right above the compute."""
        return self.slots[k].spatial and self.slots[k].node is self.slots[0].node

    def is_unlinked(self, flow: Flow) -> bool:
        """Whether neighbouring compute units hand nothing on."""
        name = self.space.spaces[flow.boundary.space].name
        constraints = self.slots[0].constraints
        return name in constraints.no_link_transfer or name in constraints.no_multicast

    def two_axes(self, k: int) -> bool:
        """Whether slot `k` is one of two axes of a fan-out."""
        return self.other_axis(k) or (k < self.last and self.other_axis(k + 1))

    def uses(self, flow: Flow) -> tuple[tuple[tuple[int, str], bool, int | None], ...]:
        """The limited channels that a flow's words take: the channel, whether by fills (else by reads), and, where
        the first access of each word is spared, the fan-outs below the instances that access."""
        b = flow.boundary
        every: list[tuple[tuple[int, str], bool, int | None]] = [
            ((b.parent, "read"), False, flow.parent_group if flow.spares_reads else None),
            ((b.child, "write"), True, flow.child_group if flow.spares_fills else None),
        ]
        if flow.is_output:
            every.append(((b.parent, "write"), False, None))
        return tuple(use for use in every if use[0] in self.channels)

    def rates(self, k: int) -> tuple[float | None, float | None, float | None]:
        """Words per cycle that slot `k`'s memory reads, writes, and both together."""
        node = self.slots[k].node
        assert isinstance(node, Storage)
        return node.read_words_per_cycle, node.write_words_per_cycle, node.shared_words_per_cycle

    def box(self, space: int, tile: Array) -> Array:
        """(R) words of one tile of a data space."""
        return box(self.ranks[space], tile)

    def least_slide(self, space: int, tile: Array) -> Array:
        """(R) the least share of a data space's words that a sliding window may leave; one dimension slides."""
        share = np.ones(tile.shape[1])
        sizes = self.space.sizes
        count = np.ceil(sizes[:, None] / tile)
        for rank in self.ranks[space]:
            if len(rank) == 2:
                whole = rank_sum(rank, sizes, count)
                kept = [count[d] * overlap_sum(rank, d, sizes, tile, tile[d]) for d, _ in rank]
                share = np.minimum(share, 1 - np.maximum(*kept) / whole)
        return share

    def fans_ahead(self, k: int, flow: Flow) -> int:
        """How many fan-outs' axes stand between slot `k` and the flow's parent."""
        return self.fanouts_below(flow.boundary.parent) - self.fanouts_below(k + 1)

    def counts(self, flow: Flow) -> bool:
        """Whether the child's fills use a limited bandwidth."""
        return (flow.boundary.child, "write") in self.channels

    def distinct_words(self, space: int, tile: Array) -> Array:
        """(R) words of the boxes of all tiles of a data space."""
        return tiles_sum(self.ranks[space], self.space.sizes, np.ceil(self.space.sizes[:, None] / tile))

    def slide(
        self, space: int, live_words: Array, tile: Array, step: Array, moves: Bools, runs: Array, closing: Sequence[int]
    ) -> tuple[Array, Array]:
        """(R) words without what a window keeps from one step to the next, and the dimension + 1 that slides.

        `step` (D, R) is how far one step of the loops at hand goes, `moves` which of them do, `runs`
        how often a dimension's loop begins anew.
        """
        best, chosen = live_words, np.zeros(len(live_words))
        sizes = self.space.sizes
        for rank in self.ranks[space]:
            for d, _ in rank:
                if len(rank) < 2 or d not in closing:
                    continue
                count = np.ceil(sizes[:, None] / tile)
                whole = rank_sum(rank, sizes, count)
                kept = (count[d] - runs[d]) * overlap_sum(rank, d, sizes, tile, step[d])
                words = np.where(moves[d], live_words * (1 - kept / whole), live_words)
                chosen = np.where(words < best, d + 1, chosen)
                best = np.minimum(words, best)
        return best, chosen.astype(np.int64)

    def shared(self, space: int, tile: Array, fan: Array, gap: Array) -> Array:
        """(R) the share of a data space's words left when instances that ask for equal tiles are served at once.

        `fan` (D, R) are the spatial factors since the child with tiles `tile`, `gap` how far apart neighbours lie.
        """
        share = np.ones(fan.shape[1])
        sizes = self.space.sizes
        count = np.ceil(sizes[:, None] / tile)
        for rank in self.ranks[space]:
            if len(rank) == 2:
                share = share * (1 - shared_sum(rank, sizes, tile, fan, gap) / rank_sum(rank, sizes, count))
        return share

    def _order_classes(self, k: int, pattern: frozenset[int]) -> tuple[OrderClass, ...]:
        groups = self.group_dims(k)
        if self.slots[k].limits.permutation:
            orders: Sequence[tuple[int, ...]] = [tuple(g for g in range(len(groups)) if g in pattern)]
        else:
            orders = list(itertools.islice(itertools.permutations(sorted(pattern)), 5040))
        classes: dict[object, OrderClass] = {}
        for order in orders:
            found = self._classify(groups, order)
            reuse = tuple(first if i in self.halo else bool(first) for i, first in enumerate(found.closing))
            classes.setdefault((found.absorbed, reuse), found)
        return tuple(classes.values())

    def _classify(self, groups: tuple[tuple[int, ...], ...], order: tuple[int, ...]) -> OrderClass:
        absorbed, closing = [], []
        for i in range(len(self.space.spaces)):
            inside: list[int] = []
            first: tuple[int, ...] = ()
            for g in order:
                if any(self.space.relevant[i, d] for d in groups[g]):
                    first = groups[g]
                    break
                inside += groups[g]
            absorbed.append(frozenset(inside) if first else frozenset(d for g in order for d in groups[g]))
            closing.append(first)
        return OrderClass(order, tuple(absorbed), tuple(closing))

    @cached_property
    def owed(self) -> tuple[Owed, ...]:
        """Everything whose first accesses cost less."""
        every = (Owed(flow, fills) for flow in self.flows for fills in (False, True))
        return tuple(owed for owed in every if owed.pj)

    def _word_pj(self, slot: Slot, action: str) -> float:
        """Energy of moving one word: an action serves a block of words, a row a cluster of instances."""
        node = slot.node
        assert isinstance(node, Storage)
        return energy_of(self.space.arch, node.name, action) / node.block_size / node.cluster_size

    @cached_property
    def compute_pj(self) -> float:
        """Energy of all operations."""
        each = energy_of(self.space.arch, self.space.arch.compute.name, "compute")
        return math.prod(self.space.problem.shape.values()) * each

    @cached_property
    def leak_pj(self) -> dict[int, float]:
        """For each memory's slot, the leakage of one instance in a cycle."""
        return {k: energy_of(self.space.arch, self.slots[k].node.name, "leak") for k in self.kept}

    @cached_property
    def latency(self) -> int:
        """Cycles that networks add once."""
        nodes = {slot.node.name: slot.node for slot in self.slots}.values()
        return sum(node.fill_latency_cycles + node.drain_latency_cycles for node in nodes)

    def scale(self, k: int, space: int) -> float:
        """The bandwidth that one word of a data space takes at slot `k`'s memory."""
        node = self.slots[k].node
        assert isinstance(node, Storage)
        return node.bandwidth_scale.get(self.space.spaces[space].name, 1.0)


def limited(storage: Storage) -> bool:
    """Whether any bandwidth of a memory is finite."""
    rates = (storage.read_words_per_cycle, storage.write_words_per_cycle, storage.shared_words_per_cycle)
    return any(rate is not None for rate in rates)
