"""mmsim measure: the traced network timed on a real device."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsim.cli.output import answer, json_option, output_option
from mmsim.cli.source import Source, integers, pairs, source_options
from mmsim.errors import InputError

if TYPE_CHECKING:
    from mmsim.measure.subject import Subject
    from mmsim.measurement import Measurement


@click.command()
@source_options
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--dtype", default="float32", show_default=True, help="Format of weights and activations.")
@click.option("--repeats", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Per timed part.")
@json_option
@output_option
def command(
    source: Source,
    device: str,
    batch: int,
    dtype: str,
    repeats: int,
    seconds: float,
    as_json: bool,
    output: Path | None,
) -> None:
    """Run NETWORK on this machine and time every layer, every stage alone, and the whole.

    --stage encoder (or encoder:image, fusion, head) measures one stage alone, on inputs of the right
    shape; --stage PATH=STAGE says, as everywhere, which stage a module belongs to.

    Weights and inputs are random. The file (-o) holds device, software, spread and command, and is
    what `mmsim validate network` compares with a prediction.
    """
    from mmsim.measure.machine import device_of
    from mmsim.measure.session import Rule, measure
    from mmsim.measurement import to_record

    source, stage = _split(source)
    subject = _subject(source, {"batch": batch, "dtype": dtype, "device": device_of(device)})
    rule = Rule(repeats=repeats, budget_s=seconds)
    line = shlex.join(["mmsim", *sys.argv[1:]])
    measured = measure(subject, rule, batch=batch, dtype=dtype, stage=stage, command=line)
    answer(to_record(measured), lambda: _tables(measured), as_json=as_json, output=output)


def _split(source: Source) -> tuple[Source, str | None]:
    """The source with its declarations of stages, and the one stage to measure alone, if any."""
    alone = [item for item in source.stages if "=" not in item]
    if len(alone) > 1:
        raise InputError(f"one stage at a time, not {', '.join(alone)}", field="--stage")
    return replace(source, stages=tuple(s for s in source.stages if "=" in s)), alone[0] if alone else None


def _subject(source: Source, how: dict[str, Any]) -> Subject:
    from mmsim.measure import subject

    stages, knobs = pairs(source.stages, "--stage"), integers(source.knobs, "--set")
    if source.spec.endswith(".json"):
        raise InputError("a layer dump has no program to run: name the workload or the model", file=source.spec)
    if ":" in source.spec or source.spec.endswith((".py", ".pt2")):
        inputs = pairs(source.inputs, "--input")
        return subject.model(source.spec, inputs=inputs, knobs=knobs, stages=stages, **how)
    variant = {"fusion": source.fusion, "modality": source.modality}
    switches = {"end_to_end": source.end_to_end, "host_costs": source.host_costs}
    return subject.workload(source.spec, overrides=stages, **how, **variant, **switches, **knobs)


def _tables(measured: Measurement) -> None:
    from mmsim.report.table import percent, show, si

    whole = sum(stage.layers_s for stage in measured.stages.values())
    show(
        f"{measured.workload} {measured.variant}, batch {measured.batch}, {measured.dtype} on {measured.machine.name}",
        ("stage", "layers", "share", "alone", "spread", "dispatches"),
        [
            (
                name,
                si(stage.layers_s, "s"),
                percent(stage.layers_s / whole),
                si(stage.wall_s.median, "s") if stage.wall_s else "-",
                percent(stage.wall_s.relative) if stage.wall_s else "-",
                stage.dispatches,
            )
            for name, stage in measured.stages.items()
        ],
        note=f"whole network {si(measured.wall_s.median, 's')} +- {percent(measured.wall_s.relative)}, sum of layers "
        f"{si(measured.device_s.median, 's')}; {measured.wall_s.runs} runs; {measured.rule}",
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
    if measured.memory:
        memory = measured.memory
        parts = (memory.weights_bytes, memory.inputs_bytes, memory.intermediates_bytes)
        names = ("weights", "inputs", "intermediates")
        show("Peak memory", names, [[si(part, "B") for part in parts]])
