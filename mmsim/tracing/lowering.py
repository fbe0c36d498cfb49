"""fx -> Graph: the captured calls as layers, without torch in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from mmsim.graph import Graph, Provenance
from mmsim.layer import Attr, Layer, Role, Stage, Tensor, op_kind
from mmsim.tracing import replay
from mmsim.tracing.arguments import bind

UNASSIGNED = Stage("head")
REAL_RUN = ("captured from a real run: branches, and what was computed outside torch, hold for the values given",)


def lower(graph_module: fx.GraphModule, *, workload: str = "", variant: str = "") -> Graph:
    """The captured graph as a `Graph` with concrete sizes: one layer for each call, named as its node.

    Stages are not known here: every layer is in `UNASSIGNED`.
    """
    tensors: dict[fx.Node, tuple[Tensor, ...]] = {}
    layers: list[Layer] = []
    outputs = _returned(graph_module.graph)
    for node in graph_module.graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            tensors[node] = _given(node)
        elif node.target is replay.getitem:
            tensors[node] = _part(node, tensors)
        elif node.op == "call_function":
            operands, attrs = _arguments(node, tensors)
            tensors[node] = _results(node, operands, outputs)
            layers.append(
                Layer(
                    id=len(layers),
                    name=node.name,
                    op=node.meta["op"],
                    stage=UNASSIGNED,
                    operands=tuple(operands),
                    outputs=tensors[node],
                    attrs=tuple(attrs),
                    module_path=node.meta["module_path"],
                    call_index=node.meta["call_index"],
                    source=node.meta["source"],
                )
            )
    return Graph(
        workload=workload,
        variant=variant,
        layers=tuple(layers),
        inputs=tuple(tensors[node][0] for node in graph_module.graph.find_nodes(op="placeholder")),
        outputs=tuple(dict.fromkeys(tensor for node in outputs for tensor in tensors[node])),
        unread=tuple(
            Tensor(path, tuple(value.shape), str(value.dtype).removeprefix("torch."), "weight")
            for path, value in graph_module.meta.get("unread", {}).items()
        ),
        provenance=Provenance(
            route=graph_module.meta.get("route", ""),
            software="torch " + torch.__version__.split("+")[0],
            notes=_notes(graph_module) if graph_module.meta.get("route") == "recorder-real" else (),
        ),
    )


def _notes(graph_module: fx.GraphModule) -> tuple[str, ...]:
    """What a graph of a real run holds for."""
    random: dict[fx.Node, None] = {}
    for node in graph_module.graph.nodes:
        drawn = node.meta.get("random") or any(source in random for source in node.all_input_nodes)
        if drawn and node.meta.get("sync"):
            place = node.meta["module_path"] or "the network itself"
            return (*REAL_RUN, f"{node.meta['op']} in {place} waits for a number drawn at random: this is one draw")
        if drawn:
            random[node] = None
    return REAL_RUN


def _returned(graph: fx.Graph) -> dict[fx.Node, None]:
    """The nodes that the graph returns, in order."""
    return dict.fromkeys(graph.output_node().all_input_nodes)


def _given(node: fx.Node) -> tuple[Tensor, ...]:
    """An input, a weight or a constant."""
    if "shape" not in node.meta or node.meta["shape"] is None:
        return ()
    role: Role = "input" if node.op == "placeholder" else node.meta["op"]
    return (Tensor(node.meta.get("path", str(node.target)), node.meta["shape"], node.meta["dtype"], role),)


def _part(node: fx.Node, tensors: dict[fx.Node, tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The tensors of one result of several: results lie flat, in order."""
    source, index = node.args
    assert isinstance(source, fx.Node) and isinstance(index, int)
    before = sum(_count(shape) for shape in source.meta["shape"][:index])
    return tensors[source][before : before + _count(source.meta["shape"][index])]


def _results(node: fx.Node, operands: list[tuple[str, Tensor]], outputs: dict[fx.Node, None]) -> tuple[Tensor, ...]:
    """The tensors that a call gives: ``name``, or ``name.0``, ``name.1``, ... for several."""
    flat = list(_flat(node.meta["shape"], node.meta["dtype"]))
    known = all(tensor.role in ("constant", "buffer") for _, tensor in operands)
    returned = node in outputs or any(user in outputs for user in node.users if user.target is replay.getitem)
    role: Role = "output" if returned else "constant" if known else "activation"
    single = len(flat) == 1 and isinstance(node.meta["dtype"], str)
    return tuple(
        Tensor(node.name if single else f"{node.name}.{i}", shape, dtype, role) for i, (shape, dtype) in enumerate(flat)
    )


def _flat(shape: Any, dtype: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    if isinstance(dtype, str):
        yield shape, dtype
    elif dtype is not None:
        for part_shape, part_dtype in zip(shape, dtype, strict=True):
            yield from _flat(part_shape, part_dtype)


def _count(shape: Any) -> int:
    """How many tensors stand in a nested tuple of shapes."""
    if shape is None:
        return 0
    return 1 if all(isinstance(size, int) for size in shape) else sum(map(_count, shape))


def _arguments(
    node: fx.Node, tensors: dict[fx.Node, tuple[Tensor, ...]]
) -> tuple[list[tuple[str, Tensor]], list[tuple[str, Attr]]]:
    """Tensor arguments and plain ones, by torch's argument names."""
    operands: list[tuple[str, Tensor]] = []
    attrs: list[tuple[str, Attr]] = []
    for name, value in bind(node).items():
        found = list(_operands(name, value, tensors))
        operands += found
        if not isinstance(value, fx.Node) and not (found and _only_nodes(value)):
            attrs.append((name, _plain(value)))
    aten = tuple(op_kind(op) for op in node.meta["aten"])
    if aten != (op_kind(node.meta["op"]),):
        attrs.append(("aten", aten))  # what really ran: whether a reshape copied, how many kernels a layer is
    if node.meta["sync"]:
        attrs.append(("sync", True))
    return operands, attrs


def _operands(name: str, value: Any, tensors: dict[fx.Node, tuple[Tensor, ...]]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, fx.Node):
        found = tensors[value]
        yield from ((name if len(found) == 1 else f"{name}.{i}", tensor) for i, tensor in enumerate(found))
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _operands(f"{name}.{index}", part, tensors)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _operands(f"{name}.{key}", part, tensors)


def _only_nodes(value: Any) -> bool:
    return isinstance(value, fx.Node) or (isinstance(value, (list, tuple)) and all(map(_only_nodes, value)))


def _plain(value: Any) -> Attr:
    """A value as it can stand in a file: formats and devices by name, tensors as ``tensor``."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(part) for part in value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, slice):
        return ("slice", *(_plain(end) for end in (value.start, value.stop, value.step)))
    if isinstance(value, fx.Node):
        return "tensor"
    return "..." if value is Ellipsis else str(value).removeprefix("torch.")
