"""A traced network as a value: layers in topological order, their problems and totals.

One dump serves every batch size: sizes are polynomials in the batch ``B`` (and other named sizes)
until `Graph.at` makes them concrete. No torch is needed from here on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from mmsim import size
from mmsim.errors import InputError
from mmsim.layer import BITS, Layer, Stage, Tensor
from mmsim.ops import problems_of
from mmsim.problem import Problem
from mmsim.size import Size

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class Provenance:
    """How a graph came to be: capture route, where stages came from, what is valid for which sizes."""

    route: str = ""  # recorder, recorder-real, export, onnx, ...
    stages: str = ""  # declared, option, inferred
    software: str = ""  # torch 2.13.0
    symbols: tuple[tuple[str, str], ...] = ()  # symbol -> "1, 2, 3: polynomial" or why it is not one
    sizes: tuple[tuple[str, int], ...] = ()  # the values of symbols that are concrete
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

    @property
    def name(self) -> str:
        """Workload and variant."""
        return f"{self.workload} {self.variant}".strip()

    @property
    def stem(self) -> str:
        """What its files are called in the folder of its workload."""
        return self.variant or self.workload or "network"

    @property
    def title(self) -> str:
        """The name, and the batch where it is one."""
        return self.name + (f", batch {self.batch}" if self.batch else "")

    def at(self, **sizes: int) -> Graph:
        """The graph at given sizes, as in ``graph.at(B=40)``.

        Raises `InputError` for a symbol that it does not have or a size below 1.
        """
        for name, value in sizes.items():
            if name not in self.symbols:
                raise InputError(f"no size {name} in this graph: it has {', '.join(sorted(self.symbols)) or 'none'}")
            if value < 1:
                raise InputError(f"{name}={value} must be positive")
        given = tuple(sorted((dict(self.provenance.sizes) | sizes).items()))
        return replace(
            self,
            provenance=replace(self.provenance, sizes=given),
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

    @property
    def batch(self) -> int | None:
        """The batch size, where it is concrete; None where it is open or unknown."""
        return dict(self.provenance.sizes).get("B")

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
