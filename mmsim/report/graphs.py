"""A layer graph for other programs: CSV, GraphML and Graphviz."""

from __future__ import annotations

import csv as csv_format
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsim import files
from mmsim.graph import Graph
from mmsim.layer import Layer, Tensor
from mmsim.report.drawing import colour, stages_of
from mmsim.size import total

if TYPE_CHECKING:
    import networkx

COLUMNS = (
    "id", "name", "op", "stage", "modality", "module_path", "call_index", "source", "inputs", "weights", "outputs",
    "parameters", "macs", "vector_ops", "attrs",
)  # fmt: skip


def csv(graph: Graph, path: str | Path) -> Path:
    """One row a layer, `COLUMNS` in the first; tensors as ``name:BxCxHxW:float32``, several parted by spaces."""
    out = io.StringIO()
    writer = csv_format.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(graph, layer) for layer in graph.layers)
    return files.write_text(path, out.getvalue())


def _row(graph: Graph, layer: Layer) -> dict[str, str]:
    problems = graph.problems(layer)
    weights = {tensor.name: tensor for tensor in layer.weights}.values()
    return {
        "id": str(layer.id),
        "name": layer.name,
        "op": layer.op,
        "stage": str(layer.stage),
        "modality": layer.stage.modality or "",
        "module_path": layer.module_path,
        "call_index": str(layer.call_index),
        "source": layer.source,
        "inputs": " ".join(map(_tensor, layer.inputs)),
        "weights": " ".join(map(_tensor, layer.weights)),
        "outputs": " ".join(map(_tensor, layer.outputs)),
        "parameters": str(total(tensor.elements for tensor in weights)),
        "macs": str(total(problem.macs for problem in problems)),
        "vector_ops": str(total(problem.operations for problem in problems if problem.kind == "vector")),
        "attrs": " ".join(f"{name}={value}" for name, value in layer.attrs),
    }


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name}:{'x'.join(str(size).replace(' ', '') for size in tensor.shape) or 'scalar'}:{tensor.dtype}"


def graphml(graph: Graph, path: str | Path) -> Path:
    """Layers as nodes with the columns of `csv`, tensors as edges with name, shape and format."""
    import networkx

    return files.write_text(path, "\n".join(networkx.generate_graphml(_annotated(graph))) + "\n")


def _annotated(graph: Graph) -> networkx.DiGraph[str]:
    """The graph with plain text attributes only."""
    import networkx

    out: networkx.DiGraph[str] = networkx.DiGraph(workload=graph.workload, variant=graph.variant)
    layers = graph.to_networkx()
    for layer in graph.layers:
        out.add_node(str(layer.id), **_row(graph, layer))
    edges: Any = layers.edges(data="tensor")
    for source, target, tensor in edges:
        out.add_edge(str(source), str(target), tensor=_tensor(tensor))
    return out


def dot(graph: Graph, path: str | Path) -> Path:
    """Graphviz source: one cluster a stage, one box a layer, edges with their shapes."""
    lines = [
        "digraph {",
        "  rankdir=TB",
        '  node [shape=box style="rounded,filled" fillcolor=white fontname=Helvetica]',
    ]
    for number, (stage, layers) in enumerate(stages_of(graph).items()):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(stage)}", "    style=filled"]
        lines.append(f'    fillcolor="{colour(graph, stage)}40"')
        lines += [f"    {layer.id} [label={_quoted(f'{layer.kind} {layer.module_path}')}]" for layer in layers]
        lines.append("  }")
    edges: Any = graph.to_networkx().edges(data="tensor")
    for source, target, tensor in edges:
        shape = "x".join(str(size) for size in tensor.shape)
        lines.append(f"  {source} -> {target} [label={_quoted(shape)}]")
    return files.write_text(path, "\n".join([*lines, "}"]) + "\n")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
