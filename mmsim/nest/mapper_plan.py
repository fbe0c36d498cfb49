"""What the search knows before it starts about one choice of what memories keep: flows, limits, channels."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

from mmsim.arch.model import Storage
from mmsim.nest.evaluate import energy_of
from mmsim.nest.mapper_flow import Flow, Owed, flow_of
from mmsim.nest.mapper_orders import orders_of, same_reuse
from mmsim.nest.mapper_table import CELLS, FEW_CELLS, Table
from mmsim.nest.mapper_windows import Rank, box
from mmsim.nest.mapspace import Array, Keep, Mapspace, capacity, dim_limits


class Plan:
    """One keep choice of a mapspace, with everything static worked out."""

    def __init__(self, space: Mapspace, keep: Keep, *, cautious: bool = False) -> None:
        self.space, self.keep, self.cautious = space, keep, cautious
        self.slots = space.slots
        self.orders, self.halo = orders_of(space), space.halo
        self.dims = len(space.dims)
        self.flows = tuple(flow_of(space, boundary) for boundary in space.boundaries(keep))
        self.handed_pj = 0.0
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
        self.whole = [space.least_words(i) for i in range(len(space.spaces))]
        self.channels = tuple(
            (k, action)
            for k, slot in enumerate(self.slots)
            if isinstance(slot.node, Storage) and limited(slot.node)
            for action in ("read", "write")
        )
        self.limited = tuple(sorted({k for k, _ in self.channels}))
        self.signatures = [(dims, tuple(bool(row[dims[0]]) for row in space.relevant)) for dims in same_reuse(space)]
        self.most_instances = {
            k: math.prod(s.mesh for s in self.slots[k + 1 :] if s.spatial) for k in range(len(self.slots))
        }
        self.least_cycles = self._least_cycles()
        self._tight: dict[int, tuple[int, ...]] = {}
        self._limits: dict[tuple[int, int], tuple[int, int]] = {}
        self._spanning: dict[int, dict[int, tuple[float, float]]] = {}
        self._future: dict[int, float] = {}
        if cautious:
            self._take_as_handed_on()

    def _take_as_handed_on(self) -> None:
        """Of sliding windows that children without a memory may hand on count every word once: what is read again
        depends on how the children are numbered."""
        free = []
        for flow in self.flows:
            if flow.roams and not flow.keeps:
                self.handed_pj += self.whole[flow.boundary.space] * (flow.read_pj - flow.first_read_pj)
                flow = replace(flow, read_pj=0.0, first_read_pj=0.0, free=True)
            free.append(flow)
        self.flows = tuple(free)

    @cached_property
    def is_certain(self) -> bool:
        """Whether the search's counts are true: no windows slide, and compute units hand nothing on."""
        return not self.halo and not any(self.hands_on(flow) for flow in self.flows)

    @cached_property
    def is_close(self) -> bool:
        """Whether the search's counts are nearly true: units stand in a row or a column, no windows slide."""
        linked = [flow for flow in self.flows if self.hands_on(flow)]
        return not linked or not (self.two_axes(0) or any(flow.boundary.space in self.halo for flow in linked))

    @cached_property
    def rounding_pj(self) -> float:
        """What `evaluate` may find more at most, since each instance's accesses are whole ones."""
        total = 0.0
        for flow in self.flows:
            for k, pj in ((flow.boundary.parent, flow.read_pj), (flow.boundary.child, flow.fill_pj)):
                node = self.slots[k].node
                if k >= 0 and isinstance(node, Storage):
                    total += 2 * pj * node.block_size * self.most_instances[k]
        return total

    def hands_on(self, flow: Flow) -> bool:
        """Whether compute units may hand on the words of a flow."""
        return flow.boundary.child < 0 and self.slots[0].spatial and not self.is_unlinked(flow)

    def _keep_of(self, k: int) -> frozenset[str]:
        names = [storage.name for storage in self.space.arch.storages]
        return self.keep[names.index(self.slots[k].node.name)]

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
        if flow.free:
            return ()
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

    def fans_ahead(self, k: int, flow: Flow) -> int:
        """How many fan-outs' axes stand between slot `k` and the flow's parent."""
        return self.space.fanouts_below(flow.boundary.parent) - self.space.fanouts_below(k + 1)

    def counts(self, flow: Flow) -> bool:
        """Whether the child's fills use a limited bandwidth."""
        return (flow.boundary.child, "write") in self.channels

    @cached_property
    def owed(self) -> tuple[Owed, ...]:
        """Everything whose first accesses cost less."""
        every = (Owed(flow, fills) for flow in self.flows for fills in (False, True))
        return tuple(owed for owed in every if owed.pj)

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
