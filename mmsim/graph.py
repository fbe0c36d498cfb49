"""A traced network as a value: layers in topological order, and its layer-dump files.

One dump serves every batch size: sizes are polynomials in the batch ``B`` (and other named sizes)
until `Graph.at` makes them concrete. No torch is needed from here on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mmsim import files, size
from mmsim.errors import InputError
from mmsim.layer import BITS, Attr, Layer, Role, Stage, Tensor
from mmsim.ops import problems_of
from mmsim.problem import Problem
from mmsim.size import Polynomial, Size

if TYPE_CHECKING:
    import networkx

FORMAT, VERSION = "mmsim layer dump", 1


@dataclass(frozen=True)
class Provenance:
    """How a graph came to be: capture route, where stages came from, what is valid for which sizes."""

    route: str = ""  # recorder, recorder-real, export, onnx, ...
    stages: str = ""  # declared, option, inferred
    software: str = ""  # torch 2.13.0
    symbols: tuple[tuple[str, str], ...] = ()  # symbol -> "1, 2, 3: polynomial" or why it is not one
    unknown_ops: tuple[tuple[str, int], ...] = ()  # let through by --allow-unknown, with their counts
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Totals:
    """Sums over some layers. `layers` counts those that cost something; views and the like do not.

    `parameters` counts every registered parameter once, those that no layer reads included; buffers
    count in `weight_bytes` only.
    """

    layers: int
    parameters: Size
    macs: Size
    vector_ops: Size
    weight_bytes: Size
    activation_bytes: Size

    @property
    def flops(self) -> Size:
        """Two per MAC."""
        return self.macs * 2


@dataclass(frozen=True)
class Graph:
    """A traced network: what it is called, its layers in topological order, its inputs and outputs."""

    workload: str
    variant: str
    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    phase: Literal["inference", "training"] = "inference"
    provenance: Provenance = field(default=Provenance())
    unread: tuple[Tensor, ...] = ()  # registered parameters that no layer reads, such as an unused pooler

    def at(self, **sizes: int) -> Graph:
        """The graph at given sizes, as in ``graph.at(B=40)``.

        Raises `InputError` for a symbol that it does not have or a size below 1.
        """
        for name, value in sizes.items():
            if name not in self.symbols:
                raise InputError(f"no size {name} in this graph: it has {', '.join(sorted(self.symbols)) or 'none'}")
            if value < 1:
                raise InputError(f"{name}={value} must be positive")
        return replace(
            self,
            layers=tuple(layer.at(**sizes) for layer in self.layers),
            inputs=tuple(tensor.at(**sizes) for tensor in self.inputs),
            outputs=tuple(tensor.at(**sizes) for tensor in self.outputs),
        )

    def cast(self, dtype: str) -> Graph:
        """The graph with every real floating tensor in another format."""
        if dtype not in BITS:
            raise InputError(f"unknown format {dtype!r}: one of {', '.join(sorted(BITS))}")

        def to(tensor: Tensor) -> Tensor:
            floating = tensor.dtype.startswith(("float", "bfloat"))
            return replace(tensor, dtype=dtype) if floating else tensor

        return self._map_tensors(to)

    def _map_tensors(self, change: Callable[[Tensor], Tensor]) -> Graph:
        return replace(
            self,
            layers=tuple(
                replace(
                    layer,
                    operands=tuple((name, change(t)) for name, t in layer.operands),
                    outputs=tuple(change(t) for t in layer.outputs),
                )
                for layer in self.layers
            ),
            inputs=tuple(change(t) for t in self.inputs),
            outputs=tuple(change(t) for t in self.outputs),
            unread=tuple(change(t) for t in self.unread),
        )

    @cached_property
    def symbols(self) -> frozenset[str]:
        """The open sizes, such as ``B``."""
        return frozenset(name for layer in self.layers for name in layer.symbols)

    @cached_property
    def _problems(self) -> dict[int, tuple[Problem, ...]]:
        let_through = {op for op, _ in self.provenance.unknown_ops}
        return {layer.id: () if layer.op in let_through else problems_of(layer) for layer in self.layers}

    def problems(self, layer: Layer | None = None) -> tuple[Problem, ...]:
        """The problems of one layer, or of all layers in order; free layers have none."""
        if layer is not None:
            return self._problems[layer.id]
        return tuple(problem for found in self._problems.values() for problem in found)

    def distinct_problems(self) -> dict[Problem, tuple[Layer, ...]]:
        """Each different problem once, with the layers that it stands for."""
        out: dict[Problem, list[Layer]] = {}
        for layer in self.layers:
            for problem in self._problems[layer.id]:
                out.setdefault(problem, []).append(layer)
        return {problem: tuple(layers) for problem, layers in out.items()}

    @property
    def macs(self) -> Size:
        """Multiply-accumulates of one forward pass."""
        return self.totals().macs

    @property
    def parameters(self) -> Size:
        """Elements of all parameters, each counted once."""
        return self.totals().parameters

    def totals(self) -> Totals:
        """Sums over all layers; weights read by several layers count once."""
        return self._sums(self.layers, self.unread)

    def by_stage(self) -> dict[str, Totals]:
        """Totals per stage, as ``encoder:image``; a weight read in two stages counts in both."""
        return self._grouped(str)

    def by_modality(self) -> dict[str, Totals]:
        """Totals per modality; fusion and head stand under their own names."""
        return self._grouped(lambda stage: stage.modality or stage.kind)

    def _grouped(self, key: Callable[[Stage], str]) -> dict[str, Totals]:
        groups: dict[str, list[Layer]] = {}
        for layer in self.layers:
            groups.setdefault(key(layer.stage), []).append(layer)
        unread: dict[str, list[Tensor]] = {}
        for tensor in self.unread:
            unread.setdefault(key(self.stage_of(tensor.name)), []).append(tensor)
        return {name: self._sums(group, unread.get(name, ())) for name, group in groups.items()}

    def stage_of(self, path: str) -> Stage:
        """The stage that a module or parameter belongs to: that of the layers nearest to it in the module tree."""
        parts = path.split(".")

        def shared(layer: Layer) -> int:
            pairs = zip(layer.module_path.split("."), parts, strict=False)
            return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

        return max(self.layers, key=shared).stage

    def _sums(self, layers: Iterable[Layer], unread: Iterable[Tensor]) -> Totals:
        layers = tuple(layers)
        stored = {t.name: t for layer in layers for t in layer.weights} | {t.name: t for t in unread}
        problems = [problem for layer in layers for problem in self._problems[layer.id]]
        costly = [layer for layer in layers if self._problems[layer.id]]
        return Totals(
            layers=len(costly),
            parameters=size.total(t.elements for t in stored.values() if t.role == "weight"),
            macs=size.total(p.macs for p in problems),
            vector_ops=size.total(p.operations for p in problems if p.kind == "vector"),
            weight_bytes=size.total(t.bytes for t in stored.values()),
            activation_bytes=size.total(t.bytes for layer in costly for t in (*layer.inputs, *layer.outputs)),
        )

    def to_networkx(self) -> networkx.DiGraph[int]:
        """Layers as nodes (by id, with ``layer``), tensors as edges (with ``tensor``)."""
        import networkx

        out: networkx.DiGraph[int] = networkx.DiGraph()
        producer: dict[str, int] = {}
        for layer in self.layers:
            out.add_node(layer.id, layer=layer)
            for tensor in layer.tensors:
                if tensor.name in producer:
                    out.add_edge(producer[tensor.name], layer.id, tensor=tensor)
            producer.update((tensor.name, layer.id) for tensor in layer.outputs)
        return out


# --- layer dumps ---------------------------------------------------------------------------------


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
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return tuple(_attr(v, where, file) for v in value)
    raise InputError("must be a plain value or a list", file=file, field=where)
