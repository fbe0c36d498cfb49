"""A training step: its MACs are torch's own, its layers fit together, its vector work is as counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer_dump import from_record, to_record
from mmsim.ops import problems_of
from mmsim.size import symbol
from mmsim.tracing import capture, lower, trace
from mmsim.training import training_graph
from tests.test_ops_flops import Attention, Convolutions, Products, Recurrent


class Branches(nn.Module):
    """Two readers of one tensor, a shared weight, and layers before any parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.shared = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.norm(x * 2))
        z = torch.relu(y).mean((2, 3)) + y.amax((2, 3))
        return self.shared(self.shared(z))


class Outputs(nn.Module):
    """Two outputs, one of which the other is computed from; and the last state of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 4)
        self.pool = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        _, (h, _) = self.lstm(x)
        hidden = torch.tanh(h[0])
        return {"hidden": hidden, "pooled": self.pool(hidden)}


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "convolutions": lambda: (Convolutions(), torch.randn(2, 3, 24, 24)),
    "products": lambda: (Products(), torch.randn(2, 5, 8)),
    "recurrent": lambda: (Recurrent(), torch.randn(3, 5, 8)),
    "attention": lambda: (Attention(), torch.randn(2, 5, 16)),
    "branches": lambda: (Branches(), torch.randn(2, 3, 8, 8)),
    "outputs": lambda: (Outputs(), torch.randn(5, 2, 8)),
    "mlp": lambda: (nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)), torch.randn(5, 8)),
}


def step(name: str) -> tuple[Graph, nn.Module, Tensor]:
    torch.manual_seed(0)
    module, x = CASES[name]()
    return training_graph(lower(capture(module, x))), module, x


def convolution_gradients(
    grad: Any,
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    *rest: Any,
    **_: Any,
) -> int:
    """FLOPs of both gradients. torch's own formula takes the weight's `groups` times."""
    mask = rest[-1]
    return (mask[0] + mask[1]) * conv_flop_count(x, w, grad, transposed=transposed)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # from switching oneDNN off
@pytest.mark.parametrize("name", CASES)
def test_macs_equal_torch(name: str) -> None:
    graph, module, x = step(name)
    formulas = {torch.ops.aten.convolution_backward: convolution_gradients}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), counter:
        out = module(x)
        (out["hidden"] + out["pooled"] if isinstance(out, dict) else out).sum().backward()
    assert graph.macs == counter.get_total_flops() // 2


@pytest.mark.parametrize("name", CASES)
def test_layers_fit_together(name: str) -> None:
    graph, module, _ = step(name)
    made: set[str] = set()
    written = [tensor.name for layer in graph.layers for tensor in layer.outputs]
    assert len(written) == len(set(written))
    for layer in graph.layers:
        for tensor in layer.tensors:
            assert tensor.role in ("input", "weight", "buffer", "constant") or tensor.name in made, (
                layer.name,
                tensor.name,
            )
        made |= {tensor.name for tensor in layer.outputs}
    problems = [problem for layer in graph.layers for problem in problems_of(layer)]
    assert all(len({space.name for space in problem.data_spaces}) == len(problem.data_spaces) for problem in problems)
    updated = {t.name: t for name, t in graph.layers[-1].operands if name.startswith("self.")}
    assert set(updated) == {name for name, _ in module.named_parameters()}
    assert from_record(to_record(graph), file="step.json") == graph


def test_gradients_of_a_convolution_by_hand() -> None:
    """(1, 3, 8, 8) with 4 kernels of 3x3: dx is a transposed convolution, dw a convolution with dy as its kernel."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 3))
    graph = training_graph(lower(capture(module, torch.randn(1, 3, 8, 8))))
    back = next(layer for layer in graph.layers if layer.kind == "conv2d_backward")
    dx, dw, db = problems_of(back)
    assert dx.shape == {"C": 4, "M": 3, "R": 3, "S": 3, "N": 1, "P": 6, "Q": 6}  # C is summed, M the result's channels
    assert [dx.words(space) for space in dx.data_spaces] == [3 * 4 * 9, 4 * 36, 3 * 64]  # weights, dy, dx
    assert dw.shape == {"C": 3, "M": 4, "R": 3, "S": 3, "N": 1, "P": 6, "Q": 6}
    assert [dw.words(space) for space in dw.data_spaces] == [4 * 36, 3 * 64, 3 * 4 * 9]  # dy, x, dw
    assert dx.macs == dw.macs == 4 * 36 * 27
    assert (db.family, db.operations, db.compulsory_bytes) == ("reduction", 4 * 36, 4 * (4 * 36 + 4))


def test_vector_work_by_hand() -> None:
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Softmax(-1))
    graph = training_graph(lower(capture(module, torch.randn(5, 8))), optimizer="adam")
    work = {
        layer.kind: [(p.family, p.operations, p.compulsory_bytes) for p in problems_of(layer) if p.kind != "mac"]
        for layer in graph.layers
        if layer.kind.endswith("_backward") or layer.kind == "_fused_adam"
    }
    assert work == {
        "softmax_backward": [("softmax", 80 * 6, 4 * 3 * 80)],  # dy, x, dx
        "layer_norm_backward": [("norm", 80 * 9, 4 * (3 * 80 + 2 * 16 + 2 * 16))],  # dy, x, dx; weight, bias; dw, db
        "relu_backward": [("elementwise", 80 * 2, 4 * 3 * 80)],
        "linear_backward": [("reduction", 80, 4 * (80 + 16))],  # db; the products are MACs
        "_fused_adam": [("elementwise", 176 * 14, 4 * 176 * 7)],  # 176 parameters: w, g, m, v read; w, m, v written
    }


def test_gradients_of_several_readers_are_added() -> None:
    graph, _, _ = step("branches")
    added = [layer.name for layer in graph.layers if layer.op == "aten.add.Tensor"]
    assert added == ["shared.weight.grad.add", "shared.bias.grad.add", "conv2d.grad.add"]


def test_frozen_parameters() -> None:
    """Two linear layers, the first frozen: one weight gradient, and nothing before it."""
    module = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
    graph = training_graph(lower(capture(module, torch.randn(5, 8))), frozen=("0",))
    backward = [layer for layer in graph.layers if layer.kind.endswith("_backward")]
    assert [(layer.name, [t.shape for t in layer.outputs]) for layer in backward] == [
        ("linear_1.backward", [(4, 16), (4,)])
    ]
    assert graph.macs == 5 * (8 * 16 + 2 * 16 * 4)


def test_sizes_stay_symbolic() -> None:
    B = symbol("B")
    graph = trace(nn.Linear(8, 4), {"input": torch.randn(2, 8)})
    assert training_graph(graph).macs == 2 * 32 * B
    assert from_record(to_record(training_graph(graph)), file="step.json") == training_graph(graph)
    assert training_graph(graph).at(B=5).macs == training_graph(graph.at(B=5)).macs == 320


def test_what_cannot_be_trained() -> None:
    graph, _, _ = step("mlp")
    with pytest.raises(InputError, match="is a training step already"):
        training_graph(graph)
    bare = lower(capture(nn.ReLU(), torch.randn(2, 3)))
    with pytest.raises(InputError, match="no parameter has a gradient"):
        training_graph(bare)
    with pytest.raises(InputError, match="unknown optimizer 'lion': one of sgd, adam, adamw"):
        training_graph(bare, optimizer="lion")  # type: ignore[arg-type]
