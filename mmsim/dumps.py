"""A network's layer-dump folder: the dump, a table for people, and a Timeloop problem per distinct shape.

::

    av_mnist/concat.json              the layer dump, symbolic in the batch
    av_mnist/concat.csv               one row a layer
    av_mnist/concat.problems.yaml     every distinct shape at batch 1: its file, and which layers use it
    av_mnist/problems/*.yaml          Timeloop problems, shared by the variants
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mmsim import files, layer_dump
from mmsim.emit.folder import emit_problems
from mmsim.errors import InputError
from mmsim.graph import Graph, Totals
from mmsim.problem import Problem
from mmsim.size import Size

COLUMNS = ("workload", "variant", "stage", "layers", "distinct shapes", "parameters", "MACs", "bytes", "op classes")


def write(graphs: Iterable[Graph], folder: str | Path, table: Callable[[Graph, Path], object]) -> Path:
    """Write the dumps of one workload's variants into `folder`; `table` writes a graph's CSV.

    Raises `InputError` for a graph with an open size other than the batch: problem files have none.
    """
    folder = Path(folder)
    chosen = list(graphs)
    if still_open := sorted({name for network in chosen for name in network.symbols} - {"B"}):
        given = f"mmsim trace DUMP --set {still_open[0]}=64 -o NEW"
        raise InputError(f"size {', '.join(still_open)} is open; give it a value with {given}", file=chosen[0].name)
    for network in chosen:
        layer_dump.dump(network, files.inside(folder, f"{network.stem}.json"))
        table(network, files.inside(folder, f"{network.stem}.csv"))
    emit_problems((network.at(B=1) if "B" in network.symbols else network for network in chosen), folder)
    return folder


def summary(network: Graph) -> list[tuple[Any, ...]]:
    """The rows of the README table: one a stage, figures as formulas in the batch."""
    rows = []
    for stage, totals in network.by_stage().items():
        problems = [p for layer in network.layers if str(layer.stage) == stage for p in network.problems(layer)]
        rows.append(
            (
                network.workload,
                network.variant,
                stage,
                totals.layers,
                len(set(problems)),
                totals.parameters,
                totals.macs,
                _bytes(totals),
                _classes(problems),
            )
        )
    return rows


README = """# Layer dumps

One folder a workload; for each variant its layer dump (`VARIANT.json`, sizes are formulas in the batch `B`), a table
for people (`VARIANT.csv`) and an index (`VARIANT.problems.yaml`) of the Timeloop problem files in `problems/`, one per
distinct shape at batch 1. Written by `mmsim dump --all`; read by every verb in place of a network's name:
`mmsim run layer_dumps/av_mnist/concat.json --arch eyeriss_like`.

MACs are multiply-accumulates; bytes are weights and activations in the network's own formats, every operand of every
layer counted once.

"""


def readme(networks: Iterable[Graph]) -> str:
    """The README of a dump folder: a table of every stage of every network."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for network in networks:
        lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in summary(network)]
    return README + "\n".join(lines) + "\n"


def _bytes(totals: Totals) -> Size:
    return totals.weight_bytes + totals.activation_bytes


def _classes(problems: Iterable[Problem]) -> str:
    return ", ".join(sorted({problem.family for problem in problems}))


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
