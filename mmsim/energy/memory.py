"""Energy, leakage and area of SRAMs and register files by size, width, ports and banks; DRAM by type."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from mmsim.energy.library import SramColumn, library, log_interpolate, sram_grid
from mmsim.errors import InputError

QUANTITIES = ("read_pj", "write_pj", "leak_mw", "area_um2")


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory: pJ of an access to a row, leakage and area of the whole."""

    read_pj: float
    write_pj: float
    leak_mw: float
    area_um2: float


@lru_cache(maxsize=1024)
def sram(width_bits: int, rows: int, technology_nm: float, banks: int = 1, ports: int = 1) -> Memory:
    """An SRAM of `rows` x `width_bits`, read off the grid of CACTI runs with power laws between its points.

    Below CACTI's smallest bank (64 rows of 32 bits) energies go with rows^0.78 and 0.3 + 0.7 x width,
    leakage and area with both, as Accelergy's CACTI plug-in found. A register file is an SRAM here.
    """
    if min(width_bits, rows, banks, ports) < 1 or technology_nm <= 0:
        raise InputError(f"an SRAM of {rows} rows x {width_bits} bits, {banks} banks, {ports} ports is not one")
    wide, tall = max(width_bits, 32), max(rows, 64 * banks)
    narrow, short = width_bits / wide, rows / tall
    small = {"read_pj": (0.3 + 0.7 * narrow) * short**0.78, "leak_mw": narrow * short}
    small |= {"write_pj": small["read_pj"], "area_um2": small["leak_mw"]}
    return Memory(
        **{
            quantity: _at_45nm(quantity, wide, tall / banks, banks, ports)
            * small[quantity]
            * _node(quantity, technology_nm)
            for quantity in QUANTITIES
        }
    )


def dram_pj(type: str, bits: float) -> float:
    """Moving `bits` to or from a DRAM of that type, at the device and its interface."""
    known = {dram.type.upper(): dram for dram in library().dram}
    if type.upper() not in known:
        raise InputError(f"unknown DRAM type {type!r}: one of {', '.join(dram.type for dram in known.values())}")
    return known[type.upper()].pj_per_bit * bits


def _at_45nm(quantity: str, width: float, rows_per_bank: float, banks: int, ports: int) -> float:
    """On the grid of one port, of two, or a power law through both."""
    one = _on_grid(quantity, width, rows_per_bank, banks, ports=1)
    if ports == 1:
        return one
    return log_interpolate(ports, [1, 2], [one, _on_grid(quantity, width, rows_per_bank, banks, ports=2)])


def _on_grid(quantity: str, width: float, rows_per_bank: float, banks: float, ports: int) -> float:
    """At 45 nm: first along the rows, then the banks, then the width."""
    columns = [column for column in sram_grid().grid if column.ports == ports]

    def along_rows(column: SramColumn) -> float:
        values: list[float] = getattr(column, quantity)
        return log_interpolate(rows_per_bank, [64 * 2**i for i in range(len(values))], values)

    def along_banks(width_bits: int) -> float:
        here = [column for column in columns if column.width_bits == width_bits]
        return _between(banks, [column.banks for column in here], lambda i: along_rows(here[i]))

    widths = sorted({column.width_bits for column in columns})
    return _between(width, widths, lambda i: along_banks(widths[i]))


def _between(x: float, xs: list[int], value: Callable[[int], float]) -> float:
    """A power law through the two points around `x`; `value` is asked for these only."""
    i = min(max(sum(p <= x for p in xs) - 1, 0), len(xs) - 2)
    return log_interpolate(x, xs[i : i + 2], [value(i), value(i + 1)])


def _node(quantity: str, technology_nm: float) -> float:
    """Ratio to 45 nm. Below 22 nm energies go with the root of the node and area with the node itself.

    SRAM all but stopped shrinking there (IEDM 2022, WikiChip: TSMC N3's bit cell is N5's); leakage
    goes with the root less 21 % of FinFETs, both as in Accelergy's CACTI plug-in.
    """
    nodes = sram_grid().technology
    smallest = min(node.nm for node in nodes)
    ratio = log_interpolate(
        max(technology_nm, smallest), [node.nm for node in nodes], [getattr(node, quantity) for node in nodes]
    )
    shrink = min(technology_nm / smallest, 1.0)
    if quantity == "area_um2":
        return ratio * shrink
    return ratio * math.sqrt(shrink) * (0.79 if quantity == "leak_mw" and shrink < 1 else 1.0)
