"""A layer -> the kernels that PyTorch launches for it on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from mmsim.arch.model import Arch
from mmsim.gpu import attention as flash
from mmsim.gpu import convolution as conv
from mmsim.gpu import indexing, vector
from mmsim.gpu.kernel import Class, Kernel
from mmsim.gpu.machine import Machine, machine
from mmsim.gpu.products import SECTOR, gemm
from mmsim.gpu.vector import Traffic
from mmsim.layer import Layer, Tensor
from mmsim.problem import DataSpace, Problem
from mmsim.size import concrete

Mode: TypeAlias = Literal["eager", "graph", "fused"]
"""How PyTorch runs: op by op, as a captured CUDA graph, or with pointwise chains fused (torch.compile)."""


@dataclass(frozen=True)
class Options:
    """PyTorch's numeric switches and memory format, with its defaults since version 1.12."""

    tf32_convolution: bool = True
    tf32_product: bool = False
    channels_last: bool = False


DEFAULTS = Options()


@dataclass(frozen=True)
class Site:
    """Where a layer runs: the machine, the switches, and which share of each tensor is not in L2."""

    machine: Machine
    options: Options = DEFAULTS
    cold: Mapping[str, float] = field(default_factory=dict)  # tensor name -> share to fetch from DRAM
    copied: tuple[Tensor, ...] = ()  # inputs that do not lie in order and are copied first

    def share(self, tensors: tuple[Tensor, ...], default: float) -> float:
        """The share of `tensors` that DRAM must deliver, weighted by bytes."""
        sizes = [concrete(t.bytes) for t in tensors]
        found = sum(self.cold.get(t.name, default) * size for t, size in zip(tensors, sizes, strict=True))
        return found / sum(sizes) if sum(sizes) else default


def kernels(
    layer: Layer,
    problems: tuple[Problem, ...],
    arch: Arch,
    mode: Mode = "eager",
    options: Options = DEFAULTS,
    cold: Mapping[str, float] | None = None,
) -> tuple[Kernel, ...]:
    """The kernels of one layer, given its problems (concrete sizes) from the op table.

    `cold` says for tensors by name which share DRAM must deliver; by default activations are in L2
    and weights are not. Raises `InputError` for an architecture that is no GPU.
    """
    return lower(layer, problems, Site(machine(arch), options, cold or {}))


def lower(layer: Layer, problems: tuple[Problem, ...], site: Site) -> tuple[Kernel, ...]:
    """As `kernels`, on a machine that is already known."""
    apart = layer.kind in FUSED_ATTENTION and len(problems) == 3
    if apart and _flash_applies(layer, site.machine):
        return (_attention(layer, problems, site),)
    found: list[Kernel] = [transposed_copy(tensor, site) for tensor in site.copied]
    if apart:  # each side of the first product takes the root of the scale
        found.extend(_pass(tensor, site, "scale") for tensor in layer.inputs[:2])
    for problem in problems:
        for kernel in LOWER.get(problem.family, _vector)(layer, problem, site):
            found.append(replace(kernel, count=kernel.count * concrete(problem.instances)))
    if layer.kind in CONVOLUTIONS and layer.operand("bias") is not None and problems:
        found.append(_pass(layer.output, site, "bias"))
    return tuple(found)


CONVOLUTIONS = frozenset(
    {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
     "cudnn_convolution", "_convolution"}
)  # fmt: skip
FUSED_ATTENTION = frozenset(
    {"scaled_dot_product_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
     "_scaled_dot_product_cudnn_attention"}
)  # fmt: skip


def format_of(layer: Layer, site: Site, *, convolution: bool) -> str:
    """The format that a product computes in: TF32 stands in for float32 where PyTorch allows it."""
    dtype = layer.output.dtype
    allowed = site.options.tf32_convolution if convolution else site.options.tf32_product
    return "tfloat32" if dtype == "float32" and allowed and site.machine.has_tensor("tfloat32") else dtype


def _product(layer: Layer, problem: Problem, site: Site) -> tuple[Kernel, ...]:
    shape = problem.shape
    cold = (site.share(layer.inputs, 0.0), site.share(layer.weights, 1.0), site.share(layer.outputs, 0.0))
    dtype = format_of(layer, site, convolution=False)
    size = (shape["M"], shape["N"], shape["K"], shape.get("B", 1))
    return (gemm(*size, dtype, site.machine, cold=cold, b_along_k=layer.kind == "linear"),)


def _convolution(layer: Layer, problem: Problem, site: Site) -> tuple[Kernel, ...]:
    shape = problem.shape
    groups = shape.get("G", 1)
    spaces = {space.name: space for space in problem.data_spaces}
    channels = (shape.get("C", 1) * groups, shape.get("M", 1) * groups)
    taps = prod(shape.get(dim, 1) for dim in "RST")
    batch, width, height = shape.get("N", 1), shape["P"], shape.get("Q", 1) * shape.get("O", 1)
    pixels = concrete(spaces["Inputs"].stored(problem.sizes)) / (batch * channels[0])
    n, c, k, x, h, w = (np.array(float(size)) for size in (batch, *channels, pixels, height, width))
    size = conv.Shape(n, c, k, x, h, w, taps=float(taps), groups=float(groups))
    square = (
        shape.get("R", 1) == shape.get("S", 1) == 3 and taps == 9 and groups == 1 and _unit_stride(spaces["Inputs"])
    )
    cold = (site.share(layer.inputs, 0.0), site.share(layer.weights, 1.0), site.share(layer.outputs, 0.0))
    return conv.convolution(
        site.machine,
        size,
        format_of(layer, site, convolution=True),
        cold=cold,
        three_by_three=square,
        channels_last=site.options.channels_last,
    )


def _unit_stride(inputs: DataSpace) -> bool:
    return all(coefficient == 1 for rank in inputs.projection for _, coefficient in rank)


def _pass(tensor: Tensor, site: Site, name: str) -> Kernel:
    """A pointwise kernel over a tensor, such as the bias that PyTorch adds to a convolution in one of its own."""
    size, cold = float(concrete(tensor.bytes)), site.share((tensor,), 0.0)
    points = float(concrete(tensor.elements))
    traffic, indexed = Traffic(size, size, cold, cold), name == "bias"
    return vector.elementwise(site.machine, points, traffic, name=name, dtype=tensor.dtype, indexed=indexed)


def transposed_copy(tensor: Tensor, site: Site) -> Kernel:
    """PyTorch makes a permuted tensor contiguous before an operation that wants it so."""
    size = float(concrete(tensor.bytes))
    traffic = Traffic(size, size, site.share((tensor,), 0.0), site.share((tensor,), 0.0))
    kernel = vector.elementwise(
        site.machine, float(concrete(tensor.elements)), traffic, name="contiguous", kind="Other",
        sector_use=SECTOR_USE["contiguous"], indexed=True,
    )  # fmt: skip
    return _strided(kernel, tensor, traffic)


def _strided(kernel: Kernel, tensor: Tensor, traffic: Traffic) -> Kernel:
    """A transposing copy, whose reads take a word of each sector; the caches keep the rest of it for other threads."""
    word = concrete(tensor.bytes) / concrete(tensor.elements)
    return replace(kernel, load_efficiency=word / SECTOR, dram_bytes=traffic.dram)


def _flash_applies(layer: Layer, machine: Machine) -> bool:
    """FlashAttention needs 16-bit formats and compute capability 8; the memory-efficient kernel takes the rest. Both
    take four dimensions alone; with three or five PyTorch computes two products and a softmax."""
    return (
        len(layer.output.shape) == 4
        and layer.output.dtype in ("float16", "bfloat16", "float32")
        and machine.device.compute_capability >= 5
    )


def _attention(layer: Layer, problems: tuple[Problem, ...], site: Site) -> Kernel:
    query, keys = problems[0].shape, problems[2].shape
    return flash.attention(
        site.machine, 1, query.get("B", 1), query["M"], keys["K"], keys["N"], format_of(layer, site, convolution=False),
        causal=bool(layer.attr("is_causal", False)), cold=site.share(layer.inputs, 0.0),
    )  # fmt: skip


def _vector(layer: Layer, problem: Problem, site: Site) -> tuple[Kernel, ...]:
    instances = concrete(problem.instances)
    read, write = concrete(problem.read_bytes) / instances, concrete(problem.written_bytes) / instances
    write += indexing.written_bytes(layer) / instances
    cold = site.share(layer.tensors, 0.0)
    traffic = Traffic(read, write, cold, site.share(layer.outputs, 0.0))
    return (_one_kernel(layer, problem, traffic, site),)


def _one_kernel(layer: Layer, problem: Problem, traffic: Traffic, site: Site) -> Kernel:
    name = problem.name or layer.kind
    kind = KINDS.get(problem.family, "Relu" if "relu" in layer.kind else "Elewise")
    points, ops = float(prod(problem.shape.values())), problem.ops_per_point
    columns = prod(size for dim, size in problem.shape.items() if dim in ROW_DIMS)
    if problem.family in ROW_KERNELS and columns > 1:
        row = ROW_KERNELS[problem.family](layer.kind, columns)
        return vector.rows(site.machine, points / columns, columns, traffic, row, name=name, kind=kind, ops=ops)
    if layer.kind == "batch_norm" and len(layer.output.shape) > 2 and not site.options.channels_last:
        channels, *sizes = (float(concrete(size)) for size in layer.output.shape[1:])
        if any(weight.dtype in ("float16", "bfloat16") for weight in layer.weights):  # cuDNN takes no such weights
            return vector.planes(site.machine, points / prod(sizes), prod(sizes), traffic, name=name, ops=ops)
        return vector.channels(site.machine, channels, points, traffic, name=name, ops=ops)
    use = SECTOR_USE.get(layer.kind, SECTOR_USE.get(problem.family, 1.0))
    strided = layer.kind in STRIDED
    kernel = vector.elementwise(
        site.machine, points, traffic, ops=ops, name=name, kind=kind, sector_use=use,
        indexed=strided or (problem.family == "elementwise" and indexing.repeats(layer)),
        places=indexing.clocks(layer, problem, site.machine),
    )  # fmt: skip
    return _strided(kernel, layer.output, traffic) if strided else kernel


ROW_DIMS = frozenset("KRSTUVWXYZQ")  # the op table's letters for what lies within one row
NORMS = {"layer_norm": vector.LAYER_NORM, "rms_norm": vector.LAYER_NORM, "normalize": vector.OVER_NORM}
ROW_KERNELS: dict[str, Callable[[str, int], vector.Row]] = {
    "softmax": lambda kind, columns: vector.softmax_row(columns),
    "norm": lambda kind, columns: NORMS.get(kind, vector.GROUP_NORM),
}
KINDS: dict[str, Class] = {
    "norm": "BNorm", "pool": "Pooling", "reduction": "Reduce", "softmax": "Other", "copy": "Other",
    "embedding": "Other", "gather": "Other", "scatter": "Other", "sort": "Other", "scan": "Reduce",
    "fft": "Other", "resample": "Other",
}  # fmt: skip
SECTOR_USE = {
    "gather": 0.5, "scatter": 0.5, "copy": 0.8, "sort": 0.25, "contiguous": 0.6, "reshape": 0.6,
    **dict.fromkeys(("to", "type", "type_as", "float", "double", "half", "bfloat16", "clone", *indexing.JOINS), 1.0),
}  # fmt: skip
"""Useful share of the 32-byte sectors, by operation or family: rows of an index and of a padded picture start anywhere;
one side of a transposing copy is strided (cuDNN's own, through shared memory, reaches 0.58 of a stream on a V100:
tensorflow/tensorflow, issue 15897); a cast streams, and so do the long pieces that are joined."""

STRIDED = frozenset({"contiguous", "reshape"})

LOWER: dict[str, Callable[[Layer, Problem, Site], tuple[Kernel, ...]]] = {"matmul": _product, "conv": _convolution}
