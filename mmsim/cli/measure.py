"""mmsim measure: the traced network timed on a real device."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsim.cli.output import answer, json_option, output_option
from mmsim.cli.source import Source, integers, pairs, source_options
from mmsim.errors import InputError

if TYPE_CHECKING:
    from mmsim.measure.sweep import Planned
    from mmsim.measurement import Kernels, Measurement, Mode, Spread
    from mmsim.measurement import Source as Measured


@click.command()
@partial(source_options, required=False)
@click.option("--all", "sweep", is_flag=True, help="All variants of NETWORK, or of all workloads, into the folder -o.")
@click.option("--calibrate", is_flag=True, help="Measure this CPU's constants into the architecture file -o.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--batch", "batches", type=click.IntRange(min=1), multiple=True, default=(1,), show_default=True)
@click.option("--dtype", "dtypes", multiple=True, default=("float32",), show_default=True, help="Of all tensors.")
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["eager", "graph", "compiled"]),
    multiple=True,
    default=("eager",),
    show_default=True,
    help="Op by op, as a CUDA graph, or by torch.compile.",
)
@click.option(
    "--cache", type=click.Choice(["warm", "cold"]), default="warm", show_default=True, help="Before each pass."
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads (default: torch's). With 1, CPU time counts.")
@click.option("--repeats", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Per timed part.")
@click.option("--within", type=click.FloatRange(min=0), metavar="SECONDS", help="With --all: begin no run after this.")
@click.option("--streams", is_flag=True, help="Also all encoders at once, on CUDA streams.")
@click.option("--counters", is_flag=True, help="Also Nsight Compute's counters and stalls per stage (needs ncu).")
@json_option
@output_option
def command(
    source: Source,
    sweep: bool,
    calibrate: bool,
    batches: tuple[int, ...],
    dtypes: tuple[str, ...],
    modes: tuple[Mode, ...],
    threads: int | None,
    within: float | None,
    as_json: bool,
    output: Path | None,
    **how: Any,
) -> None:
    """Run NETWORK on this machine and time every layer, every stage alone, and the whole.

    --stage encoder (or encoder:image, fusion, head) measures one stage alone, on inputs of the right
    shape; --stage PATH=STAGE says, as everywhere, which stage a module belongs to.

    Weights and inputs are random. The file (-o) holds device, software, spread and command, and is
    what `mmsim validate network` compares with a prediction. With --all, --batch, --dtype and --mode
    may be repeated; each run is one file in the folder -o, and a run whose file stands is not repeated.

    --calibrate takes no network: it measures this CPU in a minute, as an architecture for --arch.
    """
    from mmsim.measure.machine import use_threads
    from mmsim.measurement import to_record

    use_threads(threads)
    if calibrate:
        _calibrate(source, output, as_json)
        return
    if sweep:
        _sweep(source, batches, dtypes, modes, output, as_json, within, how)
        return
    for option, values in (("--batch", batches), ("--dtype", dtypes), ("--mode", modes)):
        if len(values) > 1:
            raise InputError("only one, unless with --all", field=option)
    if not source.spec:
        raise InputError("give a network or --all")
    measured = _measured(_what(source), batches[0], dtypes[0], modes[0], **how)
    answer(to_record(measured), lambda: _tables(measured), as_json=as_json, output=output)


def _measured(
    what: Measured, batch: int, dtype: str, mode: Mode, *, device: str, repeats: int, seconds: float, cache: Any,
    streams: bool, counters: bool,
) -> Measurement:  # fmt: skip
    from mmsim.measure.details import detailed
    from mmsim.measure.machine import device_of
    from mmsim.measure.session import Options, Rule, measure
    from mmsim.measure.subject import subject_of

    line = shlex.join(["mmsim", *sys.argv[1:]])
    options = Options(batch=batch, dtype=dtype, source=what, command=line, mode=mode, cache=cache)
    subject = subject_of(what, batch=batch, dtype=dtype, device=device_of(device))
    rule = Rule(repeats=repeats, budget_s=seconds)
    measured = measure(subject, rule, options)
    return detailed(subject, measured, rule, options, streams=streams, counted=counters)


def _sweep(
    source: Source, batches: tuple[int, ...], dtypes: tuple[str, ...], modes: tuple[Mode, ...], folder: Path | None,
    as_json: bool, within: float | None, how: dict[str, Any],
) -> None:  # fmt: skip
    from mmsim import files
    from mmsim.measure import sweep
    from mmsim.report import progress
    from mmsim.workloads import names

    if folder is None:
        raise InputError("--all needs a folder", field="-o")
    if source != Source(source.spec):
        raise InputError("--all takes every variant: leave out --fusion, --modality, --set, --stage and the like")
    planned = sweep.plan((source.spec,) if source.spec else names(), batches, dtypes, modes)

    def one(p: Planned) -> Measurement:
        return _measured(p.source, p.batch, p.dtype, p.mode, **how)

    with progress.bar("measuring", len(planned)) as step:
        outcome = sweep.run(planned, folder, one, step, inf if within is None else within)
    if as_json:
        click.echo(
            files.to_json(
                {"measured": outcome.measured, "stood": outcome.stood, "failed": outcome.failed, "left": outcome.left}
            )
        )
        return
    click.echo(
        f"{len(outcome.measured)} measured, {len(outcome.stood)} stood already, "
        f"{len(outcome.failed)} failed, {outcome.left} left"
    )
    for name, reason in outcome.failed.items():
        click.echo(f"  {name}: {reason}")


def _calibrate(source: Source, output: Path | None, as_json: bool) -> None:
    from mmsim import files
    from mmsim.arch import spec
    from mmsim.measure.calibrate import calibrate, steps
    from mmsim.report import progress

    if source.spec:
        raise InputError("--calibrate measures the machine, not a network", field=source.spec)
    with progress.bar("calibrating", steps()) as step:
        value = calibrate(step)
    spec.parse(value, file="calibration")
    if output is not None:
        files.write_yaml(output, value)
    if as_json:
        click.echo(files.to_json(value))
    elif output is not None:
        click.echo(f"{value['description']} {output}: use it as --arch {output}")
    else:
        click.echo(files.to_yaml(value), nl=False)


def _what(source: Source) -> Measured:
    """The options as the file keeps them: declarations of stages, and the one stage to measure alone, if any."""
    from mmsim.measurement import Source as Measured

    if source.spec.endswith(".json"):
        raise InputError("a layer dump has no program to run: name the workload or the model", file=source.spec)
    alone = [item for item in source.stages if "=" not in item]
    if len(alone) > 1:
        raise InputError(f"one stage at a time, not {', '.join(alone)}", field="--stage")
    return Measured(
        network=source.spec,
        fusion=source.fusion,
        modality=source.modality,
        end_to_end=source.end_to_end,
        host_costs=source.host_costs,
        knobs=integers(source.knobs, "--set"),
        inputs=pairs(source.inputs, "--input"),
        stages=pairs(tuple(s for s in source.stages if "=" in s), "--stage"),
        only=alone[0] if alone else None,
    )


def _tables(measured: Measurement) -> None:
    from mmsim.report.table import percent, show, si

    whole = sum(stage.layers_s for stage in measured.stages.values()) or 1.0
    show(
        f"{measured.workload} {measured.variant}, batch {measured.batch}, {measured.dtype} on {measured.machine.name}",
        ("stage", "layers", "share", "alone", "spread", "wall", "dispatches"),
        [
            (
                name,
                si(stage.layers_s, "s"),
                percent(stage.layers_s / whole),
                si(stage.device_s.median, "s") if stage.device_s else "-",
                percent(stage.device_s.relative) if stage.device_s else "-",
                si(stage.wall_s.median, "s") if stage.wall_s else "-",
                stage.dispatches,
            )
            for name, stage in measured.stages.items()
        ],
        note=_note(measured),
    )
    slowest = sorted(measured.layers, key=lambda layer: -layer.device_s.median)[:8]
    show(
        "Slowest layers",
        ("layer", "op", "stage", "time", "spread"),
        [(t.name, t.op, t.stage, si(t.device_s.median, "s"), percent(t.device_s.relative)) for t in slowest],
    )
    if measured.host_steps:
        rows = [(name, si(time.median, "s"), percent(time.relative)) for name, time in measured.host_steps.items()]
        show("On the host, before the network", ("step", "time", "spread"), rows)
    if measured.kernels:
        _kernels(measured.kernels)
    if measured.concurrent:
        both = measured.concurrent
        click.echo(
            f"encoders on streams {si(both.wall_s.median, 's')}, in series {si(both.serial_s.median, 's')}; straggler "
            f"{both.straggler}, {both.straggler_ratio:.2f} times the fastest; {percent(both.idle_share)} idle"
        )
    for stage, values in measured.counters.items():
        click.echo(f"{stage}: " + ", ".join(f"{name} {value:.3g}" for name, value in values.items()))
    if measured.energy:
        used = measured.energy
        click.echo(f"energy {si(used.joules, 'J')} a pass, {si(used.average_w, 'W')} on average ({used.method})")
    if measured.memory:
        memory = measured.memory
        parts = (memory.weights_bytes, memory.inputs_bytes, memory.intermediates_bytes)
        names = ("weights", "inputs", "intermediates")
        show("Peak memory", names, [[si(part, "B") for part in parts]])


def _kernels(kernels: Kernels) -> None:
    from mmsim.report.table import percent, show, si

    whole = kernels.device_s or 1.0
    parts = {"class": kernels.by_class, "operator": kernels.by_operator, "kernel": kernels.by_name}
    show(
        f"{kernels.count} kernels",
        ("by", "", "time", "share"),
        [(k, name, si(s, "s"), percent(s / whole)) for k, sums in parts.items() for name, s in list(sums.items())[:8]],
        note=f"{percent(kernels.unmapped_share)} of kernel time belongs to no layer; by size "
        + ", ".join(f"{name} {percent(share)}" for name, share in kernels.by_size.items())
        + f"; {kernels.copies} copies, {kernels.synchronisations} synchronisations",
    )


def _note(measured: Measurement) -> str:
    from mmsim.report.table import percent, si

    def figure(spread: Spread) -> str:
        return f"{si(spread.median, 's')} +- {percent(spread.relative)}"

    layers = f"sum of layers {si(measured.layers_s.median, 's')} ({100 * measured.overhead:+.1f} %)"
    return (
        f"whole network {figure(measured.device_s)} on the device, {figure(measured.wall_s)} as waited for; "
        f"{layers}; {measured.wall_s.runs} runs; {measured.rule}"
    )
