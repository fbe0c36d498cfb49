"""Accelergy v0.4 tables (ERT, ART) as plain values, named the way Timeloop looks them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmsim.arch.model import Arch, Fanout

VERSION = "0.4"


def ert(arch: Arch, energy_pj: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The energy reference table: component -> pJ per action."""
    tables = [
        {
            "name": name,
            "actions": [
                {"name": action, "arguments": {}, "energy": float(f"{energy:.6g}")}
                for action, energy in energy_pj[component].items()
            ],
        }
        for component, name in component_names(arch).items()
        if component in energy_pj
    ]
    return {"version": VERSION, "tables": tables}


def art(arch: Arch, area_um2: Mapping[str, float]) -> dict[str, Any]:
    """The area reference table: one instance's um^2 per component."""
    tables = [
        {"name": name, "area": float(f"{area_um2[component]:.6g}")}
        for component, name in component_names(arch).items()
        if component in area_um2
    ]
    return {"version": VERSION, "tables": tables}


def component_names(arch: Arch) -> dict[str, str]:
    """Component -> its name in the tables, ``SYSTEM_top_level.NAME[1..INSTANCES]``."""
    top = f"{system_name(arch)}_top_level"
    return {
        node.name: f"{top}.{node.name}[1..{arch.instances(node.name)}]"
        for node in arch.nodes
        if not isinstance(node, Fanout)
    }


def system_name(arch: Arch) -> str:
    """The top container's name: the architecture's, unless a node has that already."""
    taken = {node.name for node in arch.nodes}
    name = "".join(c if c.isalnum() else "_" for c in arch.name) or "system"
    return name if name not in taken else f"{name}_system"
