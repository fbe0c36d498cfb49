"""Comparing all with all, or with a sorted list: distances, searches, suppression of boxes, alignment losses."""

from __future__ import annotations

from math import ceil

from mmsim.layer import Layer
from mmsim.ops.nests import Access, Problems, first, log2_of, nest, operand
from mmsim.ops.rule import Rule
from mmsim.size import product


def distances(layer: Layer) -> Problems:
    """cdist: every row with every other, 3 operations a coordinate (subtract, square or absolute, add)."""
    a, b, out = operand(layer, "x1", position=0), operand(layer, "x2", position=1), layer.output
    batch, m, n, k = product(out.shape[:-2]), out.shape[-2], out.shape[-1], a.shape[-1]
    accesses = (
        Access("Inputs", a.bits, (batch, m, 1, k)),
        Access("Inputs2", b.bits, (batch, 1, n, k)),
        Access("Outputs", out.bits, (batch, m, n, 1), is_output=True),
    )
    return nest("vector", "reduction", (batch, m, n, k), accesses, over=(3,), ops=3)


def own_distances(layer: Layer) -> Problems:
    """pdist: every pair of rows once."""
    x, out = first(layer), layer.output
    shape = (out.elements, x.shape[-1])
    accesses = (Access("Inputs", x.bits, x.shape), Access("Outputs", out.bits, (out.elements, 1), is_output=True))
    return nest("vector", "reduction", shape, accesses, over=(1,), ops=3)


def search(layer: Layer) -> Problems:
    """bucketize, searchsorted, isin: a binary search in the sorted list for every value."""
    values, listed = _values_and_list(layer)
    out = layer.output
    steps = ceil(log2_of(layer.tensors[listed].shape[-1] + 1))
    shape = (out.elements,)
    table = layer.tensors[listed]
    accesses = (
        Access("Inputs", layer.tensors[values].bits, shape),
        Access("Table", table.bits, (table.elements,)),
        Access("Outputs", out.bits, shape, is_output=True),
    )
    return nest("vector", "sort", shape, accesses, ops=steps)


def _values_and_list(layer: Layer) -> tuple[int, int]:
    return (1, 0) if layer.kind == "searchsorted" else (0, 1)


def suppression(layer: Layer) -> Problems:
    """torchvision's nms: the overlap of every pair of boxes, 13 operations (extrema, sides, areas, ratio)."""
    boxes, scores = layer.tensors[0], layer.tensors[1]
    n = boxes.shape[0]
    accesses = (
        Access("Inputs", boxes.bits, (n, 4)),
        Access("Scores", scores.bits, (n, 1)),
        Access("Outputs", layer.output.bits, (n, 1), is_output=True),
    )
    return nest("vector", "sort", (n, n), accesses, over=(1,), ops=13)


def alignment(layer: Layer) -> Problems:
    """ctc_loss: for every step and every label or blank (2 L + 1) a log-sum-exp of three, 9 operations."""
    x, targets = first(layer), operand(layer, "targets", position=1)
    time, batch = x.shape[0], x.shape[1] if len(x.shape) == 3 else 1
    labels = targets.shape[-1] * 2 + 1
    accesses = (
        Access("Inputs", x.bits, (time, batch, labels)),
        Access("Outputs", layer.output.bits, (1, batch, 1), is_output=True),
    )
    return nest("vector", "scan", (time, batch, labels), accesses, over=(0,), ops=9)


ROWS: dict[str, Rule] = {
    **dict.fromkeys(("cdist", "_cdist_forward", "_euclidean_dist"), distances),
    **dict.fromkeys(("pdist", "_pdist_forward"), own_distances),
    **dict.fromkeys(("bucketize", "searchsorted", "isin"), search),
    "nms": suppression,
    **dict.fromkeys(("ctc_loss", "_ctc_loss", "_cudnn_ctc_loss"), alignment),
}
