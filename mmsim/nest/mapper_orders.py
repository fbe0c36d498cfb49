"""Loop orders of one slot, those that cost the same merged into one class.

Loops over dimensions that index the same data spaces are interchangeable; and what a data space
costs depends on its first relevant loop alone: the loops inside it leave its tile in place.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from mmsim.nest.mapspace import Mapspace


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


class Orders:
    """The order classes of every slot of a mapspace, numbered as they are met."""

    def __init__(self, space: Mapspace) -> None:
        self.space, self.dims = space, len(space.dims)
        self._orders: dict[int, list[OrderClass]] = {}
        self._classes: dict[tuple[int, frozenset[int]], tuple[OrderClass, ...]] = {}

    def group_dims(self, k: int) -> tuple[tuple[int, ...], ...]:
        """Dimensions that reuse alike, together; each alone where slot `k`'s order is fixed."""
        fixed = [d for d in self.space.slots[k].limits.permutation if d in self.space.dims]
        if fixed or len(self.space.halo) > 1:
            dims = [self.space.dims.index(d) for d in fixed]
            return tuple((d,) for d in dims + [d for d in range(len(self.space.dims)) if d not in dims])
        return same_reuse(self.space)

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

    def _order_classes(self, k: int, pattern: frozenset[int]) -> tuple[OrderClass, ...]:
        groups = self.group_dims(k)
        if self.space.slots[k].limits.permutation:
            orders: Sequence[tuple[int, ...]] = [tuple(g for g in range(len(groups)) if g in pattern)]
        else:
            orders = list(itertools.islice(itertools.permutations(sorted(pattern)), 5040))
        classes: dict[object, OrderClass] = {}
        for order in orders:
            found = self._classify(groups, order)
            reuse = tuple(first if i in self.space.halo else bool(first) for i, first in enumerate(found.closing))
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


def orders_of(space: Mapspace) -> Orders:
    """The orders of a mapspace, which its plans share."""
    found: Orders = space.tables.setdefault("orders", Orders(space))
    return found


def same_reuse(space: Mapspace) -> tuple[tuple[int, ...], ...]:
    """Dimensions that index the same data spaces, together."""
    signatures: dict[tuple[bool, ...], list[int]] = {}
    for d in range(len(space.dims)):
        signatures.setdefault(tuple(space.relevant[:, d].tolist()), []).append(d)
    return tuple(tuple(dims) for dims in signatures.values())
