"""Convolutions as Timeloop writes them: N C M P Q R S, with G for groups and O T for the third axis.

P and R run over the last axis (width), Q and S over the one before it, O and T over the third; 1-d has P
and R alone. A depthwise convolution has G for its channels and neither C nor M. A transposed
convolution is the same nest with the roles of Inputs and Outputs exchanged: P and Q run over its
*input*, and ``Outputs`` is indexed by ``stride*P + dilation*R``.

A bias is the accumulator's first value: it adds no MAC, and its M words are left out of the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmsim.errors import InputError
from mmsim.layer import Layer, Tensor
from mmsim.ops.nests import Problems, first, integers, operand, place
from mmsim.ops.rule import Rule
from mmsim.problem import DataSpace, Problem, Rank
from mmsim.size import Size, concrete

WINDOWS = (("P", "R"), ("Q", "S"), ("O", "T"))  # last axis first: position, kernel


def convolution(layer: Layer) -> Problems:
    """conv1d/2d/3d, conv_transpose1d/2d/3d and aten.convolution, by their tensors' shapes."""
    weight = operand(layer, "weight", position=1)
    rank = len(weight.shape) - 2
    groups = layer.attr("groups", 1)
    if not isinstance(groups, int):
        raise InputError(f"{layer.op} at {place(layer)}: groups is {groups!r}")
    return windowed_product(
        first(layer),
        weight,
        layer.output,
        stride=integers(layer.attr("stride"), rank),
        dilation=integers(layer.attr("dilation"), rank),
        groups=groups,
        transposed=bool(layer.attr("transposed", False)) or "transpose" in layer.kind,
    )


def windowed_product(
    data: Tensor,
    weight: Tensor,
    out: Tensor,
    *,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    transposed: bool = False,
    name: str = "",
) -> Problems:
    """The nest of a convolution; `stride` and `dilation` one an axis, first axis first.

    `data` is (N, C, ...) or (C, ...), `weight` (M, C/groups, ...) or, transposed, (C, M/groups, ...).
    """
    if min(groups, *stride, *dilation) < 1:
        raise InputError(f"a convolution of stride {stride} and dilation {dilation} in {groups} groups")
    rank = len(weight.shape) - 2
    batch = data.shape[0] if len(data.shape) == rank + 2 else 1
    lead, other = concrete(weight.shape[0]), concrete(weight.shape[1])
    c, m = (lead // groups, other) if transposed else (other, lead // groups)
    positions = data.shape[len(data.shape) - rank :] if transposed else out.shape[len(out.shape) - rank :]
    sizes: dict[str, Size] = {"G": groups, "C": c, "M": m, "N": batch}
    window: dict[str, Rank] = {}
    point: dict[str, Rank] = {}
    for axis, (position, kernel) in zip(range(rank - 1, -1, -1), WINDOWS, strict=False):
        sizes[position], sizes[kernel] = positions[axis], weight.shape[2 + axis]
        window[kernel] = ((kernel, dilation[axis]), (position, stride[axis]))
        point[kernel] = ((position, 1),)
    if any(size == 0 for size in sizes.values()):
        return ()
    return (_problem(sizes, window, point, data, weight, out, transposed=transposed, name=name),)


def _problem(
    sizes: Mapping[str, Size],
    window: Mapping[str, Rank],
    point: Mapping[str, Rank],
    data: Tensor,
    weight: Tensor,
    out: Tensor,
    *,
    transposed: bool,
    name: str,
) -> Problem:
    depthwise = sizes["G"] != 1 and sizes["C"] == sizes["M"] == 1
    channels = tuple(d for d in "GCM" if (d == "G" and sizes[d] != 1) or (d != "G" and not depthwise))
    kernels = tuple(window)[::-1]  # first axis first
    positions = tuple(reversed([k for k, _ in WINDOWS[: len(window)]]))
    dims = (*channels, *reversed(kernels), "N", *reversed(positions))
    reads, writes = (point, window) if transposed else (window, point)

    def space(label: str, tensor: Tensor, skip: str, ranks: Mapping[str, Rank]) -> DataSpace:
        lead = ("N", *(d for d in channels if d != skip))
        projection: tuple[Rank, ...] = (*(((d, 1),) for d in lead), *(ranks[k] for k in kernels))
        extents = (*(sizes[d] for d in lead), *tensor.shape[len(tensor.shape) - len(kernels) :])
        boxed = ranks is window  # only the window's box can reach beyond the tensor
        return DataSpace(label, projection, tensor.bits, label == "Outputs", extents if boxed else None)

    kernel_ranks: tuple[Rank, ...] = tuple(((d, 1),) for d in (*channels, *kernels))
    spaces = (
        DataSpace("Weights", kernel_ranks, weight.bits),
        space("Inputs", data, "M", reads),
        space("Outputs", out, "C", writes),
    )
    return Problem("mac", tuple((d, sizes[d]) for d in dims), spaces, "conv", name=name)


def deformable(layer: Layer) -> Problems:
    """torchvision's deform_conv2d: the convolution; its bilinear sampling is part of reading Inputs."""
    weight = operand(layer, "weight", position=1)
    data = first(layer)
    groups = concrete(data.shape[1]) // concrete(weight.shape[1])
    stride = integers(layer.attr("stride", (layer.attr("stride_h", 1), layer.attr("stride_w", 1))), 2)
    dilation = integers(layer.attr("dilation", (layer.attr("dilation_h", 1), layer.attr("dilation_w", 1))), 2)
    return windowed_product(data, weight, layer.output, stride=stride, dilation=dilation, groups=groups)


ROWS: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "conv1d", "conv2d", "conv3d", "convolution", "_convolution", "convolution_overrideable", "conv_transpose1d",
            "conv_transpose2d", "conv_transpose3d", "mkldnn_convolution", "cudnn_convolution",
            "cudnn_convolution_transpose", "slow_conv_transpose2d", "slow_conv_transpose3d", "conv_depthwise3d",
            "_conv_depthwise2d", "thnn_conv2d", "_slow_conv2d_forward", "slow_conv3d",
        ),
        convolution,
    ),
    "deform_conv2d": deformable,
}  # fmt: skip
