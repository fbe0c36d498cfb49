"""Layer-dump files: a graph as JSON that every verb reads in place of a network, and no torch is needed for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, Literal

import msgspec

from mmsim import files, size
from mmsim.errors import InputError
from mmsim.graph import Graph, Provenance
from mmsim.layer import Attr, Layer, Role, Stage, Tensor
from mmsim.size import Polynomial

FORMAT, VERSION = "mmsim layer dump", 1
MOST, MOST_DIMENSIONS = 2**63, 64
"""Of elements and arguments, as torch has them, and of a tensor's dimensions."""


class _TensorRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shape: list[int | str]
    dtype: str
    role: Role


class _LayerRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int
    name: str
    op: str
    stage: str
    operands: dict[str, str]
    outputs: list[str]
    attrs: dict[str, Any] = {}
    module_path: str = ""
    call_index: int = 0
    source: str = ""


class _ProvenanceRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    route: str = ""
    stages: str = ""
    software: str = ""
    symbols: dict[str, str] = {}
    sizes: dict[str, int] = {}
    unknown_ops: dict[str, int] = {}
    notes: list[str] = []


class _GraphRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    workload: str
    variant: str
    phase: Literal["inference", "training"]
    tensors: dict[str, _TensorRecord]
    inputs: list[str]
    outputs: list[str]
    layers: list[_LayerRecord]
    provenance: _ProvenanceRecord = _ProvenanceRecord()
    unread: list[str] = []


def dump(graph: Graph, path: str | Path) -> Path:
    """Write a layer dump (JSON); the inverse of `load`."""
    return files.write_json(path, to_record(graph))


def load(path: str | Path) -> Graph:
    """Read a layer dump. Raises `InputError` naming the field for anything that is not one."""
    return from_record(files.read_json(path), file=str(path))


def to_record(graph: Graph) -> dict[str, Any]:
    """The plain values of a layer dump; tensors stand once, layers refer to them by name."""
    tensors: dict[str, Tensor] = {t.name: t for t in graph.inputs}
    for layer in graph.layers:
        tensors.update((t.name, t) for t in (*layer.tensors, *layer.outputs))
    tensors.update((t.name, t) for t in (*graph.outputs, *graph.unread))
    provenance = graph.provenance
    return {
        "format": FORMAT,
        "version": VERSION,
        "workload": graph.workload,
        "variant": graph.variant,
        "phase": graph.phase,
        "provenance": {
            "route": provenance.route,
            "stages": provenance.stages,
            "software": provenance.software,
            "symbols": dict(provenance.symbols),
            **({"sizes": dict(provenance.sizes)} if provenance.sizes else {}),
            "unknown_ops": dict(provenance.unknown_ops),
            "notes": list(provenance.notes),
        },
        "inputs": [t.name for t in graph.inputs],
        "outputs": [t.name for t in graph.outputs],
        "unread": [t.name for t in graph.unread],
        "tensors": {
            name: {"shape": [s if isinstance(s, int) else str(s) for s in t.shape], "dtype": t.dtype, "role": t.role}
            for name, t in tensors.items()
        },
        "layers": [
            {
                "id": layer.id,
                "name": layer.name,
                "op": layer.op,
                "stage": str(layer.stage),
                "operands": {argument: t.name for argument, t in layer.operands},
                "outputs": [t.name for t in layer.outputs],
                "attrs": {name: _attr_record(value) for name, value in layer.attrs},
                "module_path": layer.module_path,
                "call_index": layer.call_index,
                "source": layer.source,
            }
            for layer in graph.layers
        ],
    }


def from_record(value: Any, *, file: str) -> Graph:
    """A graph from the plain values of a layer dump, checked; `file` is named in errors."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"not a layer dump (its 'format' must be {FORMAT!r})", file=file)
    if value.get("version") != VERSION:
        raise InputError(f"version {value.get('version')!r}, expected {VERSION}", file=file, field="version")
    files.check_bounds(value, file=file)
    record = files.check(value, _GraphRecord, file=file)
    tensors = {name: _tensor(name, r, file) for name, r in record.tensors.items()}

    def named(name: str, where: str) -> Tensor:
        if name not in tensors:
            raise InputError(f"no tensor {name!r}", file=file, field=where)
        return tensors[name]

    provenance = record.provenance
    graph = Graph(
        workload=record.workload,
        variant=record.variant,
        phase=record.phase,
        layers=tuple(_layer(r, f"layers.{i}", named, file) for i, r in enumerate(record.layers)),
        inputs=tuple(named(name, f"inputs.{i}") for i, name in enumerate(record.inputs)),
        outputs=tuple(named(name, f"outputs.{i}") for i, name in enumerate(record.outputs)),
        provenance=Provenance(
            route=provenance.route,
            stages=provenance.stages,
            software=provenance.software,
            symbols=tuple(provenance.symbols.items()),
            sizes=tuple(provenance.sizes.items()),
            unknown_ops=tuple(provenance.unknown_ops.items()),
            notes=tuple(provenance.notes),
        ),
        unread=tuple(named(name, f"unread.{i}") for i, name in enumerate(record.unread)),
    )
    repeated = [i for i, n in Counter(layer.id for layer in graph.layers).items() if n > 1]
    if repeated:
        raise InputError(f"id {repeated[0]} stands twice", file=file, field="layers")
    return graph


def _tensor(name: str, record: _TensorRecord, file: str) -> Tensor:
    try:
        shape = tuple(s if isinstance(s, int) else size.parse(s) for s in record.shape)
        if len(shape) > MOST_DIMENSIONS or prod(s for s in shape if isinstance(s, int)) > MOST:
            raise InputError("larger than any tensor", field="shape")
        return Tensor(name, shape, record.dtype, record.role)
    except InputError as error:
        raise InputError(error.message, file=file, field=f"tensors.{name}.{error.field or 'shape'}") from None


def _layer(record: _LayerRecord, where: str, named: Callable[[str, str], Tensor], file: str) -> Layer:
    try:
        stage = Stage.parse(record.stage)
    except InputError as error:
        raise InputError(error.message, file=file, field=f"{where}.stage") from None
    return Layer(
        id=record.id,
        name=record.name,
        op=record.op,
        stage=stage,
        operands=tuple((a, named(n, f"{where}.operands.{a}")) for a, n in record.operands.items()),
        outputs=tuple(named(n, f"{where}.outputs.{i}") for i, n in enumerate(record.outputs)),
        attrs=tuple((a, _attr(v, f"{where}.attrs.{a}", file)) for a, v in record.attrs.items()),
        module_path=record.module_path,
        call_index=record.call_index,
        source=record.source,
    )


def _attr_record(value: Attr) -> Any:
    """An argument as it stands in a dump: sizes as ``{"size": "12*B"}``, since text is an argument too."""
    if isinstance(value, Polynomial):
        return {"size": str(value)}
    return [_attr_record(part) for part in value] if isinstance(value, tuple) else value


def _attr(value: Any, where: str, file: str) -> Attr:
    if isinstance(value, dict) and list(value) == ["size"] and isinstance(value["size"], str):
        try:
            return size.parse(value["size"])
        except InputError as error:
            raise InputError(error.message, file=file, field=where) from None
    if isinstance(value, int) and abs(value) > MOST:
        raise InputError("larger than any argument", file=file, field=where)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return tuple(_attr(v, where, file) for v in value)
    raise InputError("must be a plain value or a list", file=file, field=where)
