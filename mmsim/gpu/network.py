"""A network on a GPU: kernels, host dispatch, gaps and copies put together, with L2 between layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmsim.arch.model import Arch
from mmsim.gpu import host
from mmsim.gpu.kernel import Kernel
from mmsim.gpu.layout import Layouts
from mmsim.gpu.lowering import DEFAULTS, Mode, Options, Site, lower
from mmsim.gpu.machine import Machine, machine
from mmsim.gpu.power import energy
from mmsim.gpu.vector import lost
from mmsim.layer import Layer
from mmsim.size import concrete

if TYPE_CHECKING:
    from mmsim.graph import Graph


@dataclass(frozen=True)
class LayerTime:
    """One layer: its kernels, what the host spends on it, and its share of the wall time.

    `energy_j` is the board's: what the kernels move and compute, the SMs that they keep busy, and idle power
    over `wall_s`.
    """

    layer: Layer
    kernels: tuple[Kernel, ...]
    host_s: float
    wall_s: float
    energy_j: float

    @property
    def kernel_s(self) -> float:
        """Device time of all its kernels."""
        return sum(kernel.total_s for kernel in self.kernels)


@dataclass(frozen=True)
class NetworkTime:
    """One pass in `mode`. `wall_s` is what the user sees, `kernel_s` the device's and `host_s` the host's work.

    `copy_s` moves the inputs to the device and stands outside `wall_s`. `overhead_j` is idling while no layer
    runs: launch of a graph, synchronisation.
    """

    layers: tuple[LayerTime, ...]
    mode: Mode
    kernel_s: float
    host_s: float
    wall_s: float
    copy_s: float
    overhead_j: float

    @property
    def energy_j(self) -> float:
        """Board energy over `wall_s`."""
        return sum(layer.energy_j for layer in self.layers) + self.overhead_j


def network(graph: Graph, arch: Arch, mode: Mode = "eager", options: Options = DEFAULTS) -> NetworkTime:
    """Predict one pass of `graph` (concrete sizes) on the GPU `arch`.

    The host queues kernels ahead of the device, so that wall time is the longer of the two queues,
    and a kernel never starts before it was dispatched:
    ``end = max(end, dispatched) + gap + kernel``. A layer's `wall_s` is what it adds to the end.
    """
    where = machine(arch)
    residency = _Residency(where.device.l2_resident_bytes)
    fused = _fused_away(graph) if mode == "fused" else frozenset()
    server = where.device.host
    gap = where.device.gap_s if mode == "eager" else 0.0  # a graph holds its kernels ready
    dispatched = end = 0.0
    layers = []
    lowered: dict[object, tuple[Kernel, ...]] = {}
    layouts = Layouts()
    for layer in graph.layers:
        problems = graph.problems(layer) if layer.id not in fused else ()
        found: tuple[Kernel, ...] = ()
        if problems:
            site = Site(where, _options(options, layouts, layer), residency.cold(layer), layouts.copied(layer))
            same = _signature(layer, site)
            if same not in lowered:
                lowered[same] = lower(layer, problems, site)
            found = lowered[same]
        residency.touch(layer)
        pointwise = bool(problems) and all(p.family == "elementwise" for p in problems)
        layouts.see(layer, pointwise=pointwise, copied=bool(problems))
        host_s = _host_units(layer, found) * server.pipelined_dispatch_s if mode == "eager" else 0.0
        dispatched += host_s
        before = end
        for kernel in found:
            end = max(end + gap, dispatched) + kernel.total_s + (kernel.count - 1) * gap
        joules = sum(energy(kernel, where) for kernel in found) + where.device.power.idle_w * (end - before)
        layers.append(LayerTime(layer, found, host_s, end - before, joules))
    launch = server.launch_s if mode != "eager" else 0.0  # one launch for the whole graph
    wall = max(end, dispatched) + launch + server.sync_s
    return NetworkTime(
        layers=tuple(layers),
        mode=mode,
        kernel_s=sum(layer.kernel_s for layer in layers),
        host_s=dispatched + launch,
        wall_s=wall,
        copy_s=copy_time(where, sum(concrete(tensor.bytes) for tensor in graph.inputs)),
        overhead_j=where.device.power.idle_w * (wall - end),
    )


def _options(options: Options, layouts: Layouts, layer: Layer) -> Options:
    """With channels last where the input already lies so."""
    return replace(options, channels_last=True) if layouts.channels_last(layer) else options


def _signature(layer: Layer, site: Site) -> object:
    """What a layer's kernels depend on: layers that agree in it need lowering once."""
    cold, copied = site.cold, [tensor.name for tensor in site.copied]
    operands = tuple((name, t.shape, t.dtype, t.role, cold.get(t.name), t.name in copied) for name, t in layer.operands)
    outputs = tuple((t.shape, t.dtype, cold.get(t.name)) for t in layer.outputs)
    return layer.op, layer.attrs, site.options, operands, outputs


def copy_time(where: Machine, size: float) -> float:
    """Host to device: over PCIe from pageable memory, or through the shared DRAM of a Jetson (read and write)."""
    server = where.device.host
    rate = where.dram_bytes_per_s / 2 if server.unified_memory else server.copy_bytes_per_s
    return server.copy_latency_s + size / rate


def _host_units(layer: Layer, found: tuple[Kernel, ...]) -> float:
    if not found:
        return host.VIEW
    launches = sum(host.ADDED_BIAS if kernel.name == "bias" else host.LAUNCH * kernel.count for kernel in found)
    return host.calls(layer.kind, len(layer.inputs)) + launches - host.LAUNCH


class _Residency:
    """What L2 still holds: a tensor is there while less than L2's capacity was touched since its last use."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.clock = 0.0  # bytes touched so far
        self.last: dict[str, float] = {}

    def cold(self, layer: Layer) -> dict[str, float]:
        """For each tensor of the layer, the share that DRAM must deliver (or, written, take)."""
        shares = {}
        for tensor in layer.tensors:
            age = self.clock - self.last[tensor.name] if tensor.name in self.last else float("inf")
            shares[tensor.name] = self._share(age + float(concrete(tensor.bytes)))
        for tensor in layer.outputs:
            shares[tensor.name] = self._share(float(concrete(tensor.bytes)))
        return shares

    def touch(self, layer: Layer) -> None:
        """Advance the clock by what the layer reads and writes."""
        for tensor in (*layer.tensors, *layer.outputs):
            self.clock += float(concrete(tensor.bytes))
        for tensor in (*layer.tensors, *layer.outputs):
            self.last[tensor.name] = self.clock

    def _share(self, distance: float) -> float:
        return lost(distance, self.capacity)


def _fused_away(graph: Graph) -> frozenset[int]:
    """Pointwise layers that torch.compile computes inside their producer: its only consumer, same size."""
    uses: dict[str, int] = {}
    producer: dict[str, Layer] = {}
    for layer in graph.layers:
        for tensor in layer.tensors:
            uses[tensor.name] = uses.get(tensor.name, 0) + 1
    away = set()
    for layer in graph.layers:
        problems = graph.problems(layer)
        pointwise = bool(problems) and all(p.family == "elementwise" for p in problems)
        sources = [t for t in layer.inputs if t.name in producer and uses[t.name] == 1]
        if pointwise and any(t.elements == layer.output.elements for t in sources):
            away.add(layer.id)
        if problems:
            producer.update((tensor.name, layer) for tensor in layer.outputs)
    return frozenset(away)
