"""Along an axis: sums and extrema, scans, softmax and sorting.

One point is one element of the input; the axes that belong together are dimension K. Operations a point
are scalar operations of the textbook formula (see `vector`).
"""

from __future__ import annotations

from functools import partial

from mmsim.layer import Attr, Layer, Tensor
from mmsim.ops import vector
from mmsim.ops.nests import Access, Problems, axes, distinct, first, nest, reads, writes
from mmsim.ops.rule import Rule
from mmsim.size import Size

REDUCTION_OPS: dict[str, int] = {
    **dict.fromkeys(("sum", "nansum", "mean", "nanmean", "prod", "max", "min", "amax", "amin", "argmax", "argmin",
                     "any", "all", "_is_all_true", "_is_any_true", "count_nonzero", "trace", "sum_to_size"), 1),
    **dict.fromkeys(("aminmax", "_aminmax", "norm", "linalg_vector_norm", "vector_norm", "linalg_norm",
                     "frobenius_norm", "linalg_matrix_norm", "equal", "allclose", "dist"), 2),
    "logsumexp": 4,  # maximum, subtract, exp, sum
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), 4),  # sum; subtract, square, sum
}  # fmt: skip
SCAN_OPS = {"cumsum": 1, "cumprod": 1, "cummax": 1, "cummin": 1, "logcumsumexp": 4}
SOFTMAX_OPS = 5  # maximum, subtract, exp, sum, divide (log_softmax: subtract)
SORTS = ("sort", "argsort", "topk", "msort", "kthvalue", "median", "nanmedian", "mode", "quantile", "nanquantile",
         "unique", "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount", "histc")  # fmt: skip
RADIX_BITS = 8  # of a key in one pass of a radix sort (torch's CUDA sort and topk); 2 operations: count, place


def reduction(layer: Layer, *, ops: int) -> Problems:
    """A reduction over ``dim`` (all axes without it); max and min of two tensors are elementwise."""
    if layer.operand("other") is not None:
        return vector.elementwise(layer, ops=ops)
    x = first(layer)
    gone = axes(_axis(layer), len(x.shape))
    kept = tuple(1 if axis in gone else size for axis, size in enumerate(x.shape))
    alike = (tensor for tensor in distinct(layer) if tensor.shape == x.shape)
    results = (
        Access("Outputs2" if i else "Outputs", o.bits, kept, is_output=True) for i, o in enumerate(layer.outputs)
    )
    return nest("vector", "reduction", x.shape, (*reads(*alike, shape=x.shape), *results), over=gone, ops=ops)


def scan(layer: Layer, *, ops: int) -> Problems:
    """As many results as inputs, each depending on those before it."""
    x = first(layer)
    return along(x, layer.outputs, axes(_axis(layer), len(x.shape)), family="scan", ops=ops)


def softmax(layer: Layer) -> Problems:
    """softmax and log_softmax of every row; an axis that is not told is the last."""
    x, axis = first(layer), _axis(layer)
    over = axes(-1 if axis is None else axis, len(x.shape))
    return along(x, layer.outputs[:1], over, family="softmax", ops=SOFTMAX_OPS)


def along(
    x: Tensor, outputs: tuple[Tensor, ...], over: tuple[int, ...], *, family: str, ops: int, name: str = ""
) -> Problems:
    """Read x, write tensors of its shape, rows along the axes `over`."""
    accesses = (*reads(x, shape=x.shape), *writes(*outputs, shape=x.shape))
    return nest("vector", family, x.shape, accesses, over=over, ops=ops, name=name)


def sort(layer: Layer) -> Problems:
    """Sorting and selecting along an axis, as radix passes over the key; results may be shorter (topk)."""
    x, axis = first(layer), _axis(layer)
    whole = not x.shape or (axis is None and layer.output.elements == 1)
    over = axes(axis if whole or axis is not None else -1, len(x.shape))
    results = (
        Access("Outputs2" if i else "Outputs", out.bits, _selected(out, x, over), is_output=True)
        for i, out in enumerate(layer.outputs)
    )
    ops = 2 * -(-x.bits // RADIX_BITS)
    return nest("vector", "sort", x.shape, (*reads(x, shape=x.shape), *results), over=over, ops=ops)


def _selected(out: Tensor, x: Tensor, over: tuple[int, ...]) -> tuple[Size, ...]:
    """The result's size along each axis of x; a result of another rank (unique, bincount) is as long as x."""
    if len(out.shape) == len(x.shape):
        return out.shape
    row = tuple(size for axis, size in enumerate(x.shape) if axis not in over)
    kept = tuple(1 if axis in over else size for axis, size in enumerate(x.shape))
    return kept if out.shape == row else x.shape


def _axis(layer: Layer) -> Attr:
    return layer.attr("dim", layer.attr("axis"))


ROWS: dict[str, Rule] = {
    **{kind: partial(reduction, ops=ops) for kind, ops in REDUCTION_OPS.items()},
    **{kind: partial(scan, ops=ops) for kind, ops in SCAN_OPS.items()},
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax", "softmin", "_safe_softmax"), softmax),
    **dict.fromkeys(SORTS, sort),
}
