"""Products of matrices: linear, matmul, bmm, einsum, bilinear and grouped products, all as B M N K.

Every product of two tensors is an einsum, and every einsum sorts its indices into four classes: in both
operands and the result (B), in the left and the result (M), in the right and the result (N), in both but
not the result (K). Each class is one dimension, the product of its sizes; footprints stay exact, also
with broadcasting. ``Inputs`` is the left operand, ``Weights`` the right one.

A bias that is added to a product is the accumulator's first value: no MAC, and its bytes are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mmsim.errors import InputError
from mmsim.layer import Layer, Tensor
from mmsim.ops.nests import Access, Problems, first, matrix_product, nest, operand, place, reads, writes
from mmsim.ops.rule import Rule
from mmsim.problem import Problem
from mmsim.size import Size, product


def linear(layer: Layer) -> Problems:
    """``x @ weight.T + bias``: M rows of x, K inputs, N outputs."""
    x, weight = first(layer), operand(layer, "weight", position=1)
    k, n = weight.shape[-1], weight.shape[0] if len(weight.shape) == 2 else 1
    bits, is_complex = (x.bits, weight.bits, layer.output.bits), _is_complex(layer.output)
    return matrix_product(product(x.shape[:-1]), n, k, bits=bits, is_complex=is_complex)


def matmul(layer: Layer) -> Problems:
    """matmul, mm, bmm, mv, dot: torch's rules for one axis and for broadcast batches."""
    left, right = operand(layer, "input", "self", position=0), operand(layer, "other", "mat2", "vec", position=1)
    return multiplied(left, right, layer.output)


def reflected(layer: Layer) -> Problems:
    """``x.__rmatmul__(y)`` is ``y @ x``."""
    return multiplied(layer.tensors[1], layer.tensors[0], layer.output)


def multiplied(left: Tensor, right: Tensor, out: Tensor, *, name: str = "") -> Problems:
    """The product ``left @ right``."""
    a = left.shape if len(left.shape) > 1 else (1, *left.shape)
    b = right.shape if len(right.shape) > 1 else (*right.shape, 1)
    batches = max(len(a), len(b)) - 2
    labels = [f"b{i}" for i in range(batches)]
    sizes: dict[str, Size] = {"m": a[-2], "k": a[-1], "n": b[-1]}
    own: list[list[str]] = []
    for shape, last in ((a, ["m", "k"]), (b, ["k", "n"])):
        lead = shape[:-2]
        kept = [(label, size) for label, size in zip(labels[batches - len(lead) :], lead, strict=True) if size != 1]
        sizes.update(kept)
        own.append([*(label for label, _ in kept), *last])
    result = [*labels, "m", "n"]
    bits = (left.bits, right.bits, out.bits)
    return contraction(own[0], own[1], result, sizes, bits=bits, is_complex=_is_complex(out), name=name)


def _is_complex(tensor: Tensor) -> bool:
    return tensor.dtype.startswith("complex")


def contraction(
    left: list[str],
    right: list[str],
    result: list[str],
    sizes: Mapping[str, Size],
    *,
    bits: tuple[int, int, int],
    is_complex: bool = False,
    name: str = "",
) -> Problems:
    """The product of two tensors with these indices; every index is in the result or in both operands."""

    def size_of(*, a: bool | None, b: bool | None, c: bool) -> Size:
        return product(s for i, s in sizes.items() if (i in left, i in right, i in result) == (a, b, c))

    batch, k = size_of(a=True, b=True, c=True), size_of(a=True, b=True, c=False)
    m, n = size_of(a=True, b=False, c=True), size_of(a=False, b=True, c=True)
    return matrix_product(m, n, k, batch=batch, bits=bits, is_complex=is_complex, name=name)


def added(layer: Layer) -> Problems:
    """addmm, baddbmm, addmv, addbmm: a product on top of `input`.

    A matrix as large as the result is added elementwise; anything smaller is a bias.
    """
    base = first(layer)
    left, right = (
        operand(layer, "mat1", "batch1", "mat", position=1),
        operand(layer, "mat2", "batch2", "vec", position=2),
    )
    out = layer.output
    found = _summed_batches(left, right, out) if layer.kind == "addbmm" else multiplied(left, right, out)
    if base.elements != out.elements or layer.attr("beta", 1) == 0 or len(base.shape) < 2:
        return found
    accesses = (*reads(out, base, shape=out.shape), *writes(out, shape=out.shape))
    return (*found, *nest("vector", "elementwise", out.shape, accesses, name="accumulate"))


def _summed_batches(left: Tensor, right: Tensor, out: Tensor) -> Problems:
    b, m, k = left.shape
    return matrix_product(m, right.shape[-1], b * k, bits=(left.bits, right.bits, out.bits))


def einsum(layer: Layer) -> Problems:
    """torch.einsum, its operands multiplied from left to right."""
    equation = layer.attr("equation", layer.attr("args"))
    if isinstance(equation, tuple) and equation:  # torch.einsum(*args)
        equation = equation[0]
    if not isinstance(equation, str):
        raise InputError(f"einsum at {place(layer)} has no equation")
    terms, result = _einsum_indices(equation, layer)
    sizes: dict[str, Size] = {}
    for indices, tensor in zip(terms, layer.tensors, strict=True):
        sizes.update((i, s) for i, s in zip(indices, tensor.shape, strict=True) if s != 1 or i not in sizes)
    bits = layer.output.bits
    found: list[Problem] = []
    for position, tensor in enumerate(layer.tensors):
        elsewhere = {i for other, term in enumerate(terms) if other != position for i in term} | set(result)
        found += _summed(tensor, terms[position], elsewhere, layer.output)
        terms[position] = [i for i in terms[position] if i in elsewhere]
    left = terms[0]
    for position, right in enumerate(terms[1:], start=1):
        later = {i for term in terms[position + 1 :] for i in term} | set(result)
        meeting = [i for i in dict.fromkeys([*left, *right]) if i in later]
        widths = (layer.tensors[0].bits if position == 1 else bits, layer.tensors[position].bits, bits)
        if all(sizes[i] == 1 for i in {*left, *right} - {*meeting}):  # nothing to sum: elementwise, as torch does it
            found += _multiplied_elementwise(left, right, meeting, sizes, widths)
        else:
            found += contraction(left, right, meeting, sizes, bits=widths, is_complex=_is_complex(layer.output))
        left = meeting
    return tuple(found)


def _multiplied_elementwise(
    left: list[str], right: list[str], result: list[str], sizes: Mapping[str, Size], bits: tuple[int, int, int]
) -> Problems:
    shape = tuple(sizes[i] for i in result)
    accesses = (
        Access("Inputs", bits[0], tuple(sizes[i] if i in left else 1 for i in result)),
        Access("Inputs2", bits[1], tuple(sizes[i] if i in right else 1 for i in result)),
        Access("Outputs", bits[2], shape, is_output=True),
    )
    return nest("vector", "elementwise", shape, accesses)


def _einsum_indices(equation: str, layer: Layer) -> tuple[list[list[str]], list[str]]:
    """The indices of each operand and of the result; an ellipsis becomes ``...0``, ``...1`` from the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(layer.operands):
        raise InputError(f"einsum {equation!r} at {place(layer)} has {len(layer.operands)} operands")
    terms = [
        _indices(text, len(tensor.shape) - len(text.replace("...", "")))
        for text, tensor in zip(texts, layer.tensors, strict=True)
    ]
    dots = max((len([i for i in term if i.startswith("...")]) for term in terms), default=0)
    if arrow:
        return terms, _indices(right, dots)
    letters = [i for term in terms for i in term if not i.startswith("...")]
    once = sorted(i for i in set(letters) if letters.count(i) == 1)
    return terms, [*_indices("...", dots), *once]


def _indices(text: str, dots: int) -> list[str]:
    before, ellipsis, after = text.partition("...")
    middle = [f"...{i}" for i in range(dots - 1, -1, -1)] if ellipsis else []
    return [*before, *middle, *after]


def _summed(x: Tensor, indices: list[str], kept: set[str], out: Tensor) -> Problems:
    """The sum over the indices of one operand that nothing else has; nothing when there are none."""
    if set(indices) <= kept:
        return ()
    gone = tuple(axis for axis, i in enumerate(indices) if i not in kept)
    result = Access("Outputs", out.bits, tuple(1 if a in gone else s for a, s in enumerate(x.shape)), is_output=True)
    return nest("vector", "reduction", x.shape, (*reads(x, shape=x.shape), result), over=gone)


def bilinear(layer: Layer) -> Problems:
    """``x1 @ W[o] @ x2`` for every output o: first x1 with W, then the result with x2."""
    x1, x2 = operand(layer, "input1", position=0), operand(layer, "input2", position=1)
    weight = operand(layer, "weight", position=2)
    o, i, j = weight.shape
    rows, bits = product(x1.shape[:-1]), layer.output.bits
    return (
        *matrix_product(rows, o * j, i, bits=(x1.bits, weight.bits, bits), name="input1 x weight"),
        *matrix_product(o, 1, j, batch=rows, bits=(bits, x2.bits, bits), name="x input2"),
    )


def outer(layer: Layer) -> Problems:
    """outer, ger: every element of one vector times every element of the other."""
    out = layer.output
    a, b = layer.tensors[0], layer.tensors[1]
    column = replace(a, shape=(*a.shape, 1))
    accesses = (*reads(column, b, shape=out.shape), *writes(out, shape=out.shape))
    return nest("vector", "elementwise", out.shape, accesses)


def row_products(layer: Layer) -> Problems:
    """vecdot: the inner product of rows with rows, each row with its own."""
    a, b, out = layer.tensors[0], layer.tensors[1], layer.output
    return matrix_product(1, 1, a.shape[-1], batch=out.elements, bits=(a.bits, b.bits, out.bits))


def tensordot(layer: Layer) -> Problems:
    """The axes ``dims`` of both operands contracted: an int counts the last of one and the first of the other."""
    a, b, out = layer.tensors[0], layer.tensors[1], layer.output
    dims = layer.attr("dims", 2)
    dims_a, dims_b = layer.attr("dims_self"), layer.attr("dims_other")
    if isinstance(dims, tuple) and dims_a is None and len(dims) == 2:
        dims_a, dims_b = dims
    elif isinstance(dims, int) and dims_a is None:
        dims_a, dims_b = tuple(range(len(a.shape) - dims, len(a.shape))), tuple(range(dims))
    if not isinstance(dims_a, tuple) or not isinstance(dims_b, tuple):
        raise InputError(f"tensordot at {place(layer)} contracts {dims_a!r} with {dims_b!r}")
    gone_a = {d % len(a.shape) for d in dims_a if isinstance(d, int)}
    gone_b = {d % len(b.shape) for d in dims_b if isinstance(d, int)}
    m = product(s for i, s in enumerate(a.shape) if i not in gone_a)
    n = product(s for i, s in enumerate(b.shape) if i not in gone_b)
    k = product(a.shape[i] for i in gone_a)
    return matrix_product(m, n, k, bits=(a.bits, b.bits, out.bits))


def grouped(layer: Layer) -> Problems:
    """_grouped_mm: rows of a, group by group, each with its own matrix (the experts of a mixture).

    Which expert gets how many rows is data; the MACs do not depend on it. With a concrete number of
    rows they are spread evenly, so that every expert's weights are read; while it is symbolic the
    layer is one product.
    """
    a, b = first(layer), operand(layer, "mat2", "mat_b", "other", position=1)
    bits = (a.bits, b.bits, layer.output.bits)
    if len(a.shape) == 3 and len(b.shape) == 3:
        return multiplied(a, b, layer.output)
    if len(a.shape) != 2 or len(b.shape) != 3:
        raise InputError(f"{layer.op} at {place(layer)}: grouped product of {a.shape} and {b.shape}")
    experts, k, n = b.shape
    rows = a.shape[0]
    if not isinstance(rows, int) or not isinstance(experts, int):
        return matrix_product(rows, n, k, bits=bits)
    each, more = divmod(rows, experts)
    return (
        *matrix_product(each + 1, n, k, bits=bits, instances=more),
        *matrix_product(each, n, k, bits=bits, instances=experts - more),
    )


ROWS: dict[str, Rule] = {
    **dict.fromkeys(("linear", "_weight_int8pack_mm", "fbgemm_linear_int8_weight"), linear),
    **dict.fromkeys(
        ("matmul", "mm", "bmm", "mv", "dot", "vdot", "__matmul__", "linalg_matmul", "_int_mm", "_scaled_mm"), matmul
    ),
    "__rmatmul__": reflected,
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation"), added),
    "einsum": einsum,
    "bilinear": bilinear,
    **dict.fromkeys(("outer", "ger"), outer),
    **dict.fromkeys(("vecdot", "linalg_vecdot"), row_products),
    "tensordot": tensordot,
    **dict.fromkeys(("_grouped_mm", "grouped_mm", "_scaled_grouped_mm"), grouped),
}
