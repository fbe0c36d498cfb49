"""The op table itself: every family's rows together."""

from __future__ import annotations

from mmsim.errors import InputError
from mmsim.layer import Layer
from mmsim.ops import (
    attention,
    conv,
    gradients,
    linalg,
    loss,
    matmul,
    movement,
    norm,
    optimizer,
    pool,
    recurrent,
    reduction,
    resample,
    search,
    spectral,
    vector,
    views,
)
from mmsim.ops.nests import Problems, place
from mmsim.ops.rule import Rule

FAMILIES = (
    conv, matmul, attention, recurrent, vector, reduction, norm, pool, movement, resample, spectral, linalg, search,
    loss, views, optimizer, gradients,
)  # fmt: skip
TABLE: dict[str, Rule] = {kind: rule for family in FAMILIES for kind, rule in family.ROWS.items()}
"""kind -> the function that counts it."""


def counted(layer: Layer) -> Problems:
    """The problems of a layer whose kind has a row; none for a free one. Raises `InputError` for an unknown op."""
    if layer.kind in views.FREE:
        return ()
    rule = TABLE.get(layer.kind)
    if rule is None:
        raise InputError(f"unknown op {layer.op} at {place(layer)}")
    return rule(layer)
