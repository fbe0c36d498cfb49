"""Operations that only move bytes: copies, concatenation, padding, casts, gathers and scatters, creation.

A gather reads as many rows of its table as it has indices, at most the table. A cast reads one width and writes
another. Whether ``reshape``, ``to`` or indexing copies is decided in `views`.
"""

from __future__ import annotations

from mmsim.layer import Layer, Tensor
from mmsim.ops.nests import Access, Problems, distinct, first, nest, operand, reads, writes
from mmsim.ops.region import region
from mmsim.ops.rule import Rule
from mmsim.size import Size, product


def copy(layer: Layer) -> Problems:
    """Each element of the result comes from one element of the source: clone, cast, pad, roll, tril, ``x[:] = y``."""
    return moved(operand(layer, "src", "source", position=-1 if layer.kind == "copy" else 0), layer.output)


def moved(source: Tensor, out: Tensor) -> Problems:
    """Read `source`, write `out`; of another size where elements are repeated, added or left out."""
    fits = len(source.shape) <= len(out.shape) and all(
        mine in (1, theirs) for mine, theirs in zip(reversed(source.shape), reversed(out.shape), strict=False)
    )
    if fits:
        return nest("movement", "copy", out.shape, (*reads(source, shape=out.shape), *writes(out, shape=out.shape)))
    shape = (out.elements,)
    accesses = (Access("Inputs", source.bits, (source.elements,)), Access("Outputs", out.bits, shape, is_output=True))
    return nest("movement", "copy", shape, accesses)


def joined(layer: Layer) -> Problems:
    """cat, stack: every operand is read, the result written."""
    out = layer.output
    shape = (out.elements,)
    parts = (Access(f"Inputs{i + 1}" if i else "Inputs", t.bits, (t.elements,)) for i, t in enumerate(distinct(layer)))
    return nest("movement", "copy", shape, (*parts, Access("Outputs", out.bits, shape, is_output=True)))


def folded(layer: Layer) -> Problems:
    """fold: overlapping blocks are added up, one operation an element of theirs."""
    x, out = first(layer), layer.output
    shape = (x.elements,)
    accesses = (Access("Inputs", x.bits, shape), Access("Outputs", out.bits, (out.elements,), is_output=True))
    return nest("vector", "copy", shape, accesses)


def embedding(layer: Layer) -> Problems:
    """One row of the table for each index."""
    table, indices = operand(layer, "weight", position=1), operand(layer, "input", "indices", position=0)
    return rows_of(table, indices, layer.output)


def rows_of(table: Tensor, indices: Tensor, out: Tensor) -> Problems:
    """``table[indices]``: E indices of rows of F words."""
    shape = (indices.elements, product(table.shape[1:]))
    accesses = (
        Access("Indices", indices.bits, (indices.elements, 1)),
        Access("Weights", table.bits, (table.shape[0], shape[1])),
        Access("Outputs", out.bits, shape, is_output=True),
    )
    return nest("movement", "embedding", shape, accesses)


def embedding_bag(layer: Layer) -> Problems:
    """Rows of the table, summed bag by bag: one operation a word read."""
    table, indices = operand(layer, "weight", position=0), operand(layer, "input", "indices", position=1)
    out = layer.output
    shape = (indices.elements, product(table.shape[1:]))
    accesses = (
        Access("Indices", indices.bits, (indices.elements, 1)),
        Access("Weights", table.bits, (table.shape[0], shape[1])),
        Access("Outputs", out.bits, (product(out.shape[:-1]), shape[1]), is_output=True),
    )
    return nest("vector", "embedding", shape, accesses)


def gather(layer: Layer) -> Problems:
    """gather, index, take: an element of the result comes from where its index says."""
    x, out = first(layer), layer.output
    indices = [tensor for name, tensor in layer.operands if tensor.name != x.name]
    shape = (out.elements,)
    found = tuple(Access(_name("Indices", i), t.bits, (t.elements,)) for i, t in enumerate(indices))
    source = Access("Inputs", x.bits, (_at_most(x.elements, out.elements),))
    return nest("movement", "gather", shape, (*found, source, Access("Outputs", out.bits, shape, is_output=True)))


def selected(layer: Layer) -> Problems:
    """masked_select, nonzero: the whole input is read, what is found is written."""
    accesses = [Access(_name("Inputs", i), t.bits, (t.elements,)) for i, t in enumerate(distinct(layer))]
    results = [Access(_name("Outputs", i), o.bits, (o.elements,), is_output=True) for i, o in enumerate(layer.outputs)]
    return nest("movement", "gather", (first(layer).elements,), (*accesses, *results))


def scatter(layer: Layer) -> Problems:
    """scatter, index_put, ``x[i] = y``: only what is named is written; out of place, the rest is copied before."""
    x = first(layer)
    if not (layer.writes_in_place or layer.kind == "__setitem__"):
        copied = nest("movement", "copy", x.shape, (*reads(x, shape=x.shape), *writes(x, shape=x.shape)), name="copy")
        return (*copied, *_written(layer, x))
    return _written(layer, x)


def _written(layer: Layer, x: Tensor) -> Problems:
    rest = [tensor for tensor in distinct(layer) if tensor.name != x.name]
    words = region(x.shape, layer.attr("indices")) if layer.kind == "__setitem__" else _largest(rest, x)
    if words is None:  # a mask or a list of places: as many as there are values, at most all
        words = _largest(rest, x)
    shape = (words,)
    accesses = (Access(_name("Inputs", i), t.bits, (t.elements,)) for i, t in enumerate(rest))
    written = Access("Outputs", x.bits, shape, is_output=True)
    if any(word in layer.kind for word in ("add", "reduce")):
        return nest("vector", "scatter", shape, (*accesses, written))
    return nest("movement", "scatter", shape, (*accesses, written))


def _largest(tensors: list[Tensor], x: Tensor) -> Size:
    sizes = [tensor.elements for tensor in tensors]
    return max((n for n in sizes if isinstance(n, int)), default=sizes[-1]) if sizes else x.elements


def create(layer: Layer) -> Problems:
    """zeros, arange, rand: only the result is written."""
    out = layer.output
    return nest("movement", "create", out.shape, writes(*layer.outputs[:1], shape=out.shape))


def _name(base: str, position: int) -> str:
    return f"{base}{position + 1}" if position else base


def _at_most(a: Size, b: Size) -> Size:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else b


ROWS: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "copy", "clone", "_to_copy", "pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d",
            "reflection_pad3d", "replication_pad1d", "replication_pad2d", "replication_pad3d", "_pad_circular",
            "_pad_enum", "roll", "fft_fftshift", "fftshift", "fft_ifftshift", "ifftshift", "flip", "fliplr", "flipud",
            "rot90", "repeat", "repeat_interleave", "tile", "tril", "triu", "diag", "diag_embed", "diagflat",
            "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "im2col",
            "_pack_padded_sequence", "_pad_packed_sequence", "one_hot", "resize", "view_copy", "expand_copy",
            "permute_copy", "_reshape_copy", "lift_fresh_copy", "alias_copy", "as_strided_copy", "detach_copy",
            "diagonal_copy", "narrow_copy", "select_copy", "slice_copy", "squeeze_copy", "t_copy", "transpose_copy",
            "unfold_copy", "unsqueeze_copy", "view_as_real_copy", "view_as_complex_copy",
        ),
        copy,
    ),
    **dict.fromkeys(
        (
            "cat", "_chunk_cat", "_stack", "concat", "concatenate", "stack", "hstack", "vstack", "dstack",
            "column_stack", "row_stack", "block_diag", "pad_sequence", "masked_scatter", "cartesian_prod",
            "combinations",
        ),
        joined,
    ),
    **dict.fromkeys(("fold", "col2im"), folded),
    "embedding": embedding,
    **dict.fromkeys(("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"), embedding_bag),
    **dict.fromkeys(
        (
            "gather", "index", "index_select", "_unsafe_index", "_unsafe_masked_index", "take", "take_along_dim",
        ),
        gather,
    ),
    **dict.fromkeys(("masked_select", "nonzero", "argwhere", "nonzero_static"), selected),
    **dict.fromkeys(
        (
            "scatter", "scatter_add", "scatter_reduce", "index_put", "_index_put_impl", "_unsafe_index_put",
            "_unsafe_masked_index_put_accumulate", "index_add", "index_copy", "index_fill", "index_reduce", "put",
            "__setitem__", "fill_diagonal", "select_scatter", "slice_scatter", "diagonal_scatter", "as_strided_scatter",
        ),
        scatter,
    ),
    **dict.fromkeys(
        (
            "zeros", "ones", "full", "arange", "range", "linspace", "logspace", "tensor", "as_tensor", "scalar_tensor",
            "from_numpy", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_tensor",
            "rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "randperm", "bernoulli",
            "multinomial", "normal", "uniform", "exponential", "random", "cauchy", "geometric", "log_normal",
            "trunc_normal", "poisson", "eye", "tril_indices", "triu_indices", "fill", "zero", "hann_window",
            "hamming_window", "blackman_window", "bartlett_window", "kaiser_window", "vander", "fft_fftfreq", "fftfreq",
            "fft_rfftfreq", "rfftfreq",
        ),
        create,
    ),
}  # fmt: skip
