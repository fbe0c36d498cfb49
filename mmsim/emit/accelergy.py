"""Accelergy v0.4 files as plain values: energy and area tables (ERT, ART), compound component classes.

Accelergy's plug-ins know a few primitives (DRAM, SRAM, adders, multipliers), some at 45 nm only.
Register files and MACs are therefore written as compound components of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmsim._yaml import Quoted
from mmsim.arch.model import Arch, Compute, Fanout, Storage
from mmsim.energy.arithmetic import logic_area_scale, logic_energy_scale
from mmsim.energy.estimate import FORMATS

VERSION = "0.4"
PLUGIN_NM = 45  # the node of the plug-in that knows adders and multipliers


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
    return name if name[0].isalpha() and name not in taken else f"system_{name}"


def subclass(node: Storage | Compute) -> str | None:
    """The compound class that Accelergy is given for this node; None for a primitive or a class of the user's own."""
    if "subclass" in node.attributes:
        return str(node.attributes["subclass"])
    if isinstance(node, Storage):
        return None if "DRAM" in node.kind or node.kind == "SRAM" else "sram_buffer"
    return "float_mac" if "fp" in node.kind else "integer_mac"


def attributes(node: Storage | Compute) -> dict[str, object]:
    """What the classes of `components` need to know of a node beyond what Timeloop does."""
    if isinstance(node, Storage):
        return {} if "DRAM" in node.kind else {"n_banks": 1, "n_rw_ports": 1}
    if "fp" in node.kind:
        exponent, mantissa = FORMATS.get(node.word_bits, (8, max(node.word_bits - 9, 1)))
        return {"exponent": exponent, "mantissa": mantissa}
    return {"multiplier_width": node.word_bits, "adder_width": 2 * node.word_bits}


def components(arch: Arch) -> dict[str, Any]:
    """The ``components`` of a file: the compound classes that `arch` uses."""
    nodes = [node for node in arch.nodes if not isinstance(node, Fanout)]
    used = {subclass(node) for node in nodes}
    classes = {
        "sram_buffer": _compound(
            {"width": 32, "depth": 64, "n_rw_ports": 1, "n_banks": 1},
            [_part("storage", "SRAM", "width", "depth", "n_rw_ports", "n_banks")],
            ("read", "write", "update", "leak"),
        ),
        "integer_mac": _compound(
            {"multiplier_width": 16, "adder_width": 32},
            [
                _unit("multiplier", "intmultiplier", {"width": "multiplier_width"}, arch),
                _unit("adder", "intadder", {"width": "adder_width"}, arch),
            ],
            ("compute", "leak"),
        ),
        "float_mac": _compound(
            {"exponent": 8, "mantissa": 23},
            [
                _unit("multiplier", "fpmultiplier", {"exponent": "exponent", "mantissa": "mantissa"}, arch),
                _unit("adder", "fpadder", {"exponent": "exponent", "mantissa": "mantissa"}, arch),
            ],
            ("compute", "leak"),
        ),
    }
    return {"version": VERSION, "classes": [{"name": name, **spec} for name, spec in classes.items() if name in used]}


def _compound(attributes: dict[str, Any], parts: list[dict[str, Any]], actions: tuple[str, ...]) -> dict[str, Any]:
    """A class every action of which is that action of all its parts."""
    return {
        "attributes": attributes,
        "subcomponents": parts,
        "actions": [
            {"name": action, "subcomponents": [{"name": part["name"], "actions": [{"name": action}]} for part in parts]}
            for action in actions
        ],
    }


def _part(name: str, kind: str, *passed: str) -> dict[str, Any]:
    return {"name": name, "class": kind, "attributes": {key: key for key in passed}}


def _unit(name: str, kind: str, given: dict[str, str], arch: Arch) -> dict[str, Any]:
    """An adder or multiplier at the plug-in's node, scaled to the architecture's as logic is."""
    out: dict[str, Any] = {"name": name, "class": kind, "attributes": {**given, "technology": Quoted(f"{PLUGIN_NM}nm")}}
    if arch.technology_nm != PLUGIN_NM:
        out["energy_scale"] = round(logic_energy_scale(PLUGIN_NM, arch.technology_nm), 4)
        out["area_scale"] = round(logic_area_scale(PLUGIN_NM, arch.technology_nm), 4)
    return out
