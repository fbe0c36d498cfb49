"""mmsim run: latency and energy of a network per layer, stage and modality, on one or several architectures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsim.cli.output import answer, json_option, output_option
from mmsim.cli.source import Source, batch_option, concrete, source_options

if TYPE_CHECKING:
    from mmsim.arch.model import Arch
    from mmsim.graph import Graph


@click.command()
@source_options
@click.option("--arch", "architectures", multiple=True, required=True, metavar="NAME|FILE", help="May be repeated.")
@batch_option
@click.option("--dtype", help="Numeric format of weights and activations (default: the network's own).")
@click.option(
    "--autocast", type=click.Choice(["float16", "bfloat16"]), help="Under torch.autocast, its casts included."
)
@click.option(
    "--mode", type=click.Choice(["eager", "graph", "fused"]), default="eager", show_default=True, help="GPUs."
)
@click.option("--objective", type=click.Choice(["latency", "energy", "edp"]), default="edp", show_default=True)
@click.option("--best", is_flag=True, help="GPUs: also what the best mapping on the same machine could reach (slower).")
@click.option(
    "--mappings", type=click.IntRange(min=1), default=300_000, show_default=True, help="Judged per distinct shape."
)
@click.option(
    "--backend",
    default="builtin",
    show_default=True,
    help="Who maps: builtin, timeloop or accelforge (mmsim doctor says which are installed).",
)
@click.option(
    "--time",
    "time_s",
    type=click.FloatRange(min=0),
    default=120,
    show_default=True,
    help="Seconds for one shape of another back end than the built-in one.",
)
@click.option("--layers", type=click.IntRange(min=0), default=0, help="Show this many of the slowest layers.")
@click.option("--counters", is_flag=True, help="GPUs: occupancy, IPC, DRAM use, stalls and kernel classes per stage.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write dump, Timeloop and Accelergy files."
)
@json_option
@output_option
def command(
    source: Source,
    architectures: tuple[str, ...],
    batch: int | None,
    dtype: str | None,
    autocast: str | None,
    mode: str,
    objective: str,
    best: bool,
    mappings: int,
    backend: str,
    time_s: float,
    layers: int,
    counters: bool,
    out: Path | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Evaluate NETWORK on architectures: latency, energy and bound per stage and modality.

    A GPU runs what its kernel library would; with --best there stands beside it what the best mapping
    on the same machine could reach: the room for better kernels. Other architectures run the best
    mapping of every layer. Equal shapes are solved once.
    """
    from mmsim import backends
    from mmsim.arch.load import load_all
    from mmsim.energy import filled
    from mmsim.nest.solve import solve as builtin
    from mmsim.report import progress
    from mmsim.run import record, run

    backends.backend(backend)  # an unknown name is refused before any work
    machines = [filled(arch) for arch in load_all(architectures)]
    network = source.graph(batch or 1)
    sized = concrete(network, batch)
    if dtype is not None:
        sized = sized.cast(dtype)
    if autocast is not None:
        from mmsim.autocast import autocast as under

        sized = under(sized, autocast)
    solve = partial(backends.solve, name=backend, limit_s=time_s)
    if backend == "builtin":
        solve = partial(builtin, mappings=mappings)
    how: Any = {"mode": mode, "objective": objective, "best": best, "solve": solve}
    runs = []
    for arch in machines:
        with progress.counter(f"{arch.name}: distinct shapes") as step:
            runs.append(run(sized, arch, **how, progress=step))
    if out is not None:
        _write(network, sized, machines, out)
    value = {
        "workload": network.workload,
        "variant": network.variant,
        "batch": sized.batch,
        "dtype": f"autocast {autocast}" if autocast else dtype or "as traced",
        "architectures": {done.arch.name: record(done) for done in runs},
    }

    def tables() -> None:
        from mmsim.report import runs as tables_of

        for done in runs:
            tables_of.stages(done)
            if counters:
                tables_of.counters(done)
            if layers:
                tables_of.slowest(done, layers)
        if out is not None:
            click.echo(f"layer dump, Timeloop problems and Accelergy tables are in {out}")

    answer(value, tables, as_json=as_json, output=output)


def _write(network: Graph, sized: Graph, machines: list[Arch], out: Path) -> None:
    from mmsim.emit.folder import emit_graph
    from mmsim.layer_dump import dump

    dump(network, out / "graph.json")
    for arch in machines:
        emit_graph(sized, arch, out / arch.name)
