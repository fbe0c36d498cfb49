"""Elementwise operations: one point an element of the result, operands broadcast, in place or not.

`OPS` counts the scalar operations of the textbook formula: an add, multiply, compare, select, divide or root is one,
and so is one call of exp, log, erf, a sine or a power. Sigmoid, 1 / (1 + exp(-x)), is 4. The figures
matter where a vector unit is narrow; on most machines these operations are bound by their bytes.
"""

from __future__ import annotations

from functools import partial

from mmsim.layer import Layer
from mmsim.ops.movement import selected
from mmsim.ops.nests import Access, Problems, distinct, nest, reads, writes
from mmsim.ops.rule import Rule
from mmsim.size import concrete

OPS: dict[str, int] = {
    **dict.fromkeys(
        (
            "add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "floor_divide",
            "remainder", "fmod", "neg", "negative", "abs", "absolute", "sign", "sgn", "square", "sqrt", "rsqrt",
            "reciprocal", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos",
            "atan", "atan2", "arctan2", "arcsin", "arccos", "arctan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf",
            "erfc", "erfinv", "pow", "float_power", "floor", "ceil", "round", "trunc", "fix", "frac", "clamp_min",
            "clamp_max", "maximum", "minimum", "fmax", "fmin", "eq", "ne", "lt", "le", "gt", "ge", "not_equal", "less",
            "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_not", "logical_xor",
            "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift",
            "isnan", "isinf", "isfinite", "isneginf", "isposinf", "signbit", "where", "masked_fill", "relu", "copysign",
            "deg2rad", "rad2deg", "lgamma", "digamma", "special_erf", "special_expm1", "i0", "ldexp", "heaviside",
            "threshold", "complex", "gcd", "lcm", "conj_physical", "_conj_physical", "arccosh", "arcsinh", "arctanh",
            "nextafter", "frexp", "isreal", "i0e", "erfcx", "gammaln", "polygamma", "mvlgamma", "igamma", "igammac",
            "psi", "i1",
        ),
        1,
    ),
    **dict.fromkeys(("clamp", "clip", "relu6", "hardtanh", "leaky_relu", "prelu", "_prelu_kernel", "rrelu",
                     "rrelu_with_noise", "nan_to_num", "hardshrink", "addcmul", "xlogy", "angle",
                     "xlog1py", "sinc", "entr", "quantize_per_tensor", "quantize_per_channel", "dequantize"), 2),
    **dict.fromkeys(("softsign", "lerp", "addcdiv", "softshrink", "hypot", "polar", "isclose", "logaddexp2"), 3),
    **dict.fromkeys(("sigmoid", "special_expit", "expit", "elu", "celu", "silu", "swish", "hardsigmoid", "logsigmoid",
                     "log_sigmoid", "log_sigmoid_forward", "softplus", "logit", "logaddexp"), 4),
    **dict.fromkeys(("tanh", "selu", "cross", "linalg_cross"), 5),
    **dict.fromkeys(("hardswish", "tanhshrink", "fake_quantize_per_tensor_affine",
                     "fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine_cachemask",
                     "fake_quantize_per_channel_affine_cachemask"), 6),  # scale, shift, round, clamp (2), scale back
    "mish": 10,  # x * tanh(softplus(x))
    "gelu": 5,  # x/2 * (1 + erf(x / sqrt 2))
}  # fmt: skip
"""Scalar operations of one element."""

GELU_TANH_OPS = 12  # x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x**3))): 3 + 2 + 1 + 5, and 1 of the half
COMPLEX_OPS = {
    "mul": 6,
    "multiply": 6,
    "div": 11,
    "true_divide": 11,
    "square": 5,
    "abs": 4,
    "exp": 5,
}  # else 2 a real operation

_DUNDERS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "div": "div", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "pow", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift", "neg": "neg", "abs": "abs",
    "invert": "bitwise_not", "eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge",
}  # fmt: skip


SPECIAL = ("gelu", "prelu", "_prelu_kernel", "where")


def elementwise(layer: Layer, *, ops: int, family: str = "elementwise") -> Problems:
    """One operation an element of the result; operands are read by torch's broadcasting, each tensor once."""
    out = layer.output
    if out.dtype.startswith("complex"):
        ops = COMPLEX_OPS.get(layer.kind, 2 * ops)
    accesses = (*reads(*distinct(layer), shape=out.shape), *writes(*layer.outputs, shape=out.shape))
    return nest("vector", family, out.shape, accesses, ops=ops)


def where(layer: Layer) -> Problems:
    """A choice between two tensors; with the condition alone, the places where it holds."""
    return elementwise(layer, ops=1) if len(layer.outputs) == 1 and len(layer.operands) > 1 else selected(layer)


def gelu(layer: Layer) -> Problems:
    """The error-function form, or its tanh approximation."""
    return elementwise(layer, ops=GELU_TANH_OPS if layer.attr("approximate") == "tanh" else OPS["gelu"])


def parametric_relu(layer: Layer) -> Problems:
    """prelu: one slope, or one a channel (axis 1 of the input)."""
    x, slope, out = layer.tensors[0], layer.tensors[1], layer.output
    own = [1] * len(x.shape)
    own[min(1, len(own) - 1)] = concrete(slope.elements)
    accesses = (*reads(x, shape=out.shape), Access("Weights", slope.bits, tuple(own)), *writes(out, shape=out.shape))
    return nest("vector", "elementwise", out.shape, accesses, ops=OPS["prelu"])


def gated(layer: Layer) -> Problems:
    """glu: the first half of an axis times the sigmoid of the second, 5 operations a result."""
    x, out = layer.tensors[0], layer.output
    shape = (2, *out.shape)  # both halves; 2 points a result, so 3 operations each, rounded up
    accesses = (Access("Inputs", x.bits, shape), *writes(out, shape=shape))
    return nest("vector", "elementwise", shape, accesses, ops=3)


def dropout(layer: Layer) -> Problems:
    """In training a mask is drawn, applied and scaled (3 operations); in evaluation it is the identity."""
    training = layer.attr("training", layer.attr("train", False))
    return elementwise(layer, ops=3) if training and layer.attr("p", 0.5) else ()


ROWS: dict[str, Rule] = {
    **{kind: partial(elementwise, ops=ops) for kind, ops in OPS.items() if kind not in SPECIAL},
    "where": where,
    **{f"__{kind}__": partial(elementwise, ops=OPS[name]) for kind, name in _DUNDERS.items()},
    **{f"__{way}{kind}__": partial(elementwise, ops=OPS[name]) for kind, name in _DUNDERS.items() for way in "ri"},
    "gelu": gelu,
    **dict.fromkeys(("prelu", "_prelu_kernel"), parametric_relu),
    "glu": gated,
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "native_dropout", "alpha_dropout",
                     "feature_dropout", "feature_alpha_dropout"), dropout),
}  # fmt: skip
