"""One node of a Timeloop v0.4 architecture: a container or component becomes a fan-out, memory or compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmsim.arch.attributes import UNSUPPORTED, evaluated, mapping_of, positive, rate, whole
from mmsim.arch.constraints import parse_constraints
from mmsim.arch.model import COMPUTE_CLASSES, STORAGE_CLASSES, Compute, Constraints, Fanout, Node, Storage
from mmsim.errors import InputError

MAX_WORDS = 2**53  # counts up to here are exact in floating point
NETWORK_CLASSES = ("XY_NoC", "Legacy", "ReductionTree", "SimpleMulticast")


@dataclass(frozen=True)
class Leaf:
    """A container or component as written, its attributes with those inherited, and where it stands."""

    tag: str
    written: Mapping[str, Any]
    attributes: Mapping[str, Any]
    above: Mapping[str, Any]  # the attributes of the containers alone, which a fan-out above it has
    variables: Mapping[str, Any]
    where: str
    parallel: bool

    @property
    def name(self) -> str:
        """The node's own name."""
        return str(self.written["name"])


def nodes_of(leaf: Leaf, extra: dict[str, Any]) -> list[Node]:
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
    spatial = mapping_of(leaf.written.get("spatial"), f"{leaf.where}.spatial", {"meshX", "meshY"})
    shape = evaluated(spatial, {**leaf.variables, **leaf.attributes})
    mesh = [whole(shape, axis, f"{leaf.where}.spatial", default=1, minimum=1) for axis in ("meshX", "meshY")]
    if mesh != [1, 1]:
        if leaf.parallel:
            raise InputError("a fan-out inside !Parallel is not supported", field=f"{leaf.where}.spatial")
        latencies = _latencies(leaf.above, f"{leaf.where}.attributes")
        nodes.append(Fanout(leaf.name, mesh[0], mesh[1], *latencies, _spatial_part(constraints), leaf.above))
    if leaf.tag == "Component" and "nothing" not in str(leaf.written.get("class")):
        if leaf.parallel and "*" not in (*constraints.keep, *constraints.bypass):  # the other branches keep the rest
            constraints = replace(constraints, bypass=(*constraints.bypass, "*"))
        nodes.append(_component(leaf, replace(constraints, spatial=Constraints().spatial)))
    return nodes


def _merged(leaf: Leaf, extra: dict[str, Any]) -> object:
    """The node's own constraints and those that ``constraints.targets`` gives it."""
    own = leaf.written.get("constraints")
    if not extra:
        return own
    merged = dict(mapping_of(own, f"{leaf.where}.constraints", None))
    for kind, value in extra.items():
        here = mapping_of(merged.get(kind), f"{leaf.where}.constraints.{kind}", None)
        for key in here.keys() & value.keys():
            raise InputError(
                f"{key} is given both here and under constraints.targets", field=f"{leaf.where}.constraints.{kind}"
            )
        merged[kind] = {**here, **value}
    return merged


def _spatial_part(constraints: Constraints) -> Constraints:
    """What of a node's constraints concerns the fan-out above it."""
    return Constraints(
        spatial=constraints.spatial,
        no_multicast=constraints.no_multicast,
        no_link_transfer=constraints.no_link_transfer,
    )


def _component(leaf: Leaf, constraints: Constraints) -> Node:
    kind = leaf.written.get("class")
    if not isinstance(kind, str):
        raise InputError("missing" if kind is None else "expected text", field=f"{leaf.where}.class")
    if any(word in kind for word in NETWORK_CLASSES):
        raise InputError(f"network components ({kind}) are not supported", field=f"{leaf.where}.class")
    if any(word in kind for word in STORAGE_CLASSES):
        return _storage(leaf, kind, constraints)
    if any(word in kind for word in COMPUTE_CLASSES):
        bits = whole(leaf.attributes, "datawidth", f"{leaf.where}.attributes", default=16, minimum=1)
        return Compute(leaf.name, kind, bits, leaf.attributes)
    known = ", ".join((*STORAGE_CLASSES, *COMPUTE_CLASSES))
    raise InputError(f"{kind!r} holds none of {known}", field=f"{leaf.where}.class")


def _storage(leaf: Leaf, kind: str, constraints: Constraints) -> Storage:
    where, attributes = f"{leaf.where}.attributes", leaf.attributes
    bits_key = next((key for key in ("word_bits", "word_width", "datawidth") if key in attributes), "datawidth")
    word_bits = whole(attributes, bits_key, where, minimum=1)
    block, cluster = _row(attributes, word_bits, where)
    halved = rate(attributes, "bandwidth", where)
    read, write = rate(attributes, "read_bandwidth", where), rate(attributes, "write_bandwidth", where)
    minimum = positive(attributes, "min_utilization", where, default=0.0, or_zero=True)
    return Storage(
        name=leaf.name,
        kind=kind,
        word_bits=word_bits,
        capacity_words=_capacity(attributes, block, word_bits, where),
        block_size=block,
        cluster_size=cluster,
        read_words_per_cycle=read if read is not None or halved is None else halved / 2,
        write_words_per_cycle=write if write is not None or halved is None else halved / 2,
        shared_words_per_cycle=rate(attributes, "shared_bandwidth", where),
        multiple_buffering=positive(attributes, "multiple_buffering", where, default=1.0),
        bandwidth_scale=_scales(attributes, where),
        fill_latency_cycles=_latencies(attributes, where)[0],
        drain_latency_cycles=_latencies(attributes, where)[1],
        constraints=replace(constraints, min_utilization=minimum, no_multicast=(), no_link_transfer=()),
        attributes={**attributes, **({"subclass": leaf.written["subclass"]} if leaf.written.get("subclass") else {})},
    )


def _row(attributes: Mapping[str, Any], word_bits: int, where: str) -> tuple[int, int]:
    """Words of one access and instances in one row, from width, block_size and cluster_size."""
    block = whole(attributes, "block_size", where, default=0, minimum=0) or whole(
        attributes, "n_words", where, default=0, minimum=0
    )
    cluster = whole(attributes, "cluster_size", where, default=0, minimum=0)
    width_key = next((key for key in ("width", "memory_width", "data_storage_width") if key in attributes), None)
    if width_key is None:
        return block or 1, cluster or 1
    width = whole(attributes, width_key, where, minimum=1)
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
    size = whole(attributes, given[0], where, minimum=0)
    words = size * 1024 * 8 // word_bits if given[0] == "sizeKB" else size if given[0] == "entries" else size * block
    if words > MAX_WORDS:
        raise InputError(f"more than {MAX_WORDS} words", field=f"{where}.{given[0]}")
    return words


def _scales(attributes: Mapping[str, Any], where: str) -> dict[str, float]:
    key = "per_dataspace_bandwidth_consumption_scale"
    scales = mapping_of(attributes.get(key), f"{where}.{key}", None)
    return {space: positive(scales, space, f"{where}.{key}", or_zero=True) for space in scales}


def _latencies(attributes: Mapping[str, Any], where: str) -> tuple[int, int]:
    fill = whole(attributes, "network_fill_latency", where, default=0, minimum=0)
    return fill, whole(attributes, "network_drain_latency", where, default=0, minimum=0)


def user_energy(node: Storage) -> dict[str, float]:
    """``vector_access_energy``: one figure for every access."""
    pj = positive(node.attributes, "vector_access_energy", node.name, or_zero=True)
    return {"read": pj, "write": pj, "update": pj}
