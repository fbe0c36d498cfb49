"""Symbolic sizes: traces at several sizes, compared node by node, every number that differs fitted by a polynomial.

A trace is true at its own sizes only. Two traces, at B = 2 and 5, that made the same calls on the same tensors and
differ in multiples of ``B`` alone settle it: that a number is 2 k and then 5 k is no accident. Where another differs,
more traces tell how: a straight line through three points, a curve held against a fourth. A number that fits no
polynomial makes the symbol refused, with the reason, rather than guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any, TypeAlias, cast

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.size import Monomial, Polynomial, Size, polynomial

Sizes: TypeAlias = Mapping[str, int]

DEGREE = 2  # of one symbol
TOTAL_DEGREE = 3  # of a product of several, as in batch x length x length


class NotPolynomial(Exception):
    """Why traces at several sizes are not one graph with symbols."""


def symbolic(graph_at: Callable[[Sizes], Graph], points: Mapping[str, Sequence[int]]) -> Graph:
    """One graph with symbols out of traces at concrete sizes.

    `points` gives four different values for each symbol; the first ones are the base. Raises `NotPolynomial`, saying
    where, when the traces differ in more than sizes or a size is no polynomial of low degree.
    """
    if len(points) == 1 and (merged := _multiples(graph_at, points)) is not None:
        return merged
    powers = [p for p in product(range(DEGREE + 1), repeat=len(points)) if sum(p) <= TOTAL_DEGREE]
    at = [_point(points, p) for p in powers]
    fit = _Fit(tuple(points), at, powers)
    merged = fit.merge([_traced(graph_at, sizes) for sizes in at])
    if fit.highest >= min(TOTAL_DEGREE, DEGREE * len(points)):  # every point was needed: none has checked the result
        check = _point(points, (DEGREE + 1,) * len(points))
        if _at(merged, check) != _traced(graph_at, check):
            raise NotPolynomial(f"the fit does not hold at {_text(check)}")
    return merged


def _multiples(graph_at: Callable[[Sizes], Graph], points: Mapping[str, Sequence[int]]) -> Graph | None:
    """The graph from two traces, when every number that differs is a multiple of the one symbol; else None."""
    at = [_point(points, (0,)), _point(points, (DEGREE,))]
    fit = _Fit(tuple(points), at, [(0,), (1,)])
    merged = fit.merge([_traced(graph_at, sizes) for sizes in at])
    return merged if fit.only_multiples else None


def _traced(graph_at: Callable[[Sizes], Graph], sizes: Sizes) -> Graph:
    """The graph at these sizes, which the network may refuse though it takes others."""
    try:
        return graph_at(sizes)
    except InputError as error:
        raise NotPolynomial(f"it does not run at {_text(sizes)}: {error}") from None


def _at(graph: Graph, sizes: Sizes) -> Graph | None:
    """The graph at these sizes; None when one of its own is then no whole number."""
    try:
        return graph.at(**{name: value for name, value in sizes.items() if name in graph.symbols})
    except InputError:
        return None


def _point(points: Mapping[str, Sequence[int]], steps: Iterable[int]) -> dict[str, int]:
    return {name: values[step] for (name, values), step in zip(points.items(), steps, strict=True)}


def _text(sizes: Sizes) -> str:
    return ", ".join(f"{name}={value}" for name, value in sizes.items())


class _Fit:
    """Interpolation on fixed points: one inverse matrix serves every number of the graph."""

    def __init__(self, names: tuple[str, ...], at: Sequence[Sizes], powers: Sequence[tuple[int, ...]]) -> None:
        self.at = at
        self.monomials: list[Monomial] = [
            tuple(sorted((name, power) for name, power in zip(names, p, strict=True) if power)) for p in powers
        ]
        rows = [[Fraction(_value(m, sizes)) for m in self.monomials] for sizes in at]
        self.inverse = _inverted(rows)
        self.highest = 0
        self.only_multiples = True
        self._known: dict[tuple[int, ...], Size] = {}

    def merge(self, graphs: Sequence[Graph]) -> Graph:
        """The graphs as one, numbers that differ as polynomials."""
        counts = {len(graph.layers) for graph in graphs}
        if len(counts) > 1:
            raise NotPolynomial(f"the number of operations changes with the size: {sorted(counts)}")
        merged: Graph = self._merged([replace(graph, provenance=graphs[0].provenance) for graph in graphs], "")
        return merged

    def _merged(self, values: Sequence[Any], where: str) -> Any:
        first = values[0]
        if all(value == first and type(value) is type(first) for value in values):
            return first
        if all(type(value) is int for value in values):
            return self._size(tuple(values), where)
        if any(type(value) is not type(first) for value in values):
            raise NotPolynomial(f"{where}: {first} and {next(v for v in values if type(v) is not type(first))}")
        if isinstance(first, tuple):
            lengths = sorted({len(value) for value in values})
            if len(lengths) > 1:
                raise NotPolynomial(f"{where}: {' or '.join(map(str, lengths))} values")
            return tuple(self._merged(parts, where) for parts in zip(*values, strict=True))
        if is_dataclass(first):
            if isinstance(first, Layer):
                where = f"{first.op} in {first.module_path or 'the network itself'}"
            parts = {f.name: [getattr(value, f.name) for value in values] for f in fields(first)}
            return replace(cast(Any, first), **{name: self._merged(part, where) for name, part in parts.items()})
        raise NotPolynomial(f"{where}: {first} and {next(v for v in values if v != first)}")

    def _size(self, values: tuple[int, ...], where: str) -> Size:
        if values not in self._known:
            terms = {
                monomial: sum((a * b for a, b in zip(row, values, strict=True)), Fraction(0))
                for monomial, row in zip(self.monomials, self.inverse, strict=True)
            }
            self._known[values] = fitted = polynomial(terms)
            if isinstance(fitted, Polynomial):
                degrees = [sum(power for _, power in monomial) for monomial, _ in fitted.terms]
                self.highest = max(self.highest, *degrees)
                self.only_multiples = self.only_multiples and min(degrees) > 0
        return self._known[values]


def _value(monomial: Monomial, sizes: Sizes) -> int:
    out = 1
    for name, power in monomial:
        out *= sizes[name] ** power
    return out


def _inverted(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """The inverse of a small matrix, exactly, by elimination."""
    size = len(rows)
    work = [row + [Fraction(int(i == j)) for j in range(size)] for i, row in enumerate(rows)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if work[i][column])
        work[column], work[pivot] = work[pivot], work[column]
        scale = work[column][column]
        work[column] = [value / scale for value in work[column]]
        for i in range(size):
            if i != column and work[i][column]:
                factor = work[i][column]
                work[i] = [a - factor * b for a, b in zip(work[i], work[column], strict=True)]
    return [row[size:] for row in work]
