"""Single stages of a network as subjects of their own, on the values that the network gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.measure import marks
from mmsim.measure.subject import Subject


@dataclass(frozen=True, eq=False)
class Cut:
    """One stage's operations as a program, and the nodes of the network that give its inputs."""

    stage: str
    program: fx.GraphModule
    feeds: list[fx.Node]


def cuts(subject: Subject, stages: Iterable[str]) -> list[Cut]:
    """The network's stages (``encoder``, ``encoder:image``, ``fusion``, ``head``) as programs.

    Raises `InputError` for a stage without layers.
    """
    return [Cut(stage, *marks.part(subject.captured, _in_stage(subject, stage))) for stage in stages]


def parts(subject: Subject, found: list[Cut], values: Mapping[fx.Node, Any] | None = None) -> list[Subject]:
    """Each stage alone on true inputs: those of `values`, where a pass has kept them, or of a pass made here."""
    missing = {node for cut in found for node in cut.feeds}.difference(values or {})
    if missing:
        keeping = marks.Keeping(subject.captured, missing)
        with torch.no_grad():
            keeping.run(*subject.inputs)
        values = {**(values or {}), **keeping.found}
    given = values or {}
    return [
        Subject(
            cut.program,
            _only(subject.graph, cut.stage),
            tuple(given[node] for node in cut.feeds),
            subject.device,
            subject.notes,
        )
        for cut in found
    ]


def alone(subject: Subject, stage: str) -> Subject:
    """One stage as a subject of its own."""
    return parts(subject, cuts(subject, (stage,)))[0]


def _only(graph: Graph, stage: str) -> Graph:
    """The graph with the layers of one stage."""
    return replace(graph, layers=tuple(layer for layer in graph.layers if _belongs(layer, stage)), unread=())


def _belongs(layer: Layer, stage: str) -> bool:
    return stage in (layer.stage.kind, str(layer.stage))


def _in_stage(subject: Subject, stage: str) -> Callable[[fx.Node], bool]:
    layers = subject.layers

    def wanted(node: fx.Node) -> bool:
        layer = layers.get(node.name)
        source = node.args[0] if layer is None and node.args else None  # an item of a layer's outputs
        layer = layers.get(source.name) if isinstance(source, fx.Node) else layer
        return layer is not None and _belongs(layer, stage)

    if not any(wanted(node) for node in marks.operations(subject.captured)):
        known = ", ".join(subject.graph.by_stage())
        raise InputError(f"no layer in stage {stage!r}: this network has {known}", field="--stage")
    return wanted
