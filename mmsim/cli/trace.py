"""mmsim trace: a network -> its stage-annotated layer graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsim.cli.output import answer, json_option
from mmsim.cli.source import Source, at_batch, source_options

if TYPE_CHECKING:
    from mmsim.graph import Graph, Totals

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@source_options
@click.option("--batch", type=click.IntRange(min=1), help="Make the batch concrete: figures as numbers, not formulas.")
@click.option("-o", "--output", type=FILE, help="Write the layer dump (JSON) that every other verb reads.")
@click.option("--view", type=FILE, help="Draw the stage-annotated graph as SVG.")
@click.option("--csv", "csv_file", type=FILE, help="Write one row a layer.")
@click.option("--graphml", type=FILE, help="Write the graph for networkx, Gephi or yEd.")
@click.option("--dot", type=FILE, help="Write the graph for Graphviz.")
@json_option
def command(
    source: Source,
    batch: int | None,
    output: Path | None,
    view: Path | None,
    csv_file: Path | None,
    graphml: Path | None,
    dot: Path | None,
    as_json: bool,
) -> None:
    """Trace NETWORK into its layer graph: stages, modalities, shapes, parameters and MACs.

    NETWORK is a workload's name, a layer dump, FILE.py:factory or package.module:factory, a torch.export program (.pt2)
    or an ONNX file. Nothing is computed and no weight is loaded.
    """
    from mmsim.layer_dump import dump

    graph = source.graph(batch)
    if batch is not None:
        graph = at_batch(graph, batch)
    if output is not None:
        dump(graph, output)
    if view or csv_file or graphml or dot:
        from mmsim.report import drawing, graphs

        for path, write in ((view, drawing.svg), (csv_file, graphs.csv), (graphml, graphs.graphml), (dot, graphs.dot)):
            if path is not None:
                write(graph, path)
    answer(record(graph), lambda: _tables(graph), as_json=as_json)


def record(graph: Graph) -> dict[str, Any]:
    """The answer for programs; sizes are numbers where concrete, else formulas in ``B``."""
    return {
        "workload": graph.workload,
        "variant": graph.variant,
        "batch": "B" if "B" in graph.symbols else graph.batch,
        "phase": graph.phase,
        **_figures(graph.totals()),
        "operations": len(graph.layers),
        "distinct_problems": len(graph.distinct_problems()),
        "by_stage": {stage: _figures(totals) for stage, totals in graph.by_stage().items()},
        "by_modality": {modality: _figures(totals) for modality, totals in graph.by_modality().items()},
        "provenance": {
            "route": graph.provenance.route,
            "stages": graph.provenance.stages,
            "software": graph.provenance.software,
            "symbols": dict(graph.provenance.symbols),
            "unknown_ops": dict(graph.provenance.unknown_ops),
            "notes": list(graph.provenance.notes),
        },
    }


def _figures(totals: Totals) -> dict[str, Any]:
    named = {
        "parameters": totals.parameters,
        "macs": totals.macs,
        "flops": totals.flops,
        "vector_ops": totals.vector_ops,
        "weight_bytes": totals.weight_bytes,
        "activation_bytes": totals.activation_bytes,
    }
    return {"layers": totals.layers} | {name: v if isinstance(v, int) else str(v) for name, v in named.items()}


def _tables(graph: Graph) -> None:
    from mmsim.report.table import show

    rows = [(stage, totals) for stage, totals in graph.by_stage().items()]
    rows.append(("total", graph.totals()))
    provenance = graph.provenance
    notes = [f"captured by {provenance.route}, stages {provenance.stages}"]
    notes += [f"{name}: {how}" for name, how in provenance.symbols]
    notes += [f"unknown, let through: {op} x{count}" for op, count in provenance.unknown_ops]
    show(
        graph.title,
        ("stage", "layers", "parameters", "MACs", "vector ops", "weight bytes", "activation bytes"),
        [(name, t.layers, t.parameters, t.macs, t.vector_ops, t.weight_bytes, t.activation_bytes) for name, t in rows],
        note="; ".join(notes + list(provenance.notes)),
        total=True,
    )
