"""Attention as its two products and the softmax between them.

Scores are counted in full, causal mask or not, as torch's flop counter does: what a kernel skips is the
kernel's business. Queries that share keys and values (grouped-query attention) are rows of one product,
so that keys and values are read once for the group.
"""

from __future__ import annotations

from dataclasses import replace

from mmsim.errors import InputError
from mmsim.layer import Layer, Tensor
from mmsim.ops.nests import Access, Problems, matrix_product, nest, operand, place, reads, writes
from mmsim.ops.reduction import SOFTMAX_OPS
from mmsim.ops.rule import Rule
from mmsim.size import Size, at, concrete, product


def scaled_dot_product(layer: Layer) -> Problems:
    """scaled_dot_product_attention and its fused kernels.

    query (..., H, L, D), key (..., G, S, D), value (..., G, S, V), H a multiple of G.
    """
    query = operand(layer, "query", position=0)
    key, value = operand(layer, "key", position=1), operand(layer, "value", position=2)
    mask = layer.operand("attn_mask") or layer.operand("attn_bias")
    return attention(query, key, value, layer.output, mask=mask)


def attention(query: Tensor, key: Tensor, value: Tensor, out: Tensor, *, mask: Tensor | None = None) -> Problems:
    """``softmax(query @ key.T + mask) @ value`` for every batch entry and head."""
    *lead, length, width = query.shape
    *shared, keys, _ = key.shape
    together = _ratio(product(lead), product(shared))  # query heads for each key head
    batch, m, v = product(shared), length * together, value.shape[-1]
    bits = out.bits
    scores = Tensor("scores", (*lead, length, keys), out.dtype, "activation")
    masks = (mask,) if mask is not None and len(mask.shape) <= len(scores.shape) else ()
    rank = len(scores.shape)
    accesses = (*reads(scores, *masks, shape=scores.shape), *writes(scores, shape=scores.shape))
    ops = SOFTMAX_OPS + 1 + len(masks)  # and the scale, and the mask
    return (
        *matrix_product(m, keys, width, batch=batch, bits=(query.bits, key.bits, bits), name="query x key"),
        *nest("vector", "softmax", scores.shape, accesses, over=(rank - 1,), ops=ops, name="softmax"),
        *matrix_product(m, v, keys, batch=batch, bits=(bits, value.bits, bits), name="weights x value"),
    )


def multi_head(layer: Layer) -> Problems:
    """multi_head_attention_forward and the fused encoder kernels: projections, attention, output projection.

    query (L, B, E), key and value (S, B, E), or without B; head count in ``num_heads``. A bias key and a
    zero key each lengthen S by one.
    """
    query = operand(layer, "query", "src", position=0)
    key = layer.operand("key") or query
    value = layer.operand("value") or key
    heads = layer.attr("num_heads", layer.attr("num_head"))
    if not isinstance(heads, int) or heads < 1:
        raise InputError(f"{layer.op} at {place(layer)} does not say how many heads")
    extra = int(layer.operand("bias_k") is not None) + int(bool(layer.attr("add_zero_attn", False)))
    batch_first = not layer.op.startswith("torch.nn.functional")  # the fused kernels take (B, L, E)
    batched = len(query.shape) == 3
    length, batch = _length_and_batch(query, batch_first)
    keys = _length_and_batch(key, batch_first)[0] + extra
    width = concrete(query.shape[-1])
    head = width // heads
    many = (batch, heads) if batched else (heads,)
    split = replace(query, name="q", shape=(*many, length, head))
    other = replace(query, name="k", shape=(*many, keys, head))
    mask = layer.operand("attn_mask")
    masks = mask if mask is not None and len(mask.shape) == 2 else None
    found: Problems = ()
    for tensor, name in _shared((query, "query"), (key, "key"), (value, "value")):
        columns = width * len(name.split("+"))
        rows, bits = product(tensor.shape[:-1]), (tensor.bits, query.bits, query.bits)
        found += matrix_product(rows, columns, tensor.shape[-1], bits=bits, name=f"{name} projection")
    found += attention(split, other, other, split, mask=masks)
    bits = (query.bits, query.bits, layer.output.bits)
    found += matrix_product(length * batch, width, width, bits=bits, name="output projection")
    if layer.attr("need_weights", False) and layer.attr("average_attn_weights", True) and len(layer.outputs) > 1:
        found += _averaged(replace(query, name="weights", shape=(*many, length, keys)))
    return found


def _averaged(weights: Tensor) -> Problems:
    """The attention weights' mean over heads, which callers of ``need_weights`` get."""
    heads = len(weights.shape) - 3
    mean = Access("Outputs", weights.bits, tuple(1 if a == heads else s for a, s in enumerate(weights.shape)), True)
    accesses = (*reads(weights, shape=weights.shape), mean)
    return nest("vector", "reduction", weights.shape, accesses, over=(heads,), name="average over heads")


def _shared(*projections: tuple[Tensor, str]) -> list[tuple[Tensor, str]]:
    """Projections of the same tensor done as one product: query+key+value in self-attention."""
    merged: dict[str, tuple[Tensor, str]] = {}
    for tensor, name in projections:
        known = merged.get(tensor.name)
        merged[tensor.name] = (tensor, f"{known[1]}+{name}" if known else name)
    return list(merged.values())


def _length_and_batch(tensor: Tensor, batch_first: bool) -> tuple[Size, Size]:
    if len(tensor.shape) == 2:
        return tensor.shape[0], 1
    return (tensor.shape[1], tensor.shape[0]) if batch_first else (tensor.shape[0], tensor.shape[1])


def _ratio(a: Size, b: Size) -> int:
    """a / b, a whole number also when both are symbolic."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b else 1
    one = {name: 1 for size in (a, b) if not isinstance(size, int) for name in size.symbols}
    return concrete(at(a, **one)) // concrete(at(b, **one))


ROWS: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "scaled_dot_product_attention", "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math",
            "_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math_for_mps",
            "flex_attention",
        ),
        scaled_dot_product,
    ),
    **dict.fromkeys(("multi_head_attention_forward", "_native_multi_head_attention"), multi_head),
}  # fmt: skip
