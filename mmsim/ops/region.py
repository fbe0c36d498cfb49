"""How many elements ``x[...]`` names, from the index as it stands in a layer's attributes."""

from __future__ import annotations

from fractions import Fraction

from mmsim.layer import Attr
from mmsim.ops.nests import scaled
from mmsim.size import Polynomial, Size, product

WHOLE: Attr = ("slice", None, None, None)


def region(shape: tuple[Size, ...], indices: Attr) -> Size | None:
    """Elements of ``x[indices]`` for integers, slices and ``...``; None where a tensor or a list is an index.

    A slice is ``("slice", start, stop, step)``.

    >>> region((4, 8, 6), (0, ("slice", 2, 6, None), "...")), region((4, 8), "tensor")
    (24, None)
    """
    alone = not isinstance(indices, tuple) or indices[:1] == ("slice",)
    given = [
        index for index in ((indices,) if alone or not isinstance(indices, tuple) else indices) if index is not None
    ]
    if "..." not in given:
        given.append("...")
    dots, rest = given.index("..."), len(shape) - len(given) + 1
    if rest < 0:
        return None
    lengths = [
        _length(size, index)
        for size, index in zip(shape, [*given[:dots], *[WHOLE] * rest, *given[dots + 1 :]], strict=True)
    ]
    return None if None in lengths else product(length for length in lengths if length is not None)


def _length(size: Size, index: Attr) -> Size | None:
    """How many elements an index takes from an axis; bounds beyond a symbolic axis are taken as they stand."""
    if isinstance(index, (int, Polynomial)) and not isinstance(index, bool):
        return 1
    if not isinstance(index, tuple) or index[:1] != ("slice",):
        return None
    start, stop, step = (*index[1:], None, None, None)[:3]
    if isinstance(size, int) and all(end is None or isinstance(end, int) for end in (start, stop, step)):
        return len(range(*slice(start, stop, step).indices(size)))
    first, last = _end(start, 0, size), _end(stop, size, size)
    if first is None or last is None or not (step is None or isinstance(step, int)):
        return None
    return scaled(last - first, Fraction(1, abs(step or 1)))


def _end(end: Attr, default: Size, size: Size) -> Size | None:
    if isinstance(end, int) and end < 0:
        return size + end
    return default if end is None else end if isinstance(end, (int, Polynomial)) else None
