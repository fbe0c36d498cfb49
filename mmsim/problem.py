"""One layer as a loop nest: dimensions, and how each tensor is indexed by them; exact footprints.

The words are Timeloop's: a *problem* has *dimensions*; every point of their product is one
operation; a *data space* is a tensor with a *projection* from dimensions to its ranks, each rank a
sum of dimension x coefficient. A 3x3 convolution with stride 2 reads ``Inputs`` at rank
``2*P + R``:

>>> x = DataSpace("Inputs", ((("P", 2), ("R", 1)),), 16)
>>> x.footprint({"P": 4, "R": 3})   # rows 0 to 2*3 + 2
9
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product as cartesian
from math import gcd
from typing import Literal, TypeAlias

from mmsim.errors import InputError
from mmsim.size import Size, at, concrete, product, total

Kind: TypeAlias = Literal["mac", "vector", "movement"]
Rank: TypeAlias = tuple[tuple[str, int], ...]
"""One rank of a tensor: a sum of (dimension, coefficient); an empty one is a rank of size 1."""


@dataclass(frozen=True, slots=True)
class DataSpace:
    """A tensor of a problem: which dimensions index each of its ranks, and the bits of one word.

    `extents` are the sizes that the tensor has in memory, rank by rank, where they can be smaller
    than the bounding box: a padded convolution is indexed over zeros that nobody stores.
    """

    name: str
    projection: tuple[Rank, ...]
    bits: int
    is_output: bool = False
    extents: tuple[Size, ...] | None = None

    @property
    def dims(self) -> frozenset[str]:
        """The dimensions that this tensor depends on (the relevant ones)."""
        return frozenset(dim for rank in self.projection for dim, _ in rank)

    def rank_sizes(self, tile: Mapping[str, Size]) -> tuple[Size, ...]:
        """The bounding box of the points touched when each dimension runs over `tile` steps."""
        return tuple(1 + total((tile[dim] - 1) * coefficient for dim, coefficient in rank) for rank in self.projection)

    def footprint(self, tile: Mapping[str, Size]) -> Size:
        """Words in that bounding box: what a buffer must hold, as Timeloop counts it."""
        return product(self.rank_sizes(tile))

    def touched(self, tile: Mapping[str, Size]) -> Size:
        """Distinct words that are really indexed: holes between strided windows left out.

        A 1x1 window with stride 2 at 4 positions has a footprint of 7 and touches 4.
        """
        uses = Counter(dim for rank in self.projection for dim in {d for d, _ in rank})
        if any(count > 1 for count in uses.values()):  # ranks that share a dimension, as in A[i, i]
            return _enumerated(self.projection, {dim: concrete(tile[dim]) for dim in uses})
        return product(_distinct(rank, tile) for rank in self.projection)

    def stored(self, tile: Mapping[str, Size]) -> Size:
        """Distinct words that are indexed and exist in memory: `touched` within `extents`."""
        if self.extents is None:
            return self.touched(tile)
        ranks = zip(self.projection, self.extents, strict=True)
        return product(_smaller(_distinct(rank, tile), extent) for rank, extent in ranks)

    def at(self, **sizes: Size) -> DataSpace:
        """The data space with some symbols given."""
        if self.extents is None:
            return self
        return replace(self, extents=tuple(at(extent, **sizes) for extent in self.extents))


@dataclass(frozen=True)
class Problem:
    """A loop nest: `kind` says what one point costs.

    ``mac`` is one multiply-accumulate a point, ``vector`` is `ops_per_point` scalar operations,
    ``movement`` only moves bytes. `instances` equal problems make the layer (gates, steps, groups
    that share nothing). Two problems are equal when they would be solved alike: the name does not
    count.
    """

    kind: Kind
    dims: tuple[tuple[str, Size], ...]
    data_spaces: tuple[DataSpace, ...]
    family: str = ""  # conv, matmul, softmax, norm, pool, elementwise, reduction, embedding, copy, ...
    ops_per_point: int = 1
    instances: Size = 1
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        known = [dim for dim, _ in self.dims]
        if len(set(known)) != len(known):
            raise InputError(f"a dimension stands twice in {known}", field="dims")
        for dim, size in self.dims:
            if isinstance(size, int) and size < 1:
                raise InputError(f"size {size} of dimension {dim} must be positive", field="dims")
        for space in self.data_spaces:
            unknown = space.dims - set(known)
            if unknown:
                raise InputError(f"{space.name} is indexed by unknown {sorted(unknown)}", field="data_spaces")
            if space.extents is not None and len(space.extents) != len(space.projection):
                raise InputError(f"{space.name} has {len(space.extents)} extents", field="data_spaces")

    @property
    def sizes(self) -> dict[str, Size]:
        """Dimension -> size."""
        return dict(self.dims)

    @property
    def shape(self) -> dict[str, int]:
        """Dimension -> size, all concrete; raises `InputError` while a symbol is open."""
        return {dim: concrete(size) for dim, size in self.dims}

    @property
    def points(self) -> Size:
        """Points of one instance's loop nest."""
        return product(size for _, size in self.dims)

    @property
    def operations(self) -> Size:
        """Operations of all instances: MACs for ``mac``, scalar operations for ``vector``."""
        return self.points * self.ops_per_point * self.instances if self.kind != "movement" else 0

    @property
    def macs(self) -> Size:
        """Multiply-accumulates of all instances; 0 unless the kind is ``mac``."""
        return self.operations if self.kind == "mac" else 0

    @property
    def inputs(self) -> tuple[DataSpace, ...]:
        """The tensors read."""
        return tuple(space for space in self.data_spaces if not space.is_output)

    @property
    def outputs(self) -> tuple[DataSpace, ...]:
        """The tensors written (one, for ``mac``)."""
        return tuple(space for space in self.data_spaces if space.is_output)

    def words(self, space: DataSpace) -> Size:
        """Words of one instance of `space`, its whole bounding box."""
        return space.footprint(self.sizes)

    @property
    def compulsory_bytes(self) -> Size:
        """Every stored word that is indexed, moved once, over all instances: the least that can move."""
        return self._bytes(self.data_spaces)

    @property
    def read_bytes(self) -> Size:
        """The inputs' share of `compulsory_bytes`."""
        return self._bytes(self.inputs)

    @property
    def written_bytes(self) -> Size:
        """The outputs' share of `compulsory_bytes`."""
        return self._bytes(self.outputs)

    def _bytes(self, spaces: Iterable[DataSpace]) -> Size:
        bits = total(space.stored(self.sizes) * space.bits for space in spaces) * self.instances
        return -(-bits // 8) if isinstance(bits, int) else bits * Fraction(1, 8)

    def at(self, **sizes: Size) -> Problem:
        """The problem with some symbols given."""
        return replace(
            self,
            dims=tuple((dim, at(size, **sizes)) for dim, size in self.dims),
            data_spaces=tuple(space.at(**sizes) for space in self.data_spaces),
            instances=at(self.instances, **sizes),
        )


def _distinct(rank: Rank, tile: Mapping[str, Size]) -> Size:
    """How many values a rank's index takes.

    Of two terms ``a*p + b*r`` (a, b without common factor) the pairs (p, r) and (p + b, r - a) meet,
    so ``P*R`` loses one value for each of the ``(P - b) * (R - a)`` meetings.
    """
    terms = [(tile[dim], coefficient) for dim, coefficient in rank if tile[dim] != 1]
    if len(terms) < 2:
        return terms[0][0] if terms else 1
    if len(terms) > 2:
        return _enumerated((rank,), {dim: concrete(tile[dim]) for dim, _ in rank})
    (p, a), (r, b) = terms
    common = gcd(a, b)
    return p * r - _positive(p - b // common) * _positive(r - a // common)


def _positive(size: Size) -> Size:
    """The size, or 0 below 0; a symbolic size is taken to be large."""
    return max(size, 0) if isinstance(size, int) else size


def _smaller(touched: Size, extent: Size) -> Size:
    """The smaller of the two. Where symbols leave it open a table is taken to be larger than what is looked up."""
    if isinstance(extent, int) and not isinstance(touched, int):
        return touched
    excess = touched - extent
    if isinstance(excess, int):
        return touched if excess <= 0 else extent
    return touched if all(coefficient < 0 for _, coefficient in excess.terms) else extent


def _enumerated(projection: tuple[Rank, ...], tile: Mapping[str, int]) -> int:
    dims = list(tile)
    points = (dict(zip(dims, point, strict=True)) for point in cartesian(*(range(tile[dim]) for dim in dims)))
    return len({tuple(sum(c * point[d] for d, c in rank) for rank in projection) for point in points})
