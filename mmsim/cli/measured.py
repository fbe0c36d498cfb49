"""What `mmsim measure` shows of one measurement: stages, slowest layers, and the paper's three classes of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmsim.layer import op_kind
from mmsim.report.table import percent, show, si

if TYPE_CHECKING:
    from mmsim.measurement import Kernels, Measurement, Spread


def tables(measured: Measurement) -> None:
    whole = sum(stage.layers_s for stage in measured.stages.values()) or 1.0
    show(
        f"{measured.name}, batch {measured.batch}, {measured.dtype} on {measured.machine.name}",
        ("stage", "layers", "share", "alone", "spread", "wall", "dispatches"),
        [
            (
                name,
                si(stage.layers_s, "s") if measured.layers else "-",
                percent(stage.layers_s / whole) if measured.layers else "-",
                si(stage.device_s.median, "s") if stage.device_s else "-",
                percent(stage.device_s.relative) if stage.device_s else "-",
                si(stage.wall_s.median, "s") if stage.wall_s else "-",
                stage.dispatches,
            )
            for name, stage in measured.stages.items()
        ],
        note=_note(measured),
    )
    if measured.layers:
        _slowest(measured)
    if measured.host_steps:
        rows = [(name, si(time.median, "s"), percent(time.relative)) for name, time in measured.host_steps.items()]
        show("On the host, before the network", ("step", "time", "spread"), rows)
    show("Network and system metrics", ("metric", "value", ""), _metrics(measured))
    if measured.kernels:
        _kernels(measured.kernels)
    for stage, values in measured.counters.items():
        click.echo(f"{stage}: " + ", ".join(f"{name} {value:.3g}" for name, value in values.items()))
    for note in measured.notes:
        click.echo(f"note: {note}")


def _slowest(measured: Measurement) -> None:
    slowest = sorted(measured.layers, key=lambda layer: -layer.device_s.median)[:8]
    show(
        "Slowest layers",
        ("layer", "op", "stage", "time", "spread"),
        [(t.name, op_kind(t.op), t.stage, si(t.device_s.median, "s"), percent(t.device_s.relative)) for t in slowest],
    )


def _metrics(measured: Measurement) -> list[tuple[str, str, str]]:
    """The paper's first two classes: of the network, of the system."""
    rows = [("parameters", si(measured.parameters), ""), ("MACs", si(measured.macs), "of one pass")]
    system, memory, used, both = measured.system, measured.memory, measured.energy, measured.concurrent
    if system:
        driver = "" if system.busy_by_driver is None else f"; {percent(system.busy_by_driver)} by the driver"
        moved = f"{si(system.copy_bytes, 'B')} in {si(system.copy_s, 's')}"
        rows += [
            ("utilization", percent(system.busy), f"of the wall time the device works{driver}"),
            ("throughput", si(system.macs_per_s, "MAC/s"), ""),
            ("copies", str(system.copies), f"between host and device: {moved}"),
            ("synchronisations", str(system.synchronisations), "the host waits for a value"),
        ]
    if memory:
        parts = {"weights": memory.weights_bytes, "inputs": memory.inputs_bytes}
        parts["intermediates"] = memory.intermediates_bytes
        split = ", ".join(f"{name} {si(size, 'B')}" for name, size in parts.items())
        rows.append(("peak memory", si(memory.total_bytes, "B"), split))
    if used:
        rows.append(("energy", si(used.joules, "J"), f"a pass, {si(used.average_w, 'W')} on average: {used.method}"))
    if both:
        alone = f"in series {si(both.serial_s.median, 's')}; {both.straggler} is {both.straggler_ratio:.2f} times the"
        idle = f"{alone} fastest, {percent(both.idle_share)} idle"
        rows.append(("encoders on streams", si(both.wall_s.median, "s"), idle))
    return rows


def _kernels(kernels: Kernels) -> None:
    whole = kernels.device_s or 1.0
    parts = {"class": kernels.by_class, "operator": kernels.by_operator, "kernel": kernels.by_name}
    show(
        f"{kernels.count} kernels",
        ("by", "", "time", "share"),
        [(k, name, si(s, "s"), percent(s / whole)) for k, sums in parts.items() for name, s in list(sums.items())[:8]],
        note=f"{percent(kernels.unmapped_share)} of kernel time belongs to no layer; by size "
        + ", ".join(f"{name} {percent(share)}" for name, share in kernels.by_size.items()),
    )


def _note(measured: Measurement) -> str:
    def figure(spread: Spread) -> str:
        return f"{si(spread.median, 's')} +- {percent(spread.relative)}"

    layers = f"sum of layers {si(measured.layers_s.median, 's')} ({100 * measured.overhead:+.1f} %"
    marks = measured.mark_s * len(measured.layers)
    before = measured.overhead + (marks / measured.device_s.median if measured.device_s.median else 0.0)
    layers += f", {100 * before:+.0f} % before {si(measured.mark_s, 's')} a mark were taken off)" if marks else ")"
    layers = layers if measured.layers else "layers not timed"
    return (
        f"whole network {figure(measured.device_s)} on the device, {figure(measured.wall_s)} as waited for; "
        f"{layers}; {measured.wall_s.runs} runs; {measured.rule}"
    )
