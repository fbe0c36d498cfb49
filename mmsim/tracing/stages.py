"""Stages by declaration: module path -> stage, the longest prefix wins."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer, Stage

MOST_LISTED = 8


def declared(graph: Graph, stages: Mapping[str, str], *, is_free: Callable[[Layer], bool]) -> Graph:
    """`graph` with the stages of `stages`; a free operation between modules joins its neighbours.

    Raises one `InputError` that lists every operation that no path claims.
    """
    parsed = {path: Stage.parse(stage) for path, stage in stages.items()}
    claimed = {layer.id: _claim(layer.module_path, parsed) for layer in graph.layers}
    unclaimed = [layer for layer in graph.layers if claimed[layer.id] is None]
    claimed |= _joined(graph, claimed, [layer for layer in unclaimed if is_free(layer)])
    refused = [layer for layer in graph.layers if claimed[layer.id] is None]
    if refused:
        raise InputError(_listing(refused), field="stages")
    return _with(graph, {i: stage for i, stage in claimed.items() if stage}, "declared")


def overridden(graph: Graph, stages: Mapping[str, str]) -> Graph:
    """`graph` with the stages of some module paths changed, the others as they are."""
    parsed = {path: Stage.parse(stage) for path, stage in stages.items()}
    chosen = {layer.id: _claim(layer.module_path, parsed) or layer.stage for layer in graph.layers}
    return _with(graph, chosen, f"{graph.provenance.stages}, changed for {', '.join(stages)}")


def _with(graph: Graph, stages: Mapping[int, Stage], how: str) -> Graph:
    layers = tuple(replace(layer, stage=stages[layer.id]) for layer in graph.layers)
    return replace(graph, layers=layers, provenance=replace(graph.provenance, stages=how))


def check_paths(paths: Iterable[str], known: Collection[str]) -> None:
    """Raise `InputError` for a module path that the network does not have, naming near ones."""
    for path in paths:
        if path not in known:
            near = difflib.get_close_matches(path, known, n=3) or sorted(p for p in known if p and "." not in p)
            raise InputError(f"no module {path!r}: did you mean {' or '.join(near[:MOST_LISTED])}?", field="stages")


def _prefixes(path: str) -> Iterable[str]:
    """``a.b`` -> ``""``, ``a``, ``a.b``."""
    yield ""
    parts = path.split(".") if path else []
    yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _claim(path: str, stages: Mapping[str, Stage]) -> Stage | None:
    found = [prefix for prefix in _prefixes(path) if prefix in stages]
    return stages[found[-1]] if found else None


def _joined(graph: Graph, claimed: Mapping[int, Stage | None], free: Iterable[Layer]) -> dict[int, Stage | None]:
    """Each free layer with the stage of what it reads, else of what reads it."""
    out = dict(claimed)
    producer = {tensor.name: layer.id for layer in graph.layers for tensor in layer.outputs}
    for layer in free:
        before = (out[producer[tensor.name]] for tensor in layer.tensors if tensor.name in producer)
        out[layer.id] = next((stage for stage in before if stage), None)
    readers: dict[str, list[int]] = {}
    for layer in graph.layers:
        for tensor in layer.tensors:
            readers.setdefault(tensor.name, []).append(layer.id)
    for layer in reversed([layer for layer in free if out[layer.id] is None]):
        after = (out[reader] for tensor in layer.outputs for reader in readers.get(tensor.name, ()))
        out[layer.id] = next((stage for stage in after if stage), None)
    return out


def _listing(layers: list[Layer]) -> str:
    shown = [f"{layer.op} in {layer.module_path or 'the network itself'} ({layer.source})" for layer in layers]
    more = f", and {len(shown) - MOST_LISTED} more" if len(shown) > MOST_LISTED else ""
    return f"{len(shown)} operations belong to no stage: {', '.join(shown[:MOST_LISTED])}{more}"
