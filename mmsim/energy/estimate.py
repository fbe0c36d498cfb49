"""One component's energy per action and area, by Accelergy's class names and attributes.

| class | attributes | actions |
|---|---|---|
| DRAM | type, width | read, write, update |
| SRAM, regfile, smartbuffer, storage, cache | width, depth, n_banks, n_rw_ports | read, write, update, leak |
| intmac, mac, compute | multiplier_width, adder_width | compute, leak |
| fpmac | exponent, mantissa | compute, leak |
| intadder, intmultiplier, comparator, counter | width | compute, leak |
| fpadder, fpmultiplier | exponent, mantissa | compute, leak |
| register | width | read, write, update, leak |
| wire | length (mm, or text such as 20um), width | transfer |

A class is known by the part of its name that says it, as in Timeloop: ``smartbuffer_SRAM`` is an SRAM.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from mmsim.arch.arithmetic import number
from mmsim.energy import arithmetic, memory
from mmsim.energy.library import library
from mmsim.errors import InputError

Attributes = Mapping[str, object]

MM = {"mm": 1.0, "um": 1e-3, "nm": 1e-6}


@dataclass(frozen=True)
class Estimate:
    """pJ per action (leak: per cycle) and one instance's area, with where the figures come from."""

    energy_pj: Mapping[str, float]
    area_um2: float
    source: str = ""


@dataclass(frozen=True)
class Process:
    """What all components of a chip share."""

    technology_nm: float
    cycle_s: float


def estimate(kind: str, attributes: Attributes, process: Process) -> Estimate:
    """The component of class `kind`; raises `InputError` naming the attribute, or for a class that is not known.

    >>> estimate("DRAM", {"type": "LPDDR4", "width": 64}, Process(45, 1e-9)).energy_pj["read"]
    512.0
    """
    technology = attributes.get("technology")
    if technology is not None:
        process = Process(_technology(technology), process.cycle_s)
    return _model(kind)(attributes, process)


def _model(kind: str) -> Callable[[Attributes, Process], Estimate]:
    lowered = kind.lower()
    for part, model in MODELS.items():
        if part in lowered:
            return model
    raise InputError(f"no energy model for class {kind!r}: known are {', '.join(MODELS)}", field="class")


def _dram(attributes: Attributes, process: Process) -> Estimate:
    access = memory.dram_pj(str(attributes.get("type", "LPDDR4")), _whole(attributes, "width"))
    source = next(d.source for d in library().dram if d.type.upper() == str(attributes.get("type", "LPDDR4")).upper())
    return Estimate({"read": access, "write": access, "update": access, "leak": 0.0}, 0.0, source)


def _sram(attributes: Attributes, process: Process) -> Estimate:
    found = memory.sram(
        _whole(attributes, "width"),
        _whole(attributes, "depth"),
        process.technology_nm,
        _whole(attributes, "n_banks", default=1),
        _whole(attributes, "n_rw_ports", default=_whole(attributes, "n_ports", default=1)),
    )
    leak = found.leak_mw * process.cycle_s * 1e9
    energy = {"read": found.read_pj, "write": found.write_pj, "update": found.write_pj, "leak": leak}
    return Estimate(energy, found.area_um2, "CACTI 7.0, ITRS-LSTP")


def _register(attributes: Attributes, process: Process) -> Estimate:
    bit = library().register_bit
    bits = _whole(attributes, "width")
    access = bits * bit.pj * arithmetic.logic_energy_scale(bit.node_nm, process.technology_nm)
    area = bits * bit.area_um2 * arithmetic.logic_area_scale(bit.node_nm, process.technology_nm)
    leak = _leak(area, process)
    return Estimate({"read": access, "write": access, "update": access, "leak": leak}, area, bit.source)


def _intmac(attributes: Attributes, process: Process) -> Estimate:
    width = _whole(attributes, "multiplier_width", default=_width(attributes))
    return _sum(
        _unit("intmultiplier", width, process),
        _unit("intadder", _whole(attributes, "adder_width", default=2 * width), process),
    )


def _fpmac(attributes: Attributes, process: Process) -> Estimate:
    significand = _significand(attributes)
    return _sum(_unit("fpmultiplier", significand, process), _unit("fpadder", significand, process))


def _integer(unit: arithmetic.Unit) -> Callable[[Attributes, Process], Estimate]:
    return lambda attributes, process: _unit(unit, _width(attributes), process)


def _floating(unit: arithmetic.Unit) -> Callable[[Attributes, Process], Estimate]:
    return lambda attributes, process: _unit(unit, _significand(attributes), process)


def _small(unit: Literal["comparator", "counter"]) -> Callable[[Attributes, Process], Estimate]:
    """Units whose energy and area go with their width."""

    def model(attributes: Attributes, process: Process) -> Estimate:
        figures = library().small_units
        pj, um2 = getattr(figures, unit)
        width = _whole(attributes, "n_bits", default=_width(attributes)) / figures.width
        area = um2 * width * arithmetic.logic_area_scale(figures.node_nm, process.technology_nm)
        energy = pj * width * arithmetic.logic_energy_scale(figures.node_nm, process.technology_nm)
        return Estimate({"compute": energy, "leak": _leak(area, process)}, area, figures.source)

    return model


def _unit(unit: arithmetic.Unit, bits: int, process: Process) -> Estimate:
    area = arithmetic.area_um2(unit, bits, process.technology_nm)
    energy = arithmetic.energy_pj(unit, bits, process.technology_nm)
    return Estimate({"compute": energy, "leak": _leak(area, process)}, area, library().arithmetic.source)


def _wire(attributes: Attributes, process: Process) -> Estimate:
    transfer = arithmetic.wire_pj(_whole(attributes, "width"), _length_mm(attributes), process.technology_nm)
    return Estimate({"transfer": transfer, "leak": 0.0}, 0.0, library().wire.source)


MODELS: dict[str, Callable[[Attributes, Process], Estimate]] = {
    "dram": _dram,
    "sram": _sram,
    "regfile": _sram,
    "smartbuffer": _sram,
    "storage": _sram,
    "cache": _sram,
    "register": _register,
    "fpmac": _fpmac,
    "fpadder": _floating("fpadder"),
    "fpmultiplier": _floating("fpmultiplier"),
    "adder": _integer("intadder"),
    "multiplier": _integer("intmultiplier"),
    "comparator": _small("comparator"),
    "counter": _small("counter"),
    "mac": _intmac,
    "compute": _intmac,
    "wire": _wire,
}
"""Class -> model, the first whose name stands in the class's (so ``fpmac`` comes before ``mac``)."""


def _sum(*parts: Estimate) -> Estimate:
    energy: dict[str, float] = {}
    for part in parts:
        for action, pj in part.energy_pj.items():
            energy[action] = energy.get(action, 0.0) + pj
    return Estimate(energy, sum(part.area_um2 for part in parts), parts[0].source)


def _leak(area_um2: float, process: Process) -> float:
    """pJ per cycle."""
    return arithmetic.leak_mw(area_um2) * process.cycle_s * 1e9


def _whole(attributes: Attributes, name: str, default: int | None = None) -> int:
    value = attributes.get(name)
    if value is None or value == "":
        if default is None:
            raise InputError("missing", field=name)
        return default
    try:
        figure = number(value)
    except InputError as error:
        raise InputError(error.message, field=name) from None
    if figure < 1:
        raise InputError(f"must be at least 1, is {figure}", field=name)
    return math.ceil(figure)


def _width(attributes: Attributes) -> int:
    """Bits of the operands; a multiplier's may be given as ``width_a`` and ``width_b``."""
    pair = [_whole(attributes, key) for key in ("width_a", "width_b") if attributes.get(key) is not None]
    if len(pair) == 2:
        return math.ceil(math.sqrt(pair[0] * pair[1]))
    return _whole(attributes, "width", default=_whole(attributes, "datawidth", default=16))


FORMATS = {8: (4, 3), 16: (5, 10), 32: (8, 23), 64: (11, 52)}  # word bits -> exponent, mantissa


def _significand(attributes: Attributes) -> int:
    """Bits of the significand, the hidden one included; by the IEEE format of the word when no mantissa is given."""
    word = _whole(attributes, "datawidth", default=_whole(attributes, "width", default=32))
    if attributes.get("mantissa") is None and word not in FORMATS:
        raise InputError(f"missing: a float of {word} bits has no usual one", field="mantissa")
    return _whole(attributes, "mantissa", default=FORMATS.get(word, (0, 0))[1]) + 1


def _length_mm(attributes: Attributes) -> float:
    value = attributes.get("length")
    if value is None:
        raise InputError("missing", field="length")
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(mm|um|nm)\s*", value) if isinstance(value, str) else None
    figure, unit = (match[1], match[2]) if match else (cast(Any, value), "mm")
    try:
        return float(number(figure)) * MM[unit]
    except InputError as error:
        raise InputError(error.message, field="length") from None


def _technology(value: object) -> float:
    """``45`` or ``"45nm"``."""
    text = value.removesuffix("nm") if isinstance(value, str) else value
    try:
        found = float(number(text))
    except InputError as error:
        raise InputError(error.message, field="technology") from None
    if found <= 0:
        raise InputError(f"must be positive, is {found:g}", field="technology")
    return found
