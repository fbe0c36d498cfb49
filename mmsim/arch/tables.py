"""Accelergy's energy and area reference tables (ERT, ART) in, and an architecture that uses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmsim import files
from mmsim.arch.arithmetic import number
from mmsim.arch.model import Arch
from mmsim.errors import InputError

_RANGE = re.compile(r"\[\d+\.\.\d+\]$")


def read_ert(path: str | Path) -> dict[str, dict[str, float]]:
    """Component -> action -> pJ, from a file with ``ERT:``; the dearest of an action's argument sets counts."""
    return parse_ert(files.read_yaml(path), file=str(path))


def read_art(path: str | Path) -> dict[str, float]:
    """Component -> um^2 of one instance, from a file with ``ART:``."""
    return parse_art(files.read_yaml(path), file=str(path))


def parse_ert(value: object, *, file: str) -> dict[str, dict[str, float]]:
    """As `read_ert`, from plain values."""
    try:
        return {name: _actions(table, where) for name, table, where in _tables(value, "ERT")}
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None


def parse_art(value: object, *, file: str) -> dict[str, float]:
    """As `read_art`, from plain values."""
    try:
        return {name: _figure(table, "area", where) for name, table, where in _tables(value, "ART")}
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None


def with_tables(
    arch: Arch,
    ert: Mapping[str, Mapping[str, float]] | None = None,
    art: Mapping[str, float] | None = None,
    *,
    file: str | None = None,
) -> Arch:
    """`arch` with these tables in place of its own; entries for components it lacks are left out.

    Raises `InputError`, naming `file`, when the ERT has no entry for a memory or for the compute. As in Timeloop, a
    memory's own ``vector_access_energy`` goes before the ERT.
    """
    names = {storage.name for storage in arch.storages} | {arch.compute.name}
    if ert is not None:
        for name in sorted(names - set(ert)):
            raise InputError(f"no entry for {name!r}", file=file, field="ERT.tables")
        own = {name: table for name, table in arch.energy_pj.items() if name in _fixed(arch)}
        arch = replace(arch, energy_pj={name: own.get(name, ert[name]) for name in ert if name in names})
    if art is not None:
        arch = replace(arch, area_um2={name: area for name, area in art.items() if name in names})
    return arch


def area_um2(arch: Arch) -> float:
    """Area of all instances of all components that `arch.area_um2` names."""
    return sum(area * arch.instances(name) for name, area in arch.area_um2.items())


def component_name(text: str) -> str:
    """The last part of a hierarchical name.

    >>> component_name("system_top_level.glb[1..14]")
    'glb'
    """
    return _RANGE.sub("", text).rsplit(".", 1)[-1]


def _fixed(arch: Arch) -> set[str]:
    return {node.name for node in arch.storages if "vector_access_energy" in node.attributes}


def _tables(value: object, key: str) -> list[tuple[str, dict[str, Any], str]]:
    """(component, table, where) of every table."""
    top = value.get(key) if isinstance(value, dict) else None
    if not isinstance(top, dict):
        raise InputError("missing" if top is None else "expected a mapping", field=key)
    tables = top.get("tables")
    if not isinstance(tables, list):
        raise InputError(
            "expected a list of tables with name and " + ("actions" if key == "ERT" else "area"), field=f"{key}.tables"
        )
    found: dict[str, tuple[str, dict[str, Any], str]] = {}
    for i, table in enumerate(tables):
        where = f"{key}.tables.{i}"
        if not isinstance(table, dict) or not isinstance(table.get("name"), str):
            raise InputError("expected a mapping with a name", field=where)
        name = component_name(table["name"])
        if name in found:
            raise InputError(f"{name!r} stands twice", field=where)
        found[name] = (name, table, where)
    return list(found.values())


def _actions(table: dict[str, Any], where: str) -> dict[str, float]:
    actions = table.get("actions")
    if not isinstance(actions, list):
        raise InputError("expected a list of actions", field=f"{where}.actions")
    found: dict[str, float] = {}
    for i, action in enumerate(actions):
        if not isinstance(action, dict) or not isinstance(action.get("name"), str):
            raise InputError("expected a mapping with name and energy", field=f"{where}.actions.{i}")
        energy = _figure(action, "energy", f"{where}.actions.{i}")
        found[action["name"]] = max(energy, found.get(action["name"], 0.0))
    return found


def _figure(table: dict[str, Any], key: str, where: str) -> float:
    if key not in table:
        raise InputError("missing", field=f"{where}.{key}")
    try:
        value = float(number(table[key]))
    except InputError as error:
        raise InputError(error.message, field=f"{where}.{key}") from None
    if value < 0:
        raise InputError(f"must not be negative, is {value:g}", field=f"{where}.{key}")
    return value
