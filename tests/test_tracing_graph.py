"""From a module to its graph: argument names, declared stages, symbolic sizes; a graph at B=40 is a trace at 40."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmsim
from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer_dump import from_record, to_record
from mmsim.size import Polynomial, symbol
from mmsim.tracing import capture, lower, staged
from mmsim.tracing.pipeline import points, rebatched

B, L = symbol("B"), symbol("L")


class TwoBranches(nn.Module):
    """An image and a text encoder, joined and classified."""

    def __init__(self) -> None:
        super().__init__()
        self.vision = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.words = nn.Embedding(50, 8)
        self.head = nn.Linear(12, 10)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        joined = torch.cat([self.vision(image), self.words(text).mean(1)], 1)
        return self.head(joined)


def example(batch: int = 2, length: int = 6) -> dict[str, Tensor]:
    return {"image": torch.randn(batch, 3, 8, 8), "text": torch.randint(50, (batch, length))}


STAGES = {"vision": "encoder:image", "words": "encoder:text", "head": "head", "": "fusion"}


def test_a_graph_reads_well() -> None:
    graph = mmsim.trace(TwoBranches(), example(), stages=STAGES)
    convolution = graph.layers[0]
    assert (convolution.op, convolution.module_path) == ("torch.nn.functional.conv2d", "vision.0")
    assert [(name, tensor.name, tensor.role) for name, tensor in convolution.operands] == [
        ("input", "image", "input"), ("weight", "vision.0.weight", "weight"), ("bias", "vision.0.bias", "weight"),
    ]  # fmt: skip
    assert convolution.output.shape == (B, 4, 8, 8)
    assert convolution.attr("padding") == (1, 1)
    assert graph.macs == B * (4 * 3 * 9 * 64 + 120)
    assert graph.parameters == 4 * 3 * 9 + 4 + 50 * 8 + 12 * 10 + 10
    assert {stage: totals.macs for stage, totals in graph.by_stage().items()} == {
        "encoder:image": B * 6912, "encoder:text": 0, "fusion": 0, "head": B * 120,
    }  # fmt: skip
    assert [tensor.role for tensor in graph.outputs] == ["output"]


def test_a_dump_of_it_is_read_back() -> None:
    graph = mmsim.trace(TwoBranches(), example(), stages=STAGES)
    assert from_record(to_record(graph), file="dump") == graph


def test_one_graph_for_every_batch() -> None:
    graph = mmsim.trace(TwoBranches(), example(), stages=STAGES)
    fresh = mmsim.trace(TwoBranches(), example(40), stages=STAGES, symbols=())
    assert graph.at(B=40).layers == fresh.layers
    assert (graph.at(B=40).inputs, graph.at(B=40).outputs) == (fresh.inputs, fresh.outputs)


def test_other_sizes_as_symbols() -> None:
    graph = mmsim.trace(TwoBranches(), lambda B, L: example(B, L), stages=STAGES, symbols={"B": 2, "L": 6})
    assert next(layer for layer in graph.layers if layer.kind == "embedding").output.shape == (B, L, 8)
    assert graph.at(B=4, L=9).layers == mmsim.trace(TwoBranches(), example(4, 9), stages=STAGES, symbols=()).layers


def test_products_of_the_batch_with_itself() -> None:
    class Contrast(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a @ b.T).flatten()

    graph = mmsim.trace(Contrast(), {"a": torch.randn(2, 8), "b": torch.randn(2, 8)}, stages={"": "fusion"})
    assert graph.outputs[0].shape == (B * B,)
    assert graph.macs == 8 * B * B


def test_a_size_that_is_no_polynomial_stays_what_it_is() -> None:
    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[::2] * 2

    graph = mmsim.trace(Halves(), torch.randn(6, 4), stages={"": "head"})
    assert graph.symbols == frozenset()
    assert graph.inputs[0].shape == (6, 4)
    assert dict(graph.provenance.symbols)["B"] == "only at 6: the fit does not hold at B=7"


def test_a_loop_over_the_batch_stays_what_it_is() -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([row * 2 for row in x])

    graph = mmsim.trace(Loop(), torch.randn(3, 4), stages={"": "head"})
    assert graph.outputs[0].shape == (3, 4)
    assert "the number of operations changes" in dict(graph.provenance.symbols)["B"]


def test_a_network_that_runs_at_one_batch_only() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(4, 1))

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return (x + self.bias) * scale

    graph = mmsim.trace(Fixed(), {"x": torch.randn(4, 8), "scale": torch.ones(8)}, stages={"": "head"})
    assert graph.outputs[0].shape == (4, 8)
    assert dict(graph.provenance.symbols)["B"].startswith("only at 4: it does not run at B=2: RuntimeError")


def test_positional_inputs_have_the_names_of_the_arguments() -> None:
    class Policy(nn.Module):
        def forward(self, frames: Tensor, batch: dict[str, Tensor]) -> Tensor:
            return frames.mean() + batch["ids"].float()

    graph = mmsim.trace(Policy(), (torch.ones(2, 3, 4, 4), {"ids": torch.ones(2, 5, dtype=torch.long)}))
    assert [tensor.name for tensor in graph.inputs] == ["frames", "batch.ids"]
    assert [
        tensor.name for tensor in mmsim.trace(nn.DataParallel(Policy()), (torch.ones(2), {"ids": torch.ones(2)})).inputs
    ] == ["0", "1.ids"]


@pytest.mark.parametrize(
    "module, inputs, message",
    [
        (len, torch.ones(2), "builtin_function_or_method is not an nn.Module"),
        (
            nn.Sequential(nn.ReLU(), torch.ao.nn.quantized.DeQuantize()), torch.ones(2, 8),
            "1 is quantized, in kernels without a count: trace the network of floats",
        ),
        (
            nn.ReLU(), {"input": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)},
            "input: is a nested tensor, which has no sizes",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_traced_is_refused_at_the_door(module: Any, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mmsim.trace(module, inputs)


def test_sparse_inputs_have_rows() -> None:
    graph = mmsim.trace(nn.Linear(8, 4), torch.eye(8).to_sparse())
    assert graph.macs == symbol("B") * 32


def test_inputs_without_a_batch_stay_as_they_are() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
            return x * scale + y

    inputs = {"x": torch.randn(6, 8), "y": torch.randn(6, 8), "scale": torch.ones(8)}
    graph = mmsim.trace(Scaled(), inputs, stages={"": "head"})
    assert [tensor.shape for tensor in graph.inputs] == [(B, 8), (B, 8), (8,)]


def test_points_are_within_what_was_given() -> None:
    assert points("B", 0) == (2, 3, 5, 7)
    assert points("L", 512) == (512, 480, 448, 416)
    with pytest.raises(InputError, match="size L needs a value"):
        points("L", 0)


def test_rows_are_repeated_for_another_batch() -> None:
    assert rebatched({"x": torch.tensor([[1], [2]])}, 2, 5)["x"].flatten().tolist() == [1, 2, 1, 2, 1]


def test_what_no_stage_claims_is_listed() -> None:
    with pytest.raises(InputError, match=r"2 operations belong to no stage: torch.Tensor.mean in the network itself"):
        mmsim.trace(
            TwoBranches(), example(), stages={"vision": "encoder:image", "words": "encoder:text", "head": "head"}
        )


def test_free_operations_join_their_neighbours() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x.view(4, 4)).view(2, 8))

    graph = mmsim.trace(Flat(), torch.randn(2, 2, 4), stages={"a": "encoder:x", "b": "head"}, symbols=())
    assert [str(layer.stage) for layer in graph.layers] == ["encoder:x", "encoder:x", "encoder:x", "head"]


def test_the_longest_path_wins_and_names_are_whole() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
            self.network = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.network(self.net(x))

    stages = {"net": "encoder:x", "net.1": "fusion", "network": "head"}
    graph = mmsim.trace(Nested(), torch.randn(2, 4), stages=stages)
    assert [str(layer.stage) for layer in graph.layers] == ["encoder:x", "fusion", "head"]


def test_a_wrong_path_names_near_ones() -> None:
    with pytest.raises(InputError, match="no module 'visoin': did you mean vision"):
        mmsim.trace(TwoBranches(), example(), stages={"visoin": "encoder:image"})
    with pytest.raises(InputError, match="no module 'haed': did you mean head"):
        mmsim.trace(TwoBranches(), example(), overrides={"haed": "head"})


def test_unknown_operations_are_refused_together_or_let_through() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j1(x) + torch.special.bessel_j0(x)

    x = torch.randn(2, 3, 3)
    with pytest.raises(InputError, match=r"2 unknown ops: .*bessel_j1.*bessel_j0"):
        mmsim.trace(Odd(), x, stages={"": "head"})
    graph = mmsim.trace(Odd(), x, stages={"": "head"}, allow_unknown=True)
    assert sum(count for _, count in graph.provenance.unknown_ops) >= 2
    assert isinstance(graph.totals().vector_ops, Polynomial | int)


def bound(call: Any, *tensors: Tensor) -> tuple[list[str], dict[str, Any]]:
    """Operand names and attributes of the last layer of a function."""

    class Module(nn.Module):
        def forward(self, *tensors: Tensor) -> Any:
            return call(*tensors)

    layer = lower(capture(Module(), tensors)).layers[-1]
    return [name for name, _ in layer.operands], {name: value for name, value in layer.attrs if name != "aten"}


X = torch.randn(2, 5, 8)


@pytest.mark.parametrize(
    "call, tensors, operands, attrs",
    [
        (lambda x: x.view(2, -1), (X,), ["self"], {"size": (2, -1)}),
        (lambda x: x.view((2, -1)), (X,), ["self"], {"size": (2, -1)}),
        (lambda x: x.permute(1, 0, 2), (X,), ["self"], {"dims": (1, 0, 2)}),
        (lambda x: x.sum(-1, keepdim=True), (X,), ["self"], {"dim": -1, "keepdim": True}),
        (lambda x: x.mean(-1), (X,), ["self"], {"dim": -1}),
        (lambda x: x.to(torch.float16), (X,), ["self"], {"dtype": "float16"}),
        (lambda x: x.to("cpu", torch.float64), (X,), ["self"], {"device": "cpu", "dtype": "float64"}),
        (lambda x: x.masked_fill(x > 0, -float("inf")), (X,), ["self", "mask"], {"value": "-inf"}),
        (lambda x: x + 1, (X,), ["self"], {"other": 1}),
        (lambda x: 1 - x, (X,), ["self"], {"other": 1}),
        (lambda x: x**2, (X,), ["self"], {"exponent": 2}),
        (lambda x: x[:, 1:3], (X,), ["self"], {"indices": (("slice", None, None, None), ("slice", 1, 3, None))}),
        (lambda x: x.split([1, 7], -1), (X,), ["self"], {"split_size": (1, 7), "dim": -1}),
        (lambda x: torch.add(x, x, alpha=2), (X,), ["input", "other"], {"alpha": 2}),
        (lambda x: torch.cat([x, x], 1), (X,), ["tensors.0", "tensors.1"], {"dim": 1}),
        (lambda x: torch.einsum("abc,abc->a", x, x), (X,), ["tensors.0", "tensors.1"], {"equation": "abc,abc->a"}),
        (lambda x: torch.where(x > 0, x, 0.0), (X,), ["condition", "input"], {"other": 0.0}),
        (lambda x: torch.zeros(2, 3), (X,), [], {"size": (2, 3)}),
        (lambda x: torch.arange(0, 4), (X,), [], {"start": 0, "end": 4}),
        (lambda x: nn.functional.pad(x, (1, 1)), (X,), ["input"], {"pad": (1, 1), "mode": "constant", "value": None}),
        (lambda x: nn.functional.softmax(x, dim=-1), (X,), ["input"], {"dim": -1, "_stacklevel": 3, "dtype": None}),
    ],
)  # fmt: skip
def test_arguments_have_torchs_names(call: Any, tensors: Any, operands: list[str], attrs: dict[str, Any]) -> None:
    names, values = bound(call, *tensors)
    assert names == operands
    assert {name: value for name, value in values.items() if name != "_stacklevel"} == {
        name: value for name, value in attrs.items() if name != "_stacklevel"
    }


def test_attention_keeps_its_products() -> None:
    """Projections 3 x 5 x 8 x 8, scores and values 2 x 2 x 5 x 5 x 4, out 5 x 8 x 8, feed-forward 2 x 5 x 8 x 16."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    graph = mmsim.trace(layer, torch.randn(2, 5, 8), stages={"": "encoder:x"})
    assert graph.macs == B * (3 * 5 * 64 + 2 * 2 * 5 * 5 * 4 + 5 * 64 + 2 * 5 * 8 * 16)


def test_routes_agree() -> None:
    """Function-level calls, a real run and torch.export's aten operations: the same work, the same places."""
    module, inputs = TwoBranches().eval(), example()
    graphs = [
        mmsim.trace(module, inputs, stages=STAGES, symbols=(), route=route)
        for route in ("recorder", "recorder-real", "export")
    ]
    assert [graph.provenance.route for graph in graphs] == ["recorder", "recorder-real", "export"]
    assert len({(graph.macs, graph.parameters) for graph in graphs}) == 1
    stages = [{stage: totals.macs for stage, totals in graph.by_stage().items()} for graph in graphs]
    assert stages[0] == stages[1] == stages[2]


def test_stages_are_also_on_the_nodes() -> None:
    captured = capture(TwoBranches(), example())
    graph: Graph = staged(captured, STAGES)
    by_name = {
        node.name: node.meta["stage"] for node in captured.graph.find_nodes(op="call_function", target=torch.cat)
    }
    assert by_name == {"cat": "fusion"}
    assert {layer.name for layer in graph.layers} <= {node.name for node in captured.graph.nodes}
