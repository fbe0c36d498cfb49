"""Pooling: the nest of a depthwise convolution without weights, one operation (compare or add) a point.

The channels of all samples are one dimension N; windows run over P Q O and R S T as in a convolution.
"""

from __future__ import annotations

from fractions import Fraction

from mmsim.errors import InputError
from mmsim.layer import Attr, Layer, Tensor
from mmsim.ops.conv import WINDOWS
from mmsim.ops.nests import Access, Problems, first, integers, nest, place
from mmsim.ops.rule import Rule
from mmsim.problem import DataSpace, Problem, Rank
from mmsim.size import Polynomial, Size, product


def pool(layer: Layer) -> Problems:
    """max_pool, avg_pool, lp_pool 1d/2d/3d, with or without indices."""
    rank = _rank(layer)
    kernel = _lengths(layer.attr("kernel_size"), rank)
    padding = integers(layer.attr("padding", 0), rank)
    sizes = first(layer).shape[-rank:]
    kernel = tuple(_met(*axis) for axis in zip(kernel, sizes, padding, strict=True))
    stride = layer.attr("stride")
    steps = _steps(kernel, layer) if stride in (None, ()) else _steps(_lengths(stride, rank), layer)
    return windows(layer, kernel=kernel, stride=steps, dilation=integers(layer.attr("dilation"), rank))


def _met(window: Size, size: Size, padding: int) -> Size:
    """The part of a window that meets the input: all of it unless it is larger (``ceil_mode``)."""
    if isinstance(window, int) and isinstance(size, int) and window > size + 2 * padding:
        return size
    return window


def _lengths(value: Attr, rank: int) -> tuple[Size, ...]:
    """A kernel's size along each axis; ``x.shape[2:]`` may be symbolic."""
    given = value if isinstance(value, tuple) else (value,)
    found = tuple(v for v in given if isinstance(v, (int, Polynomial)))
    return found * rank if len(found) == 1 else found


def _steps(stride: tuple[Size, ...], layer: Layer) -> tuple[int | None, ...]:
    """Strides as numbers, or None for a symbolic one; along an axis of one window no step is ever taken."""
    taken = (1 if out == 1 else step for step, out in zip(stride, layer.output.shape[-len(stride) :], strict=True))
    return tuple(step if isinstance(step, int) else None for step in taken)


def adaptive(layer: Layer) -> Problems:
    """adaptive pools: windows of input/output steps; where that is no whole number, of the largest window."""
    rank = _rank(layer)
    sizes = zip(first(layer).shape[-rank:], layer.output.shape[-rank:], strict=True)
    kernel = tuple(_window(size, out) for size, out in sizes)
    return windows(layer, kernel=kernel, stride=_steps(kernel, layer), dilation=(1,) * rank)


def windows(
    layer: Layer, *, kernel: tuple[Size, ...], stride: tuple[int | None, ...], dilation: tuple[int, ...]
) -> Problems:
    """Every output over its window of the input; without a stride the windows lie side by side."""
    x, outputs, rank = first(layer), layer.outputs, len(kernel)
    sizes: dict[str, Size] = {"N": product(x.shape[:-rank])}
    window: list[Rank] = []
    point: list[Rank] = []
    extents: list[Size] = []
    for axis, (position, step) in zip(range(rank - 1, -1, -1), WINDOWS, strict=False):
        sizes[position], sizes[step] = outputs[0].shape[axis - rank], kernel[axis]
        point.insert(0, ((position, 1),))
        taken = stride[axis]
        if taken is None:  # the axis as (window, place in it)
            window[:0], extents[:0] = [((position, 1),), ((step, 1),)], [sizes[position], kernel[axis]]
        else:
            window.insert(0, ((step, dilation[axis]), (position, taken)))
            extents.insert(0, x.shape[axis - rank])
    if any(size == 0 for size in sizes.values()):
        return ()
    reading = DataSpace("Inputs", ((("N", 1),), *window), x.bits, extents=(sizes["N"], *extents))
    writing = (_output(out, i, point) for i, out in enumerate(outputs))
    return (Problem("vector", tuple(sizes.items()), (reading, *writing), "pool"),)


def unpool(layer: Layer) -> Problems:
    """max_unpool: every input value goes to its index; the rest of the output is zero."""
    out = layer.output
    shape = (out.elements,)
    accesses = [
        Access(label, t.bits, (t.elements,)) for label, t in zip(("Inputs", "Indices"), layer.tensors, strict=False)
    ]
    return nest("movement", "copy", shape, (*accesses, Access("Outputs", out.bits, shape, is_output=True)))


def _output(out: Tensor, position: int, point: list[Rank]) -> DataSpace:
    name = f"Outputs{position + 1}" if position else "Outputs"
    return DataSpace(name, ((("N", 1),), *point), out.bits, is_output=True)


def _window(size: Size, out: Size) -> Size:
    if isinstance(size, int) and isinstance(out, int):
        return size // out if size % out == 0 else -(-size // out) + 1
    if size == out:
        return 1
    if isinstance(out, int) and not isinstance(size, int):
        return size * Fraction(1, out)
    raise InputError(f"adaptive pooling from {size} to {out}")


def _rank(layer: Layer) -> int:
    for letter in layer.kind:
        if letter in "123":
            return int(letter)
    raise InputError(f"{layer.op} at {place(layer)}: pooling over how many axes?")


_SHAPES = ("1d", "2d", "3d")
ROWS: dict[str, Rule] = {
    **{
        f"{prefix}{name}{shape}{suffix}": pool
        for name in ("max_pool", "avg_pool", "lp_pool")
        for shape in _SHAPES
        for prefix in ("", "_")
        for suffix in ("", "_with_indices")
    },
    **{
        f"{prefix}adaptive_{name}_pool{shape}{suffix}": adaptive
        for name in ("max", "avg")
        for shape in _SHAPES
        for prefix in ("", "_")
        for suffix in ("", "_with_indices")
    },
    **{f"fractional_max_pool{shape}{suffix}": adaptive for shape in ("2d", "3d") for suffix in ("", "_with_indices")},
    **{f"max_unpool{shape}": unpool for shape in _SHAPES},
}
