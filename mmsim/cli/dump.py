"""mmsim dump: layer dumps, tables and Timeloop problems of one network, or of every workload."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsim.cli.source import Source
from mmsim.errors import InputError

if TYPE_CHECKING:
    from mmsim.graph import Graph


@click.command()
@click.argument("network", required=False)
@click.option("--all", "everything", is_flag=True, help="Every variant of every workload, into layer_dumps/.")
@click.option("--fusion", metavar="NAME", help="Only this fusion variant of a workload (default: all variants).")
@click.option("--modality", metavar="NAME", help="Only this uni-modal counterpart.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("layer_dumps"), show_default=True,
    help="The folder; each workload has one in it.",
)  # fmt: skip
def command(network: str | None, everything: bool, fusion: str | None, modality: str | None, output: Path) -> None:
    """Write layer dumps of NETWORK (a workload's name, or a layer dump) or, with --all, of all workloads.

    Each variant gives a JSON dump that serves every batch size, a CSV for people, and the Timeloop
    problem file of each distinct shape at batch 1 with an index of the layers that use it.
    """
    from mmsim import dumps, files
    from mmsim.report import graphs

    if everything == bool(network):
        raise InputError("give a network or --all")
    if everything and (fusion or modality):
        raise InputError("every variant: leave out --fusion and --modality", field="--all")
    if network is not None:
        sources = _sources(network, fusion, modality)
    else:
        from mmsim.workloads import names

        sources = {name: variants for workload in names() for name, variants in _sources(workload, None, None).items()}
    written: list[Graph] = []
    for name, traced in _traced(sources).items():
        dumps.write(traced, files.inside(output, name), graphs.csv)
        written += traced
    if everything:
        files.write_text(output / "README.md", dumps.readme(written))
    click.echo(f"{len(written)} layer dumps in {output}")


def _traced(sources: dict[str, list[Source]]) -> dict[str, list[Graph]]:
    """Every variant's graph; several variants are traced by several processes, each importing torch once."""
    from mmsim.report import progress

    flat = [source for variants in sources.values() for source in variants]
    with progress.bar("tracing", len(flat)) as step:
        graphs = []
        for graph in map(Source.graph, flat) if len(flat) < 4 else _in_processes(flat):
            graphs.append(graph)
            step(f"{graph.workload} {graph.variant}")
    found = iter(graphs)
    return {name: [next(found) for _ in variants] for name, variants in sources.items()}


def _in_processes(sources: list[Source]) -> Iterator[Graph]:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield from pool.map(Source.graph, sources)


def _sources(network: str, fusion: str | None, modality: str | None) -> dict[str, list[Source]]:
    if network.endswith(".json"):
        return {Path(network).stem: [Source(network, fusion=fusion, modality=modality)]}
    from mmsim.workloads import get

    if fusion or modality:
        return {network: [Source(network, fusion=fusion, modality=modality)]}
    variants = get(network).variants()
    return {network: [_variant(network, arguments) for arguments in variants.values()]}


def _variant(network: str, arguments: dict[str, object]) -> Source:
    """The source of a variant given as arguments of `Workload.network`."""
    known = {name: arguments[name] for name in ("fusion", "modality", "host_costs") if name in arguments}
    knobs = tuple(f"{name}={value}" for name, value in arguments.items() if name not in known)
    return Source(network, knobs=knobs, **known)  # type: ignore[arg-type]
