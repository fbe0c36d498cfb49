"""Timeloop problem files in: a shape with projections and an instance with sizes."""

from __future__ import annotations

from typing import Any

from mmsim.arch.arithmetic import number
from mmsim.errors import InputError
from mmsim.problem import DataSpace, Problem, Rank

MAX_SIZE = 2**40
MAX_NAMES = 64  # dimensions, data spaces, and ranks of each
_UNUSED = {
    "densities",
    "H",
    "W",
    "Hpad",
    "Wpad",
}  # in people's files; no projection uses them, no dense count needs them
_SHAPE_KEYS = {"name", "dimensions", "data_spaces", "data-spaces", "coefficients"}


def parse(value: object, *, file: str = "problem", word_bits: int = 16) -> Problem:
    """The problem from plain values; a data space has `word_bits` to a word.

    Raises `InputError` naming the field of what is wrong.
    """
    try:
        return _problem(value, word_bits)
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None


def _problem(value: object, word_bits: int) -> Problem:
    top = _mapping(value, "problem", {"version", "shape", "instance", "!"})
    shape = _mapping(top.get("shape"), "shape", _SHAPE_KEYS)
    instance = _mapping(top.get("instance"), "instance", None)
    dims = _names(shape.get("dimensions"), "shape.dimensions")
    coefficients = _coefficients(shape.get("coefficients"), instance)
    for key in instance:
        if key not in dims and key not in coefficients and key not in _UNUSED:
            near = [name for name in (*dims, *coefficients) if name.lower() == key.lower()]
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"is neither a dimension nor a coefficient of the shape{hint}", field=f"instance.{key}")
    sizes = tuple((dim, _size(instance.get(dim), f"instance.{dim}")) for dim in dims)
    spaces = _data_spaces(shape.get("data_spaces", shape.get("data-spaces")), dims, coefficients, word_bits)
    return Problem("mac", sizes, spaces, name=str(shape.get("name", "")))


def _data_spaces(value: object, dims: list[str], coefficients: dict[str, int], word_bits: int) -> tuple[DataSpace, ...]:
    items = _few(value, "shape.data_spaces")
    spaces: list[DataSpace] = []
    for i, item in enumerate(items):
        where = f"shape.data_spaces.{i}"
        known = {"name", "projection", "read_write", "read-write"}
        written = _mapping(item, where, known)
        name = written.get("name")
        if not isinstance(name, str) or not name or name in [space.name for space in spaces]:
            raise InputError("expected a name of its own", field=f"{where}.name")
        output = written.get("read_write", written.get("read-write", False))
        if not isinstance(output, bool):
            raise InputError("expected true or false", field=f"{where}.read_write")
        ranks = _few(written.get("projection"), f"{where}.projection")
        projection = tuple(_rank(rank, f"{where}.projection.{j}", dims, coefficients) for j, rank in enumerate(ranks))
        spaces.append(DataSpace(name, projection, word_bits, output))
    if sum(space.is_output for space in spaces) != 1:
        raise InputError("exactly one must be read_write", field="shape.data_spaces")
    return tuple(spaces)


def _rank(value: object, where: str, dims: list[str], coefficients: dict[str, int]) -> Rank:
    """``[[R, Wdilation], [P, Wstride]]``; a rank or a term may also be written as a bare dimension."""
    terms: dict[str, int] = {}
    for k, term in enumerate([value] if isinstance(value, str) else _few(value, where)):
        parts = [term] if isinstance(term, str) else _list(term, f"{where}.{k}")
        if not 1 <= len(parts) <= 2 or parts[0] not in dims:
            raise InputError(f"expected [dimension] or [dimension, coefficient], got {term!r}", field=f"{where}.{k}")
        factor = 1
        if len(parts) == 2:
            factor = coefficients.get(parts[1], 0) if isinstance(parts[1], str) else parts[1]
            if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
                raise InputError(f"{parts[1]!r} is not a coefficient of the shape", field=f"{where}.{k}")
        terms[parts[0]] = terms.get(parts[0], 0) + factor  # P + P is 2 P
    return tuple(terms.items())


def _coefficients(value: object, instance: dict[str, Any]) -> dict[str, int]:
    found = {}
    for i, item in enumerate(_few(value or [], "shape.coefficients")):
        where = f"shape.coefficients.{i}"
        written = _mapping(item, where, {"name", "default"})
        name = written.get("name")
        if not isinstance(name, str):
            raise InputError("expected a name", field=f"{where}.name")
        given = name in instance
        found[name] = _size(instance[name] if given else written.get("default"), f"instance.{name}" if given else where)
    return found


def _size(value: object, field: str) -> int:
    if value is None:
        raise InputError("missing", field=field)
    try:
        size = number(value)
    except InputError as error:
        raise InputError(error.message, field=field) from None
    if size != int(size) or not 1 <= size <= MAX_SIZE:
        raise InputError(f"expected a positive whole number, got {value!r}", field=field)
    return int(size)


def _names(value: object, field: str) -> list[str]:
    names = _few(value, field)
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InputError("expected a list of different names", field=field)
    return names


def _list(value: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError("missing" if value is None else "expected a list", field=field)
    return value


def _few(value: object, field: str) -> list[Any]:
    found = _list(value, field)
    if len(found) > MAX_NAMES:
        raise InputError(f"more than {MAX_NAMES}", field=field)
    return found


def _mapping(value: object, field: str, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError("missing" if value is None else "expected a mapping", field=field)
    for key in value:
        if not isinstance(key, str) or (known is not None and key not in known):
            raise InputError("not supported" if isinstance(key, str) else "expected a name", field=f"{field}.{key}")
    return value
