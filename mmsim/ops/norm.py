"""Normalisation: one pass over the input, because a row of it fits where it is computed.

Operations an element: the sum, and subtract, square, sum for the variance (4); subtract, scale (2); and 2 for
a weight and a bias. A root-mean-square norm has no mean: square, sum, scale, and 1 for its weight. In
evaluation a batch norm only applies what it has stored.
"""

from __future__ import annotations

from functools import partial

from mmsim.layer import Layer, Tensor
from mmsim.ops.nests import Access, Problems, axes, first, nest, operand, reads, writes
from mmsim.ops.rule import Rule
from mmsim.size import concrete, product

STATISTICS_OPS, APPLY_OPS, AFFINE_OPS = 4, 2, 1  # the last for each of weight and bias


def trailing(layer: Layer, *, ops: int) -> Problems:
    """layer_norm and rms_norm: over the last axes, with a weight and perhaps a bias of their shape."""
    x = first(layer)
    affine = _parameters(layer)
    count = max((len(t.shape) for t in affine), default=_normalized_rank(layer))
    over = tuple(range(len(x.shape) - count, len(x.shape)))
    accesses = (
        *reads(x, shape=x.shape),
        *(Access(label, t.bits, (1,) * (len(x.shape) - count) + t.shape) for label, t in _labelled(affine)),
        *writes(layer.output, shape=x.shape),
    )
    return nest("vector", "norm", x.shape, accesses, over=over, ops=ops + AFFINE_OPS * len(affine))


def _normalized_rank(layer: Layer) -> int:
    shape = layer.attr("normalized_shape")
    return len(shape) if isinstance(shape, tuple) else 1


def per_channel(layer: Layer) -> Problems:
    """batch_norm: in evaluation each channel's stored mean and variance, in training those of the batch."""
    x = first(layer)
    training = bool(layer.attr("training", layer.attr("train", layer.attr("use_input_stats", False))))
    affine = _parameters(layer)
    stored = tuple(t for t in (layer.operand("running_mean"), layer.operand("running_var")) if t is not None)
    channel = tuple(size if axis == min(1, len(x.shape) - 1) else 1 for axis, size in enumerate(x.shape))
    vectors = (*_labelled(affine), *zip(("Mean", "Variance"), stored, strict=False))
    accesses = (*reads(x, shape=x.shape), *(Access(label, t.bits, channel) for label, t in vectors))
    over = tuple(axis for axis in range(len(x.shape)) if axis != 1) if training or not stored else ()
    ops = (STATISTICS_OPS if over else 0) + APPLY_OPS + AFFINE_OPS * len(affine)
    return nest("vector", "norm", x.shape, (*accesses, *writes(layer.output, shape=x.shape)), over=over, ops=ops)


def per_group(layer: Layer) -> Problems:
    """group_norm and instance_norm: over the channels of a group and all positions, channel by channel."""
    x = first(layer)
    batch, channels, *positions = x.shape
    groups = layer.attr("num_groups", layer.attr("group"))
    affine = _parameters(layer)
    count = groups if isinstance(groups, int) else concrete(channels)  # instance_norm: each channel for itself
    each = concrete(channels) // count
    shape = (batch, count, each, product(positions))
    accesses = (
        Access("Inputs", x.bits, shape),
        *(Access(label, t.bits, (1, count, each, 1)) for label, t in _labelled(affine)),
        Access("Outputs", layer.output.bits, shape, is_output=True),
    )
    ops = STATISTICS_OPS + APPLY_OPS + AFFINE_OPS * len(affine)
    return nest("vector", "norm", shape, accesses, over=(2, 3), ops=ops)


def along_axis(layer: Layer, *, ops: int) -> Problems:
    """normalize, weight norm: a tensor over its norm along ``dim``."""
    x = operand(layer, "input", "v", "self", position=0)
    dim = layer.attr("dim", 1 if layer.kind == "normalize" else 0)
    over = axes(dim, len(x.shape))
    if layer.kind != "normalize":  # a weight norm keeps the axis it is given
        over = tuple(axis for axis in range(len(x.shape)) if axis not in over)
    accesses = (*reads(x, *layer.tensors[1:2], shape=x.shape), *writes(layer.output, shape=x.shape))
    return nest("vector", "norm", x.shape, accesses, over=over, ops=ops)


def across_channels(layer: Layer) -> Problems:
    """local_response_norm: ``size`` neighbouring channels squared and summed, then a power and a division."""
    x = first(layer)
    size = layer.attr("size", 5)
    ops = (2 * size if isinstance(size, int) else 10) + 4
    return nest("vector", "norm", x.shape, (*reads(x, shape=x.shape), *writes(layer.output, shape=x.shape)), ops=ops)


def _parameters(layer: Layer) -> tuple[Tensor, ...]:
    return tuple(t for t in (layer.operand("weight"), layer.operand("bias")) if t is not None)


def _labelled(affine: tuple[Tensor, ...]) -> tuple[tuple[str, Tensor], ...]:
    return tuple(zip(("Weights", "Bias"), affine, strict=False))


ROWS: dict[str, Rule] = {
    **dict.fromkeys(("layer_norm", "native_layer_norm"), partial(trailing, ops=STATISTICS_OPS + APPLY_OPS)),
    **dict.fromkeys(("rms_norm", "_fused_rms_norm"), partial(trailing, ops=3)),
    **dict.fromkeys(
        (
            "batch_norm", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_impl_index",
            "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_batch_norm_no_update",
            "_batch_norm_with_update",
        ),
        per_channel,
    ),
    **dict.fromkeys(("group_norm", "native_group_norm", "instance_norm"), per_group),
    "normalize": partial(along_axis, ops=3),  # square, sum, divide
    **dict.fromkeys(("_weight_norm", "_weight_norm_interface"), partial(along_axis, ops=4)),  # and multiply by g
    "local_response_norm": across_channels,
}  # fmt: skip
