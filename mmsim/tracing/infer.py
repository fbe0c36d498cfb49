"""Stages by inference, when nobody declared them.

What one modality alone reaches is that modality's encoder. Where modalities meet, fusion begins; it lasts to the end of
the trunk, the part of the module tree that holds most of the work on mixed features, and the norm behind it. What
comes after is the head, poolers included. What depends on no input (masks, positions) belongs to the first layer that
reads it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mmsim.graph import Graph
from mmsim.layer import Layer, Stage
from mmsim.size import Size, at, concrete, total
from mmsim.tracing.modalities import modalities_of

TRUNK_SHARE = 0.8
"""Without repeated blocks, a module is the trunk when it holds this share of the MACs and none of its parts does."""

SMALL = 4
"""Layers with products that still make a head: a classifier of some linear layers."""

FUSION, HEAD = Stage("fusion"), Stage("head")


def inferred(
    graph: Graph, sizes: Mapping[str, int] | None = None, modalities: Mapping[str, str] | None = None
) -> Graph:
    """`graph` with inferred stages; `sizes` weigh symbolic MACs, `modalities` name those of some inputs."""
    network = _Network(graph, sizes or {}, modalities_of(graph, modalities))
    stages = network.stages()
    layers = tuple(replace(layer, stage=stages[layer.id]) for layer in graph.layers)
    how = "inferred from what each input reaches"
    return replace(graph, layers=layers, provenance=replace(graph.provenance, stages=how))


class _Network:
    """A graph with what the rules look at: each layer's MACs, modalities and place in the module tree."""

    def __init__(self, graph: Graph, sizes: Mapping[str, int], modalities: Mapping[int, frozenset[str]]) -> None:
        self.graph = graph
        self.modalities = modalities
        defaults: dict[str, Size] = {name: sizes.get(name, 64) for name in graph.symbols}
        self.macs = {
            layer.id: concrete(at(total(p.macs for p in graph.problems(layer)), **defaults)) for layer in graph.layers
        }

    def stages(self) -> dict[int, Stage]:
        """Layer id -> stage."""
        most = max((len(found) for found in self.modalities.values()), default=0)
        fused = [layer for layer in self.graph.layers if len(self.modalities[layer.id]) >= min(most, 2) > 0]
        after = self._end_of_trunk(fused, mixed=most > 1)
        stages: dict[int, Stage] = {}
        for layer in self.graph.layers:
            found = self.modalities[layer.id]
            if layer.id > after and layer in set(fused):
                stages[layer.id] = HEAD
            elif len(found) == 1:
                stages[layer.id] = Stage("encoder", next(iter(found)))
            elif found:
                stages[layer.id] = FUSION
        self._own_blocks(stages)
        self._place_constants(stages)
        return stages

    # --- where fusion ends ----------------------------------------------------------------------

    def _end_of_trunk(self, fused: Sequence[Layer], *, mixed: bool) -> int:
        """The id of the last layer before the head."""
        working = [layer for layer in fused if self.macs[layer.id]]
        if not working:
            return fused[-1].id if fused else -1
        if mixed and len(working) <= SMALL:
            return self._last_meeting(fused)
        trunk = self._trunk(working)
        if not trunk:
            return self._before_tail(working, fused[-1].id)
        return self._normed(fused, max(layer.id for layer in fused if _is_inside(layer.module_path, trunk)))

    def _normed(self, fused: Sequence[Layer], end: int) -> int:
        """The end of the trunk with the norm that follows at once: in the papers what a trunk gives is normed.

        A norm is a module with weights and no products. (ViT, equation 4: ``y = LN(z)``.)
        """
        rest = [layer for layer in fused if layer.id > end]
        norm = [layer for layer in rest if layer.module_path == rest[0].module_path != ""]
        is_norm = any(layer.weights for layer in norm) and not any(self.macs[layer.id] for layer in norm)
        return norm[-1].id if is_norm else end

    def _trunk(self, working: Sequence[Layer]) -> str:
        """The module that holds the last repeated blocks; among modules without any, the one with most of the MACs."""
        path, size = "", sum(self.macs[layer.id] for layer in working)
        last = {prefix: layer.id for layer in working for prefix in _prefixes(layer.module_path)}
        while True:
            shares = self._children(working, path)
            found = [child for child in shares if _has_blocks(working, child)]
            if not found:
                found = [child for child, macs in shares.items() if macs >= TRUNK_SHARE * size]
            if not found or any(child.rpartition(".")[2].isdecimal() for child in found):
                return path
            path = max(found, key=last.__getitem__)

    def _children(self, working: Iterable[Layer], path: str) -> Counter[str]:
        """MACs of each module directly below `path`."""
        out: Counter[str] = Counter()
        depth = path.count(".") + 1 if path else 0
        for layer in working:
            if _is_inside(layer.module_path, path) and layer.module_path != path:
                out[".".join(layer.module_path.split(".")[: depth + 1])] += self.macs[layer.id]
        return out

    def _before_tail(self, working: Sequence[Layer], last: int) -> int:
        """Where a network without one trunk ends, less the small modules that it ends in (poolers, a classifier)."""
        rest = list(working)
        while top := rest[-1].module_path.partition(".")[0]:
            tail = [layer for layer in rest if _is_inside(layer.module_path, top)]
            before = rest[: -len(tail)]
            first = len(rest) == len(working)
            if len(tail) > SMALL or tail != rest[len(before) :] or not before or not (first or _has_blocks(before)):
                break
            rest, last = before, tail[0].id - 1
        return last

    def _last_meeting(self, fused: Sequence[Layer]) -> int:
        """The last layer whose operands come from different modalities."""
        produced = {tensor.name: self.modalities[layer.id] for layer in self.graph.layers for tensor in layer.outputs}
        named = {tensor.name: frozenset({tensor.name}) for tensor in self.graph.inputs}
        last = fused[0].id
        for layer in fused:
            reached = {produced.get(t.name, named.get(t.name, frozenset())) for t in layer.tensors} - {frozenset()}
            if len(reached) > 1:
                last = layer.id
        return last

    # --- what the edges alone get wrong ---------------------------------------------------------

    def _own_blocks(self, stages: dict[int, Stage]) -> None:
        """Repeated blocks that mostly work on mixed features are fusion whole, their work on one modality too."""
        work: dict[str, Counter[bool]] = defaultdict(Counter)
        for layer in self.graph.layers:
            if self.macs[layer.id]:
                for blocks in _lists(layer.module_path):
                    work[blocks][stages.get(layer.id) == FUSION] += 1
        for layer in self.graph.layers:
            stage = stages.get(layer.id)
            if stage is not None and stage.kind == "encoder":
                owners = (work[blocks] for blocks in _lists(layer.module_path))
                if any(share[True] > share[False] for share in owners):
                    stages[layer.id] = FUSION

    def _place_constants(self, stages: dict[int, Stage]) -> None:
        """What depends on no input belongs to its first reader, or else to what ran before it."""
        readers: dict[str, int] = {}
        for layer in reversed(self.graph.layers):
            if layer.id not in stages:
                found = [readers[tensor.name] for tensor in layer.outputs if tensor.name in readers]
                if found:
                    stages[layer.id] = stages[min(found)]
            if layer.id in stages:
                readers.update((tensor.name, layer.id) for tensor in layer.tensors)
        before = next(iter(stages.values()), HEAD)
        for layer in self.graph.layers:
            before = stages.setdefault(layer.id, before)


def _is_inside(path: str, module: str) -> bool:
    return not module or path == module or path.startswith(module + ".")


def _prefixes(path: str) -> Iterable[str]:
    """The modules around a layer: ``decoder``, ``decoder.layers``, ``decoder.layers.3``."""
    parts = path.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def _lists(path: str) -> Iterable[str]:
    """The lists of modules around a layer: ``decoder.layers`` of ``decoder.layers.3.fc1``."""
    parts = path.split(".")
    yield from (".".join(parts[:i]) for i, part in enumerate(parts[:-1]) if part.isdecimal() and i)


def _has_blocks(layers: Iterable[Layer], module: str = "") -> bool:
    """Whether a module repeats blocks of several products each: a trunk, not a head."""
    counts: Counter[str] = Counter()
    for layer in layers:
        if _is_inside(layer.module_path, module):
            parts = layer.module_path.split(".")
            counts.update(".".join(parts[: i + 1]) for i, part in enumerate(parts[:-1]) if part.isdecimal())
    return any(count > 2 for count in counts.values())
