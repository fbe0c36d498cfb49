"""Tensors whose memory order is not their dimensions' order, and the copies that some operations make of them.

A permute or transpose is free, but norms, softmax, linear layers and batched products of four dimensions first copy
what does not lie in order; pointwise operations pass the order on, and a convolution takes channels last as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TypeAlias

from mmsim.layer import Layer, Tensor
from mmsim.size import concrete

Order: TypeAlias = tuple[int, ...]
"""Dimensions from the outermost stride to the innermost; counting up for a contiguous tensor."""

CHANNELS_LAST: Order = (0, 2, 3, 1)
IN_ORDER = frozenset({"linear", "layer_norm", "group_norm", "softmax", "log_softmax"})
BATCHED = frozenset({"matmul", "__matmul__"})
VIEWS = frozenset({"view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "view_as", "reshape_as"})
ATTENTION = frozenset({"scaled_dot_product_attention"})
PASS_ON = frozenset({"batch_norm", "conv2d", "max_pool2d", "avg_pool2d", "interpolate"})


class Layouts:
    """The memory order of every tensor so far; what is not known counts as contiguous."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}

    def of(self, tensor: Tensor) -> Order:
        """The order of a tensor."""
        return self._orders.get(tensor.name, tuple(range(len(tensor.shape))))

    def in_order(self, tensor: Tensor) -> bool:
        """Whether it is contiguous."""
        return tensor.name not in self._orders

    def channels_last(self, layer: Layer) -> bool:
        """Whether a layer's input lies with its channels last."""
        return bool(layer.inputs) and self.of(layer.inputs[0]) == CHANNELS_LAST

    def copied(self, layer: Layer) -> tuple[Tensor, ...]:
        """The inputs that the layer makes contiguous before it computes."""
        if layer.kind in IN_ORDER:
            return tuple(t for t in layer.inputs[:1] if len(t.shape) > 2 and not self.in_order(t))
        if layer.kind in BATCHED or (layer.kind in ATTENTION and len(layer.output.shape) != 4):
            return tuple(t for t in layer.inputs[:3] if not _one_batch(self.of(t)))
        return ()

    def see(self, layer: Layer, *, pointwise: bool, copied: bool = False) -> None:
        """Note how the layer's outputs lie; `copied` says that what could be a view was none."""
        moved = MOVES.get(layer.kind)
        for output in layer.outputs:
            order = tuple(range(len(output.shape)))
            if layer.kind in VIEWS and layer.inputs and not copied:
                order = _viewed(layer.inputs[0], self.of(layer.inputs[0]), output) or order
            elif moved is not None and layer.inputs:
                order = moved(layer, self.of(layer.inputs[0])) or order
            elif pointwise or layer.kind in PASS_ON:
                order = self._passed_on(layer, output) or order
            if len(order) == len(output.shape) and order != tuple(range(len(order))):
                self._orders[output.name] = order

    def _passed_on(self, layer: Layer, output: Tensor) -> Order | None:
        if layer.kind in PASS_ON:
            return CHANNELS_LAST if self.channels_last(layer) else None
        return next((self.of(t) for t in layer.inputs if t.shape == output.shape), None)


def _one_batch(order: Order) -> bool:
    """Whether all dimensions before the last two make one batch without a copy."""
    batch = len(order) - 2
    return batch < 2 or order[:batch] == tuple(range(batch))


def _viewed(tensor: Tensor, order: Order, output: Tensor) -> Order | None:
    """The order behind a view, by torch's rule: axes split or join within pieces that lie without gaps."""
    old, new = ([concrete(size) for size in t.shape] for t in (tensor, output))
    if not old or 0 in old or prod(old) != prod(new):
        return None
    strides = [prod(old[after] for after in order[order.index(dim) + 1 :]) for dim in range(len(old))]
    found = [0] * len(new)
    left, base, piece, taken = len(new), strides[-1], 1, 1
    for dim in reversed(range(len(old))):
        piece *= old[dim]
        if dim and (old[dim - 1] == 1 or strides[dim - 1] == piece * base):
            continue
        while left and (taken < piece or new[left - 1] == 1):
            left -= 1
            found[left] = taken * base
            taken *= new[left]
        if taken != piece:
            return None
        base, piece, taken = strides[dim - 1], 1, 1
    return tuple(sorted(range(len(new)), key=lambda dim: -found[dim]))


def _permuted(order: Order, dims: Order) -> Order:
    place = {dim: new for new, dim in enumerate(dims)}
    return tuple(place[dim] for dim in order)


def _permute(layer: Layer, order: Order) -> Order | None:
    dims = layer.attr("dims", None)
    if not isinstance(dims, tuple) or len(dims) != len(order):
        return None
    return _permuted(order, tuple(_index(dim, order) for dim in dims))


def _transpose(layer: Layer, order: Order) -> Order | None:
    first, second = (_index(layer.attr(name, layer.attr(other, None)), order) for name, other in SWAPPED)
    dims = list(range(len(order)))
    dims[first], dims[second] = second, first
    return _permuted(order, tuple(dims))


def _without(layer: Layer, order: Order) -> Order | None:
    """One dimension taken apart: unbind, or an integer index into the first."""
    if layer.kind == "__getitem__" and not isinstance(layer.attr("indices", None), int):
        return None
    gone = _index(layer.attr("dim", 0), order)
    return tuple(dim - (dim > gone) for dim in order if dim != gone)


def _same(layer: Layer, order: Order) -> Order | None:
    return order


def _index(dim: object, order: Order) -> int:
    return dim % len(order) if isinstance(dim, int) and order else 0


SWAPPED = (("dim0", "axis0"), ("dim1", "axis1"))
MOVES: dict[str, Callable[[Layer, Order], Order | None]] = {
    "permute": _permute, "transpose": _transpose, "swapaxes": _transpose, "unbind": _without, "__getitem__": _without,
    "select": _without, "split": _same, "chunk": _same, "dropout": _same, "to": _same,
}  # fmt: skip
