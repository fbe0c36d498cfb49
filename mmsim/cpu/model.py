"""One layer on a CPU: ``dispatch + max(operations / rate, bytes / bandwidth)``, each constant measured.

Dispatch takes longer when data or other ops have swept its code out of the caches (see `mmsim.cpu.reuse`). Reads come
from the level that still holds what was last used so long ago. Outputs go to memory that the allocator hands out:
writing has a bandwidth of its own, that of page faults where the C library has no block of the size (see `faults`).
A convolution first brings tensors into its library's own layout and back: it moves activations twice, before and
after it computes, and its weights one by one. A product of several rows packs its weights first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from mmsim.arch.cpu import Cpu
from mmsim.arch.model import Arch, Storage
from mmsim.cpu.reuse import Moved, Reuse, reuses
from mmsim.errors import InputError
from mmsim.layer import Layer, Tensor
from mmsim.problem import Problem
from mmsim.size import concrete

if TYPE_CHECKING:
    from mmsim.graph import Graph


@dataclass(frozen=True)
class Memory:
    """A cache or DRAM: its name, how much it holds (None: all), and what streams over it reach."""

    name: str
    bytes: float | None
    read_bytes_per_s: float
    write_bytes_per_s: float


@dataclass(frozen=True)
class Hierarchy:
    """The memories, innermost first."""

    memories: tuple[Memory, ...]

    def holding(self, size: float) -> Memory:
        """The innermost memory that holds `size` bytes."""
        return next((m for m in self.memories if m.bytes is None or size <= m.bytes), self.memories[-1])

    def writing(self, size: float) -> Memory:
        """What a fresh tensor of `size` bytes is written into: a cache, unless the block faults."""
        caches = [memory for memory in self.memories if memory.bytes is not None]
        found = next((cache for cache in caches if size <= (cache.bytes or 0)), caches[-1] if caches else None)
        return self.memories[-1] if faults(size) or found is None else found


LARGEST_KEPT = 32 << 20
"""Larger blocks glibc's malloc takes from the system each time (mallopt(3), M_MMAP_THRESHOLD); smaller ones it keeps
once a block of that order was freed, as loading a large network does."""


def faults(size: float) -> bool:
    """Whether a fresh block takes page faults each time."""
    return size >= LARGEST_KEPT


@dataclass(frozen=True)
class Site:
    """A CPU as a network finds it."""

    cpu: Cpu
    hierarchy: Hierarchy


@dataclass(frozen=True)
class LayerTime:
    """Seconds of one layer, and what bounds it: ``dispatch``, ``compute`` or the name of a memory."""

    seconds: float
    dispatch_s: float
    bound: str


def site(arch: Arch) -> Site:
    """The CPU of `arch`.

    Raises `InputError` for an architecture without a ``cpu`` part, or with a level without bandwidth.
    """
    if arch.cpu is None:
        raise InputError("is not a CPU: it has no 'cpu' part", field=arch.name)
    memories = tuple(_memory(storage, arch) for storage in reversed(arch.storages))
    return Site(arch.cpu, Hierarchy(memories))


HOT = Reuse()
"""Everything was used just now."""


def network(graph: Graph, arch: Arch) -> list[LayerTime]:
    """The times of a network's layers (concrete sizes), run again and again."""
    where = site(arch)
    problems = [graph.problems(layer) for layer in graph.layers]
    moved = [_moved(layer, found) for layer, found in zip(graph.layers, problems, strict=True)]
    rate = where.cpu.others_bytes_per_s
    times = _times(graph.layers, problems, moved, where)
    for _ in range(2 if rate else 0):  # what others do depends on how long we take
        meanwhile = [own + Moved(rate * time.seconds) for own, time in zip(moved, times, strict=True)]
        times = _times(graph.layers, problems, meanwhile, where)
    return times


def _times(
    layers: Sequence[Layer], problems: Sequence[tuple[Problem, ...]], moved: Sequence[Moved], where: Site
) -> list[LayerTime]:
    every = zip(layers, problems, reuses(layers, moved), strict=True)
    return [layer_time(layer, found, where, reuse) for layer, found, reuse in every]


def _moved(layer: Layer, problems: Sequence[Problem]) -> Moved:
    """What a layer brings into the caches: each tensor once, however many steps read it; of a table only its rows."""
    moved = float(sum(concrete(p.read_bytes) + concrete(p.written_bytes) for p in problems))
    weights = min(moved, 0.0 if layer.kind == "embedding" else float(sum(concrete(t.bytes) for t in layer.weights)))
    others = sum(concrete(tensor.bytes) for tensor in (*layer.inputs, *layer.outputs))
    return Moved(weights, min(moved - weights, others))


def layer_time(layer: Layer, problems: tuple[Problem, ...], where: Site, reuse: Reuse = HOT) -> LayerTime:
    """The time of a layer with these problems (concrete sizes), whose code and operands were last used so long ago."""
    family = problems[0].family if problems else "free"
    native = family == "conv" and is_native(layer, where.cpu.threads)
    dispatch = _dispatch(NATIVE if native else layer.kind, family, where.cpu, reuse)
    parts = [_work(layer, problem, where, reuse) for problem in problems]
    work = sum(seconds for seconds, _ in parts)
    bound = max(parts, default=(0.0, "dispatch"))[1]
    return LayerTime(dispatch + work, dispatch, "dispatch" if dispatch > work else bound)


def _dispatch(kind: str, family: str, cpu: Cpu, reuse: Reuse) -> float:
    """Seconds: between those of an op that just ran and those of one whose code has left the caches."""
    hot = _constant(cpu.dispatch_s, kind, family)
    if cpu.code is None:
        return hot
    return hot + cpu.code.lost(reuse.since, reuse.before) * max(0.0, _constant(cpu.cold_s, kind, family) - hot)


def _work(layer: Layer, problem: Problem, where: Site, reuse: Reuse) -> tuple[float, str]:
    """Seconds beyond dispatch, and what takes most of them."""
    if problem.family == "conv":
        return _convolution(layer, problem, where, reuse)
    if f"{layer.kind}{STEP}" in where.cpu.dispatch_s:
        return _recurrent(layer, problem, where, reuse)
    if problem.family == "matmul" and problem.shape["M"] > 1 and layer.weights:
        return _packed(layer, problem, layer.kind, where, reuse)
    return _longer(_compute(layer.kind, problem, where), traffic(layer, problem, where.hierarchy, reuse))


def _compute(kind: str, problem: Problem, where: Site) -> float:
    rate = _constant(where.cpu.operations_per_s, kind, problem.family)
    return operations(problem, where.cpu.vector_words) / rate


def _longer(compute: float, moved: tuple[float, str]) -> tuple[float, str]:
    """Arithmetic and memory work at a time."""
    return (compute, "compute") if compute >= moved[0] else moved


def _convolution(layer: Layer, problem: Problem, where: Site, reuse: Reuse) -> tuple[float, str]:
    """Layouts change before and after the arithmetic."""
    native = is_native(layer, where.cpu.threads)
    moved, source = traffic(layer, problem, where.hierarchy, reuse)
    relaid = weight_words(layer, problem) / where.cpu.operations_per_s[NATIVE if native else RELAYOUT]
    compute = relaid + _compute("linear" if native else layer.kind, problem, where)
    return compute + moved, "compute" if compute >= moved else source


def _packed(layer: Layer, problem: Problem, kind: str, where: Site, reuse: Reuse) -> tuple[float, str]:
    """Weights are brought into the library's order first, from where they lie; all else moves during the arithmetic."""
    moved, source = traffic(layer, problem, where.hierarchy, reuse)
    fetched, level = weights_moved(layer, problem, where.hierarchy, reuse)
    far = level == where.hierarchy.memories[-1].name
    packing = weight_words(layer, problem) / where.cpu.operations_per_s[FETCH if far else PACK]
    compute = _compute(kind, problem, where)
    seconds, bound = _longer(compute, (moved - fetched, source))
    return packing + seconds, level if far and packing > compute else bound


def _recurrent(layer: Layer, problem: Problem, where: Site, reuse: Reuse) -> tuple[float, str]:
    """The input's product at once, then a product with the state and the gates in every step."""
    steps = concrete(problem.instances)
    if problem.family != "matmul":
        return _longer(_compute("sigmoid", problem, where), traffic(layer, problem, where.hierarchy, reuse))
    if steps == 1:
        return _packed(layer, problem, "linear", where, reuse)
    name = f"{layer.kind}{STEP if problem.shape['M'] == 1 else ROWS_OF_STEP}"
    further = (steps - 1) * where.cpu.dispatch_s[f"{layer.kind}{STEP}"]
    return _longer(_compute(name, problem, where) + further, traffic(layer, problem, where.hierarchy, reuse))


STEP, ROWS_OF_STEP = " step", " rows"
"""After the name of a recurrent op: the dispatch of each further step, and the rate of its product with the state; with
those of several sequences at once.
"""
PACK = "pack"
"""Not an op: weights that a product of several rows first copies into its library's own order, in words a second."""
FETCH = "fetch"
"""Not an op: the same of weights that come from DRAM."""
RELAYOUT = "relayout"
"""Not an op: the same of a convolution's weights in oneDNN, in each call."""
NATIVE = "native"
"""Not an op: the same of a convolution's weights in PyTorch's own convolution, and the dispatch of that."""


def is_native(layer: Layer, threads: int) -> bool:
    """Whether PyTorch unfolds the input and multiplies, rather than to call oneDNN: small inputs, single 1x1s.

    The rule is that of ``ConvParams::use_mkldnn`` (aten/src/ATen/native/Convolution.cpp).
    """
    data, weight = layer.operand("input"), layer.operand("weight")
    if data is None or weight is None or "transpose" in layer.kind or layer.attr("groups", 1) != 1:
        return False
    batch, *_ = shape = [concrete(size) for size in data.shape]
    kernel = [1, *(concrete(size) for size in weight.shape[2:])][-2:]
    strides, dilations = _ones(layer, "stride"), _ones(layer, "dilation")
    if kernel == [1, 1] and strides and dilations and batch < 16 and threads == 1:
        return True
    return min(kernel) <= 3 and batch == 1 and prod(shape[:4]) <= 20480


def _ones(layer: Layer, name: str) -> bool:
    value = layer.attr(name, 1)
    return all(step == 1 for step in value) if isinstance(value, tuple) else value == 1


def traffic(layer: Layer, problem: Problem, hierarchy: Hierarchy, reuse: Reuse = HOT) -> tuple[float, str]:
    """Seconds to read and write what a problem moves, and the level that takes most of them.

    A convolution moves its activations twice: oneDNN computes on blocked layouts, PyTorch keeps plain ones. Its copies
    of input and output are fresh blocks, as results are.
    """
    instances = concrete(problem.instances)
    read, written = float(concrete(problem.read_bytes)), float(concrete(problem.written_bytes))
    own, weights = (read + written) / instances, _weight_bytes(layer, problem)
    parts = [*_reads(layer.inputs, read - weights, own, hierarchy, reuse)]
    parts.append(weights_moved(layer, problem, hierarchy, reuse))
    blocks = [written, written, read - weights] if problem.family == "conv" else [written]
    for size in blocks:
        fresh = hierarchy.writing(size / instances)
        parts.append((size / fresh.write_bytes_per_s, fresh.name))
    return sum(seconds for seconds, _ in parts), max(parts)[1]


def weights_moved(layer: Layer, problem: Problem, hierarchy: Hierarchy, reuse: Reuse = HOT) -> tuple[float, str]:
    """Seconds to read what a problem reads of a layer's parameters, and the level that most come from."""
    instances = concrete(problem.instances)
    own = float(concrete(problem.read_bytes) + concrete(problem.written_bytes)) / instances
    size = _weight_bytes(layer, problem)
    near = hierarchy.holding(own)
    if instances > 1 or not layer.weights:  # steps find them near
        return size / near.read_bytes_per_s, near.name
    parts = list(_reads(layer.weights, size, own, hierarchy, reuse))
    return sum(seconds for seconds, _ in parts), max(parts)[1]


def _weight_bytes(layer: Layer, problem: Problem) -> float:
    read, written = float(concrete(problem.read_bytes)), float(concrete(problem.written_bytes))
    return min(read, _weight_share(layer) * (read + written))


def _reads(
    tensors: Sequence[Tensor], size: float, own: float, hierarchy: Hierarchy, reuse: Reuse
) -> Iterator[tuple[float, str]]:
    """Seconds to read `size` bytes of these tensors, each in proportion, from the level that holds it."""
    whole = sum(concrete(tensor.bytes) for tensor in tensors)
    for tensor in tensors:
        memory = hierarchy.holding(max(own, reuse.age(tensor.name)))
        yield size * concrete(tensor.bytes) / max(whole, 1) / memory.read_bytes_per_s, memory.name


def weight_words(layer: Layer, problem: Problem) -> float:
    """Words of a product's or convolution's weights; none where both operands are activations."""
    if not layer.weights:
        return 0.0
    space = next(space for space in problem.inputs if space.name == "Weights")
    return float(concrete(problem.words(space)) * concrete(problem.instances))


def operations(problem: Problem, vector_words: int) -> float:
    """Operations with the lanes that a product leaves empty: its columns (or output channels) in whole vectors.

    A product of one column is a matrix-vector product, whose lanes run along the rows instead.
    """
    count = float(concrete(problem.operations))
    columns = {"matmul": "N", "conv": "M"}.get(problem.family)
    size = problem.shape.get(columns, 1) if columns else 1
    if size == 1:
        return count
    return count * (-(-size // vector_words) * vector_words) / size


def _constant(table: dict[str, float], kind: str, family: str) -> float:
    """By op, else by family, else as a pointwise op."""
    return table.get(kind, table.get(family, table.get("elementwise", 0.0)))


def _weight_share(layer: Layer) -> float:
    """The share of a layer's bytes that are parameters; a table that is looked up moves only its rows."""
    if layer.kind == "embedding":
        return 0.0
    weights = sum(concrete(tensor.bytes) for tensor in layer.weights)
    every = sum(concrete(tensor.bytes) for tensor in (*layer.tensors, *layer.outputs))
    return weights / every if every else 0.0


def _memory(storage: Storage, arch: Arch) -> Memory:
    read, write = (
        words or storage.shared_words_per_cycle
        for words in (storage.read_words_per_cycle, storage.write_words_per_cycle)
    )
    if read is None or write is None:
        raise InputError("a CPU's memory needs bandwidths", field=f"{arch.name}.{storage.name}.bandwidth_bytes_per_s")
    size = None if storage.capacity_words is None else storage.capacity_words * storage.word_bits / 8
    bytes_per_s = storage.word_bits / 8 / arch.cycle_s  # of one word a cycle
    return Memory(storage.name, size, read * bytes_per_s, write * bytes_per_s)
