"""How the op families write loop nests: one builder for products, one for everything that runs elementwise.

Dimensions of size 1 and dimensions that are indexed alike everywhere are merged, so that equal work
gives equal problems: adding (8, 3, 224, 224) to itself and adding (8, 150528) to itself are one problem.
An empty tensor costs nothing: a nest with a dimension of size 0 is no problem at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import log2

from mmsim.errors import InputError
from mmsim.layer import Attr, Layer, Tensor
from mmsim.problem import DataSpace, Kind, Problem, Rank
from mmsim.size import Size, product

Problems = tuple[Problem, ...]
KEPT, ROWS = "EFGHIJLMNOP", "KRSTUVWXYZQ"


@dataclass(frozen=True)
class Access:
    """One tensor of an elementwise nest: its own size along each axis of the loop.

    A size of 1 under a longer axis means that the axis doesn't index it (broadcast, or reduced); any
    other size that differs from the loop's is what exists in memory (a padded or selected axis).
    """

    name: str
    bits: int
    own: tuple[Size, ...]
    is_output: bool = False


def reads(*tensors: Tensor, shape: Sequence[Size]) -> tuple[Access, ...]:
    """``Inputs, Inputs2, ...`` by torch's broadcasting: shapes aligned at the right."""
    return tuple(_aligned(_numbered("Inputs", i), tensor, shape) for i, tensor in enumerate(tensors))


def writes(*tensors: Tensor, shape: Sequence[Size]) -> tuple[Access, ...]:
    """``Outputs, Outputs2, ...``, aligned in the same way."""
    found = (_aligned(_numbered("Outputs", i), tensor, shape) for i, tensor in enumerate(tensors))
    return tuple(replace(access, is_output=True) for access in found)


def _numbered(name: str, position: int) -> str:
    return f"{name}{position + 1}" if position else name


def _aligned(name: str, tensor: Tensor, shape: Sequence[Size]) -> Access:
    missing = len(shape) - len(tensor.shape)
    if missing < 0:
        raise InputError(f"{tensor.name} of shape {tensor.shape} does not broadcast to {tuple(shape)}")
    return Access(name, tensor.bits, (1,) * missing + tensor.shape)


def nest(
    kind: Kind,
    family: str,
    shape: Sequence[Size],
    accesses: Iterable[Access],
    *,
    over: tuple[int, ...] = (),
    ops: int = 1,
    instances: Size = 1,
    name: str = "",
) -> Problems:
    """A loop over `shape` that touches each access; axes that index the same tensors are merged.

    The axes `over` hold one row (what is summed, normalised or sorted together): they keep dimensions
    of their own, K first, beside E, F, ... for the rest.
    """
    accesses = tuple(accesses)
    if any(size == 0 for size in shape) or instances == 0:
        return ()
    groups: list[tuple[tuple[bool, ...], list[int]]] = []  # (in a row, indexed by each access ...), axes
    for axis in (axis for axis, size in enumerate(shape) if size != 1):
        pattern = (axis in over, *(access.own[axis] != 1 for access in accesses))
        if groups and groups[-1][0] == pattern:
            groups[-1][1].append(axis)
        else:
            groups.append((pattern, [axis]))
    if not groups:  # a scalar
        groups = [((False, *(True for _ in accesses)), [])]
    kept, rows = iter(KEPT), iter(ROWS)
    letters = [next(rows if pattern[0] else kept) for pattern, _ in groups]
    dims = {letter: product(shape[axis] for axis in group) for letter, (_, group) in zip(letters, groups, strict=True)}
    spaces = []
    for position, access in enumerate(accesses, start=1):
        used = [(dim, group) for dim, (pattern, group) in zip(letters, groups, strict=True) if pattern[position]]
        own = tuple(product(access.own[axis] for axis in group) for _, group in used)
        extents = own if own != tuple(dims[dim] for dim, _ in used) else None
        projection: tuple[Rank, ...] = tuple(((dim, 1),) for dim, _ in used)
        spaces.append(DataSpace(access.name, projection, access.bits, access.is_output, extents))
    return (Problem(kind, tuple(dims.items()), tuple(spaces), family, ops, instances, name),)


def matrix_product(
    m: Size,
    n: Size,
    k: Size,
    *,
    bits: tuple[int, int, int],
    batch: Size = 1,
    instances: Size = 1,
    is_complex: bool = False,
    name: str = "",
) -> Problems:
    """``Outputs[B, M, N] = Inputs[B, M, K] x Weights[B, K, N]``; `bits` of inputs, weights, outputs.

    A complex product is a real one of (real, imaginary) pairs, ``[a -b; b a]`` for each weight: twice N and K, and
    half the weights in memory.
    """
    if is_complex:
        n, k, bits = 2 * n, 2 * k, (bits[0] // 2, bits[1] // 2, bits[2] // 2)
    if any(size == 0 for size in (m, n, k, batch, instances)):
        return ()
    lead: tuple[str, ...] = () if batch == 1 else ("B",)
    sizes = {"B": batch, "M": m, "N": n, "K": k}
    dims = tuple((dim, sizes[dim]) for dim in (*lead, "M", "N", "K"))

    def space(label: str, ranks: tuple[str, ...], width: int, is_output: bool = False) -> DataSpace:
        return DataSpace(label, tuple(((dim, 1),) for dim in (*lead, *ranks)), width, is_output)

    weights = space("Weights", ("K", "N"), bits[1])
    if is_complex:
        weights = replace(weights, extents=(*(sizes[dim] for dim in lead), k, scaled(n, Fraction(1, 2))))
    spaces = (
        weights,
        space("Inputs", ("M", "K"), bits[0]),
        space("Outputs", ("M", "N"), bits[2], is_output=True),
    )
    return (Problem("mac", dims, spaces, "matmul", instances=instances, name=name),)


# --- reading a layer ---------------------------------------------------------------------------------


def operand(layer: Layer, *names: str, position: int | None = None) -> Tensor:
    """The tensor given under the first of `names` that is there, else the one at `position`."""
    for name in names:
        found = layer.operand(name)
        if found is not None:
            return found
    if position is not None and position < len(layer.operands):
        return layer.tensors[position]
    raise InputError(f"{layer.op} at {place(layer)} has no operand {names[0]!r}")


def first(layer: Layer) -> Tensor:
    """The tensor that the op is about: ``input`` or ``self``, else the first one given."""
    return operand(layer, "input", "self", position=0)


def distinct(layer: Layer) -> tuple[Tensor, ...]:
    """The tensors read, each once (``x * x`` reads one)."""
    return tuple({tensor.name: tensor for tensor in layer.tensors}.values())


def integers(value: Attr, count: int, default: int = 1) -> tuple[int, ...]:
    """An argument such as ``stride`` as one int an axis: 2 -> (2, 2); nothing -> the default."""
    if value is None or value == ():
        return (default,) * count
    if isinstance(value, int):
        return (int(value),) * count
    if isinstance(value, tuple) and len(value) in (1, count) and all(isinstance(v, int) for v in value):
        found = tuple(int(v) for v in value if isinstance(v, int))
        return found * count if len(found) == 1 else found
    raise InputError(f"{value!r} is not {count} whole numbers")


def axes(value: Attr, rank: int) -> tuple[int, ...]:
    """An argument such as ``dim`` as axes counted from the front; nothing means all."""
    if value is None or value == () or not rank:
        return tuple(range(rank))
    given = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(axis, int) and -rank <= axis < rank for axis in given):
        raise InputError(f"{value!r} is no axis of a tensor of {rank} axes")
    return tuple(int(axis) % rank for axis in given if isinstance(axis, int))


def scaled(size: Size, factor: Fraction) -> Size:
    """`size` times a fraction that leaves it whole."""
    if isinstance(size, int):
        return int(size * factor)
    return size * factor


def log2_of(size: Size) -> float:
    """log2 of a size; of a symbolic one as if it were 1024, until `Layer.at` gives it a value."""
    return log2(max(size, 2)) if isinstance(size, int) else 10.0


def place(layer: Layer) -> str:
    """Where a layer stands, for messages: module path and source line."""
    return " ".join(
        part for part in (layer.module_path or layer.name, f"({layer.source})" if layer.source else "") if part
    )
