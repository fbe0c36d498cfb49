"""What `evaluate` and `map` read: Timeloop files in any number and order, made one as timeloop-model makes them one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsim import files
from mmsim.arch import Arch, load
from mmsim.arch import timeloop as timeloop_arch
from mmsim.arch.load import is_path
from mmsim.arch.spec import is_spec
from mmsim.arch.tables import parse_art, parse_ert, with_tables
from mmsim.energy import compound, filled
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

    def architecture(self) -> Arch:
        """The architecture with energies: of the tables given, else its own, else of the component models."""
        arch = self.arch or self._timeloop()
        ert = parse_ert(self.values, file=self.origin["ERT"]) if "ERT" in self.values else None
        art = parse_art(self.values, file=self.origin["ART"]) if "ART" in self.values else None
        if ert is None:
            file = self.origin.get("components", self.origin.get("architecture", arch.name))
            own = compound.parse(self.values, file=file) if "components" in self.values else None
            try:
                arch = filled(arch, own)
            except InputError as error:
                raise InputError(f"{error.message}; or give --ert", file=file, field=error.field) from None
        return with_tables(arch, ert, art, file=self.origin.get("ERT"))

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
    for key in value:
        if key not in timeloop_arch.TOP_KEYS:
            raise InputError("not supported", file=file, field=str(key))
    return value


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
