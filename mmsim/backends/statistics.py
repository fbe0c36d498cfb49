"""Timeloop's statistics file, read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mmsim import files
from mmsim.errors import InputError

_LEVEL = re.compile(r"^=== (\S+) ===$")
_SPACE = re.compile(r"^    (\w+):$")
_FIELD = re.compile(r"^\s+([A-Za-z][\w ()-]*?)\s*:\s*(-?[0-9.]+(?:e[+-]?\d+)?)")


@dataclass(frozen=True, slots=True)
class Access:
    """One data space at one level. Scalar counts are of one instance, energy is of all."""

    reads: float
    fills: float
    updates: float
    instances: float
    energy_pj: float


@dataclass(frozen=True)
class Statistics:
    """What timeloop-model or -mapper reports; `levels` has the memories, innermost first, with their data spaces."""

    cycles: int
    energy_pj: float
    computes: int
    utilization: float
    level_cycles: dict[str, int]
    levels: dict[str, dict[str, Access]]

    @property
    def bound(self) -> str:
        """``compute``, or the memory that takes longest when that is longer."""
        slowest = max(self.level_cycles, key=lambda name: self.level_cycles[name])
        compute = next(iter(self.level_cycles))
        return "compute" if self.level_cycles[slowest] <= self.level_cycles[compute] else slowest


def read(path: str | Path) -> Statistics:
    """The statistics in a file; raises `InputError` when it holds none, as after a search without a valid mapping."""
    text = files.read_text(path)
    levels, summary = _sections(text), text[text.rfind("Summary Stats") :]
    cycles = re.search(r"^Cycles: (\d+)", summary, re.M)
    computes = re.search(r"^Computes = (\d+)", summary, re.M)
    total = re.search(r"^\s+Total\s+= ([0-9.e+]+)", summary, re.M)
    utilization = re.search(r"^Utilization: ([0-9.]+)%", summary, re.M)
    if not (cycles and computes and total and utilization):
        raise InputError("no summary: Timeloop found no valid mapping", file=str(path))
    return Statistics(
        cycles=int(cycles[1]),
        energy_pj=float(total[1]) * int(computes[1]) * 1e-3,
        computes=int(computes[1]),
        utilization=float(utilization[1]) / 100,
        level_cycles={name: int(fields["Cycles"]) for name, (fields, _) in levels.items() if "Cycles" in fields},
        levels={
            name: {space: _access(fields) for space, fields in spaces.items()}
            for name, (_, spaces) in levels.items()
            if spaces
        },
    )


Fields = dict[str, float]


def _sections(text: str) -> dict[str, tuple[Fields, dict[str, Fields]]]:
    """Level -> its own fields, and those of each data space; the part before the networks."""
    levels: dict[str, tuple[Fields, dict[str, Fields]]] = {}
    fields: Fields = {}
    spaces: dict[str, Fields] = {}
    for line in text.split("\nNetworks\n")[0].splitlines():
        if match := _LEVEL.match(line):
            fields, spaces = {}, {}
            levels[match[1]] = (fields, spaces)
        elif match := _SPACE.match(line):
            fields = spaces.setdefault(match[1], {})
        elif match := _FIELD.match(line):
            fields.setdefault(match[1].strip(), float(match[2]))
    return levels


def _access(fields: Fields) -> Access:
    return Access(
        reads=fields.get("Scalar reads (per-instance)", 0.0),
        fills=fields.get("Scalar fills (per-instance)", 0.0),
        updates=fields.get("Scalar updates (per-instance)", 0.0),
        instances=fields.get("Utilized instances (max)", 0.0),
        energy_pj=fields.get("Energy (total)", 0.0),
    )
