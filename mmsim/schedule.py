"""Layer times put together: encoders side by side, and what is in memory when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmsim.graph import Graph
from mmsim.layer import Layer, Tensor
from mmsim.size import concrete


@dataclass(frozen=True, slots=True)
class Span:
    """One layer on the timeline."""

    layer: Layer
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of one pass, split as in the MMBench paper's figure 13.

    `weights_bytes` stay for the whole pass, `inputs_bytes` are the data set's, `intermediates_bytes`
    is the most that activations take at one time; `peak_bytes` is their sum.
    """

    weights_bytes: int
    inputs_bytes: int
    intermediates_bytes: int

    @property
    def peak_bytes(self) -> int:
        """All three together."""
        return self.weights_bytes + self.inputs_bytes + self.intermediates_bytes


def concurrent(
    graph: Graph, latency_s: Mapping[int, float], stream_of: Callable[[Layer], str] = lambda layer: str(layer.stage)
) -> tuple[Span, ...]:
    """One stream per stage and modality: encoders run side by side, each stream is serial.

    A layer starts when its producers have finished and its stream is free; nothing else is shared,
    so this is the best that concurrent encoders could reach, not a prediction of contention.
    `stream_of` may name other streams, such as the accelerator that a layer runs on.
    """
    ready: dict[str, float] = {}  # tensor -> when it is there
    free: dict[str, float] = {}  # stream -> when its last layer ends
    spans = []
    for layer in graph.layers:
        stream = stream_of(layer)
        inputs = max((ready.get(tensor.name, 0.0) for tensor in layer.tensors), default=0.0)
        start = max(inputs, free.get(stream, 0.0)) if latency_s.get(layer.id) else inputs
        end = start + latency_s.get(layer.id, 0.0)
        ready.update((tensor.name, end) for tensor in layer.outputs)
        if latency_s.get(layer.id):
            free[stream] = end
        spans.append(Span(layer, start, end))
    return tuple(spans)


def memory(graph: Graph) -> Memory:
    """Peak memory of a pass in layer order, tensors freed after their last use.

    A view and an in-place operation share their operand's memory and keep it alive. Sizes must be
    concrete.
    """
    base = _storage(graph)
    last_use: dict[str, int] = {}
    for position, layer in enumerate(graph.layers):
        last_use.update((base[tensor.name], position) for tensor in layer.tensors)
    last_use.update((base.get(tensor.name, tensor.name), len(graph.layers)) for tensor in graph.outputs)
    weights = {t.name: _bytes(t) for layer in graph.layers for t in layer.weights}
    inputs = {t.name: _bytes(t) for t in graph.inputs}
    live: dict[str, int] = {}
    peak = now = 0
    for position, layer in enumerate(graph.layers):
        for tensor in layer.outputs:
            name = base[tensor.name]
            if name == tensor.name and name not in live:
                live[name] = _bytes(tensor)
                now += live[name]
        peak = max(peak, now)
        for name in [n for n in live if last_use.get(n, -1) <= position]:
            now -= live.pop(name)
    return Memory(sum(weights.values()), sum(inputs.values()), peak)


def _storage(graph: Graph) -> dict[str, str]:
    """Tensor name -> name of the tensor whose memory it lives in."""
    base: dict[str, str] = {}
    for layer in graph.layers:
        for tensor in layer.tensors:
            base.setdefault(tensor.name, tensor.name)
        shares = layer.tensors and (not graph.problems(layer) or layer.writes_in_place)
        for tensor in layer.outputs:
            base[tensor.name] = base[layer.tensors[0].name] if shares else tensor.name
    return base


def _bytes(tensor: Tensor) -> int:
    return concrete(tensor.bytes)
