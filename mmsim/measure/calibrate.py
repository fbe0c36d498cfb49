"""The CPU at hand as an architecture file: dispatch, rates by op and bandwidth by level, measured in a minute.

Every op is timed twice, once on next to nothing (its dispatch) and once on a size at which its
arithmetic dominates, all of them in turn. Bandwidths are those that PyTorch's own ops reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsim.cpu.model import PACK, RELAYOUT, STEP, Hierarchy, Memory, operations, traffic, weight_words
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.measure import machine
from mmsim.measure.clock import Clock, clock_of
from mmsim.measure.session import Rule
from mmsim.measure.subject import prepare
from mmsim.problem import Problem

RULE = Rule(repeats=60, least_runs=5, warmup_runs=2, warmup_s=0.0, budget_s=8.0)
Make = Callable[[], tuple[nn.Module, Any]]


class _Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def _call(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Make:
    return lambda: (_Call(function), tuple(torch.rand(shape) + 0.5 for shape in shapes))


def _module(module: Callable[[], nn.Module], *shape: int) -> Make:
    return lambda: (module().eval(), (torch.randn(shape),))


MANY_ROWS, FEW_ROWS, STEPS = 256, 16, 33
MAPS, ROWS = (1, 64, 48, 48), (128, 768)
SMALL_MAPS, SMALL_ROWS = (1, 1, 4, 4), (1, 16)
POINTWISE: dict[str, tuple[Callable[..., Any], int]] = {
    "relu": (torch.relu, 1), "leaky_relu": (F.leaky_relu, 1), "gelu": (F.gelu, 1), "tanh": (torch.tanh, 1),
    "sigmoid": (torch.sigmoid, 1), "silu": (F.silu, 1), "exp": (torch.exp, 1), "sqrt": (torch.sqrt, 1),
    "pow": (lambda x: x.pow(3.0), 1), "add": (torch.add, 2), "mul": (torch.mul, 2), "div": (torch.div, 2),
    "masked_fill": (lambda x, m: x.masked_fill(m > 1, 0.0), 2), "where": (lambda x, y: torch.where(x > y, x, y), 2),
}  # fmt: skip


def samples() -> dict[str, tuple[Make, Make]]:
    """op -> (on next to nothing, on a size that its arithmetic fills)."""
    found = {
        name: (_call(function, *[SMALL_ROWS] * arity), _call(function, *[MAPS] * arity))
        for name, (function, arity) in POINTWISE.items()
    }

    def pair(name: str, function: Callable[..., Any], small: tuple[int, ...], large: tuple[int, ...]) -> None:
        found[name] = (_call(function, small), _call(function, large))

    pair("max_pool2d", partial(F.max_pool2d, kernel_size=2), SMALL_MAPS, MAPS)
    pair("avg_pool2d", partial(F.avg_pool2d, kernel_size=2), SMALL_MAPS, MAPS)
    pair("adaptive_avg_pool2d", partial(F.adaptive_avg_pool2d, output_size=1), SMALL_MAPS, MAPS)
    pair("softmax", partial(F.softmax, dim=-1), SMALL_ROWS, (1536, 128))
    pair("sum", partial(torch.sum, dim=-1), SMALL_ROWS, ROWS)
    pair("mean", partial(torch.mean, dim=-1), SMALL_ROWS, ROWS)
    pair("amax", partial(torch.amax, dim=-1), SMALL_ROWS, ROWS)
    pair("contiguous", lambda x: x.transpose(0, 1).contiguous(), (2, 4), ROWS)
    pair("cat", lambda x: torch.cat([x, x], 1), SMALL_ROWS, ROWS)
    pair("interpolate", partial(F.interpolate, scale_factor=2, mode="bilinear"), SMALL_MAPS, (1, 64, 24, 24))
    modules: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
        "layer_norm": (lambda n: nn.LayerNorm(n), SMALL_ROWS, ROWS),
        "batch_norm": (lambda n: nn.BatchNorm2d(n), SMALL_MAPS, MAPS),
        "group_norm": (lambda n: nn.GroupNorm(1, n), SMALL_MAPS, MAPS),
        "instance_norm": (lambda n: nn.InstanceNorm2d(n), SMALL_MAPS, MAPS),
        "linear": (lambda n: nn.Linear(n, n), SMALL_ROWS, (MANY_ROWS, 1024)),
        PACK: (lambda n: nn.Linear(n, n), SMALL_ROWS, (FEW_ROWS, 1024)),
        "conv1d": (lambda n: nn.Conv1d(n, n, 3, padding=1), (1, 1, 8), (1, 128, 512)),
        "conv2d": (lambda n: nn.Conv2d(n, n, 3, padding=1), SMALL_MAPS, (1, 256, 28, 28)),
        "conv3d": (lambda n: nn.Conv3d(n, n, 3, padding=1), (1, 1, 4, 4, 4), (1, 16, 24, 24, 24)),
        "conv_transpose3d": (lambda n: nn.ConvTranspose3d(n, n, 2, 2), (1, 1, 4, 4, 4), (1, 16, 16, 16, 16)),
        "lstm": (lambda n: nn.LSTM(n, n, batch_first=True), (1, 1, 16), (1, STEPS, 16)),
        "gru": (lambda n: nn.GRU(n, n, batch_first=True), (1, 1, 16), (1, STEPS, 16)),
    }
    for name, (build, small, large) in modules.items():
        channels = -1 if len(small) in (2,) or name in ("lstm", "gru") else 1
        found[name] = (
            _module(partial(build, small[channels]), *small),
            _module(partial(build, large[channels]), *large),
        )
    conv = partial(nn.Conv2d, kernel_size=3, padding=1)
    found[RELAYOUT] = (_module(partial(conv, 1, 1), *SMALL_MAPS), _module(partial(conv, 256, 256), 1, 256, 7, 7))
    found["matmul"] = (_call(torch.matmul, (1, 4, 4), (1, 4, 4)), _call(torch.matmul, (12, 128, 64), (12, 64, 128)))
    heads = [(1, 12, 128, 64)] * 3
    found["scaled_dot_product_attention"] = (
        _call(F.scaled_dot_product_attention, *[(1, 1, 2, 8)] * 3), _call(F.scaled_dot_product_attention, *heads),
    )  # fmt: skip
    found["embedding"] = (
        lambda: (nn.Embedding(8, 8), (torch.zeros(1, 1, dtype=torch.long),)),
        lambda: (nn.Embedding(30000, 768), (torch.randint(30000, (1, 256)),)),
    )
    return found


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
    return len(samples()) + len(caches()) + 1


def calibrate(progress: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """The architecture file of this CPU, as plain values for `mmsim.arch.spec.parse`."""
    clock = clock_of(torch.device("cpu"))
    levels = []
    for level, size in caches():
        progress(level)
        levels.append(Memory(level, size, _read_rate(size, clock), _write_rate(size, clock)))
    pairs = {}
    for name, (small, large) in samples().items():
        progress(name)
        pairs[name] = _sample(name, small), _sample(name, large)
    view = _sample("view", _call(lambda x: x.view(-1), SMALL_ROWS))
    progress("timing")
    nothing = _in_turn([view, *(small for small, _ in pairs.values())], clock)
    filled = _in_turn([large for _, large in pairs.values()], clock)
    hierarchy = Hierarchy(tuple(levels))
    beyond = {name: filled[much] - nothing[little] for name, (little, much) in pairs.items()}
    many, few = pairs["conv2d"][1], pairs.pop(RELAYOUT)[1]  # the same weights over many pixels and over few
    extra = (beyond["conv2d"] - many.moved_s(hierarchy)) - (beyond[RELAYOUT] - few.moved_s(hierarchy))
    folding = (many.operations - few.operations) / max(extra, 1e-7)
    rest = beyond[RELAYOUT] - few.moved_s(hierarchy) - few.operations / folding
    moving = _words(few) / max(rest, 0.1 * beyond[RELAYOUT])
    words = _words(pairs.pop(PACK)[1])
    product = (MANY_ROWS - FEW_ROWS) * words / max(beyond["linear"] - beyond[PACK], 1e-7)
    packing = words / max(beyond[PACK] - FEW_ROWS * words / product, 0.1 * beyond[PACK])
    dispatch: dict[str, list[float]] = {"free": [nothing[view]]}
    rates: dict[str, list[float]] = {RELAYOUT: [moving], PACK: [packing]}
    for name, (little, much) in pairs.items():
        if name in RECURRENT:  # products and gates at the rates of others, but every step is dispatched
            dispatch[name] = [nothing[little]]
            dispatch[f"{name}{STEP}"] = [max(beyond[name] / (STEPS - 1), 1e-7)]
            continue
        for key in {name, much.family}:
            dispatch.setdefault(key, []).append(max(nothing[little], 1e-7))
            if much.operations:
                rate = product if name == "linear" else much.rate(beyond[name], hierarchy, moving)
                rates.setdefault(key, []).append(rate)
    means = [{key: geometric_mean(values) for key, values in table.items()} for table in (dispatch, rates)]
    return _file(levels, means[0], means[1], clock.method)


RECURRENT = ("lstm", "gru")


def _words(sample: Sample) -> float:
    return sum(weight_words(sample.layer, problem) for problem in sample.problems)


def _sample(name: str, make: Make) -> Sample:
    module, inputs = make()
    subject = prepare(module, inputs, {"": "head"}, "float32", torch.device("cpu"))
    layers = [layer for layer in subject.graph.layers if subject.graph.problems(layer)] or subject.graph.layers
    chosen = next((layer for layer in layers if layer.kind == name), layers[-1])
    return Sample(name, chosen, subject.graph, partial(subject.captured, *subject.inputs))


def _in_turn(every: Sequence[Sample], clock: Clock) -> dict[Sample, float]:
    """Median seconds of each, run one after another as a network would: no op finds its own code and data warm."""
    times: dict[Sample, list[float]] = {sample: [] for sample in every}

    def once() -> None:
        for sample, seconds in times.items():
            clock.mark(-1)
            sample.run()
            clock.mark(0)
            seconds.append(clock.finish()[0][0])

    with torch.no_grad():
        RULE.samples(once)
    return {sample: median(seconds[RULE.warmup_runs :]) for sample, seconds in times.items()}


def _read_rate(size: float | None, clock: Clock) -> float:
    """Bytes a second of a matrix-vector product whose matrix fills a quarter of a level (256 MiB for DRAM)."""
    words = int((size / 4 if size is not None else 256 << 20) / 4)
    columns = min(words, 4096)
    matrix, vector = torch.randn(words // columns, columns), torch.randn(columns)
    small = matrix[:1, :16], vector[:16]
    return _rate(4 * matrix.numel(), partial(torch.mv, matrix, vector), partial(torch.mv, *small), clock)


def _write_rate(size: float | None, clock: Clock) -> float:
    """Bytes a second into fresh tensors of a quarter of a level (64 MiB for DRAM), two of them alive.

    The largest block that the C library's heap keeps is freed first, as loading a network does: from
    then on smaller ones are used again without page faults.
    """
    torch.empty(HEAP_BLOCK, dtype=torch.uint8)
    words = int((size / 4 if size is not None else 64 << 20) / 4)

    def fill(words: int) -> None:
        first = torch.full((words,), 0.5)
        torch.full((words,), 0.5)
        del first

    return _rate(8 * words, partial(fill, words), partial(fill, 1), clock)


HEAP_BLOCK = 31 << 20  # just under glibc's largest M_MMAP_THRESHOLD


def _rate(size: float, run: Callable[[], Any], nothing: Callable[[], Any], clock: Clock) -> float:
    """Bytes a second, dispatch taken off; short calls in groups, so that the clock's own time does not count."""
    calls = max(1, int(1e6 / size))

    def group(run: Callable[[], Any]) -> float:
        with torch.no_grad():
            return clock.timed(lambda: [run() for _ in range(calls)]).device_s / calls

    samples = RULE.samples(lambda: (group(run), group(nothing)))
    much, little = (median(times) for times in zip(*samples, strict=True))
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


def _file(levels: list[Memory], dispatch: dict[str, float], rates: dict[str, float], method: str) -> dict[str, Any]:
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
            "sources": {
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
