"""mmsim dump: layer dumps, tables and Timeloop problems of one network, or of every workload."""

from __future__ import annotations

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
    from mmsim.report import graphs, progress

    if everything == bool(network):
        raise InputError("give a network or --all")
    if network is not None:
        sources = _sources(network, fusion, modality)
    else:
        from mmsim.workloads import names

        sources = {name: variants for workload in names() for name, variants in _sources(workload, None, None).items()}
    traced: dict[str, list[Graph]] = {}
    with progress.bar("tracing", sum(map(len, sources.values()))) as step:
        for name, variants in sources.items():
            for variant in variants:
                traced.setdefault(name, []).append(variant.graph())
                step(f"{name} {traced[name][-1].variant}")
    for name, variants_traced in traced.items():
        dumps.write(variants_traced, files.inside(output, name), graphs.csv)
    every = [graph for found in traced.values() for graph in found]
    if everything:
        files.write_text(output / "README.md", dumps.readme(every))
    click.echo(f"{len(every)} layer dumps in {output}")


def _sources(network: str, fusion: str | None, modality: str | None) -> dict[str, list[Source]]:
    if network.endswith(".json"):
        return {Path(network).stem: [Source(network)]}
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
