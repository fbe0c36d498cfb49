"""The CPU at hand as an architecture file: dispatch, rates by op and bandwidth by level, measured in a minute.

Every op is timed twice, once on next to nothing (its dispatch) and once on a size at which its arithmetic dominates,
all of them in turn, just after they ran: on operands in the caches. What is beyond dispatch is arithmetic, and for some
ops the moving of their weights. Bandwidths are those that PyTorch's own ops reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import geometric_mean
from typing import Any, TypeAlias

import torch

from mmsim.cpu.model import FETCH, NATIVE, PACK, RELAYOUT, STEP, Hierarchy, Memory, operations, traffic, weight_words
from mmsim.measure import op_times, pace
from mmsim.measure.bandwidth import SIDE, caches, fetch_s, read_rate, write_rate
from mmsim.measure.clock import clock_of
from mmsim.measure.host_file import host_file, vector_words
from mmsim.measure.op_samples import AMONG, FEW_ROWS, MANY_ROWS, STEPS, free_samples, samples
from mmsim.measure.op_times import Sample, sample
from mmsim.problem import Problem

Pairs: TypeAlias = dict[str, tuple[Sample, Sample]]
"""op -> (on next to nothing, on a size that its arithmetic fills)."""
RECURRENT = ("lstm", "gru")


def steps() -> int:
    """How often `calibrate` reports progress."""
    return len(samples()) + len(caches()) + 3


def calibrate(progress: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """The architecture file of this CPU, as plain values for `mmsim.arch.spec.parse`."""
    clock = clock_of(torch.device("cpu"))
    pace.keep_blocks()
    levels = []
    for level, size in caches():
        progress(level)
        levels.append(Memory(level, size, read_rate(size, clock), write_rate(size, clock)))
    pairs: Pairs = {}
    for name, (small, large) in samples().items():
        progress(name)
        pairs[name] = sample(name, small, clock), sample(name, large, clock)
    free = [sample(name, make, clock) for name, make in free_samples().items()]
    before = pace.seconds(clock)
    progress("ops in turn")
    little = [*free, *(small for small, _ in pairs.values())]
    hot = op_times.again([*little, *(large for _, large in pairs.values())])
    progress("ops with cold caches")
    cold = op_times.cold(little)
    progress("ops among others")
    code = op_times.shares([pairs[name][0] for name in AMONG if name in pairs], hot, cold)
    found = _constants(pairs, hot, cold, Hierarchy(tuple(levels)))
    near = SIDE**2 / found.rates[PACK][0]
    found.rates[FETCH] = [SIDE**2 / (near + fetch_s(clock))]
    for one in free:
        found.dispatch(one.name, hot[one], cold[one])
    found.dispatch("free", hot[free[0]], cold[free[0]])
    after = pace.seconds(clock)
    paces = {name: geometric_mean((seconds, after[name])) for name, seconds in before.items()}
    return host_file(levels, {**found.tables(), "code": code, "pace_s": paces}, clock.method)


@dataclass
class _Constants:
    """Seconds of dispatch and operations a second, by op and by family: several samples may speak of one."""

    hot_s: dict[str, list[float]] = field(default_factory=dict)
    cold_s: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)

    def dispatch(self, name: str, hot: float, cold: float) -> None:
        """Note what an op takes on next to nothing."""
        self.hot_s.setdefault(name, []).append(max(hot, 1e-7))
        self.cold_s.setdefault(name, []).append(max(hot, cold, 1e-7))

    def tables(self) -> dict[str, dict[str, float]]:
        """Their means, as the file names them."""
        every = {"dispatch_s": self.hot_s, "cold_s": self.cold_s, "operations_per_s": self.rates}
        return {
            name: {key: geometric_mean(values) for key, values in sorted(table.items())}
            for name, table in every.items()
        }


def _constants(pairs: Pairs, hot: dict[Sample, float], cold: dict[Sample, float], hierarchy: Hierarchy) -> _Constants:
    """What the times say: what is beyond dispatch is arithmetic, and for some ops the moving of their weights."""
    pairs = dict(pairs)
    beyond = {name: hot[much] - hot[little] for name, (little, much) in pairs.items()}
    many, few = pairs["conv2d"][1], pairs.pop(RELAYOUT)[1]  # the same weights over many pixels and over few
    extra = (beyond["conv2d"] - _moved_s(many, hierarchy)) - (beyond[RELAYOUT] - _moved_s(few, hierarchy))
    folding = (_operations(many) - _operations(few)) / max(extra, 1e-7)
    rest = beyond[RELAYOUT] - _moved_s(few, hierarchy) - _operations(few) / folding
    moving = _words(few) / max(rest, 0.1 * beyond[RELAYOUT])
    words = _words(pairs.pop(PACK)[1])
    product = (MANY_ROWS - FEW_ROWS) * words / max(beyond["linear"] - beyond[PACK], 1e-7)
    packing = words / max(beyond[PACK] - FEW_ROWS * words / product, 0.1 * beyond[PACK])
    small, unfolded = pairs.pop(NATIVE)
    rest = beyond[NATIVE] - _moved_s(unfolded, hierarchy) - _operations(unfolded) / product
    unfolding = _words(unfolded) / max(rest, 0.1 * beyond[NATIVE])
    found = _Constants(rates={RELAYOUT: [moving], NATIVE: [unfolding], PACK: [packing]})
    found.dispatch(NATIVE, hot[small], cold[small])
    for name, (little, much) in pairs.items():
        kind = name.split()[0]
        if kind in RECURRENT and name != kind:  # what a wider state takes beyond a narrow one
            stepped = sum(_operations(much, p) for p in much.problems if p.family == "matmul" and p.instances != 1)
            found.rates[name] = [stepped / max(beyond[name], 1e-7)]
            continue
        if kind in RECURRENT:  # every step is dispatched
            found.dispatch(kind, hot[little], cold[little])
            step = max(beyond[name] / (STEPS - 1), 1e-7)
            found.dispatch(f"{kind}{STEP}", step, step)
            continue
        for key in {kind, _family(much)}:
            found.dispatch(key, hot[little], cold[little])
            if _operations(much):
                rate = product if kind == "linear" else _rate(much, beyond[name], hierarchy, moving)
                found.rates.setdefault(key, []).append(rate)
    return found


def _rate(one: Sample, seconds: float, hierarchy: Hierarchy, moving: float) -> float:
    """Operations a second; what a convolution takes to move its tensors, at most half, is taken off."""
    words = _words(one) if _family(one) == "conv" else 0.0
    moved = _moved_s(one, hierarchy) + words / moving
    return _operations(one) / max(seconds - moved, seconds / 2, 1e-7)


def _moved_s(one: Sample, hierarchy: Hierarchy) -> float:
    """Seconds that a convolution moves its tensors; other ops do so while they compute."""
    return sum(traffic(one.layer, p, hierarchy)[0] for p in one.problems if p.family == "conv")


def _operations(one: Sample, *problems: Problem) -> float:
    """Of some problems, or all, as the model of `mmsim.cpu` counts them."""
    return sum(operations(problem, vector_words()) for problem in problems or one.problems)


def _words(one: Sample) -> float:
    return sum(weight_words(one.layer, problem) for problem in one.problems)


def _family(one: Sample) -> str:
    return one.problems[0].family
