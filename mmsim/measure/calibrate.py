"""The CPU at hand as an architecture file: dispatch, rates by op and bandwidth by level, measured in a minute.

Every op is timed twice, once on next to nothing (its dispatch) and once on a size at which its arithmetic dominates,
all of them in turn, on operands that the run before has left in the caches. Other work on the machine only ever adds
to a time: what counts is the lower quartile of all runs. Bandwidths are those that PyTorch's own ops reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch

from mmsim.cpu.model import NATIVE, PACK, RELAYOUT, STEP, Hierarchy, Memory, operations, traffic, weight_words
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.measure import machine, pace
from mmsim.measure.clock import Clock, clock_of
from mmsim.measure.op_samples import FEW_ROWS, MANY_ROWS, STEPS, Make, free_samples, samples
from mmsim.measure.rule import Rule
from mmsim.measure.subject import prepare
from mmsim.measurement import spread
from mmsim.problem import Problem

RULE = Rule(repeats=60, least_runs=5, warmup_runs=2, warmup_s=0.0, budget_s=10.0)
SWEEPS = Rule(repeats=15, least_runs=5, warmup_runs=1, warmup_s=0.0, budget_s=10.0)


@dataclass(frozen=True, eq=False)
class Sample:
    """One op to time: its layer, the graph that has its problems, and a call that runs it."""

    name: str
    layer: Layer
    graph: Graph
    run: Callable[[], Any]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of its layer."""
        return self.graph.problems(self.layer)

    @property
    def operations(self) -> float:
        """As the model of `mmsim.cpu` counts them."""
        return sum(operations(problem, vector_words()) for problem in self.problems)

    def rate(self, seconds: float, hierarchy: Hierarchy, moving: float) -> float:
        """Operations a second; what a convolution takes to move its tensors, at most half, is taken off."""
        words = _words(self) if self.family == "conv" else 0.0
        moved = self.moved_s(hierarchy) + words / moving
        return self.operations / max(seconds - moved, seconds / 2, 1e-7)

    def moved_s(self, hierarchy: Hierarchy) -> float:
        """Seconds that a convolution moves its tensors; other ops do so while they compute."""
        return sum(traffic(self.layer, p, hierarchy)[0] for p in self.problems if p.family == "conv")

    @property
    def family(self) -> str:
        """The family of its first problem."""
        return self.problems[0].family


def steps() -> int:
    """How often `calibrate` reports progress."""
    return len(samples()) + len(caches()) + 2


def calibrate(progress: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """The architecture file of this CPU, as plain values for `mmsim.arch.spec.parse`."""
    clock = clock_of(torch.device("cpu"))
    pace.keep_blocks()
    levels = []
    for level, size in caches():
        progress(level)
        levels.append(Memory(level, size, _read_rate(size, clock), _write_rate(size, clock)))
    pairs = {}
    for name, (small, large) in samples().items():
        progress(name)
        pairs[name] = _sample(name, small), _sample(name, large)
    free = [_sample(name, make) for name, make in free_samples().items()]
    progress("timing")
    before = pace.seconds(clock)
    after_others, nothing = _in_turn([*free, *(small for small, _ in pairs.values())], clock)
    others = geometric_mean(after_others[sample] / seconds for sample, seconds in nothing.items())
    filled, _ = _in_turn([large for _, large in pairs.values()], clock)
    progress("sweeping the caches")
    swept = _codes([small for small, _ in pairs.values() if small.name not in RECURRENT], levels, clock)
    codes = {"others": max(1.0, others)} | swept
    after = pace.seconds(clock)
    constants = _constants(pairs, nothing, after_others, filled, Hierarchy(tuple(levels)))
    for sample in free:
        constants.dispatch[sample.name] = [nothing[sample]]
    constants.dispatch["free"] = [nothing[free[0]]]
    means = [{key: geometric_mean(values) for key, values in table.items()} for table in constants.tables]
    paces = {name: geometric_mean((before[name], after[name])) for name in before}
    return _file(levels, means[0], means[1], codes, paces, clock.method)


RECURRENT = ("lstm", "gru")


@dataclass
class _Constants:
    """Seconds of dispatch and operations a second, by op and by family: several samples may speak of one."""

    dispatch: dict[str, list[float]]
    rates: dict[str, list[float]]

    @property
    def tables(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        return self.dispatch, self.rates


def _constants(
    pairs: dict[str, tuple[Sample, Sample]],
    nothing: dict[Sample, float],
    after_others: dict[Sample, float],
    filled: dict[Sample, float],
    hierarchy: Hierarchy,
) -> _Constants:
    """What the times say: what is beyond dispatch is arithmetic, and for some ops the moving of their weights."""
    pairs = dict(pairs)
    beyond = {name: filled[much] - after_others[little] for name, (little, much) in pairs.items()}
    many, few = pairs["conv2d"][1], pairs.pop(RELAYOUT)[1]  # the same weights over many pixels and over few
    extra = (beyond["conv2d"] - many.moved_s(hierarchy)) - (beyond[RELAYOUT] - few.moved_s(hierarchy))
    folding = (many.operations - few.operations) / max(extra, 1e-7)
    rest = beyond[RELAYOUT] - few.moved_s(hierarchy) - few.operations / folding
    moving = _words(few) / max(rest, 0.1 * beyond[RELAYOUT])
    words = _words(pairs.pop(PACK)[1])
    product = (MANY_ROWS - FEW_ROWS) * words / max(beyond["linear"] - beyond[PACK], 1e-7)
    packing = words / max(beyond[PACK] - FEW_ROWS * words / product, 0.1 * beyond[PACK])
    unfolded = pairs.pop(NATIVE)[1]
    rest = beyond[NATIVE] - unfolded.moved_s(hierarchy) - unfolded.operations / product
    unfolding = _words(unfolded) / max(rest, 0.1 * beyond[NATIVE])
    found = _Constants({}, {RELAYOUT: [moving], NATIVE: [unfolding], PACK: [packing]})
    for name, (little, much) in pairs.items():
        kind = name.split()[0]
        if kind in RECURRENT:  # products and gates at the rates of others, but every step is dispatched
            found.dispatch[kind] = [nothing[little]]
            found.dispatch[f"{kind}{STEP}"] = [max(beyond[name] / (STEPS - 1), 1e-7)]
            continue
        for key in {kind, much.family}:
            found.dispatch.setdefault(key, []).append(max(nothing[little], 1e-7))
            if much.operations:
                rate = product if kind == "linear" else much.rate(beyond[name], hierarchy, moving)
                found.rates.setdefault(key, []).append(rate)
    return found


def _words(sample: Sample) -> float:
    return sum(weight_words(sample.layer, problem) for problem in sample.problems)


def _sample(name: str, make: Make) -> Sample:
    module, inputs = make()
    subject = prepare(module, inputs, {"": "head"}, "float32", torch.device("cpu"))
    layers = [layer for layer in subject.graph.layers if subject.graph.problems(layer)] or subject.graph.layers
    chosen = next((layer for layer in layers if layer.kind == name.split()[0]), layers[-1])
    return Sample(name, chosen, subject.graph, partial(subject.captured, *subject.inputs))


def _in_turn(every: Sequence[Sample], clock: Clock) -> tuple[dict[Sample, float], dict[Sample, float]]:
    """Seconds of each after all the others, and of each just run, which finds its code and data in the caches."""

    def times() -> list[tuple[float, ...]]:
        return [_twice(sample.run, clock) for sample in every]

    with torch.no_grad():
        runs = RULE.samples(times)
    firsts, seconds = zip(*(map(quiet, zip(*of_op, strict=True)) for of_op in zip(*runs, strict=True)), strict=True)
    return dict(zip(every, firsts, strict=True)), dict(zip(every, seconds, strict=True))


def _twice(run: Callable[[], Any], clock: Clock) -> tuple[float, ...]:
    clock.mark(-1)
    run()
    clock.mark(0)
    run()
    clock.mark(1)
    return tuple(clock.finish()[0])


def _second(first: Callable[[], Any], run: Callable[[], Any], clock: Clock) -> float:
    """Seconds of `run` after `first`."""
    first()
    clock.mark(-1)
    run()
    clock.mark(0)
    return clock.finish()[0][0]


def _codes(every: Sequence[Sample], levels: Sequence[Memory], clock: Clock) -> dict[str, float]:
    """How many times longer dispatch takes where its code has left the caches: the mean over ops.

    The caches are swept by writing three times what the last but one, and twice what the last one holds.
    """
    sizes = Hierarchy(tuple(levels)).caches
    near, last = (torch.randn(int(times * size / 4)) for times, size in zip((3, 2), sizes, strict=True))
    samples = every[:: max(1, len(every) // 12)]
    other = every[-1].run

    def times() -> list[tuple[float, ...]]:
        found: list[tuple[float, ...]] = []
        for sample in samples:
            hot = _second(sample.run, sample.run, clock)
            swept = _second(near.neg_, sample.run, clock)
            all_gone = _second(last.neg_, sample.run, clock)
            last.neg_()
            own_gone = _second(other, sample.run, clock)
            found.append((swept / hot, own_gone / hot, all_gone / hot))
        return found

    with torch.no_grad():
        runs = SWEEPS.samples(times)
    ratios = zip(*(map(quiet, zip(*of_op, strict=True)) for of_op in zip(*runs, strict=True)), strict=True)
    names = ("swept", "own gone", "all gone")
    return {name: max(1.0, geometric_mean(values)) for name, values in zip(names, ratios, strict=True)}


def quiet(samples: Iterable[float]) -> float:
    """The lower quartile: what a run takes when little else runs."""
    return spread(list(samples)).p25


def _read_rate(size: float | None, clock: Clock) -> float:
    """Bytes a second of a matrix-vector product whose matrix fills a quarter of a level (256 MiB for DRAM)."""
    words = int((size / 4 if size is not None else 256 << 20) / 4)
    columns = min(words, 4096)
    matrix, vector = torch.randn(words // columns, columns), torch.randn(columns)
    small = matrix[:1, :16], vector[:16]
    return _rate(4 * matrix.numel(), partial(torch.mv, matrix, vector), partial(torch.mv, *small), clock)


def _write_rate(size: float | None, clock: Clock) -> float:
    """Bytes a second into fresh tensors of a quarter of a level (64 MiB for DRAM), two of them alive."""
    words = int((size / 4 if size is not None else 64 << 20) / 4)

    def fill(words: int) -> None:
        first = torch.full((words,), 0.5)
        torch.full((words,), 0.5)
        del first

    return _rate(8 * words, partial(fill, words), partial(fill, 1), clock)


def _rate(size: float, run: Callable[[], Any], nothing: Callable[[], Any], clock: Clock) -> float:
    """Bytes a second, dispatch taken off; short calls in groups, so that the clock's own time does not count."""
    calls = max(1, int(1e6 / size))

    def group(run: Callable[[], Any]) -> float:
        with torch.no_grad():
            return clock.timed(lambda: [run() for _ in range(calls)]).device_s / calls

    samples = RULE.samples(lambda: (group(run), group(nothing)))
    much, little = map(quiet, zip(*samples, strict=True))
    return size / float(max(much - little, 0.2 * much))


def caches() -> list[tuple[str, float | None]]:
    """The caches of one core as the operating system names them, innermost first, and DRAM."""
    found: dict[int, float] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        match = re.fullmatch(r"(\d+)([KMG]?)", size)
        if kind != "Instruction" and match:
            found[int(level)] = int(match[1]) * 1024 ** " KMG".index(match[2] or " ")
    sizes = found or {1: 32 << 10, 2: 1 << 20, 3: 16 << 20}
    return [*((f"L{level}", size) for level, size in sorted(sizes.items())), ("DRAM", None)]


def vector_words() -> int:
    """float32 words of a vector register, by what PyTorch found the CPU capable of."""
    return {"AVX512": 16, "AVX2": 8}.get(torch.backends.cpu.get_cpu_capability(), 4)


def _file(
    levels: list[Memory], dispatch: dict[str, float], rates: dict[str, float], codes: dict[str, float],
    paces: dict[str, float], method: str,
) -> dict[str, Any]:  # fmt: skip
    found = machine.describe(torch.device("cpu"))
    torch_version = machine.software()["torch"]
    measured = (
        f"measured on {found.name} by mmsim measure --calibrate: PyTorch {torch_version}, {found.threads} threads"
    )
    clock = next(iter(found.clocks_mhz.values()), 2500.0) * 1e6
    lanes = vector_words()
    macs = (found.threads or 1) * lanes * 2

    def level(part: Memory) -> dict[str, Any]:
        capacity = {} if part.bytes is None else {"size_bytes": int(part.bytes)}
        return {
            "name": part.name,
            "kind": "DRAM" if part.bytes is None else "SRAM",
            "word_bits": 32,
            **capacity,
            "read_bandwidth_bytes_per_s": _rounded(part.read_bytes_per_s),
            "write_bandwidth_bytes_per_s": _rounded(part.write_bytes_per_s),
            "source": f"size: the operating system; bandwidths {measured}: a matrix-vector product, fresh tensors",
        }

    return {
        "name": "host_cpu",
        "description": f"The CPU at hand as PyTorch uses it: {found.name}, {found.threads} threads.",
        "clock_hz": clock,
        "technology_nm": 5,
        "sources": {
            "clock_hz": "as found by the operating system",
            "technology_nm": "assumed, for energies of single accesses only; energy of a run comes from cpu.power_w",
        },
        "levels": [
            *(level(part) for part in reversed(levels)),
            {"name": "lane", "kind": "fanout", "meshX": macs, "source": "two vector FMA units a core and thread"},
            {"name": "mac", "kind": "fpmac", "word_bits": 32, "source": "float32, PyTorch's default format"},
        ],
        "cpu": {
            "threads": found.threads,
            "vector_words": lanes,
            "dispatch_s": {name: _rounded(value) for name, value in sorted(dispatch.items())},
            "operations_per_s": {name: _rounded(value) for name, value in sorted(rates.items())},
            "power_w": 4.0 * (found.threads or 1),
            "code": {name: _rounded(value) for name, value in codes.items()},
            "pace_s": {name: _rounded(value) for name, value in paces.items()},
            "sources": {
                "code": f"{measured}; mean over ops of dispatch after other data filled the caches",
                "pace_s": f"{measured}; before and after all this",
                "threads": measured,
                "vector_words": "torch.backends.cpu.get_cpu_capability",
                "dispatch_s": f"{measured}; each op on next to nothing, {method}",
                "operations_per_s": f"{measured}; each op on a size its arithmetic fills, {method}",
                "power_w": "estimate: 4 W a core, as server CPUs of 240 to 400 W have 64 to 96 cores",
            },
        },
    }


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
