"""What `evaluate` and `map` read: Timeloop files in any number and order, made one as timeloop-model makes them one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmsim import files
from mmsim.arch import Arch, load
from mmsim.arch import timeloop as timeloop_arch
from mmsim.arch.load import is_path
from mmsim.arch.spec import is_spec
from mmsim.arch.tables import parse_art, parse_ert, with_tables
from mmsim.energy import compound, tables
from mmsim.energy.tables import Area, Energy
from mmsim.errors import InputError
from mmsim.nest import mapping_file, problem_file
from mmsim.nest.mapping import Mapping
from mmsim.problem import Problem

WHOLE = ("architecture", "problem", "mapping")  # each stands in one file; of the rest, lists and mappings add up


@dataclass(frozen=True)
class Parts:
    """The top-level keys of all files with the file that each came from, and an architecture that is not Timeloop's."""

    values: dict[str, Any]
    origin: dict[str, str]
    arch: Arch | None = None

    def file(self, key: str) -> str:
        """The file that holds `key`; raises `InputError` when none does."""
        if key not in self.values:
            raise InputError(f"no {key} in any of the files given")
        return self.origin[key]

    def problem(self, arch: Arch) -> Problem:
        """The problem, a word as wide as the compute's."""
        file = self.file("problem")
        return problem_file.parse(self.values["problem"], file=file, word_bits=arch.compute.word_bits)

    def mapping(self, arch: Arch, problem: Problem) -> Mapping:
        """The mapping of `problem` on `arch`."""
        file = self.file("mapping")
        return mapping_file.parse(self.values["mapping"], arch, problem, file=file)

    def machine(self) -> Arch:
        """The architecture with the tables given, else its own figures."""
        arch = self.arch or self._timeloop()
        ert = parse_ert(self.values, file=self.origin["ERT"]) if "ERT" in self.values else None
        art = parse_art(self.values, file=self.origin["ART"]) if "ART" in self.values else None
        return with_tables(arch, ert, art, file=self.origin.get("ERT"))

    def tables(self, arch: Arch) -> tuple[Energy, Area]:
        """The energies and areas of every component of `arch`, by the component models where it gives none."""
        file = self.origin.get("components", self.origin.get("architecture", arch.name))
        try:
            return tables(arch, compound.parse(self.values, file=file))
        except InputError as error:
            raise InputError(error.message, file=file, field=error.field) from None

    def architecture(self) -> Arch:
        """The machine with every energy and area; of a table given, no more than it has."""
        arch = self.machine()
        if "ERT" in self.values:
            return arch
        try:
            energy, area = self.tables(arch)
        except InputError as error:
            raise InputError(f"{error.message}; or give --ert", file=error.file, field=error.field) from None
        return replace(arch, energy_pj=energy, area_um2=area)

    def _timeloop(self) -> Arch:
        file = self.file("architecture")
        known = {key: self.values[key] for key in ("architecture", "variables", "constraints") if key in self.values}
        try:
            return timeloop_arch.parse(known, file=file)
        except InputError as error:
            at = self.origin.get((error.field or "").split(".")[0], file)
            raise InputError(error.message, file=at, field=error.field) from None


def read(names: Sequence[str], ert: Path | None, art: Path | None) -> Parts:
    """The parts of an input: files, a built-in architecture's name among them; `ert` and `art` go before the files'.

    Raises `InputError` naming the file for an unknown key, and for one that stands in two files.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    own: list[Arch] = []
    for name in names:
        value = files.read_yaml(name) if is_path(name) else None
        if (value is None and not is_path(name)) or is_spec(value):
            own.append(load(name))
            continue
        for key, part in _keyed(value, name).items():
            values[key] = _added(values, key, part, name, origin) if key in values else part
            origin.setdefault(key, name)
    for key, path in (("ERT", ert), ("ART", art)):
        if path:
            values[key], origin[key] = _keyed(files.read_yaml(path), str(path)).get(key), str(path)
    if len(own) + ("architecture" in values) > 1:
        raise InputError(f"more than one architecture: {', '.join(names)}")
    return Parts(values, origin, own[0] if own else None)


def _keyed(value: object, file: str) -> dict[str, Any]:
    """The top-level keys of a file; a bare list is a mapping, and a bare shape a problem."""
    if isinstance(value, list):
        return {"mapping": value}
    if not isinstance(value, dict) or not value:
        raise InputError("expected keys such as architecture, problem or mapping", file=file)
    if "shape" in value:
        return {"problem": value}
    try:
        return timeloop_arch.keyed(value)
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None


def _added(values: dict[str, Any], key: str, part: object, file: str, origin: dict[str, str]) -> Any:
    """What was read under `key` before with `part` added: lists go on, mappings have more keys."""
    if key in WHOLE:
        raise InputError(f"stands in {origin[key]} already", file=file, field=key)
    return _merged(values[key], part, file, key)


def _merged(old: object, new: object, file: str, field: str) -> Any:
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if isinstance(old, dict) and isinstance(new, dict):
        both = {key: _merged(old[key], new[key], file, f"{field}.{key}") for key in old if key in new}
        return {**old, **new, **both}
    if old != new:
        raise InputError("stands in another file with another value", file=file, field=field)
    return old
