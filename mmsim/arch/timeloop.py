"""Users' own Timeloop v0.4 architecture files: containers, components and branches become an `Arch`.

As in Timeloop's front end: a container's attributes hold for everything below it, ``spatial`` on a
node is a fan-out above it, and a component's class is found by the words in its name. What mmsim
does not model is refused by name rather than ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from mmsim.arch.arithmetic import number
from mmsim.arch.attributes import check_instances, evaluated, mapping_of, positive
from mmsim.arch.constraints import parse_constraints
from mmsim.arch.model import Arch, Compute, Node, Storage, level_name
from mmsim.arch.tables import parse_art, parse_ert, with_tables
from mmsim.arch.timeloop_node import Leaf, nodes_of, user_energy
from mmsim.errors import InputError

MAX_LEAVES = 128
BRANCHES = ("Hierarchical", "Parallel", "Pipelined")
TOP_KEYS = {
    "architecture", "constraints", "variables", "components", "ERT", "ART",
    "problem", "mapping", "mapper", "mapspace", "globals", "dumped_by_timeloop_front_end",
}  # fmt: skip
PART_KEYS = ("components", "constraints", "mapping", "globals")  # a longer key with one of these in it is that key
LEAF_KEYS = {"!", "name", "attributes", "spatial", "constraints"}
COMPONENT_KEYS = LEAF_KEYS | {"class", "subclass", "required_actions", "area_scale", "energy_scale", "enabled"}


def is_timeloop(value: object) -> bool:
    """Whether these values look like a Timeloop v0.4 file with an architecture."""
    return isinstance(value, dict) and "architecture" in value


def keyed(value: dict[Any, Any]) -> dict[str, Any]:
    """The top-level keys of a file under the names that `TOP_KEYS` has, as Timeloop's front end finds them.

    Raises `InputError` for an unknown key, and for two that mean the same.

    >>> keyed({"compound_components": 1, "base_ignore": 2})
    {'components': 1}
    """
    found: dict[str, Any] = {}
    for key, part in value.items():
        if isinstance(key, str) and "ignore" in key:
            continue
        name = str(key)
        if name not in TOP_KEYS:
            name = next((part_key for part_key in PART_KEYS if part_key in name), name)
        if name not in TOP_KEYS:
            raise InputError("not supported", field=name)
        if name in found:
            raise InputError(f"{name} stands twice", field=str(key))
        found[name] = part
    return found


def parse(value: object, *, file: str) -> Arch:
    """The architecture in a Timeloop v0.4 file's plain values; an ERT or ART among them is used.

    Raises `InputError` naming file and field.
    """
    try:
        arch = _arch(value, Path(file).stem.removesuffix(".arch"))
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None
    assert isinstance(value, dict)
    ert = parse_ert(value, file=file) if value.get("ERT") else None
    art = parse_art(value, file=file) if value.get("ART") else None
    return with_tables(arch, ert, art, file=file)


def _arch(value: object, name: str) -> Arch:
    top = keyed(mapping_of(value, "", None))
    if isinstance(top.get("architecture"), dict) and "subtree" in top["architecture"]:
        raise InputError("an architecture of v0.3; mmsim reads v0.4, with nodes", field="architecture.subtree")
    tree = mapping_of(top.get("architecture"), "architecture", {"version", "nodes", "!"})
    if str(tree.get("version", "0.4")) not in ("0.4", "0.40"):
        raise InputError(f"only version 0.4 is read, not {tree['version']}", field="architecture.version")
    variables = evaluated(mapping_of(top.get("variables"), "variables", None), {}, "variables")
    leaves = list(islice(_leaves(tree.get("nodes"), "architecture.nodes", False, {}, variables), MAX_LEAVES + 1))
    if len(leaves) > MAX_LEAVES:
        raise InputError(f"more than {MAX_LEAVES} containers and components", field="architecture.nodes")
    names = [leaf.name for leaf in leaves]
    for i, name_here in enumerate(names):
        if name_here in names[:i]:
            raise InputError(f"the name {name_here!r} stands twice", field="architecture.nodes")
    extra = _targets(top.get("constraints"), names)
    nodes: list[Node] = []
    for leaf in leaves:
        nodes += map(_gated, nodes_of(leaf, extra.get(leaf.name, {})))
    _check_order(nodes)
    everywhere = {**variables, **leaves[-1].attributes}
    return Arch(
        name=name,
        nodes=tuple(nodes),
        cycle_s=positive(everywhere, "global_cycle_seconds", "variables", default=1e-9),
        technology_nm=_technology(everywhere),
        energy_pj={
            node.name: user_energy(node)
            for node in nodes
            if isinstance(node, Storage) and "vector_access_energy" in node.attributes
        },
    )


def _leaves(
    value: object, where: str, parallel: bool, inherited: dict[str, Any], variables: Mapping[str, Any]
) -> Iterator[Leaf]:
    """Every container and component, outermost first; `inherited` grows with the containers passed."""
    if not isinstance(value, list):
        raise InputError("missing" if value is None else "expected a list of nodes", field=where)
    for i, item in enumerate(value):
        at = f"{where}.{i}"
        if not isinstance(item, dict):
            raise InputError("expected a node such as !Component {...}", field=at)
        tag = item.get("!")
        if tag in BRANCHES:
            mapping_of(item, at, {"!", "nodes"})
            if tag == "Parallel":
                _check_peers(item.get("nodes"), f"{at}.nodes")
            yield from _leaves(item.get("nodes"), f"{at}.nodes", parallel or tag == "Parallel", inherited, variables)
        elif tag == "Nothing":
            continue
        elif tag in ("Container", "Component"):
            yield from _leaf(tag, item, at, parallel, inherited, variables)
        else:
            raise InputError(
                f"unknown tag !{tag}; known are Container, Component, Nothing, {', '.join(BRANCHES)}", field=at
            )


def _check_peers(value: object, where: str) -> None:
    """Raise `InputError` when two branches side by side keep the same data space."""
    owner: dict[str, str] = {}
    for i, item in enumerate(value if isinstance(value, list) else []):
        if isinstance(item, dict):
            at = f"{where}.{i}"
            for space in parse_constraints(item.get("constraints"), f"{at}.constraints").keep:
                if owner.setdefault(space, at) != at:
                    raise InputError(f"{space!r} is kept in two branches of !Parallel", field=at)


def _leaf(
    tag: str, item: dict[str, Any], at: str, parallel: bool, inherited: dict[str, Any], variables: Mapping[str, Any]
) -> Iterator[Leaf]:
    mapping_of(item, at, LEAF_KEYS if tag == "Container" else COMPONENT_KEYS)
    if not isinstance(item.get("name"), str) or not item["name"]:
        raise InputError("missing" if item.get("name") is None else "expected text", field=f"{at}.name")
    own = mapping_of(item.get("attributes"), f"{at}.attributes", None)
    if tag == "Container":
        if parallel:
            raise InputError("containers inside !Parallel are not supported", field=at)
        inherited.update(own)
    enabled = item.get("enabled", True)
    if not isinstance(enabled, bool):
        raise InputError("expected true or false", field=f"{at}.enabled")
    if enabled:
        attributes = evaluated({**inherited, **own}, variables, f"{at}.attributes")
        above = evaluated(inherited, variables)
        yield Leaf(tag, item, attributes, above, variables, at, parallel)


def _targets(value: object, names: list[str]) -> dict[str, dict[str, Any]]:
    """Target -> kind -> constraint, from the top-level ``constraints:``."""
    top = mapping_of(value, "constraints", {"version", "targets"})
    found: dict[str, dict[str, Any]] = {}
    targets = top.get("targets") or []
    if not isinstance(targets, list):
        raise InputError("expected a list", field="constraints.targets")
    for i, item in enumerate(targets):
        where = f"constraints.targets.{i}"
        written = dict(mapping_of(item, where, None))
        target, kind = written.pop("target", None), written.pop("type", None)
        if target not in names:
            raise InputError(f"unknown target {target!r}", field=f"{where}.target")
        kind = "dataspace" if kind in ("bypass", "datatype") else kind
        if kind not in ("temporal", "spatial", "dataspace"):
            raise InputError(f"{kind!r} is not one of temporal, spatial, dataspace", field=f"{where}.type")
        if kind in found.setdefault(str(target), {}):
            raise InputError(f"{kind} of {target!r} stands twice", field=where)
        found[str(target)][kind] = written
    return found


def _technology(attributes: Mapping[str, Any]) -> float:
    """``45nm``, ``"45"`` or 45 -> 45; 45 when there is none."""
    text = str(attributes.get("technology", "45nm")).strip().removesuffix("nm")
    try:
        nm = float(number(text))
    except InputError:
        nm = 0.0
    if nm <= 0:
        raise InputError(f"expected a size such as 45nm, got {attributes['technology']!r}", field="technology")
    return nm


def _gated(node: Node) -> Node:
    """A memory with the gate that it names; ``has_power_gating`` alone does nothing, as in Timeloop's front end."""
    if not isinstance(node, Storage):
        return node
    at = node.attributes.get("power_gated_at", "")
    if not isinstance(at, str):
        raise InputError("expected a name", field=f"{node.name}.power_gated_at")
    return replace(node, power_gated_at="" if at == node.name else at)


def _check_order(nodes: list[Node]) -> None:
    if not nodes or not isinstance(nodes[-1], Compute) or any(isinstance(node, Compute) for node in nodes[:-1]):
        raise InputError("the last node, and no other, must be a compute", field="architecture.nodes")
    known = {level_name(node) for node in nodes[:-1]}
    for node in nodes:
        if isinstance(node, Storage) and node.power_gated_at not in ("", *known):
            raise InputError(f"unknown level {node.power_gated_at!r}", field=f"{node.name}.power_gated_at")
    if not isinstance(nodes[0], Storage):
        raise InputError("the first level must be a memory, with no fan-out above it", field="architecture.nodes")
    check_instances(nodes)
