"""The stage-annotated layer graph as a picture (SVG): encoders side by side, fusion and head below.

A box is a module with the layers in it; its bar is its share of the network's MACs; lines are the tensors that pass
from module to module. Large networks are drawn by their outer modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from mmsim import files
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.size import Size, at, concrete, total

MOST_BOXES = 14  # of one stage
BOX_WIDTH, BOX_HEIGHT, GAP, LANE_GAP, MARGIN, TITLE = 230, 40, 22, 40, 24, 30

COLOURS = {"preprocess": "#8795a1", "fusion": "#c47f17", "head": "#b3443f", "loss": "#7f6084", "optimizer": "#5c6770"}
MODALITIES = ("#3d6cb4", "#4f8f3a", "#0e8f8f", "#7a5ca6", "#a35a2c", "#6b7d1f")


@dataclass(frozen=True)
class Box:
    """A module in the picture: where it stands, and the layers that it holds."""

    stage: str
    label: str
    layers: tuple[Layer, ...]
    macs: Size
    share: float
    x: int
    y: int


def svg(graph: Graph, path: str | Path) -> Path:
    """Write the picture of `graph`."""
    boxes = _boxes(graph)
    width = max((box.x + BOX_WIDTH for box in boxes), default=0) + MARGIN
    height = max((box.y + BOX_HEIGHT for box in boxes), default=0) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="system-ui, sans-serif" font-size="11">',
        f"<title>{escape(graph.name)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_titles(graph, boxes),
        *_lines(graph, boxes),
        *(_box(graph, box) for box in boxes),
        "</svg>",
    ]
    return files.write_text(path, "\n".join(parts) + "\n")


def colour(graph: Graph, stage: str) -> str:
    """The colour of a stage; each modality has its own."""
    kind, _, modality = stage.partition(":")
    if kind != "encoder":
        return COLOURS[kind]
    known = list(dict.fromkeys(layer.stage.modality for layer in graph.layers if layer.stage.modality))
    return MODALITIES[known.index(modality) % len(MODALITIES)]


def stages_of(graph: Graph) -> dict[str, list[Layer]]:
    """Layers by stage, preprocessing and encoders first."""
    order = ("preprocess", "encoder", "fusion", "head", "loss", "optimizer")
    found: dict[str, list[Layer]] = {}
    for layer in sorted(graph.layers, key=lambda layer: order.index(layer.stage.kind)):
        found.setdefault(str(layer.stage), []).append(layer)
    return found


def _boxes(graph: Graph) -> list[Box]:
    macs = {layer.id: total(problem.macs for problem in graph.problems(layer)) for layer in graph.layers}
    weight = {i: concrete(at(size, **dict.fromkeys(graph.symbols, 64))) for i, size in macs.items()}
    everything = sum(weight.values()) or 1
    boxes: list[Box] = []
    stages = stages_of(graph)
    middle = (sum(stage.startswith("encoder:") for stage in stages) - 1) / 2
    row, lane = MARGIN + TITLE, 0.0
    for stage, layers in stages.items():
        beside = stage.startswith("encoder:")
        if not beside:
            row, lane = max([row, *(box.y + BOX_HEIGHT + LANE_GAP + TITLE for box in boxes)]), max(middle, 0)
        for number, (label, held) in enumerate(_modules(layers).items()):
            boxes.append(
                Box(
                    stage,
                    label,
                    held,
                    total(macs[layer.id] for layer in held),
                    sum(weight[layer.id] for layer in held) / everything,
                    MARGIN + round(lane * (BOX_WIDTH + LANE_GAP)),
                    row + number * (BOX_HEIGHT + GAP),
                )
            )
        lane += 1
    return boxes


def _modules(layers: list[Layer]) -> dict[str, tuple[Layer, ...]]:
    """The layers by module, as deep in the module tree as the number of boxes allows."""
    deepest = max(layer.module_path.count(".") + 1 for layer in layers)
    for depth in range(deepest, 0, -1):
        groups: dict[str, list[Layer]] = {}
        for layer in layers:
            groups.setdefault(".".join(layer.module_path.split(".")[:depth]), []).append(layer)
        if len(groups) <= MOST_BOXES:
            return {path or "the network itself": tuple(held) for path, held in groups.items()}
    return {"all modules": tuple(layers)}


def _titles(graph: Graph, boxes: Iterable[Box]) -> list[str]:
    first: dict[str, Box] = {}
    for box in boxes:
        first.setdefault(box.stage, box)
    return [
        f'<text x="{box.x}" y="{box.y - 10}" font-size="14" font-weight="600" fill="{colour(graph, stage)}">'
        f"{escape(stage)}</text>"
        for stage, box in first.items()
    ]


def _lines(graph: Graph, boxes: list[Box]) -> list[str]:
    """One curve for each pair of boxes between which tensors pass; its tooltip lists their shapes."""
    of_layer = {layer.id: number for number, box in enumerate(boxes) for layer in box.layers}
    passing: dict[tuple[int, int], dict[str, str]] = {}
    edges: Any = graph.to_networkx().edges(data="tensor")
    for source, target, tensor in edges:
        ends = of_layer[source], of_layer[target]
        if ends[0] != ends[1]:
            shape = " x ".join(str(size) for size in tensor.shape) or "scalar"
            passing.setdefault(ends, {})[tensor.name] = f"{tensor.name}: {shape} {tensor.dtype}"
    tops = {box.stage: box.y for box in reversed(boxes)}
    return [
        f'<path d="{_curve(boxes[a], boxes[b], tops)}" fill="none" stroke="#9aa3ad" stroke-width="1.3"'
        f' stroke-dasharray="{"4 3" if boxes[b].y < boxes[a].y else "none"}">'
        f"<title>{escape(chr(10).join(list(names.values())[:12]))}</title></path>"
        for (a, b), names in passing.items()
    ]


def _curve(a: Box, b: Box, tops: Mapping[str, int]) -> str:
    """From the foot of one box to the head of another; beside the lane where boxes lie between.

    `tops` are the heights at which the stages begin: a stage is entered below its first box from the side.
    """
    x1, y1, x2, y2 = a.x + BOX_WIDTH // 2, a.y + BOX_HEIGHT, b.x + BOX_WIDTH // 2, b.y
    if a.x == b.x and not 0 < y2 - y1 < BOX_HEIGHT + 2 * GAP:
        side = a.x + BOX_WIDTH
        return f"M{side} {a.y + BOX_HEIGHT // 2} C{side + 26} {y1} {side + 26} {y2} {side} {b.y + BOX_HEIGHT // 2}"
    bend = max(12, abs(y2 - y1) // 2)
    if a.stage != b.stage and y2 > tops[b.stage]:
        side, out = (b.x, -24) if x1 <= x2 else (b.x + BOX_WIDTH, 24)
        middle = y2 + BOX_HEIGHT // 2
        return f"M{x1} {y1} C{x1} {y1 + bend} {side + out} {middle - 24} {side + out} {middle - 12}" + (
            f" S{side + out} {middle} {side} {middle}"
        )
    return f"M{x1} {y1} C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}"


def _box(graph: Graph, box: Box) -> str:
    shade = colour(graph, box.stage)
    bar = round((BOX_WIDTH - 8) * box.share)
    kinds = list(dict.fromkeys(layer.kind for layer in box.layers))
    tip = f"{box.label}: {len(box.layers)} operations ({', '.join(kinds[:10])}), {box.macs} MACs, {box.share:.1%}"
    label = box.label if len(box.label) <= 36 else "…" + box.label[-35:]
    return (
        f'<g><rect x="{box.x}" y="{box.y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4" fill="white"/>'
        f'<rect x="{box.x}" y="{box.y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4" fill="{shade}"'
        f' fill-opacity="0.12" stroke="{shade}"/>'
        f'<rect x="{box.x + 4}" y="{box.y + BOX_HEIGHT - 6}" width="{bar}" height="4" rx="1" fill="{shade}"/>'
        f'<text x="{box.x + 8}" y="{box.y + 15}" font-weight="600">{escape(label)}</text>'
        f'<text x="{box.x + 8}" y="{box.y + 29}" fill="#555">{escape(_content(box, kinds))}</text>'
        f"<title>{escape(tip)}</title></g>"
    )


def _content(box: Box, kinds: list[str]) -> str:
    """``35 ops, 8.2 k MACs x B``; a single operation by its name, ``relu``."""
    what = kinds[0] if len(box.layers) == 1 else f"{len(box.layers)} ops"
    return what if len(box.layers) == 1 and not box.macs else f"{what}, {_short(box.macs)}"


def _short(macs: Size) -> str:
    """``465 k MACs x B``, ``256 B L^2 + 197 k B L MACs``: three digits of each number, as many terms as fit."""
    if isinstance(macs, int):
        return f"{_engineering(macs)} MACs"
    terms = [
        (_engineering(float(factor)), " ".join(f"{name}^{power}" if power > 1 else name for name, power in monomial))
        for monomial, factor in macs.terms
    ]
    if len(terms) == 1:
        return " MACs x ".join(terms[0])
    text = " + ".join(" ".join(filter(None, term)) for term in terms).replace("+ -", "- ")
    return f"{text if len(text) <= 24 else text[:23] + '…'} MACs"


def _engineering(number: float) -> str:
    for factor, unit in ((10**12, " T"), (10**9, " G"), (10**6, " M"), (10**3, " k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"
