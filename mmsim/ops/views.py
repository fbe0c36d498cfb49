"""Operations that cost nothing, by name and reason; and those that are a view or a copy, depending.

A view re-describes a tensor's memory; its result is an activation, also when the tensor is a weight.
``reshape``, ``contiguous``, ``to`` and indexing are either: the tracer leaves the names of the aten operations
it saw inside in the layer's ``aten`` attribute, and one that copies makes the layer a copy. Without that
attribute they are judged by format and, for indexing, by whether a tensor is the index.
"""

from __future__ import annotations

from mmsim.layer import Layer, op_kind
from mmsim.ops import movement
from mmsim.ops.nests import Problems, first
from mmsim.ops.rule import Rule

VIEW = "a view: the same memory, described anew"
EMPTY = "memory is reserved, nothing is written"
HOST = "done on the host: no tensor is touched"
SAME = "returns what it is given"

FREE: dict[str, str] = {
    **dict.fromkeys(
        (
            "view", "view_as", "_unsafe_view", "_reshape_alias", "transpose", "permute", "t", "numpy_T", "matrix_H",
            "adjoint", "unsqueeze", "squeeze", "unflatten", "expand", "expand_as", "broadcast_to", "broadcast_tensors",
            "slice", "select", "narrow", "unbind", "split", "split_with_sizes", "unsafe_split", "unsafe_chunk",
            "unsafe_split_with_sizes", "tensor_split", "hsplit", "vsplit", "dsplit", "chunk", "alias", "detach",
            "diagonal", "movedim", "moveaxis", "swapaxes", "swapdims", "as_strided", "view_as_real", "view_as_complex",
            "real", "imag", "conj", "_conj", "atleast_1d", "atleast_2d", "atleast_3d", "meshgrid", "T.__get__",
            "mT.__get__", "H.__get__", "mH.__get__", "data.__get__", "real.__get__", "imag.__get__", "data.__set__",
            "__iter__", "lift_fresh", "set", "linalg_diagonal", "numpy", "__array__", "_neg_view",
        ),
        VIEW,
    ),
    **dict.fromkeys(("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted",
                     "_efficientzerotensor"), EMPTY),
    **dict.fromkeys(
        (
            "item", "tolist", "_local_scalar_dense", "is_nonzero", "__bool__", "__int__", "__float__", "__index__",
            "__len__", "__format__", "__repr__", "__hash__", "size", "sym_size", "sym_is_contiguous", "sym_numel",
            "sym_stride", "sym_storage_offset", "dim", "numel", "nelement", "stride", "storage_offset", "get_device",
            "is_contiguous", "is_floating_point", "is_complex", "is_same_size", "data_ptr", "element_size",
            "shape.__get__", "device.__get__", "dtype.__get__", "ndim.__get__", "requires_grad.__get__",
            "requires_grad.__set__", "is_cuda.__get__", "is_meta.__get__", "layout.__get__", "grad.__get__",
            "grad.__set__", "grad_fn.__get__", "is_leaf.__get__", "itemsize.__get__", "nbytes.__get__", "requires_grad",
            "retain_grad", "register_hook", "set_grad_enabled", "_set_grad_enabled", "get_default_dtype", "_assert",
            "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "_functional_assert_async", "promote_types",
            "sym_constrain_range", "sym_constrain_range_for_size", "result_type", "can_cast",
            "_has_compatible_shallow_copy_type", "is_tensor", "is_grad_enabled", "broadcast_shapes", "is_inference",
            "record_stream", "manual_seed", "__dir__", "__torch_function__", "_is_view", "is_pinned", "is_shared",
            "untyped_storage", "nested_size", "_debug_has_internal_overlap", "get_autocast_dtype",
            "is_autocast_enabled", "_version.__get__", "names.__get__", "is_sparse.__get__", "is_quantized.__get__",
            "is_nested.__get__", "is_mkldnn.__get__", "is_mps.__get__", "is_xpu.__get__", "is_cpu.__get__",
            "_has_same_storage_numel",
        ),
        HOST,
    ),
    **dict.fromkeys(("identity", "positive", "resolve_conj", "resolve_neg", "__pos__", "share_memory"), SAME),
}  # fmt: skip
"""kind -> why it costs nothing."""

COPIES = frozenset(movement.ROWS)
"""aten operations that move bytes."""


def view_or_copy(layer: Layer) -> Problems:
    """reshape, contiguous, to, float: a copy when a copying aten operation ran inside, else what was given."""
    kernels = aten_kinds(layer)
    if kernels is not None:
        copies = [kind for kind in kernels if kind in COPIES]
        return movement.moved(first(layer), layer.output) if copies else ()
    if layer.kind in ("contiguous", "cpu", "cuda", "pin_memory") or first(layer).dtype != layer.output.dtype:
        return movement.moved(first(layer), layer.output)
    return ()


def indexed(layer: Layer) -> Problems:
    """``x[...]``: integers and slices are views; tensors as indices gather, masks select."""
    kernels = aten_kinds(layer)
    by_tensor = len(layer.operands) > 1 if kernels is None else any(kind in COPIES for kind in kernels)
    if not by_tensor:
        return ()
    x = first(layer)
    others = [tensor for tensor in layer.tensors if tensor.name != x.name]
    if len(others) == 1 and layer.output.shape == others[0].shape + x.shape[1:] and others[0].dtype != "bool":
        return movement.rows_of(x, others[0], layer.output)
    return movement.gather(layer)


def unfolded(layer: Layer) -> Problems:
    """torch.Tensor.unfold is a view of sliding windows; torch.nn.functional.unfold writes them out."""
    return movement.copy(layer) if layer.attr("kernel_size") is not None else ()


def aten_kinds(layer: Layer) -> tuple[str, ...] | None:
    """The kinds of the aten operations inside, or None when nobody looked."""
    aten = layer.attr("aten")
    return tuple(op_kind(op) for op in aten if isinstance(op, str)) if isinstance(aten, tuple) else None


ROWS: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "reshape", "reshape_as", "flatten", "ravel", "contiguous", "cpu", "cuda", "pin_memory", "to", "type_as",
            "type", "float", "double", "half", "bfloat16", "int", "long", "short", "byte", "char", "bool", "cfloat",
        ),
        view_or_copy,
    ),
    "__getitem__": indexed,
    "unfold": unfolded,
}  # fmt: skip
