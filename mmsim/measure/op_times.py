"""Single ops timed as a network times its layers: just run again, cold, and among others after data was moved.

Other work on the machine only ever adds to a time: what counts is the lower quartile of all runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from math import isqrt
from random import Random
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F

from mmsim.arch.cpu import LONGEST_KEPT_S
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.measure import marks
from mmsim.measure.clock import Clock
from mmsim.measure.op_samples import Make
from mmsim.measure.rule import Rule
from mmsim.measure.subject import prepare
from mmsim.measurement import spread
from mmsim.problem import Problem

RULE = Rule(repeats=60, least_runs=5, warmup_runs=2, warmup_s=0.0, budget_s=6.0)
SWEEPS = Rule(repeats=15, least_runs=5, warmup_runs=1, warmup_s=0.0, budget_s=6.0)
ROUNDS = Rule(repeats=60, least_runs=20, warmup_runs=2, warmup_s=0.0, budget_s=2.5)
SWEPT = tuple(float(1 << power) for power in range(17, 27))
"""Bytes of weights that a product reads before ops are timed: 128 KiB to 64 MiB."""
FEW_ROUNDS = Rule(repeats=16, least_runs=8, warmup_runs=1, warmup_s=0.0, budget_s=1.0)
IDLE_S = tuple(250e-6 * 2**power for power in range(7))
"""Of CPU time: 0.25 to 16 ms."""
FEW, FEW_BYTES = 4, 16384.0
"""So many different ops in a row, and the bytes that stand for that."""
SWEEP_ROWS = 16


@dataclass(frozen=True, eq=False)
class Sample:
    """One op to time: its layer, the graph that has its problems, and a run that answers with its seconds."""

    name: str
    layer: Layer
    graph: Graph
    seconds: Callable[[], float]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of its layer."""
        return self.graph.problems(self.layer)


def sample(name: str, make: Make, clock: Clock) -> Sample:
    """The op that `name` begins with, among those that the module of `make` runs."""
    module, inputs = make()
    subject = prepare(module, inputs, {"": "head"}, "float32", torch.device("cpu"))
    layers = [layer for layer in subject.graph.layers if subject.graph.problems(layer)] or subject.graph.layers
    chosen = next((layer for layer in layers if layer.kind == name.split()[0]), layers[-1])
    index = [node.name for node in marks.operations(subject.captured)].index(chosen.name)
    program = marks.marked(subject.captured, clock.mark).forward

    def seconds() -> float:
        program(*subject.inputs)
        return clock.finish()[0][index]

    return Sample(name, chosen, subject.graph, seconds)


def quiet(samples: Iterable[float]) -> float:
    """The lower quartile: what a run takes when little else runs."""
    return spread(list(samples)).p25


def again(every: Sequence[Sample]) -> dict[Sample, float]:
    """Seconds of each op just after it ran, all in turn."""
    return _quiet_of(every, RULE, lambda one: (one.seconds(), one.seconds())[1])


def cold(every: Sequence[Sample]) -> dict[Sample, float]:
    """Seconds of each op after much data was moved, and then another op ran."""
    sweep = _sweep(SWEPT[-1])
    return _quiet_of(every, SWEEPS, lambda one: (sweep(), every[one is every[0]].seconds(), one.seconds())[2])


def _quiet_of(every: Sequence[Sample], rule: Rule, seconds: Callable[[Sample], float]) -> dict[Sample, float]:
    with torch.no_grad():
        runs = rule.samples(lambda: [seconds(one) for one in every])
    return {one: quiet(times) for one, times in zip(every, zip(*runs, strict=True), strict=True)}


def shares(every: Sequence[Sample], hot: dict[Sample, float], cold: dict[Sample, float]) -> dict[str, list[float]]:
    """How far between hot and cold these ops are in a network after so many bytes: right behind them (`any`) or later.

    Each round moves the bytes, then runs all ops in another order. What a few ops take in a row, without any bytes
    moved, comes first.
    """
    found: dict[str, list[float]] = {"bytes": [FEW_BYTES, *SWEPT], "op": [], "any": []}
    for size in found["bytes"]:
        members, sweep = (every, _sweep(size)) if size > FEW_BYTES else (every[:FEW], _nothing)
        first, later = _rounds(members, sweep, ROUNDS)
        found["op"].append(_share(later, hot, cold))
        found["any"].append(_share(first, hot, cold))
    return found


def kept_s(every: Sequence[Sample]) -> float:
    """CPU seconds after which these ops have lost half of their code to other work on the machine; `LONGEST_KEPT_S`
    where there is none to speak of.
    """
    sweep = _sweep(SWEPT[-1])
    hot, cold = (_middle(every, leading) for leading in (_nothing, sweep))
    idle = (seconds for seconds in IDLE_S if _middle(every, partial(_idle, seconds)) >= (hot + cold) / 2)
    return next(idle, LONGEST_KEPT_S)


def _middle(every: Sequence[Sample], leading: Callable[[], Any]) -> float:
    """The sum over ops of what each takes among the others after something else."""
    _, later = _rounds(every, leading, FEW_ROUNDS)
    return sum(map(quiet, later.values()))


def _share(times: dict[Sample, list[float]], hot: dict[Sample, float], cold: dict[Sample, float]) -> float:
    ratios = ((quiet(found) - hot[one]) / max(cold[one] - hot[one], 1e-7) for one, found in times.items())
    return max(0.0, fmean(ratios))


def _idle(seconds: float) -> None:
    """Let others run, as they will, while this thread uses next to no memory for so much CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def _rounds(
    members: Sequence[Sample], sweep: Callable[[], Any], rule: Rule
) -> tuple[dict[Sample, list[float]], dict[Sample, list[float]]]:
    """Seconds of each op when it comes first after a sweep, and when it comes later."""
    draw, leaders = Random(0), cycle(members)
    first: dict[Sample, list[float]] = {one: [] for one in members}
    later: dict[Sample, list[float]] = {one: [] for one in members}

    def turn() -> None:
        leader = next(leaders)
        sweep()
        first[leader].append(leader.seconds())
        for one in draw.sample(members, len(members)):
            if one is not leader:
                later[one].append(one.seconds())

    with torch.no_grad():
        rule.samples(turn)
    return first, later


def _nothing() -> None:
    """A sweep of no bytes."""


def _sweep(size: float) -> Callable[[], Any]:
    """A product of a few rows with this many bytes of weights."""
    columns = min(1024, isqrt(int(size / 4)))
    weights, rows = torch.randn(int(size / 4) // columns, columns), torch.randn(SWEEP_ROWS, columns)
    return lambda: F.linear(rows, weights)
