"""Energy and area of adders, multipliers and MACs, integer and floating-point, by width and technology node.

Between and beyond the published widths a power law in the width holds (in the significand's width for
floating point): an integer multiplier of twice the width takes about four times the energy. The same
goes for nodes between 45 and 7 nm; above 45 nm Stillmaker and Baas's ratios are applied.
"""

from __future__ import annotations

from typing import Literal

from mmsim.energy.library import library, log_interpolate

Unit = Literal["intadder", "intmultiplier", "fpadder", "fpmultiplier"]


def energy_pj(unit: Unit, bits: int, technology_nm: float) -> float:
    """One operation of a unit; `bits` is the operand's width, or the significand's (with its hidden bit).

    >>> energy_pj("intmultiplier", 8, 45), energy_pj("fpadder", 24, 7)
    (0.2, 0.38)
    """
    figures = library().arithmetic
    table: dict[int, list[float]] = getattr(figures, unit)
    node = min(technology_nm, max(figures.nodes_nm))
    at_node = [log_interpolate(node, figures.nodes_nm, by_node) for by_node in table.values()]
    return log_interpolate(bits, list(table), at_node) * logic_energy_scale(node, technology_nm)


def area_um2(unit: Unit, bits: int, technology_nm: float) -> float:
    """One unit's area; `bits` as in `energy_pj`."""
    figures = library().arithmetic_area
    table: dict[int, float] = getattr(figures, unit)
    return log_interpolate(bits, list(table), list(table.values())) * logic_area_scale(figures.node_nm, technology_nm)


def logic_energy_scale(from_nm: float, to_nm: float) -> float:
    """Energy per operation at `to_nm` over that at `from_nm`, for logic at 0.9 V."""
    scaling = library().scaling
    to, source = (log_interpolate(nm, scaling.nodes_nm, scaling.energy) for nm in (to_nm, from_nm))
    return to / source


def logic_area_scale(from_nm: float, to_nm: float) -> float:
    """Area at `to_nm` over that at `from_nm`."""
    scaling = library().scaling
    to, source = (log_interpolate(nm, scaling.nodes_nm, scaling.area) for nm in (to_nm, from_nm))
    return to / source


def leak_mw(area: float) -> float:
    """Leakage of logic of that area; per um^2 it is taken as equal at every node."""
    return area * library().logic_leakage.mw_per_um2


def wire_pj(bits: float, length_mm: float, technology_nm: float) -> float:
    """Moving `bits` over a wire of that length."""
    wire = library().wire
    return bits * length_mm * log_interpolate(technology_nm, wire.nodes_nm, wire.pj_per_bit_mm)
