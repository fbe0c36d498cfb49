"""mmsim measure: the traced network timed on a real device."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsim.cli.output import answer, json_option, output_option
from mmsim.cli.source import Source, source_options
from mmsim.errors import InputError

if TYPE_CHECKING:
    from mmsim.measure.built import Built
    from mmsim.measure.outcome import Outcome
    from mmsim.measure.sweep import Planned
    from mmsim.measurement import Measurement, Mode
    from mmsim.measurement import Source as Measured


@click.command()
@partial(source_options, required=False)
@click.option("--all", "sweep", is_flag=True, help="All variants of NETWORK, or of all workloads, into the folder -o.")
@click.option("--calibrate", is_flag=True, help="Measure this CPU's constants into the architecture file -o.")
@click.option("--kernels", is_flag=True, help="Single kernels on random shapes: tables for `mmsim validate kernels`.")
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
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads (default: 1 on a CPU, whose CPU time counts).")
@click.option("--repeats", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Per timed part.")
@click.option(
    "--within",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="With --all or --kernels: begin nothing later.",
)
@click.option("--streams", is_flag=True, help="Also all encoders at once, on CUDA streams.")
@click.option("--counters", is_flag=True, help="Also Nsight Compute's counters and stalls per stage (needs ncu).")
@json_option
@output_option
def command(
    source: Source,
    sweep: bool,
    calibrate: bool,
    kernels: bool,
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
    from mmsim.cli.measured import tables
    from mmsim.measure.built import Built
    from mmsim.measure.machine import use_threads
    from mmsim.measure.rule import reason
    from mmsim.measurement import to_record

    use_threads(threads or (1 if how["device"] == "cpu" else None))
    if calibrate:
        _calibrate(source, output, as_json)
        return
    if kernels:
        _kernels(source, dtypes, modes, output, as_json, within, how["device"])
        return
    if sweep:
        _sweep(source, batches, dtypes, modes, output, as_json, within, how)
        return
    for option, values in (("--batch", batches), ("--dtype", dtypes), ("--mode", modes)):
        if len(values) > 1:
            raise InputError("only one, unless with --all", field=option)
    if not source.spec:
        raise InputError("give a network or --all")
    try:
        with redirect_stdout(sys.stderr):  # what the user's model prints is not our answer
            measured = _measured(source.recorded(), batches[0], dtypes[0], modes[0], Built(), **how)
    except (RuntimeError, MemoryError) as error:  # of torch and CUDA, as where memory is short
        raise InputError(f"does not run on {how['device']}: {reason(error)}", file=source.spec) from error
    answer(to_record(measured), lambda: tables(measured), as_json=as_json, output=output)


def _measured(
    what: Measured, batch: int, dtype: str, mode: Mode, built: Built, *, device: str, repeats: int, seconds: float,
    cache: Any, streams: bool, counters: bool, full: bool = True, alone: bool = True,
) -> Measurement:  # fmt: skip
    from mmsim.measure.details import check, detailed, warned
    from mmsim.measure.machine import device_of
    from mmsim.measure.rule import Rule
    from mmsim.measure.session import Options, measure

    line, where = shlex.join(["mmsim", *sys.argv[1:]]), device_of(device)
    options = Options(batch, dtype, what, line, mode, cache, full=full, streams=streams, counted=counters)
    check(where, options, tools=alone)
    subject, rule = built.subject(what, batch, dtype, where), Rule(repeats=repeats, budget_s=seconds)
    return warned(lambda: detailed(subject, measure(subject, rule, options), rule, options))


def _sweep(
    source: Source, batches: tuple[int, ...], dtypes: tuple[str, ...], modes: tuple[Mode, ...], folder: Path | None,
    as_json: bool, within: float | None, how: dict[str, Any],
) -> None:  # fmt: skip
    from mmsim.measure import sweep
    from mmsim.measure.built import Built
    from mmsim.measure.machine import device_of
    from mmsim.measure.subject import floating
    from mmsim.report import progress
    from mmsim.workloads import names

    if folder is None:
        raise InputError("--all needs a folder", field="-o")
    if source != Source(source.spec):
        raise InputError("--all takes every variant: leave out --fusion, --modality, --set, --stage and the like")
    if device_of(how["device"]).type != "cuda" and (how["streams"] or how["counters"] or "graph" in modes):
        raise InputError("--mode graph, --streams and --counters need --device cuda")
    for name in dtypes:
        floating(name)
    planned = sweep.plan((source.spec,) if source.spec else names(), batches, dtypes, modes)
    built, asked = Built(), (how.pop("streams"), how.pop("counters"))

    def one(p: Planned) -> Measurement:
        streams, counters = (wanted and p.counted for wanted in asked)
        more: dict[str, Any] = {"streams": streams, "counters": counters, "full": p.full, "alone": False}
        return _measured(p.source, p.batch, p.dtype, p.mode, built, **more, **how)

    with progress.bar("measuring", len(planned)) as step:
        outcome = sweep.run(planned, folder, one, step, inf if within is None else within, how["device"])
    _show(outcome, as_json)


def _kernels(
    source: Source, dtypes: tuple[str, ...], modes: tuple[Mode, ...], folder: Path | None, as_json: bool,
    within: float | None, device: str,
) -> None:  # fmt: skip
    from mmsim.measure.kernel_sweep import FORMATS, sweep, tables
    from mmsim.measure.machine import device_of
    from mmsim.report import progress

    if source.spec:
        raise InputError("--kernels measures the machine, not a network", field=source.spec)
    if folder is None:
        raise InputError("--kernels needs a folder", field="-o")
    where = device_of(device)
    if unknown := [name for name in dtypes if name not in FORMATS]:
        raise InputError(f"unknown {unknown[0]!r}: {', '.join(FORMATS)}", field="--dtype")
    kinds = [mode for mode in modes if mode != "compiled"]
    if len(kinds) < len(modes) or ("graph" in kinds and device != "cuda"):
        raise InputError("single kernels run in eager mode, on a GPU in graph mode as well", field="--mode")
    formats = [FORMATS[name] for name in dtypes]
    with progress.bar("measuring", tables(formats, kinds)) as step:
        outcome = sweep(folder, where, formats, kinds, progress=step, within_s=inf if within is None else within)
    _show(outcome, as_json)


def _show(outcome: Outcome, as_json: bool) -> None:
    from mmsim import files

    if as_json:
        click.echo(files.to_json(asdict(outcome)))
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
