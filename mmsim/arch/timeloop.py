"""Users' own Timeloop v0.4 architecture files: containers, components and branches become an `Arch`.

As in Timeloop's front end: a container's attributes hold for everything below it, ``spatial`` on a
node is a fan-out above it, and a component's class is found by the words in its name. What mmsim
does not model is refused by name rather than ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmsim import files
from mmsim.arch.arithmetic import Number, number
from mmsim.arch.constraints import parse_constraints
from mmsim.arch.model import Arch, Compute, Constraints, Fanout, Node, Storage
from mmsim.arch.tables import parse_art, parse_ert, with_tables
from mmsim.errors import InputError

COMPUTE_CLASSES = ("mac", "intmac", "fpmac", "compute")
STORAGE_CLASSES = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")
NETWORK_CLASSES = ("XY_NoC", "Legacy", "ReductionTree", "SimpleMulticast")
BRANCHES = ("Hierarchical", "Parallel", "Pipelined")
TOP_KEYS = {
    "architecture", "constraints", "variables", "components", "ERT", "ART",
    "problem", "mapping", "mapper", "mapspace", "globals",
}  # fmt: skip
LEAF_KEYS = {"!", "name", "attributes", "spatial", "constraints"}
COMPONENT_KEYS = LEAF_KEYS | {"class", "subclass", "required_actions", "area_scale", "energy_scale", "enabled"}
UNSUPPORTED = {
    "sparse_optimizations": "sparse optimisations",
    "networks": "networks of their own",
    "metadata_datawidth": "metadata storage",
    "metadata_word_bits": "metadata storage",
    "metadata_storage_width": "metadata storage",
    "metadata_storage_depth": "metadata storage",
    "metadata_block_size": "metadata storage",
    "allow_overbooking": "overbooking",
    "has_power_gating": "power gating",
    "power_gated_at": "power gating",
    "energy_per_hop": "network energy",
    "router_energy": "network energy",
    "wire_energy": "network energy",
    "addr_gen_energy": "address-generation energy",
    "network_read": "named networks",
    "network_fill": "named networks",
    "network_drain": "named networks",
    "network_update": "named networks",
    "network_operand": "named networks",
    "network_result": "named networks",
}


def is_timeloop(value: object) -> bool:
    """Whether these values look like a Timeloop v0.4 file with an architecture."""
    return isinstance(value, dict) and "architecture" in value


def read(path: str | Path) -> Arch:
    """The architecture in a Timeloop v0.4 file; an ERT or ART in the same file is used."""
    return parse(files.read_yaml(path), file=str(path))


def parse(value: object, *, file: str) -> Arch:
    """As `read`, from the file's plain values. Raises `InputError` naming file and field."""
    try:
        arch = _arch(value, Path(file).stem.removesuffix(".arch"))
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None
    assert isinstance(value, dict)
    ert = parse_ert(value, file=file) if value.get("ERT") else None
    art = parse_art(value, file=file) if value.get("ART") else None
    return with_tables(arch, ert, art)


@dataclass(frozen=True)
class _Leaf:
    """A container or component as written, its attributes with those inherited, and where it stands."""

    tag: str
    written: Mapping[str, Any]
    attributes: Mapping[str, Any]
    where: str
    parallel: bool

    @property
    def name(self) -> str:
        return str(self.written["name"])


def _arch(value: object, name: str) -> Arch:
    top = _mapping(value, "", TOP_KEYS)
    tree = _mapping(top.get("architecture"), "architecture", {"version", "nodes", "!"})
    if str(tree.get("version", "0.4")) not in ("0.4", "0.40"):
        raise InputError(f"only version 0.4 is read, not {tree['version']}", field="architecture.version")
    variables = {
        key: item for key, item in _mapping(top.get("variables"), "variables", None).items() if key != "version"
    }
    leaves = list(_leaves(tree.get("nodes"), "architecture.nodes", False, dict(variables)))
    names = [leaf.name for leaf in leaves]
    for i, name_here in enumerate(names):
        if name_here in names[:i]:
            raise InputError(f"the name {name_here!r} stands twice", field="architecture.nodes")
    extra = _targets(top.get("constraints"), names)
    nodes: list[Node] = []
    for leaf in leaves:
        nodes += _nodes(leaf, extra.get(leaf.name, {}))
    _check_order(nodes)
    inherited = leaves[-1].attributes
    return Arch(
        name=name,
        nodes=tuple(nodes),
        cycle_s=_positive(inherited, "global_cycle_seconds", "variables", default=1e-9),
        technology_nm=_technology(inherited),
        energy_pj={
            node.name: _user_energy(node)
            for node in nodes
            if isinstance(node, Storage) and "vector_access_energy" in node.attributes
        },
    )


def _leaves(value: object, where: str, parallel: bool, inherited: dict[str, Any]) -> Iterator[_Leaf]:
    """Every container and component, outermost first; `inherited` grows with the containers passed."""
    if not isinstance(value, list):
        raise InputError("missing" if value is None else "expected a list of nodes", field=where)
    for i, item in enumerate(value):
        at = f"{where}.{i}"
        if not isinstance(item, dict):
            raise InputError("expected a node such as !Component {...}", field=at)
        tag = item.get("!")
        if tag in BRANCHES:
            _mapping(item, at, {"!", "nodes"})
            if tag == "Parallel":
                _check_peers(item.get("nodes"), f"{at}.nodes")
            yield from _leaves(item.get("nodes"), f"{at}.nodes", parallel or tag == "Parallel", inherited)
        elif tag == "Nothing":
            continue
        elif tag in ("Container", "Component"):
            yield from _leaf(tag, item, at, parallel, inherited)
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


def _leaf(tag: str, item: dict[str, Any], at: str, parallel: bool, inherited: dict[str, Any]) -> Iterator[_Leaf]:
    _mapping(item, at, LEAF_KEYS if tag == "Container" else COMPONENT_KEYS)
    if not isinstance(item.get("name"), str) or not item["name"]:
        raise InputError("missing" if item.get("name") is None else "expected text", field=f"{at}.name")
    own = _mapping(item.get("attributes"), f"{at}.attributes", None)
    if tag == "Container":
        if parallel:
            raise InputError("containers inside !Parallel are not supported", field=at)
        inherited.update(own)
    enabled = item.get("enabled", True)
    if not isinstance(enabled, bool):
        raise InputError("expected true or false", field=f"{at}.enabled")
    if enabled:
        yield _Leaf(tag, item, _evaluated({**inherited, **own}, f"{at}.attributes"), at, parallel)


def _evaluated(attributes: dict[str, Any], where: str) -> dict[str, Any]:
    """Attributes with arithmetic worked out; an attribute may use others, whatever their order; other text stays."""
    done: dict[str, Any] = {}
    pending = dict(attributes)
    while pending:
        known = {
            key: value for key, value in done.items() if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        solved = {key: result for key, value in pending.items() if (result := _try(value, known)) is not None}
        if not solved:  # what is left is text such as "45nm", or a cycle that its reader will refuse
            return {**done, **pending}
        done |= solved
        pending = {key: value for key, value in pending.items() if key not in solved}
    return done


def _try(value: object, known: Mapping[str, Number]) -> object:
    """The value, its arithmetic worked out; None for text that is not (yet) arithmetic."""
    if not isinstance(value, str):
        return value if value is not None else ""
    try:
        return number(value, known)
    except InputError:
        return None


def _nodes(leaf: _Leaf, extra: dict[str, Any]) -> list[Node]:
    """The fan-out above a leaf, if it has one, and the memory or compute."""
    for key in (*leaf.written, *leaf.attributes):
        value = leaf.written.get(key, leaf.attributes.get(key))
        if key in UNSUPPORTED and value not in (0, False, "", {}, []):
            raise InputError(
                f"{UNSUPPORTED[key]} are not supported"
                if UNSUPPORTED[key].endswith("s")
                else f"{UNSUPPORTED[key]} is not supported",
                field=f"{leaf.where}.{key}" if key in leaf.written else f"{leaf.where}.attributes.{key}",
            )
    constraints = parse_constraints(_merged(leaf, extra), f"{leaf.where}.constraints")
    nodes: list[Node] = []
    spatial = _mapping(leaf.written.get("spatial"), f"{leaf.where}.spatial", {"meshX", "meshY"})
    mesh = [
        _whole(_evaluated({**leaf.attributes, **spatial}, ""), axis, f"{leaf.where}.spatial", default=1, minimum=1)
        if axis in spatial
        else 1
        for axis in ("meshX", "meshY")
    ]
    if mesh != [1, 1]:
        if leaf.parallel:
            raise InputError("a fan-out inside !Parallel is not supported", field=f"{leaf.where}.spatial")
        nodes.append(
            Fanout(leaf.name, mesh[0], mesh[1], *_latencies(leaf), _spatial_part(constraints), leaf.attributes)
        )
    if leaf.tag == "Component":
        if leaf.parallel and "*" not in (*constraints.keep, *constraints.bypass):  # the other branches keep the rest
            constraints = replace(constraints, bypass=(*constraints.bypass, "*"))
        nodes.append(_component(leaf, replace(constraints, spatial=Constraints().spatial)))
    return nodes


def _merged(leaf: _Leaf, extra: dict[str, Any]) -> object:
    """The node's own constraints and those that ``constraints.targets`` gives it."""
    own = leaf.written.get("constraints")
    if not extra:
        return own
    merged = dict(_mapping(own, f"{leaf.where}.constraints", None))
    for kind, value in extra.items():
        here = _mapping(merged.get(kind), f"{leaf.where}.constraints.{kind}", None)
        for key in here.keys() & value.keys():
            raise InputError(
                f"{key} is given both here and under constraints.targets", field=f"{leaf.where}.constraints.{kind}"
            )
        merged[kind] = {**here, **value}
    return merged


def _targets(value: object, names: list[str]) -> dict[str, dict[str, Any]]:
    """Target -> kind -> constraint, from the top-level ``constraints:``."""
    top = _mapping(value, "constraints", {"version", "targets"})
    found: dict[str, dict[str, Any]] = {}
    targets = top.get("targets") or []
    if not isinstance(targets, list):
        raise InputError("expected a list", field="constraints.targets")
    for i, item in enumerate(targets):
        where = f"constraints.targets.{i}"
        written = dict(_mapping(item, where, None))
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


def _spatial_part(constraints: Constraints) -> Constraints:
    """What of a node's constraints concerns the fan-out above it."""
    return Constraints(
        spatial=constraints.spatial,
        no_multicast=constraints.no_multicast,
        no_link_transfer=constraints.no_link_transfer,
    )


def _component(leaf: _Leaf, constraints: Constraints) -> Node:
    kind = leaf.written.get("class")
    if not isinstance(kind, str):
        raise InputError("missing" if kind is None else "expected text", field=f"{leaf.where}.class")
    if any(word in kind for word in NETWORK_CLASSES):
        raise InputError(f"network components ({kind}) are not supported", field=f"{leaf.where}.class")
    if any(word in kind for word in STORAGE_CLASSES):
        return _storage(leaf, kind, constraints)
    if any(word in kind for word in COMPUTE_CLASSES):
        bits = _whole(leaf.attributes, "datawidth", f"{leaf.where}.attributes", default=16, minimum=1)
        return Compute(leaf.name, kind, bits, leaf.attributes)
    known = ", ".join((*STORAGE_CLASSES, *COMPUTE_CLASSES))
    raise InputError(f"{kind!r} holds none of {known}", field=f"{leaf.where}.class")


def _storage(leaf: _Leaf, kind: str, constraints: Constraints) -> Storage:
    where, attributes = f"{leaf.where}.attributes", leaf.attributes
    bits_key = next((key for key in ("word_bits", "word_width", "datawidth") if key in attributes), "datawidth")
    word_bits = _whole(attributes, bits_key, where, minimum=1)
    block, cluster = _row(attributes, word_bits, where)
    halved = _rate(attributes, "bandwidth", where)
    read, write = _rate(attributes, "read_bandwidth", where), _rate(attributes, "write_bandwidth", where)
    minimum = _positive(attributes, "min_utilization", where, default=0.0, or_zero=True)
    return Storage(
        name=leaf.name,
        kind=kind,
        word_bits=word_bits,
        capacity_words=_capacity(attributes, block, word_bits, where),
        block_size=block,
        cluster_size=cluster,
        read_words_per_cycle=read if read is not None or halved is None else halved / 2,
        write_words_per_cycle=write if write is not None or halved is None else halved / 2,
        shared_words_per_cycle=_rate(attributes, "shared_bandwidth", where),
        multiple_buffering=_positive(attributes, "multiple_buffering", where, default=1.0),
        bandwidth_scale=_scales(attributes, where),
        fill_latency_cycles=_latencies(leaf)[0],
        drain_latency_cycles=_latencies(leaf)[1],
        constraints=replace(constraints, min_utilization=minimum, no_multicast=(), no_link_transfer=()),
        attributes={**attributes, **({"subclass": leaf.written["subclass"]} if leaf.written.get("subclass") else {})},
    )


def _row(attributes: Mapping[str, Any], word_bits: int, where: str) -> tuple[int, int]:
    """Words of one access and instances in one row, from width, block_size and cluster_size."""
    block = _whole(attributes, "block_size", where, default=0, minimum=0) or _whole(
        attributes, "n_words", where, default=0, minimum=0
    )
    cluster = _whole(attributes, "cluster_size", where, default=0, minimum=0)
    width_key = next((key for key in ("width", "memory_width", "data_storage_width") if key in attributes), None)
    if width_key is None:
        return block or 1, cluster or 1
    width = _whole(attributes, width_key, where, minimum=1)
    words, rest = divmod(width, word_bits)
    if rest or words % ((block or 1) * (cluster or 1)):
        raise InputError(
            f"{width} is not a multiple of {word_bits * (block or 1) * (cluster or 1)} bits",
            field=f"{where}.{width_key}",
        )
    if block and cluster and words != block * cluster:
        raise InputError(f"{width} is not block_size x cluster_size x datawidth", field=f"{where}.{width_key}")
    if block and not cluster:
        return block, 1 if words == block else words // block
    return words // (cluster or 1), cluster or 1


def _capacity(attributes: Mapping[str, Any], block: int, word_bits: int, where: str) -> int | None:
    given = [key for key in ("entries", "depth", "memory_depth", "data_storage_depth", "sizeKB") if key in attributes]
    if len(given) > 1:
        raise InputError(f"give only one of {' and '.join(given)}", field=f"{where}.{given[1]}")
    if not given:
        return None
    size = _whole(attributes, given[0], where, minimum=0)
    if given[0] == "sizeKB":
        return size * 1024 * 8 // word_bits
    return size if given[0] == "entries" else size * block


def _scales(attributes: Mapping[str, Any], where: str) -> dict[str, float]:
    key = "per_dataspace_bandwidth_consumption_scale"
    scales = _mapping(attributes.get(key), f"{where}.{key}", None)
    return {space: _positive(scales, space, f"{where}.{key}", or_zero=True) for space in scales}


def _latencies(leaf: _Leaf) -> tuple[int, int]:
    where = f"{leaf.where}.attributes"
    fill = _whole(leaf.attributes, "network_fill_latency", where, default=0, minimum=0)
    return fill, _whole(leaf.attributes, "network_drain_latency", where, default=0, minimum=0)


def _user_energy(node: Storage) -> dict[str, float]:
    """``vector_access_energy``: one figure for every access."""
    pj = _positive(node.attributes, "vector_access_energy", node.name, or_zero=True)
    return {"read": pj, "write": pj, "update": pj}


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


def _check_order(nodes: list[Node]) -> None:
    if not nodes or not isinstance(nodes[-1], Compute) or any(isinstance(node, Compute) for node in nodes[:-1]):
        raise InputError("the last node, and no other, must be a compute", field="architecture.nodes")
    if not isinstance(nodes[0], Storage):
        raise InputError("the first level must be a memory, with no fan-out above it", field="architecture.nodes")


def _rate(attributes: Mapping[str, Any], key: str, where: str) -> float | None:
    return _positive(attributes, key, where) if key in attributes else None


def _positive(
    attributes: Mapping[str, Any], key: str, where: str, *, default: float | None = None, or_zero: bool = False
) -> float:
    value = _number(attributes, key, where, default)
    if value < 0 or (value == 0 and not or_zero):
        raise InputError(f"must be positive, is {value:g}", field=f"{where}.{key}")
    return float(value)


def _whole(attributes: Mapping[str, Any], key: str, where: str, *, default: int | None = None, minimum: int) -> int:
    value = _number(attributes, key, where, default)
    if value != int(value) or value < minimum:
        raise InputError(f"must be a whole number of at least {minimum}, is {value:g}", field=f"{where}.{key}")
    return int(value)


def _number(attributes: Mapping[str, Any], key: str, where: str, default: float | None) -> Number:
    if key not in attributes:
        if default is None:
            raise InputError("missing", field=f"{where}.{key}")
        return default
    try:
        return number(attributes[key])
    except InputError as error:
        raise InputError(error.message, field=f"{where}.{key}") from None


def _mapping(value: object, field: str, known: set[str] | None) -> dict[str, Any]:
    """A mapping with known keys; nothing counts as an empty one."""
    if value is None:
        if field in ("", "architecture"):
            raise InputError("missing", field=field or "architecture")
        return {}
    if not isinstance(value, dict):
        raise InputError(f"expected a mapping, got {type(value).__name__}", field=field or None)
    for key in value:
        if not isinstance(key, str):
            raise InputError(f"expected a name as key, got {key!r}", field=field or None)
        if known is not None and key not in known:
            what = UNSUPPORTED.get(key)
            raise InputError(
                f"not supported ({what})" if what else "not supported", field=f"{field}.{key}" if field else key
            )
    return value
