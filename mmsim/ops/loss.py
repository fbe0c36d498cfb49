"""Losses: operations an element by the textbook formula (see `vector`), then a sum unless ``reduction`` is none."""

from __future__ import annotations

from functools import partial

from mmsim.layer import Layer, Tensor
from mmsim.ops.nests import Access, Problems, distinct, first, nest
from mmsim.ops.rule import Rule

OPS = {
    "mse_loss": 2, "l1_loss": 2, "smooth_l1_loss": 4, "huber_loss": 4, "binary_cross_entropy": 6,
    "binary_cross_entropy_with_logits": 7, "kl_div": 3, "soft_margin_loss": 4, "poisson_nll_loss": 3,
    "gaussian_nll_loss": 5, "hinge_embedding_loss": 2, "margin_ranking_loss": 3, "multilabel_soft_margin_loss": 7,
    "cosine_similarity": 6, "pairwise_distance": 3, "cosine_embedding_loss": 6, "triplet_margin_loss": 6,
}  # fmt: skip
CROSS_ENTROPY_OPS = 5  # the log softmax; one element a row is then picked


def elementwise_loss(layer: Layer, *, ops: int) -> Problems:
    """Every operand as large as the input is read; the result is as large, or a row's or all elements' sum."""
    x, out = first(layer), layer.output
    shape = (x.elements,)
    accesses = [Access(f"Inputs{i + 1}" if i else "Inputs", t.bits, (t.elements,)) for i, t in enumerate(_read(layer))]
    accesses.append(Access("Outputs", out.bits, (out.elements,), is_output=True))
    summed = 0 if out.elements == x.elements else 1
    return nest("vector", "reduction", shape, accesses, over=(0,) if summed else (), ops=ops + summed)


def cross_entropy(layer: Layer) -> Problems:
    """cross_entropy over class scores: a log softmax of every row, of which the target's element counts."""
    return elementwise_loss(layer, ops=CROSS_ENTROPY_OPS)


def picked(layer: Layer) -> Problems:
    """nll_loss: one element a row is read and summed."""
    targets, out = layer.tensors[1], layer.output
    shape = (targets.elements,)
    accesses = (
        Access("Inputs", first(layer).bits, shape),
        Access("Indices", targets.bits, shape),
        Access("Outputs", out.bits, (out.elements,), is_output=True),
    )
    return nest("vector", "reduction", shape, accesses, over=(0,) if out.elements == 1 else ())


def _read(layer: Layer) -> tuple[Tensor, ...]:
    return tuple(t for t in distinct(layer) if t.role != "weight")


ROWS: dict[str, Rule] = {
    **{kind: partial(elementwise_loss, ops=ops) for kind, ops in OPS.items()},
    **dict.fromkeys(("cross_entropy", "cross_entropy_loss"), cross_entropy),
    **dict.fromkeys(("nll_loss", "nll_loss_nd", "nll_loss2d", "nll_loss_forward", "nll_loss2d_forward"), picked),
}
