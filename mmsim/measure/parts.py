"""Single stages of a network as subjects of their own, on the values that the network gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import fx

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.measure import marks
from mmsim.measure.subject import Subject


def parts(subject: Subject, stages: tuple[str, ...]) -> list[Subject]:
    """The network's stages (``encoder``, ``encoder:image``, ``fusion``, ``head``) alone, each on true inputs.

    Raises `InputError` for a stage without layers.
    """
    programs = [marks.part(subject.captured, _in_stage(subject, stage)) for stage in stages]
    feeds = list({node: None for _, nodes in programs for node in nodes})
    values = dict(zip(feeds, marks.values_of(subject.captured, feeds, subject.inputs), strict=True))
    return [
        Subject(
            program, _only(subject.graph, stage), tuple(values[node] for node in nodes), subject.device, subject.notes
        )
        for stage, (program, nodes) in zip(stages, programs, strict=True)
    ]


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
