"""What torch.autocast makes of a float32 network on a GPU: which operation runs in which format, and the casts between.

The lists are PyTorch's own (documentation of torch.amp, "CUDA Ops that can autocast"): products and convolutions in
half precision, norms, softmax and powers in float32, everything else in the widest of its inputs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer, Tensor

HALF = frozenset(
    {"matmul", "__matmul__", "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "multi_dot", "mm",
     "mv", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
     "linear", "prelu", "gru", "gru_cell", "lstm", "lstm_cell", "rnn_tanh", "rnn_relu", "scaled_dot_product_attention",
     "einsum", "multi_head_attention_forward"}
)  # fmt: skip
FULL = frozenset(
    {"__pow__", "__rdiv__", "__rpow__", "__rtruediv__", "acos", "asin", "cdist", "cosh", "cosine_similarity",
     "cross_entropy", "dist", "erfinv", "exp", "expm1", "group_norm", "kl_div", "l1_loss", "layer_norm", "log",
     "log10", "log1p", "log2", "mse_loss", "nll_loss", "normalize", "pow", "reciprocal", "renorm", "rsqrt", "sinh",
     "smooth_l1_loss", "softmin", "softplus", "tan"}
)  # fmt: skip
WIDEN = frozenset({"softmax", "log_softmax", "cumprod", "cumsum", "prod", "sum", "norm"})
"""Ops with a `dtype` argument: autocast sets it to float32 and leaves the input as it is."""
FIRST = frozenset({"batch_norm", "instance_norm", "rms_norm", "interpolate", "grid_sample", "embedding"})
"""Ops whose output has their input's format, whatever their parameters are in."""


def autocast(graph: Graph, dtype: str = "float16", half: Collection[str] = ()) -> Graph:
    """The graph as ``torch.autocast("cuda", dtype)`` runs it: a ``to`` layer where a tensor changes its format.

    A tensor is cast once to each format; a weight too, as within one autocast context. Modules named in `half`
    switch autocast off for themselves and run in `dtype` (timm's fast norms). Raises `InputError` for a format
    that autocast does not take.
    """
    if dtype not in ("float16", "bfloat16"):
        raise InputError(f"autocast runs in float16 or bfloat16, not {dtype!r}")
    casts = _Casts(dtype, frozenset(half), max((layer.id for layer in graph.layers), default=0) + 1)
    for layer in graph.layers:
        casts.add(layer)
    outputs = tuple(casts.known.get(tensor.name, tensor) for tensor in graph.outputs)
    return replace(graph, layers=tuple(casts.layers), outputs=outputs)


class _Casts:
    """Layers so far, and each tensor by name as it now is."""

    def __init__(self, dtype: str, half: frozenset[str], next_id: int) -> None:
        self.dtype, self.half, self.next_id = dtype, half, next_id
        self.layers: list[Layer] = []
        self.known: dict[str, Tensor] = {}
        self.made: dict[tuple[str, str], Tensor] = {}

    def add(self, layer: Layer) -> None:
        operands = tuple((name, self.known.get(tensor.name, tensor)) for name, tensor in layer.operands)
        wanted = "float32" if layer.kind in FULL else None
        if layer.kind in HALF or layer.module_path in self.half:
            wanted = self.dtype
        if wanted is not None:
            operands = tuple((name, self.cast(tensor, wanted, layer)) for name, tensor in operands)
        floating = [tensor for _, tensor in operands if _floating(tensor)]
        result = "float32" if layer.kind in WIDEN else wanted or _result(layer, floating)
        outputs = tuple(replace(t, dtype=result) if result and _floating(t) else t for t in layer.outputs)
        self.known.update((tensor.name, tensor) for tensor in outputs)
        self.layers.append(replace(layer, operands=operands, outputs=outputs))

    def cast(self, tensor: Tensor, wanted: str, user: Layer) -> Tensor:
        """The tensor in the wanted format, by a layer of its own the first time."""
        if not _floating(tensor) or tensor.dtype == wanted:
            return tensor
        key = (tensor.name, wanted)
        if key not in self.made:
            role = tensor.role if tensor.role in ("weight", "buffer") else "activation"
            self.made[key] = replace(tensor, name=f"{tensor.name}.{wanted}", dtype=wanted, role=role)
            self.layers.append(
                Layer(
                    self.next_id, self.made[key].name, "torch.Tensor.to", user.stage, (("self", tensor),),
                    (self.made[key],), (("dtype", wanted), ("aten", ("_to_copy",))), user.module_path,
                )
            )  # fmt: skip
            self.next_id += 1
        return self.made[key]


def _floating(tensor: Tensor) -> bool:
    return tensor.dtype in ("float32", "float16", "bfloat16")


def _result(layer: Layer, operands: list[Tensor]) -> str | None:
    """What torch's promotion makes of the operands: the widest of them, single numbers aside; in place, the first."""
    if not operands:
        return None
    if layer.kind in FIRST or layer.writes_in_place:
        return operands[0].dtype
    formats = {tensor.dtype for tensor in operands if tensor.shape} or {tensor.dtype for tensor in operands}
    return "float32" if "float32" in formats else formats.pop()
