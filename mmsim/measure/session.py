"""One measurement: the captured graph run on a device, layer by layer, stage by stage and whole."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

from torch import fx

from mmsim.layer import Layer
from mmsim.layer_dump import to_record
from mmsim.measure import machine, marks, pace
from mmsim.measure.clock import Clock, Pass, clock_of, excess
from mmsim.measure.memory import peak
from mmsim.measure.parts import Cut, alone, cuts, parts
from mmsim.measure.programs import flusher, runner
from mmsim.measure.rule import Notes, Rule
from mmsim.measure.subject import Subject
from mmsim.measurement import FORMAT, VERSION, LayerTime, Measurement, Mode, Peak, Source, Spread, StageTime, spread
from mmsim.size import concrete


@dataclass(frozen=True)
class Options:
    """What to measure, and what the file says about how it came to be.

    Beside the whole and its layers, `full` has every stage alone and the energy; `streams` and `counted`
    (by ncu) are asked for one by one.
    """

    batch: int
    dtype: str
    source: Source
    command: str = ""
    mode: Mode = "eager"
    cache: Literal["warm", "cold"] = "warm"
    full: bool = True
    streams: bool = False
    counted: bool = False


def measure(subject: Subject, rule: Rule, options: Options) -> Measurement:
    """Time `subject`: every layer, every stage alone, the whole network; ``options.source.only`` keeps one stage.

    One pass is looked at, for its memory and the inputs of the stages, and is the first of the warm-up. Then passes
    with a mark after every layer alternate with passes of the program as it is. A compiled program has no layers
    to time. What fails beside the whole is left out, and its reason stands in the notes.
    Raises `InputError` when no layer belongs to the stage, and for a mode that the device lacks.
    """
    if options.source.only is not None:
        subject = alone(subject, options.source.only)
    clock = clock_of(subject.device)
    if subject.device.type == "cpu":
        pace.keep_blocks()
    notes = Notes(list(subject.notes))
    apart = cuts(subject, _to_run_alone(subject, options))
    seen = _look(subject, apart, options, notes)
    passes, mark_s = _passes(subject, clock, rule, options, notes, seen.warmed_s), 0.0
    if subject.device.type != "cpu":
        passes, mark_s = _settled(passes)
    layers = _layer_times(subject, [p.layers for p in passes if p.layers is not None])
    paces = pace.seconds(clock) if subject.device.type == "cpu" else {}
    whole = subject.graph.totals()
    found = machine.describe(subject.device)
    return Measurement(
        format=FORMAT,
        version=VERSION,
        workload=subject.graph.workload,
        variant=subject.graph.variant,
        batch=options.batch,
        dtype=options.dtype,
        source=options.source,
        mode=options.mode,
        machine=found,
        software=machine.software(),
        command=options.command,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        rule=f"{rule}; layers by {clock.method}" if layers else str(rule),
        parameters=concrete(whole.parameters),
        macs=concrete(whole.macs),
        wall_s=spread([p.plain.wall_s for p in passes]),
        device_s=spread([p.plain.device_s for p in passes]),
        layers_s=spread([sum(p.layers[0]) if p.layers else 0.0 for p in passes]),
        host_s=spread([sum(p.layers[1]) if p.layers else 0.0 for p in passes]),
        mark_s=mark_s,
        layers=layers,
        stages=_stage_times(subject, layers, lambda: _alone(subject, apart, seen, clock, rule, options, notes), notes),
        memory=seen.peak,
        host_steps={name: _host_seconds(step, rule) for name, step in subject.host_steps.items()},
        cache=options.cache,
        graph=to_record(subject.graph) if options.source.is_own else None,
        pace_s=paces,
        notes=notes.lines,
    )


def _members(subject: Subject) -> list[Layer]:
    """The layers that the captured program runs, in order."""
    layers = subject.layers
    return [layers[n.name] for n in marks.operations(subject.captured) if n.name in layers]


def _to_run_alone(subject: Subject, options: Options) -> tuple[str, ...]:
    """The stages that are worth a run of their own: none where there is but one."""
    names = tuple(dict.fromkeys(str(layer.stage) for layer in _members(subject)))
    return names if len(names) > 1 and options.full else ()


@dataclass(frozen=True, eq=False)
class _Look:
    """What one pass op by op showed, and how long it warmed up: a GPU's first pass mostly loads libraries."""

    peak: Peak | None
    values: dict[fx.Node, Any]
    warmed_s: float


def _look(subject: Subject, apart: list[Cut], options: Options, notes: Notes) -> _Look:
    feeds = [node for cut in apart for node in cut.feeds]
    start = time.perf_counter()
    seen = notes.attempt("memory", lambda: peak(subject.captured, subject.inputs, subject.device, feeds))
    most, values = seen or (None, {})
    warms = options.mode == "eager" and subject.device.type == "cpu"
    return _Look(most, values, time.perf_counter() - start if warms else 0.0)


def _host_seconds(step: Callable[[], Any], rule: Rule) -> Spread:
    def run() -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    return spread(rule.samples(run))


@dataclass(frozen=True)
class _Passes:
    """One pass with marks (device and host seconds of each operation), if it can be made, and one without."""

    layers: tuple[list[float], list[float]] | None
    plain: Pass


def _passes(
    subject: Subject, clock: Clock, rule: Rule, options: Options, notes: Notes, warmed_s: float
) -> list[_Passes]:
    plain = runner(subject, options.mode)
    marked = None
    if options.mode != "compiled":
        program = replace(subject, captured=marks.marked(subject.captured, clock.mark))
        marked = notes.attempt("layers", lambda: runner(program, options.mode))
    flush = flusher(subject.device, options.cache)

    def layers() -> tuple[list[float], list[float]] | None:
        if marked is None:
            return None
        flush()
        marked()
        device, host = clock.finish()
        return device, host if options.mode == "eager" else [0.0] * len(host)  # a graph is launched whole

    def run() -> _Passes:
        found = layers()
        flush()
        return _Passes(found, clock.timed(plain))

    return rule.samples(run, warmed_s)


def _settled(passes: list[_Passes]) -> tuple[list[_Passes], float]:
    """On a GPU, less what each mark was found to cost: by as much as the passes with marks were longer.

    Events between kernels keep the device from beginning one while another ends, which no event can tell. On a CPU
    marks take their own time off, and what is left is noise: spread over the layers it would empty the short ones.
    """
    spans = [p.layers[0] for p in passes if p.layers is not None]
    if not spans:
        return passes, 0.0
    whole = median(p.plain.device_s for p in passes)
    cost = median(excess(of_pass, whole) for of_pass in spans)

    def less(layers: tuple[list[float], list[float]] | None) -> tuple[list[float], list[float]] | None:
        return layers and ([max(0.0, seconds - cost) for seconds in layers[0]], layers[1])

    return [replace(p, layers=less(p.layers)) for p in passes], cost


def _layer_times(subject: Subject, runs: list[tuple[list[float], list[float]]]) -> list[LayerTime]:
    if not runs:
        return []
    layers = subject.layers
    out = []
    for index, node in enumerate(marks.operations(subject.captured)):
        layer = layers.get(node.name)
        if layer is None:
            continue
        device = spread([device[index] for device, _ in runs])
        host = spread([host[index] for _, host in runs]).median
        out.append(LayerTime(layer.id, layer.name, layer.op, str(layer.stage), device, host))
    return out


def _stage_times(
    subject: Subject, layers: list[LayerTime], run_alone: Callable[[], dict[str, list[Pass]]], notes: Notes
) -> dict[str, StageTime]:
    """Each stage's layers inside the network, and the stage alone."""
    members = _members(subject)
    found = notes.attempt("stages alone", run_alone) or {}
    return {
        name: StageTime(
            layers_s=sum(timed.device_s.median for timed in layers if timed.stage == name),
            device_s=_spread([p.device_s for p in found.get(name, ())]),
            wall_s=_spread([p.wall_s for p in found.get(name, ())]),
            dispatches=sum(bool(subject.graph.problems(la)) for la in members if str(la.stage) == name),
            synchronisations=sum(bool(la.attr("sync")) for la in members if str(la.stage) == name),
        )
        for name in dict.fromkeys(str(layer.stage) for layer in members)
    }


def _alone(
    subject: Subject, apart: list[Cut], seen: _Look, clock: Clock, rule: Rule, options: Options, notes: Notes
) -> dict[str, list[Pass]]:
    flush = flusher(subject.device, options.cache)

    def passes(part: Subject) -> list[Pass]:
        run = runner(part, options.mode)
        return rule.samples(lambda: (flush(), clock.timed(run))[1])

    found = {}
    for cut, part in zip(apart, parts(subject, apart, seen.values), strict=True):
        found[cut.stage] = notes.attempt(f"{cut.stage} alone", lambda part=part: passes(part)) or []  # type: ignore[misc]
    return found


def _spread(samples: list[float]) -> Spread | None:
    return spread(samples) if samples else None
