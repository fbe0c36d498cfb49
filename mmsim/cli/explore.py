"""mmsim explore: the search over per-stage accelerators."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import click

from mmsim.cli.output import answer, json_option, output_option, plot_option
from mmsim.cli.source import Source, batch_option, concrete, pairs, source_options
from mmsim.errors import InputError


@click.command()
@source_options
@click.option("--arch", "architectures", multiple=True, required=True, metavar="NAME|FILE", help="May be repeated.")
@click.option(
    "--vary",
    multiple=True,
    metavar="FIELD=V1,V2",
    help="Try these values of a field of the architecture's file, e.g. glb.size_bytes=64*2**10,256*2**10; repeat for "
    "every combination.",
)
@batch_option
@click.option("--dtype", help="Numeric format of weights and activations (default: the network's own).")
@click.option("--objective", type=click.Choice(["latency", "energy", "edp"]), default="edp", show_default=True)
@click.option("--mappings", type=click.IntRange(min=1), default=300_000, show_default=True, help="Judged per shape.")
@click.option("--area-mm2", type=click.FloatRange(min=0, min_open=True), help="All accelerators together, at most.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes.")
@plot_option("the Pareto front")
@json_option
@output_option
def command(
    source: Source,
    architectures: tuple[str, ...],
    vary: tuple[str, ...],
    batch: int | None,
    dtype: str | None,
    objective: str,
    mappings: int,
    area_mm2: float | None,
    jobs: int,
    plot: Path | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Which accelerator is best for each stage of NETWORK, and what does one shared by all cost beside that?

    \b
    mmsim explore av_mnist --arch eyeriss_like --arch tpu_like
    mmsim explore av_mnist --arch eyeriss_like --vary PE.meshX=7,14,28 --vary PE.meshY=6,12
    mmsim explore mm_imdb --arch my.yaml --vary DRAM.bandwidth_bytes_per_s=8e9,32e9 --area-mm2 4

    The candidates are all architectures with all combinations of the values of --vary; a field is a path in
    the file, levels by their names (glb.size_bytes, clock_hz; in Timeloop files glb.attributes.depth). Each
    runs every distinct shape of the network once. From these figures the Pareto front of latency, energy and
    area over all assignments of candidates to stages is exact. Stages run one after another; those on the
    same candidate share it, so that its area counts once. docs/exploring.md says what is modelled.
    """
    from mmsim.explore import design_space, explore, record
    from mmsim.report import progress

    fields = {field: values.split(",") for field, values in pairs(vary, "--vary").items()}
    for field, values in fields.items():
        if "" in values or len(set(values)) < len(values):
            raise InputError("a value is missing or stands twice", field=f"--vary {field}")
    candidates = design_space(architectures, fields)
    sized = concrete(source.graph(batch or 1), batch)
    if dtype is not None:
        sized = sized.cast(dtype)
    with progress.counter(f"shapes on {len(candidates)} accelerators") as step:
        found = explore(
            sized,
            candidates,
            objective=cast(Any, objective),
            area_limit_mm2=math.inf if area_mm2 is None else area_mm2,
            mappings=mappings,
            jobs=jobs,
            progress=step,
        )
    value = {
        "workload": sized.workload,
        "variant": sized.variant,
        "batch": sized.batch,
        "dtype": dtype or "as traced",
        "mappings": mappings,
        **record(found),
    }

    def tables() -> None:
        from mmsim.report import explorations

        explorations.candidates(found)
        explorations.assignments(found)

    answer(value, tables, as_json=as_json, output=output)
    if plot is not None:
        from mmsim.report.front import draw

        draw(found, plot)
