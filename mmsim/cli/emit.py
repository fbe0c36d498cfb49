"""mmsim emit: a network on an architecture as Timeloop and Accelergy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from mmsim.cli.output import answer, json_option
from mmsim.cli.source import Source, batch_option, concrete, source_options


@click.command()
@source_options
@click.option("--arch", "architecture", required=True, metavar="NAME|FILE")
@batch_option
@click.option("--dtype", help="Numeric format of weights and activations (default: the network's own).")
@click.option("--objective", type=click.Choice(["latency", "energy", "edp"]), default="edp", show_default=True)
@click.option(
    "--format", "form", type=click.Choice(["timeloop", "accelforge", "zigzag"]), default="timeloop", show_default=True
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write."
)
@json_option
def command(
    source: Source,
    architecture: str,
    batch: int | None,
    dtype: str | None,
    objective: str,
    form: str,
    output: Path,
    as_json: bool,
) -> None:
    """Write NETWORK for an architecture: one problem file per distinct shape, and an index of who uses it.

    The index names every problem of the network, those too that the format cannot say, with the
    layers and stages that use it and how often. Energies and areas that the architecture does not
    give are filled in from the built-in component models.
    """
    from mmsim import files
    from mmsim.arch import load
    from mmsim.emit import folder
    from mmsim.energy import filled

    arch = filled(load(architecture))
    graph = concrete(source.graph(batch or 1), batch)
    graph = graph.cast(dtype) if dtype is not None else graph
    index = folder.emit_graph(graph, arch, output, cast(Any, objective), form=form)
    rows = files.read_yaml(index)["problems"]
    said = [row for row in rows if row["file"]]
    value = {
        "workload": graph.workload,
        "variant": graph.variant,
        "architecture": arch.name,
        "format": form,
        "folder": str(output),
        "problems": len(rows),
        "files": len({row["file"] for row in said}),
        "without_file": {row["family"] or row["kind"]: row["why"] for row in rows if not row["file"]},
    }

    def table() -> None:
        from mmsim.report.table import show

        show(
            f"{graph.workload} {graph.variant} on {arch.name}, {form} files in {output}",
            ("file", "stage", "layers", "operations"),
            [
                (row["file"] or f"- {row['family']}", use["stage"], use["count"], row["operations"])
                for row in rows
                for use in row["uses"]
            ],
            note=f"{len(rows) - len(said)} of {len(rows)} problems have no file: see index.yaml",
        )

    answer(value, table, as_json=as_json)
