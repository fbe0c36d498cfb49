"""Networks from outside: a user's file, a saved program, an ONNX file; and the graph written for other programs."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import networkx
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import mmsim
from mmsim.cli import cli
from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.report import drawing, graphs
from mmsim.size import symbol
from mmsim.tracing.inputs import parse_input
from mmsim.tracing.models import load_model
from mmsim.tracing.source import trace_source
from mmsim.tracing.weightless import weightless

B, L = symbol("B"), symbol("L")

USER_FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.words = nn.Embedding(1000, 16)
        self.head = nn.Linear(24, 5)

    def forward(self, image, text):
        return self.head(torch.cat([self.vision(image), self.words(text).mean(1)], 1))

def build():
    return Net()

def with_inputs():
    return Net(), {"image": torch.ones(2, 3, 32, 32), "text": torch.ones(2, 8, dtype=torch.long)}, {
        "vision": "encoder:photo", "words": "encoder:words", "": "fusion", "head": "head"}

def wrong():
    return 3

def failing():
    raise RuntimeError("no such checkpoint")
"""

INPUTS = {"image": "Bx3x32x32:float32", "text": "BxL:int64"}
CONVOLUTION = 8 * 3 * 9 * 30 * 30


@pytest.fixture
def user_file(tmp_path: Path) -> str:
    path = tmp_path / "user_net.py"
    path.write_text(USER_FILE)
    return str(path)


def test_a_users_own_file(user_file: str) -> None:
    graph = trace_source(f"{user_file}:build", inputs=INPUTS, symbols={"L": 16})
    assert {stage: totals.macs for stage, totals in graph.by_stage().items()} == {
        "encoder:image": B * CONVOLUTION, "encoder:text": 0, "fusion": 0, "head": B * 120,
    }  # fmt: skip
    assert graph.symbols == {"B", "L"}
    assert [tensor.shape for tensor in graph.inputs] == [(B, 3, 32, 32), (B, L)]


def test_a_factory_may_say_its_inputs_and_stages(user_file: str) -> None:
    graph = trace_source(f"{user_file}:with_inputs", stages={"head": "fusion"})
    assert set(graph.by_stage()) == {"encoder:photo", "encoder:words", "fusion"}


@pytest.mark.parametrize(
    "factory, inputs, message",
    [
        ("build", {}, "give the model's inputs, as in --input image=Bx3x224x224:float32"),
        ("build", {"image": "Bx3x32x32"}, "argument 'text' is not given; forward takes image, text"),
        ("build", {**INPUTS, "sound": "B"}, "no argument 'sound'"),
        ("build", {**INPUTS, "text": "Bxl"}, "'Bxl' is not SHAPE:DTYPE"),
        ("build", {**INPUTS, "text": "Bx8:int46"}, "unknown format 'int46'"),
        ("build", {**INPUTS, "text": "Bx0:int64"}, "size 0"),
        ("build", {**INPUTS, "image": "100000x100000x3"}, "larger than"),
        ("buidl", {}, "no factory 'buidl'; it has Net, build, with_inputs"),
        ("wrong", {}, "the factory returned int, not an nn.Module"),
        ("failing", {}, "the factory raised RuntimeError: no such checkpoint"),
    ],
)
def test_what_does_not_fit_is_one_line(user_file: str, factory: str, inputs: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        trace_source(f"{user_file}:{factory}", inputs=inputs, knobs={})
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"no_such\.py: no such file"):
        load_model("no_such.py:build")
    with pytest.raises(InputError, match="cannot be imported"):
        load_model("no_such_package.net:build")
    with pytest.raises(InputError, match="name the factory"):
        load_model("net.py")


def test_inputs_are_valid_and_small() -> None:
    text = parse_input("text", "BxL:int64").example({"B": 2, "L": 5})
    assert (tuple(text.shape), text.dtype, int(text.max()) < 2) == ((2, 5), torch.int64, True)
    assert parse_input("image", "Bx3x8x8").example({"B": 2}).is_meta
    assert parse_input("scale", ":float16").example({}).shape == ()


def test_large_weights_are_not_made_and_small_constants_are_true() -> None:
    with weightless():
        module = nn.Embedding(10**6, 4096)
        positions = torch.arange(512)
        rates = [rate.item() for rate in torch.linspace(0, 1, 3)]
    assert module.weight.is_meta
    assert (positions.sum().item(), rates) == (512 * 511 // 2, [0.0, 0.5, 1.0])


READS = """
import torch
from torch import nn

def pruned():
    linear = nn.Linear(256, 256)
    keep = int((linear.weight.abs().sum(1) > 0).sum())
    return nn.Sequential(linear, nn.Linear(keep, 4))

def loaded():
    print("loading")
    linear = nn.Linear(256, 256)
    linear.weight.data = torch.tensor([[0.5] * 256] * 256)
    return linear
"""


def test_a_factory_may_read_and_write_the_values_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reads.py").write_text(READS)
    spec = str(tmp_path / "reads.py")
    assert trace_source(f"{spec}:pruned", inputs={"input": "Bx256"}).macs == B * (256 * 256 + 256 * 4)
    found = CliRunner().invoke(cli, ["trace", f"{spec}:loaded", "--input", "input=Bx256", "--json"])
    assert json.loads(found.stdout)["macs"] == "65536*B", "what the model prints is not the answer"
    assert "loading" in found.stderr


def test_macs_are_short_enough_for_a_box() -> None:
    sizes = (
        999,
        12_345,
        128 * B * B,
        256 * B * L * L + 196_608 * B * L,
        64 * B - 100,
        B * L * 36 * L + 1_250_640 * B * L - B,
    )
    assert [drawing._short(size) for size in sizes] == [
        "999 MACs", "12.3 k MACs", "128 MACs x B^2", "256 B L^2 + 197 k B L MACs", "64 B - 100 MACs",
        "36 B L^2 + 1.25 M B L -… MACs",
    ]  # fmt: skip


def test_a_file_may_be_called_as_a_module_and_import_late(tmp_path: Path) -> None:
    """No module that others import is replaced; what stands beside the file is found in the factory too."""
    (tmp_path / "blocks_beside.py").write_text("from torch import nn\n\ndef block():\n    return nn.Linear(8, 4)\n")
    code = "def build():\n    from blocks_beside import block\n    return block()\n"
    import random

    import rich

    for name in ("random", "rich", "a model of mine"):
        (tmp_path / f"{name}.py").write_text(code)
        assert trace_source(f"{tmp_path / name}.py:build", inputs={"input": "Bx8"}).macs == B * 32
    assert sys.modules["random"] is random and sys.modules["rich"] is rich and str(tmp_path) not in sys.path


def test_a_saved_program(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vision, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, image: Tensor) -> Tensor:
            return self.head(self.vision(image).mean((2, 3)))

    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Net(), (), {"image": torch.randn(2, 3, 8, 8)}), path)
    graph = trace_source(str(path))
    assert graph.macs == B * (4 * 3 * 9 * 36 + 8)
    assert [layer.module_path for layer in graph.layers if layer.kind in ("conv2d", "linear")] == ["vision", "head"]
    with pytest.raises(InputError, match="is not a saved"):
        (tmp_path / "broken.pt2").write_bytes(b"nothing")
        trace_source(str(tmp_path / "broken.pt2"))


def test_an_onnx_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, numpy = onnx.helper, pytest.importorskip("numpy")

    def weight(name: str, *shape: int) -> object:
        return onnx.numpy_helper.from_array(numpy.zeros(shape, numpy.float32), name)

    nodes = [
        make.make_node("Conv", ["image", "k", "kb"], ["c"], name="/vision/Conv", kernel_shape=[3, 3], pads=[1] * 4),
        make.make_node("Relu", ["c"], ["r"], name="/vision/Relu"),
        make.make_node("GlobalAveragePool", ["r"], ["p"], name="/vision/Pool"),
        make.make_node("Flatten", ["p"], ["f"], name="/vision/Flatten"),
        make.make_node("Gather", ["table", "ids"], ["e"], name="/words/Gather"),
        make.make_node("ReduceMean", ["e", "axes"], ["m"], name="/words/Mean", keepdims=0),
        make.make_node("Concat", ["f", "m"], ["j"], name="/Concat", axis=1),
        make.make_node("Gemm", ["j", "w", "b"], ["y"], name="/head/Gemm", transB=1),
    ]
    values = [
        make.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, 8, 8]),
        make.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch", "length"]),
        make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 10]),
    ]
    axes = onnx.numpy_helper.from_array(numpy.array([1]), "axes")
    weights = [weight("k", 4, 3, 3, 3), weight("kb", 4), weight("table", 50, 8), weight("w", 10, 12), weight("b", 10)]
    model = make.make_model(
        make.make_graph(nodes, "net", values[:2], values[2:], [*weights, axes]),
        opset_imports=[make.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.save(model, tmp_path / "net.onnx")
    graph = trace_source(str(tmp_path / "net.onnx"))
    assert graph.provenance.route == "onnx"
    assert graph.parameters == 4 * 27 + 4 + 400 + 130
    assert {stage: totals.macs for stage, totals in graph.by_stage().items()} == {
        "encoder:image": B * 6912, "encoder:text": 0, "fusion": 0, "head": B * 120,
    }  # fmt: skip
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not a valid ONNX model"):
        trace_source(str(tmp_path / "broken.onnx"))


# --- what is written of a graph ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph() -> Graph:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vision, self.sound, self.head = nn.Linear(8, 4), nn.Linear(6, 4), nn.Linear(4, 2)

        def forward(self, image: Tensor, audio: Tensor) -> Tensor:
            return self.head(self.vision(image) * self.sound(audio))

    return mmsim.trace(Net(), {"image": torch.ones(2, 8), "audio": torch.ones(2, 6)}, workload="net")


def test_csv_has_a_row_for_each_layer(graph: Graph, tmp_path: Path) -> None:
    rows = list(csv.DictReader(graphs.csv(graph, tmp_path / "g.csv").read_text().splitlines()))
    assert [row["op"] for row in rows] == [layer.op for layer in graph.layers]
    assert rows[0]["stage"] == "encoder:image"
    assert (rows[0]["macs"], rows[0]["parameters"], rows[0]["inputs"]) == ("32*B", "36", "image:Bx8:float32")


def test_graphml_is_read_back(graph: Graph, tmp_path: Path) -> None:
    read = networkx.read_graphml(graphs.graphml(graph, tmp_path / "g.graphml"))
    assert set(read.edges) == {("0", "2"), ("1", "2"), ("2", "3")}
    assert read.nodes["2"]["stage"] == "fusion"
    assert read.edges["0", "2"]["tensor"] == "linear:Bx4:float32"


def test_dot_has_a_cluster_for_each_stage(graph: Graph, tmp_path: Path) -> None:
    text = graphs.dot(graph, tmp_path / "g.dot").read_text()
    assert [f'label="{stage}"' in text for stage in graph.by_stage()] == [True] * 4
    assert '  0 -> 2 [label="Bx4"]' in text


def test_the_picture_shows_every_stage_and_no_boxes_overlap(graph: Graph, tmp_path: Path) -> None:
    root = ElementTree.parse(drawing.svg(graph, tmp_path / "g.svg")).getroot()
    texts = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]
    assert set(graph.by_stage()) <= set(texts)
    boxes = drawing._boxes(graph)
    assert sum(box.share for box in boxes) == pytest.approx(1)
    assert len({(box.x, box.y) for box in boxes}) == len(boxes)


def test_the_command(user_file: str, tmp_path: Path) -> None:
    arguments = [
        "trace",
        f"{user_file}:build",
        "--input",
        "image=Bx3x32x32",
        "--input",
        "text=Bx8:int64",
        "--batch",
        "4",
    ]
    arguments += ["--view", str(tmp_path / "g.svg"), "-o", str(tmp_path / "g.json"), "--json"]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    answer = json.loads(done.stdout)
    assert (answer["workload"], answer["batch"], answer["macs"]) == ("build", 4, 4 * (CONVOLUTION + 120))
    assert answer["flops"] == 2 * answer["macs"]
    assert answer["by_stage"]["head"]["parameters"] == 125
    assert (tmp_path / "g.svg").stat().st_size > 1000
    assert (tmp_path / "g.json").exists()


def test_a_size_has_a_value_or_stays_open(user_file: str) -> None:
    spec = f"{user_file}:build"
    fixed = trace_source(spec, inputs=INPUTS, knobs={"L": 16})
    assert fixed.symbols == {"B"}
    assert trace_source(spec, inputs=INPUTS, symbols={"L": 16}).at(L=16).layers == fixed.layers
    with pytest.raises(InputError, match="give L a value with --set L=64, or keep it open: --symbol L=64"):
        trace_source(spec, inputs=INPUTS)
    with pytest.raises(InputError, match="no size Q: there is B, L"):
        trace_source(spec, inputs=INPUTS, knobs={"Q": 3})
    with pytest.raises(InputError, match="L cannot both have a value and stay open"):
        trace_source(spec, inputs=INPUTS, knobs={"L": 3}, symbols={"L": 4})


ROWS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.each = nn.Linear(8, 8)

    def forward(self, x):
        return torch.stack([self.each(row) for row in x])  # a call for every row: no polynomial in the batch

def build():
    return Net(), {"x": torch.randn(3, 8)}
"""


def test_a_network_of_one_batch_is_traced_at_the_batch_that_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "rows.py"
    file.write_text(ROWS)
    for inputs in (None, {"x": "Bx8"}):
        graph = trace_source(f"{file}:build", inputs=inputs, batch=5)
        assert (graph.batch, graph.macs, len(graph.symbols)) == (5, 5 * 64, 0)
    assert trace_source(f"{file}:build").batch == 3, "the batch of its own inputs"
    assert trace_source(f"{file}:build", inputs={"x": "Bx8"}).batch == 2


def test_a_factory_draws_the_same_inputs_every_time(tmp_path: Path) -> None:
    file = tmp_path / "rows.py"
    file.write_text(ROWS)
    first, second = (load_model(f"{file}:build").inputs["x"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_workloads_knob_as_a_symbol() -> None:
    graph = trace_source("av_mnist", fusion="concat", symbols={"channels": 6})
    assert graph.symbols == {"B", "channels"}
    assert graph.at(channels=9).layers == trace_source("av_mnist", fusion="concat", knobs={"channels": 9}).layers
