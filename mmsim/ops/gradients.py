"""torch's own gradient kernels, for networks that differentiate inside themselves (forces, gradient penalties)."""

from __future__ import annotations

from functools import partial

from mmsim.layer import Layer, Tensor
from mmsim.ops import vector
from mmsim.ops.conv import windowed_product
from mmsim.ops.exchange import exchanged
from mmsim.ops.nests import Access, Problems, axes, integers, nest, operand, reads, writes
from mmsim.ops.rule import Rule

SOFTMAX_OPS = 4  # multiply, sum, subtract, multiply
NORM_OPS = 9  # two sums of products, and the three terms of the result (layer norm, in torch's kernel)


def convolution(layer: Layer) -> Problems:
    """convolution_backward: the products of ``output_mask``, as `exchange` writes them; a bias is a sum."""
    grad, data, weight = (operand(layer, n, position=i) for i, n in enumerate(("grad_output", "input", "weight")))
    rank = len(weight.shape) - 2
    groups, mask = layer.attr("groups", 1), layer.attr("output_mask", (True, True, True))
    wanted = mask if isinstance(mask, tuple) else (True, True, True)
    found: Problems = ()
    for forward in windowed_product(
        data,
        weight,
        grad,
        stride=integers(layer.attr("stride"), rank),
        dilation=integers(layer.attr("dilation"), rank),
        groups=groups if isinstance(groups, int) else 1,
        transposed=bool(layer.attr("transposed", False)),
    ):
        found += tuple(
            exchanged(forward, name) for name, want in zip(("Inputs", "Weights"), wanted, strict=False) if want
        )
    if wanted[2:] == (True,):
        found += _summed_to(grad, axis=1)
    return found


def _summed_to(x: Tensor, *, axis: int) -> Problems:
    """The sum of x over all axes but one."""
    own = tuple(size if a == axis else 1 for a, size in enumerate(x.shape))
    over = tuple(a for a in range(len(x.shape)) if a != axis)
    accesses = (*reads(x, shape=x.shape), Access("Outputs", x.bits, own, is_output=True))
    return nest("vector", "reduction", x.shape, accesses, over=over, name="gradient of bias")


def softmax(layer: Layer) -> Problems:
    """_softmax_backward_data, _log_softmax_backward_data: from the result and its gradient."""
    out = layer.output
    over = axes(layer.attr("dim", -1), len(out.shape))
    accesses = (*reads(*layer.tensors[:2], shape=out.shape), *writes(out, shape=out.shape))
    return nest("vector", "softmax", out.shape, accesses, over=over, ops=SOFTMAX_OPS)


def norm(layer: Layer) -> Problems:
    """native_*_norm_backward: the gradient and the input read, the input's gradient written; statistics are small."""
    out = layer.output
    alike = [tensor for tensor in layer.tensors if tensor.shape == out.shape]
    return nest(
        "vector", "norm", out.shape, (*reads(*alike, shape=out.shape), *writes(out, shape=out.shape)), ops=NORM_OPS
    )


def spread(layer: Layer) -> Problems:
    """Gradients of pools, slices and lookups: a tensor of zeros, to which the gradient is added where it belongs."""
    grad, out = layer.tensors[0], layer.output
    rest = (Access("Indices", t.bits, (t.elements,)) for t in layer.tensors[1:] if t.dtype == "int64")
    zeros = nest("movement", "create", out.shape, writes(out, shape=out.shape), name="zeros")
    shape = (grad.elements,)
    added = (Access("Gradients", grad.bits, shape), *rest, Access("Outputs", out.bits, shape, is_output=True))
    return (*zeros, *nest("vector", "scatter", shape, added, name="add"))


_ACTIVATIONS = (
    "threshold", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "leaky_relu", "elu", "softplus", "hardswish",
    "hardsigmoid", "mish", "logit", "softshrink", "hardshrink", "log_sigmoid",
)  # fmt: skip
_SPREAD = (
    "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d", "embedding_dense", "slice", "select",
    "diagonal", "unfold", "index_select", "value_selecting_reduction", "trace",
)  # fmt: skip

ROWS: dict[str, Rule] = {
    "convolution_backward": convolution,
    **{f"{name}_backward": partial(vector.elementwise, ops=vector.OPS[name] + 1) for name in _ACTIVATIONS},
    **dict.fromkeys(("_softmax_backward_data", "_log_softmax_backward_data"), softmax),
    **{f"native_{name}_norm_backward": norm for name in ("layer", "batch", "group")},
    "_fused_rms_norm_backward": norm,
    **{f"{name}_backward": spread for name in _SPREAD},
    **{f"{name}_loss_backward": partial(vector.elementwise, ops=3) for name in ("mse", "smooth_l1", "huber")},
}
