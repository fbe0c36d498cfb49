"""What `mmsim validate network` shows: the graph of each measurement, and the tables of its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsim.arch.cpu import KEPT
from mmsim.cli.source import Source
from mmsim.errors import InputError
from mmsim.layer import op_kind

if TYPE_CHECKING:
    from mmsim.arch.model import Arch
    from mmsim.graph import Graph
    from mmsim.measurement import Measurement
    from mmsim.validate_network import Comparison


def comparisons(measured: Mapping[Path, Measurement], arch: Arch, dump: Path | None) -> list[Comparison]:
    """Every measurement beside its prediction; a network that was measured several times is traced once.

    Raises `InputError` naming the file whose measurement is of another network.
    """
    from mmsim.layer_dump import from_record
    from mmsim.report import progress
    from mmsim.validate_network import compare

    graphs: dict[Source, Graph] = {}

    def graph_of(path: Path, one: Measurement) -> Graph:
        if dump is None and one.graph is not None:
            return from_record(one.graph, file=str(path))
        if dump is None and one.source.is_own:  # to trace it anew would run the program that this file names
            raise InputError("holds no graph of a model of one's own: give its layer dump, --graph", field="graph")
        source = Source(str(dump)) if dump is not None else Source.of(one.source)
        if source not in graphs or graphs[source].batch not in (None, one.batch):
            graphs[source] = source.graph(one.batch)
        return graphs[source]

    found = []
    with progress.bar("predicting", len(measured)) as step:
        for path, one in measured.items():
            try:
                found.append(compare(one, graph_of(path, one), arch))
            except InputError as error:
                both = str(path) if dump is None else f"{path} with {dump}"
                raise InputError(error.message, file=error.file or both, field=error.field) from None
            step(one.workload)
    return found


def tables(found: Sequence[Comparison], value: dict[str, Any]) -> None:
    """Errors of all, the stages of each, the worst layers and the claims."""
    from mmsim.report.table import percent, show, si

    kinds = {"layers": value["all"]["layers"], "stages": value["all"]["stages"], "networks": value["all"]["networks"]}
    columns = ("rows", "MAPE %", "median %", "p90 %", "bias %", "by time %", "rank correlation")
    keys = ("mape_percent", "median_percent", "p90_percent", "bias_percent", "weighted_percent")
    show(
        f"Predicted on {found[0].predicted.arch.name}, measured on {found[0].measured.machine.name}",
        ("of", *columns),
        [
            (kind, e["rows"], *(f"{e[key]:.1f}" for key in keys), f"{e['spearman']:.4f}")
            for kind, e in kinds.items()
            if e
        ],
    )
    rows = []
    for comparison in found:
        noise = percent(comparison.measured.device_s.relative)
        for pair in (comparison.network, *comparison.stages):
            error = f"{100 * pair.error:+.1f} %"
            name = comparison.title if pair is comparison.network else f"  {pair.label}"
            rows.append((name, si(pair.measured_s, "s"), si(pair.predicted_s, "s"), error, noise))
            noise = ""
    show("Networks and stages", ("", "measured", "predicted", "error", "noise"), rows, note=_pace(found))
    worst = sorted((row for c in found for row in c.layers), key=lambda row: -row.missed_s)[:10]
    show(
        "Layers that miss the most time",
        ("layer", "op", "stage", "measured", "predicted", "error", "bound", "MACs", "bytes"),
        [
            (
                row.name, op_kind(row.op), row.stage, si(row.measured_s, "s"), si(row.predicted_s, "s"),
                f"{100 * row.pair.error:+.0f} %", row.bound, si(row.macs), si(row.bytes, "B"),
            )
            for row in worst
        ],
    )  # fmt: skip
    _claims(value["claims"])


def _pace(found: Sequence[Comparison]) -> str:
    """How the machine's pace then compares with that of its calibration."""
    from mmsim.report.table import si

    ratios = [ratio for comparison in found for ratio in comparison.pace.values()]
    if not ratios:
        return ""
    kept = [one.measured.pace_s[KEPT] for one in found if KEPT in one.measured.pace_s]
    spans = " to ".join(dict.fromkeys(si(end(kept), "s") for end in (min, max))) if kept else ""
    busy = f"; other work took half the caches within {spans}" if kept else ""
    return (
        f"the programs that were timed when the machine was calibrated took {min(ratios):.2f} to {max(ratios):.2f} "
        f"times as long in these measurements{busy}"
    )


def show_repeat(value: dict[str, Any]) -> None:
    """What `mmsim.repeat.repeat` found."""
    from mmsim.repeat import MARKS, TWO_RUNS
    from mmsim.report.table import percent, show

    def change(share: float | None) -> str:
        return "-" if share is None else f"{100 * share:+.1f} %"

    rows = [("whole network, device", change(value["device"])), ("whole network, as waited for", change(value["wall"]))]
    rows += [(f"  {name} alone", change(share)) for name, share in value["stages"].items()]
    rows += [(f"median of {what}", change(value[f"{what}_median"])) for what in ("stages", "layers")]
    said = {True: "within", False: "not within"}
    show(
        "The second run beside the first",
        ("", "difference"),
        rows,
        note=f"noise of the two {', '.join(map(percent, value['noise']))}; sum of layers over the whole "
        f"{', '.join(map(change, value['overhead']))}; two runs {said[value['within']['two runs']]} "
        f"{percent(TWO_RUNS)}, layers {said[value['within']['marks']]} {percent(MARKS)} of the whole",
    )


def draw(found: Sequence[Comparison], path: Path) -> None:
    """Layers by what bounds them, stages and networks."""
    from mmsim.report.scatter import scatter

    groups: dict[str, list[tuple[float, float]]] = {}
    for row in (row for comparison in found for row in comparison.layers):
        groups.setdefault(f"layers: {row.bound}", []).append((row.measured_s, row.predicted_s))
    sums = {
        "stages": [(p.measured_s, p.predicted_s) for c in found for p in c.stages if p.predicted_s > 0],
        "networks": [(c.network.measured_s, c.network.predicted_s) for c in found],
    }
    title = f"{found[0].predicted.arch.name}, measured on {found[0].measured.machine.name}"
    scatter(dict(sorted(groups.items())), title, path, larger=sums)


def _claims(found: Sequence[dict[str, Any]]) -> None:
    from mmsim.report.table import show

    if not found:
        return
    verdict = {True: "holds", False: "does not"}
    show(
        "The paper's claims",
        ("claim", "about", "figure", "measured", "predicted", "in measurement", "in prediction"),
        [
            (
                c["name"], c["about"], c["figure"], f"{c['measured']:.3g}", f"{c['predicted']:.3g}",
                verdict[c["holds_measured"]], verdict[c["holds_predicted"]],
            )
            for c in found
        ],
    )  # fmt: skip
    click.echo(f"{sum(c['holds_measured'] == c['holds_predicted'] for c in found)} of {len(found)} claims agree")
