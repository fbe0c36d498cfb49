"""The published figures behind the component models (`components.yaml`, `sram.yaml`), read once and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import TypeVar

import msgspec

from mmsim import files


class DramType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Energy of one kind of DRAM."""

    type: str
    pj_per_bit: float
    source: str


class Arithmetic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """pJ per operation: unit -> width in bits -> one figure per node."""

    source: str
    nodes_nm: list[float]
    intadder: dict[int, list[float]]
    intmultiplier: dict[int, list[float]]
    fpadder: dict[int, list[float]]
    fpmultiplier: dict[int, list[float]]


class ArithmeticArea(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """um^2: unit -> width in bits -> area."""

    source: str
    node_nm: float
    intadder: dict[int, float]
    intmultiplier: dict[int, float]
    fpadder: dict[int, float]
    fpmultiplier: dict[int, float]


class Leakage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Leakage of logic by its area."""

    source: str
    node_nm: float
    mw_per_um2: float


class RegisterBit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One flip-flop."""

    source: str
    node_nm: float
    pj: float
    area_um2: float


class SmallUnits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """(pJ per operation, um^2) of units of `width` bits."""

    source: str
    node_nm: float
    width: int
    comparator: tuple[float, float]
    counter: tuple[float, float]


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On-chip wires by node."""

    source: str
    nodes_nm: list[float]
    pj_per_bit_mm: list[float]


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Area and energy of logic relative to 45 nm, by node."""

    source: str
    nodes_nm: list[float]
    area: list[float]
    energy: list[float]


class Library(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `components.yaml`."""

    dram: list[DramType]
    arithmetic: Arithmetic
    arithmetic_area: ArithmeticArea
    logic_leakage: Leakage
    register_bit: RegisterBit
    small_units: SmallUnits
    wire: Wire
    scaling: Scaling


class SramNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A technology node's ratios to 45 nm."""

    nm: float
    read_pj: float
    write_pj: float
    leak_mw: float
    area_um2: float


class SramColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One width and number of banks; the lists go over rows per bank: 64, 128, 256, ..."""

    width_bits: int
    banks: int
    read_pj: list[float]
    write_pj: list[float]
    leak_mw: list[float]
    area_um2: list[float]
    ports: int = 1


class SramGrid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `sram.yaml`."""

    technology: list[SramNode]
    grid: list[SramColumn]


@lru_cache(maxsize=1)
def library() -> Library:
    """The figures of `components.yaml`."""
    return _read("components.yaml", Library)


@lru_cache(maxsize=1)
def sram_grid() -> SramGrid:
    """The figures of `sram.yaml`."""
    return _read("sram.yaml", SramGrid)


T = TypeVar("T")


def _read(name: str, schema: type[T]) -> T:
    text = (resources.files("mmsim.energy") / name).read_text(encoding="utf-8")
    return files.check(files.parse_yaml(text, file=f"energy/{name}"), schema, file=f"energy/{name}")


def log_interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """`ys` at `x`, a power law between neighbouring points of `xs`, continued beyond its ends.

    >>> log_interpolate(4, [1, 2, 8], [3, 6, 24]), log_interpolate(16, [1, 2, 8], [3, 6, 24])
    (12.0, 48.0)
    """
    points = sorted(zip(xs, ys, strict=True))
    i = sum(p <= x for p, _ in points[1:-1])
    (x0, y0), (x1, y1) = points[i], points[i + 1]
    share = math.log(x / x0) / math.log(x1 / x0)
    return y0 if x == x0 else y1 if x == x1 else y0 * math.pow(y1 / y0, share)
