"""Autocast: PyTorch's lists and its promotion, on networks small enough to follow by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsim.autocast import autocast
from mmsim.errors import InputError
from mmsim.graph import Graph
from tests.test_gpu_network import layer, tensor


def chain() -> Graph:
    """linear -> layer norm -> linear -> add with the first result."""
    x = tensor("x", 8, 16, role="input")
    w, v = tensor("w", 16, 16, role="weight"), tensor("v", 16, 16, role="weight")
    a, b, c, d = (tensor(name, 8, 16) for name in "abcd")
    layers = (
        layer(0, "torch.nn.functional.linear", {"input": x, "weight": w}, a),
        replace(layer(1, "torch.nn.functional.layer_norm", {"input": a}, b), module_path="norm"),
        layer(2, "torch.nn.functional.linear", {"input": b, "weight": v}, c),
        layer(3, "torch.Tensor.add", {"self": a, "other": c}, d),
    )
    return Graph("g", "", layers, (x,), (d,))


def test_products_in_half_and_norms_in_float32() -> None:
    found = autocast(chain())
    assert [(one.kind, one.output.name, one.output.dtype) for one in found.layers] == [
        ("to", "x.float16", "float16"), ("to", "w.float16", "float16"), ("linear", "a", "float16"),
        ("to", "a.float32", "float32"), ("layer_norm", "b", "float32"),
        ("to", "b.float16", "float16"), ("to", "v.float16", "float16"), ("linear", "c", "float16"),
        ("add", "d", "float16"),
    ]  # fmt: skip
    assert found.outputs[0].dtype == "float16"


def test_softmax_reads_half_and_writes_float32() -> None:
    """Autocast sets its `dtype` argument: no cast of its own."""
    x, y = tensor("x", 8, 16, dtype="float16", role="input"), tensor("y", 8, 16)
    one = layer(0, "torch.nn.functional.softmax", {"input": x}, y, dim=-1)
    (found,) = autocast(Graph("g", "", (one,), (x,), (y,))).layers
    assert found.inputs[0].dtype == "float16" and found.output.dtype == "float32"


def test_a_module_may_switch_autocast_off() -> None:
    found = autocast(chain(), half={"norm"})
    assert [one.output.dtype for one in found.layers if one.kind == "layer_norm"] == ["float16"]
    assert sum(one.kind == "to" for one in found.layers) == 3


@pytest.mark.parametrize(
    ("op", "shape", "result"),
    [
        ("torch.Tensor.mul", (16,), "float32"),
        ("torch.Tensor.mul", (), "float16"),
        ("torch.Tensor.mul_", (16,), "float16"),
    ],
)
def test_promotion_as_torch_does(op: str, shape: tuple[int, ...], result: str) -> None:
    """A float32 vector widens a half tensor; a single number does not, nor does anything in place."""
    import torch

    half, other = torch.ones(8, 16, dtype=torch.float16), torch.ones(shape)
    real = half.mul_(other) if op.endswith("_") else half * other
    assert str(real.dtype) == f"torch.{result}"
    x, gain = tensor("x", 8, 16, dtype="float16", role="input"), tensor("gain", *shape, role="weight")
    y = tensor("y", 8, 16)
    graph = Graph("g", "", (layer(0, op, {"self": x, "other": gain}, y),), (x,), (y,))
    assert autocast(graph).layers[-1].output.dtype == result


def test_other_formats_are_refused() -> None:
    with pytest.raises(InputError, match="autocast runs in float16 or bfloat16, not 'int8'"):
        autocast(chain(), "int8")
