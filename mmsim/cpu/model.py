"""One layer on a CPU: ``dispatch + max(operations / rate, bytes / bandwidth)``, each constant measured.

Reads come from the level that holds what the layer touches, weights from the level that holds all of the
network's. Outputs go to memory that the allocator hands out: writing has a bandwidth of its own, that of page
faults where the C library gave the block back (see `faults`). A convolution first brings tensors into its
library's own layout and back: it moves activations twice, before and after it computes, and its weights one
by one. A product of several rows packs its weights first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmsim.arch.cpu import Cpu
from mmsim.arch.model import Arch, Storage
from mmsim.errors import InputError
from mmsim.layer import Layer
from mmsim.problem import Problem
from mmsim.size import concrete


@dataclass(frozen=True)
class Memory:
    """A cache or DRAM: its name, how much it holds (None: all), and what streams over it reach."""

    name: str
    bytes: float | None
    read_bytes_per_s: float
    write_bytes_per_s: float


@dataclass(frozen=True)
class Hierarchy:
    """The memories, innermost first, as a network finds them.

    `weight_bytes` are all its weights: they rest where they fit between two passes. `largest_bytes` is
    the largest block that building and running it frees (see `largest_block`).
    """

    memories: tuple[Memory, ...]
    weight_bytes: float = 0.0
    largest_bytes: float = float("inf")

    def holding(self, size: float) -> Memory:
        """The innermost memory that holds `size` bytes."""
        return next((m for m in self.memories if m.bytes is None or size <= m.bytes), self.memories[-1])

    def writing(self, size: float) -> Memory:
        """What a fresh tensor of `size` bytes is written into."""
        return self.memories[-1] if faults(size, self.largest_bytes) else self.holding(size)


FREED_BEFORE, LARGEST_MAPPED = 1 << 20, 32 << 20
"""The largest block that a process with PyTorch has freed before it runs a network (seen on one machine: blocks
of 0.5 MB are kept, of 2 MB are not); and the largest that counts, glibc's last M_MMAP_THRESHOLD, mallopt(3)."""


def largest_block(sizes: Iterable[float]) -> float:
    """The largest tensor of a network, weights and activations, that the C library's heap takes notice of."""
    return max((size for size in sizes if size < LARGEST_MAPPED), default=0.0)


def faults(size: float, largest: float) -> bool:
    """Whether a fresh block takes page faults each time.

    glibc's heap keeps twice the largest block ever freed and gives the rest back. A layer frees three
    blocks of its output's size (input, output, workspace), so that those above two thirds of the
    largest find nothing kept.
    """
    return size > 2 / 3 * min(max(largest, FREED_BEFORE), LARGEST_MAPPED)


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


def site(arch: Arch, weight_bytes: float = 0.0, largest_bytes: float = float("inf")) -> Site:
    """The CPU of `arch`, running a network with these weights and this largest block.

    Raises `InputError` for an architecture without a ``cpu`` part, or with a level without bandwidth.
    """
    if arch.cpu is None:
        raise InputError("is not a CPU: it has no 'cpu' part", field=arch.name)
    memories = tuple(_memory(storage, arch) for storage in reversed(arch.storages))
    return Site(arch.cpu, Hierarchy(memories, weight_bytes, largest_bytes))


def layer_time(layer: Layer, problems: tuple[Problem, ...], where: Site) -> LayerTime:
    """The time of a layer with these problems (concrete sizes)."""
    family = problems[0].family if problems else "free"
    dispatch = _constant(where.cpu.dispatch_s, layer.kind, family) if problems else where.cpu.dispatch_s["free"]
    parts = [_work(layer, problem, where) for problem in problems]
    work = sum(seconds for seconds, _ in parts)
    bound = max(parts, default=(0.0, "dispatch"))[1]
    return LayerTime(dispatch + work, dispatch, "dispatch" if dispatch > work else bound)


def _work(layer: Layer, problem: Problem, where: Site) -> tuple[float, str]:
    rates = where.cpu.operations_per_s
    moved, source = traffic(layer, problem, where.hierarchy)
    compute = operations(problem, where.cpu.vector_words) / _constant(rates, layer.kind, problem.family)
    if problem.family == "conv":
        compute += weight_words(layer, problem) / rates[RELAYOUT]
        return compute + moved, "compute" if compute >= moved else source
    if problem.family == "matmul" and problem.shape["M"] > 1:
        compute += weight_words(layer, problem) / rates[PACK]
    elif problem.family == "matmul":
        steps = concrete(problem.instances)
        compute += (steps - 1) * where.cpu.dispatch_s.get(f"{layer.kind}{STEP}", 0.0)
    return (compute, "compute") if compute >= moved else (moved, source)


STEP = " step"
"""After the name of a recurrent op: the dispatch of each further step."""
PACK = "pack"
"""Not an op: weights that a product of several rows first copies into its library's own order, in words a second."""
RELAYOUT = "relayout"
"""Not an op: the same of a convolution's weights, in each call."""
TIMES_MOVED = 2.0
"""Times that a convolution moves its activations: oneDNN computes on blocked layouts, PyTorch keeps plain ones."""


def traffic(layer: Layer, problem: Problem, hierarchy: Hierarchy) -> tuple[float, str]:
    """Seconds to read and write what a problem moves, and the level that takes most of them."""
    instances = concrete(problem.instances)
    read, written = float(concrete(problem.read_bytes)), float(concrete(problem.written_bytes))
    weights = min(read, _weight_share(layer) * (read + written))
    near = hierarchy.holding((read + written) / instances)
    resting = hierarchy.holding(hierarchy.weight_bytes) if instances == 1 else near  # steps find them near
    far = max(near, resting, key=lambda memory: memory.bytes or float("inf"))
    outputs = hierarchy.writing(written / instances)
    times = TIMES_MOVED if problem.family == "conv" else 1.0
    parts = [
        (times * (read - weights) / near.read_bytes_per_s, near.name),
        (weights / far.read_bytes_per_s, far.name),
        (times * written / outputs.write_bytes_per_s, outputs.name),
    ]
    return sum(seconds for seconds, _ in parts), max(parts)[1]


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
    return table.get(kind, table.get(family, table["elementwise"]))


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
