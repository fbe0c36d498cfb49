"""A layer graph for other programs and for the eye: CSV, GraphML, Graphviz and SVG."""

from __future__ import annotations

import csv as csv_format
import io
from pathlib import Path
from typing import TYPE_CHECKING

from mmsim import files
from mmsim.graph import Graph
from mmsim.layer import Layer, Tensor
from mmsim.size import total

if TYPE_CHECKING:
    import networkx

COLUMNS = (
    "id", "name", "op", "stage", "modality", "module_path", "call_index", "source", "inputs", "weights", "outputs",
    "parameters", "macs", "vector_ops", "attrs",
)  # fmt: skip

COLOURS = {
    "preprocess": "#9aa5b1", "fusion": "#e0a030", "head": "#c0504d", "loss": "#7f6084", "optimizer": "#7f6084",
}  # fmt: skip
MODALITY_COLOURS = ("#4472c4", "#70ad47", "#00a3a3", "#8064a2", "#5b9bd5", "#a5c249")


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
    for source, target, tensor in layers.edges(data="tensor"):
        out.add_edge(str(source), str(target), tensor=_tensor(tensor))
    return out


def dot(graph: Graph, path: str | Path) -> Path:
    """Graphviz source: one cluster a stage, one box a layer, edges with their shapes."""
    lines = [
        "digraph {",
        "  rankdir=TB",
        '  node [shape=box style="rounded,complete" fillcolor=white fontname=Helvetica]',
    ]
    for number, (stage, layers) in enumerate(_stages(graph).items()):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(stage)}", "    style=complete"]
        lines.append(f'    fillcolor="{_colour(graph, stage)}40"')
        lines += [f"    {layer.id} [label={_quoted(f'{layer.kind} {layer.module_path}')}]" for layer in layers]
        lines.append("  }")
    for source, target, tensor in graph.to_networkx().edges(data="tensor"):
        shape = "x".join(str(size) for size in tensor.shape)
        lines.append(f"  {source} -> {target} [label={_quoted(shape)}]")
    return files.write_text(path, "\n".join([*lines, "}"]) + "\n")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _stages(graph: Graph) -> dict[str, list[Layer]]:
    out: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        out.setdefault(str(layer.stage), []).append(layer)
    return out


def _colour(graph: Graph, stage: str) -> str:
    kind, _, modality = stage.partition(":")
    if kind != "encoder":
        return COLOURS[kind]
    modalities = list(dict.fromkeys(layer.stage.modality for layer in graph.layers if layer.stage.modality))
    return MODALITY_COLOURS[modalities.index(modality) % len(MODALITY_COLOURS)]
