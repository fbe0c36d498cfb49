"""The op table: what one layer costs, as loop nests. Every op has one of three verdicts, never silence.

*Counted*: a function gives its problems. *Free*: by name, with the reason (a view moves nothing).
*Unknown*: refused, all unknown ops of a network together in one error.

A kind is torch's short name, the same for every spelling: ``torch.nn.functional.linear``, ``torch.Tensor.add_``
and ``aten.add.Tensor`` are ``linear``, ``add`` and ``add``. To add an op, add a row to its family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mmsim.errors import InputError
from mmsim.layer import Layer, op_kind
from mmsim.ops import views
from mmsim.ops.backward import backward, is_backward
from mmsim.ops.nests import place
from mmsim.ops.table import FAMILIES, TABLE, counted
from mmsim.ops.views import FREE
from mmsim.problem import Problem

DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a rule raises on a layer that no call of its op makes, as in a file that someone damaged."""

__all__ = ["FAMILIES", "FREE", "TABLE", "check", "free_reason", "is_known", "problems_of", "unknown_ops"]


def problems_of(layer: Layer) -> tuple[Problem, ...]:
    """The problems of one layer; empty for a free op or an empty tensor. Raises `InputError` for an unknown op,
    and for one whose tensors and arguments do not belong together.

    An op that reads a weight of two or more dimensions and costs nothing is an error, unless it is a view or ran no
    kernel, as dropout outside training.
    """
    try:
        found = backward(layer) if is_backward(layer) else counted(layer)
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{layer.op} at {place(layer)} cannot have these tensors and arguments: {error}") from error
    if is_backward(layer):
        return found
    if not (found or layer.kind in FREE or layer.kind in views.ROWS or layer.attr("aten") == () or _is_empty(layer)):
        weight = next((tensor for tensor in layer.weights if len(tensor.shape) > 1), None)
        if weight is not None:
            raise InputError(f"{layer.op} at {place(layer)} reads the weight {weight.name} and would cost nothing")
    return found


def is_known(op: str) -> bool:
    """Whether the table has a row for an op by its qualified name."""
    return op_kind(op) in TABLE or op_kind(op) in FREE


def free_reason(layer: Layer) -> str | None:
    """Why a layer costs nothing; None when it costs something."""
    if layer.kind in FREE:
        return FREE[layer.kind]
    if problems_of(layer):
        return None
    if is_backward(layer):
        return "its gradient is a view of its result's gradient"
    return "its tensors are empty" if _is_empty(layer) else views.VIEW if layer.kind in views.ROWS else views.SAME


def unknown_ops(layers: Iterable[Layer]) -> dict[str, tuple[str, ...]]:
    """The ops that the table does not have -> the places where they stand."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        if not (is_known(layer.op) or is_backward(layer)):
            found.setdefault(layer.op, []).append(place(layer))
    return {op: tuple(places) for op, places in found.items()}


def check(layers: Iterable[Layer]) -> None:
    """Raise one `InputError` that lists every unknown op with its count and first places."""
    unknown = unknown_ops(layers)
    if unknown:
        parts = (f"{op} {len(places)}x at {', '.join(_shown(places))}" for op, places in unknown.items())
        count = sum(map(len, unknown.values()))
        raise InputError(f"{count} calls of {len(unknown)} unknown ops: {'; '.join(parts)}")


def _shown(places: tuple[str, ...]) -> list[str]:
    names = list(Counter(places))
    return names[:3] + ([f"{len(names) - 3} more"] if len(names) > 3 else [])


def _is_empty(layer: Layer) -> bool:
    return any(tensor.elements == 0 for tensor in (*layer.tensors, *layer.outputs))
