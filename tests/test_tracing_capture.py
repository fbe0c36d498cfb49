"""Capture: the recorded graph, run on real tensors, is the eager model; every node says where it comes from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsim.errors import InputError
from mmsim.tracing import capture, nested, run


@pytest.fixture(autouse=True)
def slow_path() -> Iterator[None]:
    """Eager attention by the same operations that modes see: its fused fast path differs in the last bit."""
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


class DataDependent(nn.Module):
    """Branches on a mask, selects by it, and builds a tensor out of its count."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Any]:
        if mask.sum() > 0:
            x = x[mask]
        y = self.linear(x)
        y[:, 0] = 1
        y = y.T
        y += 1
        return {"y": y.data, "found": [mask.nonzero(), None], "counts": torch.tensor([mask.sum(), 3])}


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(8, 4, batch_first=True, bidirectional=True), nn.GRU(8, 4, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, (h, _) = self.lstm(packed)
        return nn.utils.rnn.pad_packed_sequence(out, batch_first=True), h, self.gru(packed)[1]


class CellLoop(nn.Module):
    """A cell called once a step, as in autoregressive decoding."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        state, steps = x.new_zeros(len(x), 6), []
        for _ in range(5):
            state = self.cell(x, state)
            x = self.out(state).tanh()
            steps.append(x)
        return torch.stack(steps, 1)


class Shared(nn.Module):
    """One module under two names, and called twice under one of them; one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = self.first
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.second(self.first(self.first(x))))


@dataclass
class Pair:
    left: Tensor
    right: Tensor | None = None


class DataclassInOut(nn.Module):
    def forward(self, pair: Pair) -> Pair:
        assert pair.right is not None
        return Pair(pair.left @ pair.right)


class Writes(nn.Module):
    """Views that are written through, buffers that are updated, constants that are no buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.scales = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(x.shape[0], 4)
        out[:, :2] = x * self.scales[0]
        out[:, 2:].copy_(x * self.scales[1])
        out.view(-1)[0] = 9
        self.count = self.count + 1
        return out + self.count


class Spectral(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        return torch.fft.irfft(spectrum * spectrum.conj() / spectrum.abs().clamp(min=1), n=x.shape[-1]).real


class Scripted(nn.Module):
    """Operations inside a script are no Python functions: they are seen as aten operations."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's word on scripts
            self.inner = torch.jit.trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.ones(1, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * 2


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Double.apply(x) + 1


class Vmapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(lambda row: row.softmax(0) * row.sum())(x) + x


class Mixed(nn.Module):
    """Automatic casts happen below Python: what is recorded is what ran."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x = self.linear(x).softmax(-1)
        return x @ x.T


def floats(*shape: int) -> Tensor:
    return torch.randn(shape)


MASK, LENGTHS = torch.tensor([True, False, True, True]), torch.tensor([3, 6, 2])

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), lambda: floats(2, 8)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, groups=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()
        ),
        lambda: floats(2, 3, 8, 8),
    ),
    "unet3d": (
        lambda: nn.Sequential(nn.Conv3d(1, 4, 3, 2), nn.ConvTranspose3d(4, 1, 3, 2)),
        lambda: floats(1, 1, 9, 9, 9),
    ),
    "lstm": (lambda: nn.LSTM(8, 4, 2, batch_first=True, bidirectional=True), lambda: floats(2, 5, 8)),
    "transformer": (
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        lambda: (floats(2, 5, 8), floats(2, 4, 8)),
    ),
    "data_dependent": (DataDependent, lambda: {"x": floats(4, 8), "mask": MASK}),
    "packed": (Packed, lambda: {"x": floats(3, 6, 8), "lengths": LENGTHS}),
    "cell_loop": (CellLoop, lambda: floats(3, 4)),
    "shared": (Shared, lambda: floats(2, 8)),
    "dataclass": (DataclassInOut, lambda: (Pair(floats(2, 3), floats(3, 4)),)),
    "writes": (Writes, lambda: floats(3, 2)),
    "spectral": (Spectral, lambda: floats(2, 16)),
    "scripted": (Scripted, lambda: floats(2, 8)),
    "custom": (Custom, lambda: floats(2, 8)),
    "mixed": (Mixed, lambda: floats(2, 8)),
    "vmapped": (Vmapped, lambda: floats(2, 8)),
}


BEYOND_EXPORT = {"data_dependent", "packed", "dataclass"}
"""Control flow on values, and inputs that are no containers, are beyond `torch.export`."""


def call(module: nn.Module, inputs: Any) -> Any:
    with torch.no_grad():
        if isinstance(inputs, dict):
            return module(**inputs)
        return module(*inputs) if isinstance(inputs, tuple) else module(inputs)


def flat(value: Any) -> list[Tensor]:
    return [tensor for _, tensor in nested.tensors(nested.plain(value, lambda tensor: tensor))]


@pytest.mark.parametrize("route", ["recorder", "recorder-real", "export"])
@pytest.mark.parametrize("name", NETWORKS)
def test_captured_graph_equals_eager(name: str, route: str) -> None:
    if route == "export" and name in BEYOND_EXPORT:
        pytest.skip("torch.export refuses it")
    build, example = NETWORKS[name]
    module = build().eval()
    captured = capture(module, example(), route=route)
    inputs = example()  # other floats than those captured with
    expected = flat(call(module, nested.replace(inputs, lambda _, tensor: tensor.clone())))
    got = flat(run(captured, inputs))
    if name == "writes":  # its buffer counts the runs, and the eager one is the second
        expected[0] -= module.count - 1
    assert len(got) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert captured.meta["route"] == route


def test_nothing_of_the_module_changes() -> None:
    module = Writes().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    attributes = {name: set(vars(part)) for name, part in module.named_modules()}
    capture(module, floats(3, 2), route="recorder")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert {name: set(vars(part)) for name, part in module.named_modules()} == attributes
    assert all(type(value) is Tensor for value in [*module.buffers(), *module.scales])


def test_every_node_says_where_it_comes_from() -> None:
    captured = capture(Shared(), floats(2, 8))
    linears = [node for node in captured.graph.nodes if node.meta.get("op") == "torch.nn.functional.linear"]
    assert [(node.meta["module_path"], node.meta["call_index"]) for node in linears] == [
        ("first", 0), ("first", 1), ("first", 2), ("tied", 0),
    ]  # fmt: skip
    for node in linears:
        assert (node.meta["shape"], node.meta["dtype"]) == ((2, 8), "float32")
        assert node.meta["aten"] == ("aten.t.default", "aten.addmm.default") or node.meta["module_path"] == "tied"
        assert node.meta["source"].startswith("tests/test_tracing_capture.py:")
    weights = {node.target for node in captured.graph.find_nodes(op="get_attr")}
    assert weights == {"first.weight", "first.bias"}


def test_waiting_for_a_value_is_noted() -> None:
    captured = capture(DataDependent(), {"x": floats(4, 8), "mask": MASK})
    waiting = [node.meta["op"] for node in captured.graph.nodes if node.meta.get("sync")]
    assert waiting == [
        "torch.Tensor.__bool__", "torch.Tensor.__getitem__", "torch.Tensor.nonzero", "torch.tensor",
    ]  # fmt: skip


def test_weights_on_meta_need_no_memory() -> None:
    with torch.device("meta"):
        module = nn.Linear(10**6, 10**6)
    captured = capture(module, torch.ones(2, 1).expand(2, 10**6))
    assert captured.graph.find_nodes(op="call_function", target=functional.linear)[0].meta["shape"] == (2, 10**6)


def test_values_of_activations_need_a_real_run() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if x.sum() > 0 else x

    captured = capture(Branch(), torch.ones(2))
    assert captured.meta["route"] == "recorder-real"
    assert capture(Branch(), torch.ones(2, device="meta")).meta["route"] == "recorder-real"


def test_a_module_that_raises_is_one_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    class Adds(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.ones(7)

    with pytest.raises(InputError, match=r"^RuntimeError: mat1 and mat2 shapes cannot be multiplied \(2x9 and 8x4\)$"):
        capture(nn.Linear(8, 4), floats(2, 9))
    with pytest.raises(InputError, match=r"^RuntimeError: The size of tensor.* at tests/test_tracing_capture\.py:\d+$"):
        capture(Adds(), floats(2, 9))
    assert capfd.readouterr().err == "", "torch's own tracebacks, one for each route"


def test_what_marks_a_network_for_others_is_no_operation(recwarn: pytest.WarningsRecorder) -> None:
    class Marked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            with torch.profiler.record_function("encoder"):
                return self.linear(x)

    for module in (Marked(), nn.DataParallel(Marked()), torch.compile(Marked())):
        nodes = capture(module, floats(2, 8)).graph.nodes
        assert [node.meta["op"] for node in nodes if node.op == "call_function"] == ["torch.nn.functional.linear"]
    assert not [w for w in recwarn if "global hooks" in str(w.message)]
