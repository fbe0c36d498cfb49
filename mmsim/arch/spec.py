"""mmsim's own architecture files: one machine, one YAML file, everyday units, every figure with its source.

::

    name: tiny
    clock_hz: 200e6
    technology_nm: 65
    sources: {clock_hz: "the paper, table II", technology_nm: "the paper, table II"}
    levels:                                  # outermost first
      - {name: DRAM, kind: DRAM, word_bits: 16, bandwidth_bytes_per_s: 6.4e9, source: "LPDDR4-1600 x32"}
      - {name: glb, kind: SRAM, word_bits: 16, size_bytes: 108 * 2**10, source: "the paper, section V"}
      - {name: PE, kind: fanout, meshX: 14, meshY: 12, source: "the paper, figure 5"}
      - {name: mac, kind: intmac, word_bits: 16, source: "the paper, section V"}

Sizes and bandwidths are of one instance. A number may be written as arithmetic. `source` is one text
for the level, or a mapping from field to text that covers every figure given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from mmsim import files
from mmsim.arch.arithmetic import number
from mmsim.arch.attributes import check_instances
from mmsim.arch.constraints import parse_constraints
from mmsim.arch.cpu import Cpu
from mmsim.arch.device import Device
from mmsim.arch.model import COMPUTE_CLASSES, STORAGE_CLASSES, Arch, Compute, Fanout, Node, Storage, VectorUnit
from mmsim.errors import InputError

Figure: TypeAlias = float | int | str


class LevelSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One level as written: a memory, a ``fanout``, or the compute at the end."""

    name: str
    kind: str
    source: str | dict[str, str]
    word_bits: Figure | None = None
    size_bytes: Figure | None = None  # none: unlimited
    row_bits: Figure | None = None  # width of one physical access; word_bits if not given
    bandwidth_bytes_per_s: Figure | None = None  # reads and writes share it
    read_bandwidth_bytes_per_s: Figure | None = None
    write_bandwidth_bytes_per_s: Figure | None = None
    cluster_size: Figure | None = None
    multiple_buffering: Figure | None = None
    fill_latency_cycles: Figure | None = None
    drain_latency_cycles: Figure | None = None
    meshX: Figure | None = None  # Timeloop's spelling
    meshY: Figure | None = None
    energy_pj: dict[str, Figure] = {}  # of one access to a row: read, write, update; leak (a cycle); compute
    area_um2: Figure | None = None  # of one instance
    constraints: dict[str, Any] = {}
    attributes: dict[str, Any] = {}  # further ones, passed on to Accelergy


class VectorSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The vector unit as written."""

    level: str
    ops_per_s: Figure
    source: str
    energy_pj_per_op: Figure | None = None


class ArchSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A whole architecture file as written."""

    name: str
    clock_hz: Figure
    technology_nm: Figure
    levels: list[LevelSpec]
    sources: dict[str, str]
    description: str = ""
    vector: VectorSpec | None = None
    device: dict[str, Any] | None = None
    cpu: dict[str, Any] | None = None


def parse(value: object, *, file: str) -> Arch:
    """The architecture that a file's plain values are; `InputError` names file and field of what is wrong."""
    spec = files.check(value, ArchSpec, file=file)
    try:
        return _arch(spec)
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None


def is_spec(value: object) -> bool:
    """Whether these values look like this format rather than Timeloop's."""
    return isinstance(value, dict) and "levels" in value


def _arch(spec: ArchSpec) -> Arch:
    clock = _positive(spec.clock_hz, "clock_hz")
    for figure in ("clock_hz", "technology_nm"):
        if not spec.sources.get(figure, "").strip():
            raise InputError(f"no source for {figure}", field="sources")
    nodes = tuple(_node(level, clock, f"levels.{i}") for i, level in enumerate(spec.levels))
    _check_order(nodes)
    return Arch(
        name=spec.name,
        nodes=nodes,
        cycle_s=1 / clock,
        technology_nm=_positive(spec.technology_nm, "technology_nm"),
        energy_pj={
            level.name: _energies(level, f"levels.{i}") for i, level in enumerate(spec.levels) if level.energy_pj
        },
        area_um2={
            level.name: _figure(level.area_um2, f"levels.{i}.area_um2", minimum=0)
            for i, level in enumerate(spec.levels)
            if level.area_um2 is not None
        },
        vector=_vector(spec.vector, nodes, clock),
        device=_part(spec.device, Device, "device"),
        cpu=_part(spec.cpu, Cpu, "cpu"),
        description=spec.description.strip(),
        sources=spec.sources,
    )


def _node(level: LevelSpec, clock: float, where: str) -> Node:
    _check_fields(level, where)
    source = _source(level, where)
    if level.kind == "fanout":
        return Fanout(
            level.name,
            _whole(level.meshX, f"{where}.meshX", default=1),
            _whole(level.meshY, f"{where}.meshY", default=1),
            _whole(level.fill_latency_cycles, f"{where}.fill_latency_cycles", default=0, minimum=0),
            _whole(level.drain_latency_cycles, f"{where}.drain_latency_cycles", default=0, minimum=0),
            parse_constraints(level.constraints, f"{where}.constraints"),
            level.attributes,
            source,
        )
    if level.word_bits is None:
        raise InputError("missing", field=f"{where}.word_bits")
    if level.kind in COMPUTE_CLASSES:
        return Compute(level.name, level.kind, _whole(level.word_bits, f"{where}.word_bits"), level.attributes, source)
    return _storage(level, clock, where, source)


def _storage(level: LevelSpec, clock: float, where: str, source: str) -> Storage:
    word_bits = _whole(level.word_bits, f"{where}.word_bits")
    cluster = _whole(level.cluster_size, f"{where}.cluster_size", default=1)
    row_bits = _whole(level.row_bits, f"{where}.row_bits", default=word_bits * cluster)
    if row_bits % (word_bits * cluster):
        raise InputError(f"{row_bits} is not a multiple of {word_bits * cluster} bits", field=f"{where}.row_bits")

    def rate(field: str) -> float | None:
        value = getattr(level, field)
        return None if value is None else _positive(value, f"{where}.{field}") * 8 / word_bits / clock

    size = None if level.size_bytes is None else _positive(level.size_bytes, f"{where}.size_bytes")
    return Storage(
        name=level.name,
        kind=level.kind,
        word_bits=word_bits,
        capacity_words=None if size is None else int(size * 8) // word_bits,
        block_size=row_bits // word_bits // cluster,
        cluster_size=cluster,
        read_words_per_cycle=rate("read_bandwidth_bytes_per_s"),
        write_words_per_cycle=rate("write_bandwidth_bytes_per_s"),
        shared_words_per_cycle=rate("bandwidth_bytes_per_s"),
        multiple_buffering=_figure(level.multiple_buffering, f"{where}.multiple_buffering", minimum=1, default=1),
        fill_latency_cycles=_whole(level.fill_latency_cycles, f"{where}.fill_latency_cycles", default=0, minimum=0),
        drain_latency_cycles=_whole(level.drain_latency_cycles, f"{where}.drain_latency_cycles", default=0, minimum=0),
        constraints=parse_constraints(level.constraints, f"{where}.constraints"),
        attributes=level.attributes,
        source=source,
    )


_FANOUT_FIELDS = {"meshX", "meshY", "fill_latency_cycles", "drain_latency_cycles", "constraints", "attributes"}
_COMPUTE_FIELDS = {"word_bits", "energy_pj", "area_um2", "attributes"}
_NOT_FIGURES = {"name", "kind", "source", "constraints", "attributes"}


def _given(level: LevelSpec) -> set[str]:
    """The fields that the file wrote for this level."""
    return {name for name in level.__struct_fields__ if getattr(level, name) not in (None, {})}


def _check_fields(level: LevelSpec, where: str) -> None:
    """Refuse a kind that is not known, and fields that this kind of level does not have."""
    storage = set(level.__struct_fields__) - {"meshX", "meshY"}
    if level.kind == "fanout":
        allowed = _FANOUT_FIELDS
    elif level.kind in COMPUTE_CLASSES:
        allowed = _COMPUTE_FIELDS
    elif level.kind in STORAGE_CLASSES:
        allowed = storage
    else:
        kinds = ", ".join(("fanout", *STORAGE_CLASSES, *COMPUTE_CLASSES))
        raise InputError(f"{level.kind!r} is not one of {kinds}", field=f"{where}.kind")
    for name in sorted(_given(level) - allowed - {"name", "kind", "source"}):
        raise InputError(f"a level of kind {level.kind!r} has no such field", field=f"{where}.{name}")


def _source(level: LevelSpec, where: str) -> str:
    """The level's source as one text; every figure must have one."""
    if isinstance(level.source, str):
        if not level.source.strip():
            raise InputError("empty; say where the figures come from", field=f"{where}.source")
        return level.source.strip()
    for name in sorted(_given(level) - _NOT_FIGURES):
        if not level.source.get(name, "").strip():
            raise InputError(f"no source for {name}", field=f"{where}.source")
    return "; ".join(f"{name}: {text}" for name, text in level.source.items())


def _check_order(nodes: tuple[Node, ...]) -> None:
    names = [node.name for node in nodes]
    for i, node in enumerate(nodes):
        if not node.name:
            raise InputError("empty", field=f"levels.{i}.name")
        if node.name in names[:i]:
            raise InputError(f"{node.name!r} stands twice", field=f"levels.{i}.name")
        if isinstance(node, Compute) and i < len(nodes) - 1:
            raise InputError("the compute must be the last level", field=f"levels.{i}.kind")
    if not nodes or not isinstance(nodes[-1], Compute):
        raise InputError(f"the last level must be a compute ({', '.join(COMPUTE_CLASSES)})", field="levels")
    if not isinstance(nodes[0], Storage):
        raise InputError("the first level must be a memory", field="levels.0.kind")
    check_instances(nodes)


def _energies(level: LevelSpec, where: str) -> Mapping[str, float]:
    return {
        action: _figure(value, f"{where}.energy_pj.{action}", minimum=0) for action, value in level.energy_pj.items()
    }


def _vector(spec: VectorSpec | None, nodes: tuple[Node, ...], clock: float) -> VectorUnit | None:
    if spec is None:
        return None
    if spec.level not in {node.name for node in nodes if isinstance(node, Storage)}:
        raise InputError(f"{spec.level!r} is not a memory of this architecture", field="vector.level")
    energy = spec.energy_pj_per_op
    return VectorUnit(
        spec.level,
        _positive(spec.ops_per_s, "vector.ops_per_s") / clock,
        None if energy is None else _figure(energy, "vector.energy_pj_per_op", minimum=0),
        spec.source,
    )


Part = TypeVar("Part", Device, Cpu)


def _part(value: dict[str, Any] | None, schema: type[Part], where: str) -> Part | None:
    """What only a GPU or a CPU has."""
    if value is None:
        return None
    try:
        return files.check(value, schema, file="")
    except InputError as error:
        raise InputError(error.message, field=where + (f".{error.field}" if error.field else "")) from None


def _figure(value: Figure | None, field: str, *, minimum: float, default: float | None = None) -> float:
    if value is None and default is not None:
        return default
    try:
        result = float(number(value))
    except InputError as error:
        raise InputError(error.message, field=field) from None
    if result < minimum:
        raise InputError(f"must be at least {minimum:g}, is {result:g}", field=field)
    return result


def _positive(value: Figure, field: str) -> float:
    result = _figure(value, field, minimum=float("-inf"))
    if result <= 0:
        raise InputError(f"must be positive, is {result:g}", field=field)
    return result


def _whole(value: Figure | None, field: str, *, default: int | None = None, minimum: int = 1) -> int:
    if value is None and default is not None:
        return default
    result = _figure(value, field, minimum=minimum)
    if result != int(result):
        raise InputError(f"must be a whole number, is {result:g}", field=field)
    return int(result)
