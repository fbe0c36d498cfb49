"""One measurement: the captured graph run on a device, layer by layer, stage by stage and whole."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from torch import fx

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.layer_dump import to_record
from mmsim.measure import machine, marks, pace
from mmsim.measure.clock import Clock, Pass, clock_of
from mmsim.measure.memory import peak
from mmsim.measure.programs import flusher, runner
from mmsim.measure.subject import Subject
from mmsim.measurement import FORMAT, VERSION, LayerTime, Measurement, Mode, Source, Spread, StageTime, spread
from mmsim.size import concrete
from mmsim.tracing.capture import uncollected

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """Warm up for at least `warmup_runs` and `warmup_s`; then `repeats` runs, fewer once `budget_s` are used.

    The warm-up ends after half the budget.
    """

    repeats: int = 50
    least_runs: int = 3
    warmup_runs: int = 3
    warmup_s: float = 0.3
    budget_s: float = 10.0

    def __str__(self) -> str:
        return (
            f"warm-up of {self.warmup_runs} runs and {self.warmup_s:g} s, then {self.repeats} runs "
            f"(at least {self.least_runs}; no new one after {self.budget_s:g} s); median and quartiles"
        )

    def samples(self, run: Callable[[], Any]) -> list[Any]:
        """What `run` returned in each counted call."""
        with uncollected():  # as `timeit` does: no collection falls into a timed run
            self._warm(run)
            start = time.perf_counter()
            out: list[Any] = []
            while len(out) < self.repeats:
                out.append(run())
                if len(out) >= self.least_runs and time.perf_counter() - start > self.budget_s:
                    break
        return out

    def _warm(self, run: Callable[[], Any]) -> None:
        start = time.perf_counter()
        done = 0
        while done < self.warmup_runs or time.perf_counter() - start < self.warmup_s:
            run()
            done += 1
            if time.perf_counter() - start > self.budget_s / 2:
                break


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

    Passes with a mark after every layer alternate with passes of the program as it is. A compiled
    program has no layers to time. What fails beside the whole is left out, and its reason stands in the notes.
    Raises `InputError` when no layer belongs to the stage, and for a mode that the device lacks.
    """
    if options.source.only is not None:
        subject = parts(subject, (options.source.only,))[0]
    clock = clock_of(subject.device)
    if subject.device.type == "cpu":
        pace.keep_blocks()
    notes = Notes(list(subject.notes))
    passes = _passes(subject, clock, rule, options, notes)
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
        rule=f"{rule}; layers by {clock.method}",
        parameters=concrete(whole.parameters),
        macs=concrete(whole.macs),
        wall_s=spread([p.plain.wall_s for p in passes]),
        device_s=spread([p.plain.device_s for p in passes]),
        layers_s=spread([sum(p.layers[0]) if p.layers else 0.0 for p in passes]),
        host_s=spread([sum(p.layers[1]) if p.layers else 0.0 for p in passes]),
        layers=layers,
        stages=_stage_times(subject, layers, clock, rule, options, notes),
        memory=notes.attempt("memory", lambda: peak(subject.captured, subject.inputs, subject.device)),
        host_steps={name: _host_seconds(step, rule) for name, step in subject.host_steps.items()},
        cache=options.cache,
        graph=to_record(subject.graph) if subject.graph.provenance.route == "recorder-real" else None,
        pace_s=paces,
        notes=notes.lines,
    )


@dataclass(frozen=True)
class Notes:
    """What a reader of the measurement should know, and what could not be measured and why."""

    lines: list[str]

    def attempt(self, what: str, call: Callable[[], T]) -> T | None:
        """What `call` gives; if it fails, None and a note."""
        try:
            return call()
        except Exception as error:  # of torch, CUDA, NVML, a profiler: the rest of the measurement stands
            self.lines.append(f"{what} not measured: {reason(error)}")
            return None


def reason(error: Exception) -> str:
    """An error on one line."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, InputError) and text else f"{type(error).__name__}: {text}"


def _host_seconds(step: Callable[[], Any], rule: Rule) -> Spread:
    def run() -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    return spread(rule.samples(run))


def parts(subject: Subject, stages: tuple[str, ...]) -> list[Subject]:
    """The network's stages (``encoder``, ``encoder:image``, ``fusion``, ``head``) alone, each on true inputs."""
    programs = [marks.part(subject.captured, _in_stage(subject, stage)) for stage in stages]
    feeds = list({node: None for _, nodes in programs for node in nodes})
    values = dict(zip(feeds, marks.values_of(subject.captured, feeds, subject.inputs), strict=True))
    return [
        Subject(
            program, _only(subject.graph, stage), tuple(values[node] for node in nodes), subject.device, subject.notes
        )
        for stage, (program, nodes) in zip(stages, programs, strict=True)
    ]


def _only(graph: Graph, stage: str) -> Graph:
    """The graph with the layers of one stage."""
    return replace(graph, layers=tuple(layer for layer in graph.layers if _belongs(layer, stage)), unread=())


def _belongs(layer: Layer, stage: str) -> bool:
    return stage in (layer.stage.kind, str(layer.stage))


def _in_stage(subject: Subject, stage: str) -> Callable[[fx.Node], bool]:
    layers = subject.layers

    def wanted(node: fx.Node) -> bool:
        layer = layers.get(node.name)
        source = node.args[0] if layer is None and node.args else None  # an item of a layer's outputs
        layer = layers.get(source.name) if isinstance(source, fx.Node) else layer
        return layer is not None and _belongs(layer, stage)

    if not any(wanted(node) for node in marks.operations(subject.captured)):
        known = ", ".join(subject.graph.by_stage())
        raise InputError(f"no layer in stage {stage!r}: this network has {known}", field="--stage")
    return wanted


@dataclass(frozen=True)
class _Passes:
    """One pass with marks (device and host seconds of each operation), if it can be made, and one without."""

    layers: tuple[list[float], list[float]] | None
    plain: Pass


def _passes(subject: Subject, clock: Clock, rule: Rule, options: Options, notes: Notes) -> list[_Passes]:
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

    samples: list[_Passes] = rule.samples(run)
    return samples


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
    subject: Subject, layers: list[LayerTime], clock: Clock, rule: Rule, options: Options, notes: Notes
) -> dict[str, StageTime]:
    """Each stage's layers inside the network, and the stage alone where there are several."""
    inside = subject.layers
    members = [inside[n.name] for n in marks.operations(subject.captured) if n.name in inside]
    names = tuple(dict.fromkeys(str(layer.stage) for layer in members))
    alone: dict[str, list[Pass]] = {}
    if len(names) > 1 and options.full:
        alone = notes.attempt("stages alone", lambda: _alone(subject, names, clock, rule, options, notes)) or {}
    return {
        name: StageTime(
            layers_s=sum(timed.device_s.median for timed in layers if timed.stage == name),
            device_s=_spread([p.device_s for p in alone.get(name, ())]),
            wall_s=_spread([p.wall_s for p in alone.get(name, ())]),
            dispatches=sum(bool(subject.graph.problems(la)) for la in members if str(la.stage) == name),
            synchronisations=sum(bool(la.attr("sync")) for la in members if str(la.stage) == name),
        )
        for name in names
    }


def _alone(
    subject: Subject, names: tuple[str, ...], clock: Clock, rule: Rule, options: Options, notes: Notes
) -> dict[str, list[Pass]]:
    flush = flusher(subject.device, options.cache)

    def passes(part: Subject) -> list[Pass]:
        run = runner(part, options.mode)
        return rule.samples(lambda: (flush(), clock.timed(run))[1])

    found = {}
    for name, part in zip(names, parts(subject, names), strict=True):
        found[name] = notes.attempt(f"{name} alone", lambda part=part: passes(part)) or []  # type: ignore[misc]
    return found


def _spread(samples: list[float]) -> Spread | None:
    return spread(samples) if samples else None
