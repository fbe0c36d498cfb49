"""One measurement: the captured graph run on a device, layer by layer, stage by stage and whole."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from mmsim.errors import InputError
from mmsim.measure import machine, marks
from mmsim.measure.clock import Clock, clock_of
from mmsim.measure.memory import peak
from mmsim.measure.subject import Subject
from mmsim.measurement import FORMAT, VERSION, LayerTime, Measurement, Spread, StageTime, spread


@dataclass(frozen=True)
class Rule:
    """Warm up for at least `warmup_runs` and `warmup_s`; then `repeats` runs, fewer once `budget_s` are used."""

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
        start = time.perf_counter()
        warm = 0
        while warm < self.warmup_runs or time.perf_counter() - start < self.warmup_s:
            run()
            warm += 1
            if warm and time.perf_counter() - start > self.budget_s / 2:
                break
        start = time.perf_counter()
        out: list[Any] = []
        while len(out) < self.repeats:
            out.append(run())
            if len(out) >= self.least_runs and time.perf_counter() - start > self.budget_s:
                break
        return out


def measure(subject: Subject, rule: Rule, *, batch: int, dtype: str, stage: str | None, command: str) -> Measurement:
    """Time `subject`: every layer, every stage alone, the whole network; `stage` keeps one kind of stage only.

    Raises `InputError` when no layer belongs to `stage`.
    """
    subject = subject if stage is None else only(subject, stage)
    clock = clock_of(subject.device)
    runs = _layer_runs(subject, clock, rule)
    walls = _wall_runs(subject.captured, subject.inputs, clock, rule)
    layers = _layer_times(subject, runs)
    return Measurement(
        format=FORMAT,
        version=VERSION,
        workload=subject.graph.workload,
        variant=subject.graph.variant,
        batch=batch,
        dtype=dtype,
        mode="eager",
        machine=machine.describe(subject.device),
        software=machine.software(),
        command=command,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        rule=str(rule),
        wall_s=walls,
        device_s=spread([sum(device) for device, _ in runs]),
        host_s=spread([sum(host) for _, host in runs]),
        layers=layers,
        stages=_stage_times(subject, layers, clock, rule),
        memory=peak(subject.captured, subject.inputs, subject.device),
        host_steps={name: _host_seconds(step, rule) for name, step in subject.host_steps.items()},
    )


def only(subject: Subject, stage: str) -> Subject:
    """The part of the network in one stage (``encoder``, ``encoder:image``, ``fusion``, ``head``), on true inputs."""
    layers = subject.layers

    def wanted(node: fx.Node) -> bool:
        layer = layers.get(node.name)
        return layer is not None and stage in (layer.stage.kind, str(layer.stage))

    if not any(wanted(node) for node in marks.operations(subject.captured)):
        known = ", ".join(subject.graph.by_stage())
        raise InputError(f"no layer in stage {stage!r}: this network has {known}", field="--stage")
    program, feeds = marks.part(subject.captured, wanted)
    values = marks.values_of(subject.captured, feeds, subject.inputs)
    return Subject(program, subject.graph, tuple(values), subject.device)


def _layer_runs(subject: Subject, clock: Clock, rule: Rule) -> list[tuple[list[float], list[float]]]:
    program = marks.marked(subject.captured, clock.mark)

    def run() -> tuple[list[float], list[float]]:
        with torch.no_grad():
            program(*subject.inputs)
        return clock.finish()

    samples: list[tuple[list[float], list[float]]] = rule.samples(run)
    return samples


def _wall_runs(program: fx.GraphModule, inputs: tuple[Any, ...], clock: Clock, rule: Rule) -> Spread:
    def run() -> float:
        clock.synchronize()
        start = time.perf_counter()
        with torch.no_grad():
            program(*inputs)
        clock.synchronize()
        return time.perf_counter() - start

    return spread(rule.samples(run))


def _host_seconds(step: Callable[[], Any], rule: Rule) -> Spread:
    def run() -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    return spread(rule.samples(run))


def _layer_times(subject: Subject, runs: list[tuple[list[float], list[float]]]) -> list[LayerTime]:
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


def _stage_times(subject: Subject, layers: list[LayerTime], clock: Clock, rule: Rule) -> dict[str, StageTime]:
    facts = {layer.id: layer for layer in subject.graph.layers}
    sums: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {}
    for timed in layers:
        sums[timed.stage] += timed.device_s.median  # type: ignore[assignment]  # a Counter of seconds
        seen = counts.setdefault(timed.stage, Counter())
        layer = facts[timed.id]
        seen["dispatches"] += bool(subject.graph.problems(layer))
        seen["copies"] += layer.attr("host_copy") is not None
        seen["synchronisations"] += bool(layer.attr("sync"))
    alone = {name: only(subject, name) for name in sums} if len(sums) > 1 else {}
    return {
        name: StageTime(
            layers_s=seconds,
            wall_s=_wall_runs(alone[name].captured, alone[name].inputs, clock, rule) if name in alone else None,
            **counts[name],
        )
        for name, seconds in sums.items()
    }
