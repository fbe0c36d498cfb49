"""Which modalities each layer depends on: from the inputs' names, forms and uses, along the edges of the graph.

Numbers carry their modality through every operation. Integers carry one only where they are looked up in a table
(token ids), not where they mask, count or place: an attention mask has no modality.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mmsim.graph import Graph
from mmsim.layer import Layer, Tensor

WORDS: tuple[tuple[str, str], ...] = (
    ("image", r"image|img|pixel|patches|rgb|vision|visual|photo|picture|camera|frame"),
    ("video", r"video|clip_frames"),
    ("audio", r"audio|wave|speech|sound|spectro|mel|mfcc|input_features|input_values|voice"),
    ("text", r"text|token|caption|question|word|lang|prompt|sentence|input_ids|(^|[._])ids$"),
    ("depth", r"depth"),
    ("lidar", r"lidar|point_?cloud|points"),
)
"""Modality -> what its inputs are called."""

GENERIC = re.compile(r"(input|x|args|data|tensor|features?)?[._]?\d*(s|\.\d+)?")
"""Names that say nothing; then the form of the tensor does."""

PLACES = re.compile(r"mask|position_ids|pos_ids|grid|lengths?$|sizes?$|is_")
LOOKUPS = frozenset({"embedding", "embedding_bag", "one_hot"})


@dataclass(frozen=True)
class Reach:
    """What a tensor depends on: modalities whose numbers it holds, and integer inputs not yet looked up."""

    modalities: frozenset[str] = frozenset()
    integers: frozenset[str] = frozenset()

    def __or__(self, other: Reach) -> Reach:
        return Reach(self.modalities | other.modalities, self.integers | other.integers)


def modalities_of(graph: Graph, given: Mapping[str, str] | None = None) -> dict[int, frozenset[str]]:
    """Layer id -> the modalities that reach it; `given` names the modality of some inputs."""
    named = {tensor.name: (given or {}).get(tensor.name) or modality_of(tensor) for tensor in graph.inputs}
    reach: dict[str, Reach] = {}
    for tensor in graph.inputs:
        if tensor.name in (given or {}):
            reach[tensor.name] = Reach(frozenset({named[tensor.name]}))
        elif PLACES.search(tensor.name):
            reach[tensor.name] = Reach()
        elif _is_integer(tensor):
            reach[tensor.name] = Reach(integers=frozenset({tensor.name}))
        else:
            reach[tensor.name] = Reach(frozenset({named[tensor.name]}))
    found: dict[int, frozenset[str]] = {}
    for layer in graph.layers:
        merged = _reached(layer, reach, named)
        found[layer.id] = merged.modalities
        for tensor in layer.outputs:
            reach[tensor.name] = merged if _is_integer(tensor) else Reach(merged.modalities)
    return found


def _reached(layer: Layer, reach: Mapping[str, Reach], named: Mapping[str, str]) -> Reach:
    merged = Reach()
    for tensor in layer.tensors:
        merged |= reach.get(tensor.name, Reach())
    if _looks_up(layer):
        return Reach(merged.modalities | {named[name] for name in merged.integers})
    return merged


def _looks_up(layer: Layer) -> bool:
    """Whether integers choose rows of a table here."""
    if layer.kind in LOOKUPS:
        return True
    first = layer.tensors[0] if layer.tensors else None
    indexing = layer.kind in ("__getitem__", "index", "index_select", "gather") and first is not None
    return indexing and first is not None and first.role == "weight" and len(layer.tensors) > 1


def modality_of(tensor: Tensor) -> str:
    """The modality of an input: by its name, else by its form.

    >>> modality_of(Tensor("pixel_values", (2, 3, 224, 224), "float32", "input"))
    'image'
    >>> modality_of(Tensor("force", (2, 32, 6), "float32", "input"))
    'force'
    """
    for modality, pattern in WORDS:
        if re.search(pattern, tensor.name.lower()):
            return modality
    telling = [part for part in tensor.name.lower().split(".") if not GENERIC.fullmatch(part)]
    if telling:
        return re.sub(r"_(values?|feats?|features?|inputs?|embeds?)$", "", telling[-1])
    if _is_integer(tensor):
        return "text"
    return {4: "image", 5: "volume"}.get(len(tensor.shape), tensor.name)


def _is_integer(tensor: Tensor) -> bool:
    return tensor.dtype.startswith("int") or tensor.dtype == "bool"
