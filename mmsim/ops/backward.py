"""The backward pass of any layer, from its forward problems: the same loops with their tensors' roles exchanged.

Reverse-mode differentiation runs over the points of the forward nest. Of a product ``y += x * w`` the gradient of x is
``dx += dy * w`` and that of w ``dw += x * dy``: the same dimensions, with another tensor as the output. So a
convolution's input gradient is a transposed convolution, and its weight gradient a convolution of the input with
the output's gradient as kernel. A vector operation reads the gradient of its result and what it had read,
and writes the gradients of its operands; its derivative costs what the function costs, and one product.

A backward layer is called ``aten.<kind>_backward``; its attributes say of which op (``forward``), what that op
read (``read``), and of which operands it gives the gradients (``of``), its outputs. Its operands are the
gradients of the results (``grad.0``, ...), and the forward operands whose values it needs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from mmsim.errors import InputError
from mmsim.layer import Attr, Layer, Role, Tensor
from mmsim.ops import movement, views
from mmsim.ops.exchange import exchanged
from mmsim.ops.nests import Access, Problems, distinct, nest, place, reads, writes
from mmsim.ops.table import counted
from mmsim.problem import DataSpace, Problem
from mmsim.size import Polynomial, Size, total

ADDITIONS = frozenset({"add", "__add__", "__radd__", "__iadd__"})
LINEAR = ADDITIONS | frozenset(
    {
        "sub", "rsub", "neg", "__sub__", "__rsub__", "__isub__", "__neg__", "sum", "mean", "cumsum", "dropout", "diff",
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
        "interpolate", "grid_sampler_2d", "nansum", "trace",
    }
)  # fmt: skip
"""Operations whose derivative does not depend on the operands: these need not be kept."""

PLACED = frozenset(
    {
        "embedding", "gather", "index", "index_select", "take", "take_along_dim", "__getitem__", "masked_select", "max",
        "min", "amax", "amin", "aminmax", "median", "sort", "topk", "kthvalue", "cummax", "cummin", "max_pool1d",
        "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d",
        "adaptive_max_pool3d",
    }
)  # fmt: skip
"""Operations that pick elements: their gradients are added at the places picked, in a tensor of zeros."""

SHARED = frozenset({"cat", "concat", "concatenate", "stack", "clone", "sum", "nansum", "contiguous"})
"""Copies and sums whose gradient is a view of the result's gradient."""


def is_backward(layer: Layer) -> bool:
    """Whether a layer is the backward pass of another."""
    return layer.kind.endswith("_backward") and isinstance(layer.attr("forward"), str)


def backward(layer: Layer) -> Problems:
    """The problems of a backward layer."""
    forward = forward_of(layer)
    wanted = frozenset(_names(layer.attr("of")))
    if forward.kind in views.FREE or (forward.kind in views.ROWS and not counted(forward)):
        return _of_view(forward)
    if forward.kind in SHARED:
        return ()
    if forward.kind in PLACED:
        return _placed(forward, layer.outputs)
    found: Problems = ()
    problems = counted(forward)
    for problem in reversed(problems):
        if problem.kind == "mac":
            found += _of_product(problem, forward, wanted, is_first=problem is problems[0])
        else:
            found += _of_nest(problem, forward, wanted)
    bias = next(
        (out for name, out in zip(_names(layer.attr("of")), layer.outputs, strict=True) if "bias" in name), None
    )
    if bias is not None and any(problem.kind == "mac" for problem in found):
        found += _of_bias(forward, bias)
    return found


def attributes(forward: Layer, wanted: tuple[str, ...]) -> tuple[tuple[str, Attr], ...]:
    """The attributes of the backward layer of `forward` that gives the gradients of the operands `wanted`."""
    read = tuple((name, t.name, t.dtype, t.role, t.shape) for name, t in forward.operands)
    return (*forward.attrs, ("forward", forward.op), ("read", read), ("of", wanted))


def forward_of(layer: Layer) -> Layer:
    """The forward layer that a backward layer belongs to; the inverse of `attributes`."""
    read = layer.attr("read")
    own = ("forward", "read", "of")
    return replace(
        layer,
        op=str(layer.attr("forward")),
        operands=tuple(_operand(entry, layer) for entry in (read if isinstance(read, tuple) else ())),
        outputs=tuple(tensor for name, tensor in layer.operands if name.startswith("grad.")),
        attrs=tuple((name, value) for name, value in layer.attrs if name not in own),
    )


def _operand(entry: Attr, layer: Layer) -> tuple[str, Tensor]:
    """One forward operand as `attributes` writes it."""
    match entry:
        case (str(argument), str(name), str(dtype), str(role), tuple(shape)):
            sizes = tuple(size for size in shape if isinstance(size, (int, Polynomial)))
            return argument, Tensor(name, sizes, dtype, cast(Role, role))
    raise InputError(f"{layer.op} at {place(layer)} does not say what its forward operation read")


def kept(forward: Layer, wanted: tuple[str, ...]) -> tuple[tuple[str, Tensor], ...]:
    """The forward operands whose values the backward pass needs."""
    if forward.kind in views.FREE or forward.kind in views.ROWS or forward.kind in SHARED or forward.kind in LINEAR:
        return tuple((name, t) for name, t in forward.operands if name not in wanted and not t.has_gradient)
    if forward.kind in PLACED or forward.kind in movement.ROWS:
        return tuple((name, t) for name, t in forward.operands if not t.has_gradient)
    return forward.operands


# --- products ----------------------------------------------------------------------------------------

_LATER = frozenset({"addmm", "baddbmm", "addmv", "addbmm"})  # their first operand is not part of the product


def _of_product(problem: Problem, forward: Layer, wanted: frozenset[str], *, is_first: bool) -> Problems:
    """The gradient of each factor that is wanted; factors that are themselves results always are."""
    left, right = _factors(problem, forward, is_first=is_first)
    found: Problems = ()
    if left is None or left in wanted:
        inputs = exchanged(problem, "Inputs")
        if problem.name == "recurrent product" and not any(name.startswith("hx") for name in wanted):
            inputs = replace(inputs, instances=inputs.instances - (2 if forward.attr("bidirectional") else 1))
        found += (inputs,) if inputs.instances != 0 else ()  # the first step's state is given
    if right is None or right in wanted:
        found += (exchanged(problem, "Weights"),)
    return found


def _factors(problem: Problem, forward: Layer, *, is_first: bool) -> tuple[str | None, str | None]:
    """The operands behind ``Inputs`` and ``Weights``; None for what the layer itself made."""
    names = [name for name, _ in forward.operands]
    if problem.name in ("weights x value", "x input2"):
        return None, names[2] if problem.name == "weights x value" else names[1]
    if problem.name == "input1 x weight":
        return names[0], names[2]
    if problem.name.endswith(("recurrent product", "projection")):
        return None, None
    if problem.name == "input product":
        return names[0] if is_first else None, None  # of later layers the input is the layer before
    if forward.kind in _LATER:
        return names[1], names[2]
    if forward.kind == "__rmatmul__":
        return names[1], names[0]
    return names[0], names[1]


def _of_bias(forward: Layer, bias: Tensor) -> Problems:
    """The sum of the result's gradient over everything but the bias's own axis: the channels, or the last."""
    out = forward.output
    channels = 1 if len(out.shape) == len(forward.tensors[1].shape) else 0
    axis = channels if "conv" in forward.kind else len(out.shape) - 1
    own = tuple(size if a == axis else 1 for a, size in enumerate(out.shape))
    over = tuple(a for a in range(len(out.shape)) if a != axis)
    accesses = (*reads(out, shape=out.shape), Access("Outputs", bias.bits, own, is_output=True))
    return nest("vector", "reduction", out.shape, accesses, over=over, name="gradient of bias")


# --- everything else ---------------------------------------------------------------------------------


_FIXED = ("Indices", "Mean", "Variance", "Table", "Boxes", "Scores")
"""Data spaces through which no gradient flows."""


def _of_nest(problem: Problem, forward: Layer, wanted: frozenset[str]) -> Problems:
    """The forward nest again: gradients of results and operands read, gradients of operands written."""
    result = problem.outputs[0]
    sought = [space for space in problem.inputs if _is_wanted(space, forward, wanted)]
    if forward.kind in ADDITIONS:  # the gradient itself, but for operands that were broadcast
        sought = [space for space in sought if space.projection != result.projection]
    if not sought:
        return ()
    linear = problem.kind == "movement" or forward.kind in LINEAR
    saved = tuple(space for space in problem.inputs if not (linear and _is_wanted(space, forward, wanted)))
    given = replace(result, name="Gradients", is_output=False)
    gradients = tuple(
        replace(space, name=f"Outputs{i + 1}" if i else "Outputs", is_output=True) for i, space in enumerate(sought)
    )
    ops = 1 if linear else problem.ops_per_point + 1
    return (replace(problem, data_spaces=(given, *saved, *gradients), ops_per_point=ops),)


def _is_wanted(space: DataSpace, forward: Layer, wanted: frozenset[str]) -> bool:
    """Whether what stands behind a data space has a gradient: a wanted operand, or something made on the way."""
    if space.name in _FIXED:
        return False
    if len(counted(forward)) > 1:  # steps of a composite: all but masks, which are narrower
        return space.bits == forward.output.bits
    if space.name in ("Weights", "Bias") and forward.operand(space.name.lower().rstrip("s")) is not None:
        return space.name.lower().rstrip("s") in wanted
    if not space.name.startswith("Inputs"):
        return True
    names = {tensor.name: name for name, tensor in reversed(forward.operands)}
    operands = [names[tensor.name] for tensor in distinct(forward)]
    position = int(space.name.removeprefix("Inputs") or 1) - 1
    return position < len(operands) and operands[position] in wanted


def _of_view(forward: Layer) -> Problems:
    """The gradient of a view: a view again, unless elements were repeated (sum),
    left out (zeros) or parted (joined)."""
    x, outputs = forward.tensors[0], forward.outputs
    given, size = total(out.elements for out in outputs), (x.elements,)
    written = Access("Outputs", x.bits, size, is_output=True)
    if len(outputs) > 1:
        parts = (
            Access(f"Inputs{i + 1}" if i else "Inputs", out.bits, (out.elements,)) for i, out in enumerate(outputs)
        )
        return nest("movement", "copy", size, (*parts, written))
    if given == x.elements:
        return ()
    out = forward.output
    if "expand" in forward.kind or "broadcast" in forward.kind:
        over = tuple(a for a, own in enumerate(_aligned(x, out)) if own == 1)
        accesses = (*reads(out, shape=out.shape), *writes(x, shape=out.shape))
        return nest("vector", "reduction", out.shape, accesses, over=over)
    read = Access("Inputs", out.bits, (given,))
    if forward.kind in ("unfold", "as_strided"):  # windows that overlap
        return nest("vector", "reduction", (given,), (read, written))
    return nest("movement", "copy", size, (read, written))


def _aligned(x: Tensor, out: Tensor) -> tuple[Size, ...]:
    return (1,) * (len(out.shape) - len(x.shape)) + x.shape


def _placed(forward: Layer, gradients: tuple[Tensor, ...]) -> Problems:
    """Zeros, and the gradients added where their elements came from."""
    out = forward.output
    found: Problems = ()
    for gradient in gradients:
        size = (gradient.elements,)
        zeros = nest(
            "movement", "create", size, (Access("Outputs", gradient.bits, size, is_output=True),), name="zeros"
        )
        shape = (out.elements,)
        accesses = (
            Access("Gradients", out.bits, shape),
            Access("Indices", 64, shape),
            Access("Outputs", gradient.bits, shape, is_output=True),
        )
        found += (*zeros, *nest("vector", "scatter", shape, accesses, name="add at indices"))
    return found


def _names(value: Attr) -> tuple[str, ...]:
    if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
        raise InputError(f"not a list of operand names: {value!r}")
    return tuple(str(name) for name in value)
