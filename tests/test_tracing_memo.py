"""Remembered results of fake kernels are those that torch gives."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmsim.tracing import capture
from mmsim.tracing.memo import Memo, _bytes, _form, _storage
from mmsim.tracing.swap import fake
from tests.programs import PROGRAMS
from tests.zoo import ZOO

aten = torch.ops.aten


def tensors(value: Any) -> list[Tensor]:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return [tensor for part in parts for tensor in (tensors(part) if isinstance(part, (list, tuple)) else [part])]


class Checked(Memo):
    """A memo whose every answer is held against a run of the kernel."""

    answers: ClassVar[Counter[str]] = Counter()

    def call(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = self._key(op, args, kwargs, [])
        repeated = key is not None and self._recipes.get(key) is not None
        out = super().call(op, args, kwargs)
        if repeated and not op._schema.is_mutable:
            self.answers[str(op)] += 1
            for ours, torchs in zip(tensors(out), tensors(op(*args, **kwargs)), strict=True):
                assert ours is torchs or self.alike(ours, torchs, args), op
        return out

    @staticmethod
    def alike(ours: Any, torchs: Any, args: Any) -> bool:
        given = {_storage(tensor) for tensor in tensors(args) if isinstance(tensor, Tensor)}
        shared = {_storage(ours), _storage(torchs)} & given
        return _form(ours) == _form(torchs) and len(shared) < 2 and (bool(shared) or _bytes(ours) == _bytes(torchs))


@pytest.mark.parametrize("name", ["clip", "qwen25vl", "clap", "llava", "perceiver_text"])
def test_a_remembered_result_is_torchs_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsim.tracing.shadow.Memo", Checked)
    Checked.answers.clear()
    capture(ZOO[name].build(True).eval(), ZOO[name].inputs(True, 2), route="recorder")
    assert sum(Checked.answers.values()) > 50


@pytest.mark.parametrize("name", ["InPlaceSlices", "CellLoop", "FourierOperator", "Vmapped", "DeformableGather"])
def test_a_remembered_result_is_torchs_own_in_odd_programs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsim.tracing.shadow.Memo", Checked)
    build, inputs = PROGRAMS[name]
    capture(build().eval(), inputs(2), route="recorder")


@pytest.fixture
def memo() -> Memo:
    return Memo(FakeTensorMode(allow_non_fake_inputs=True))


def test_a_view_lies_in_the_storage_of_its_own_base(memo: Memo) -> None:
    first, second = (fake(memo.fake_mode, torch.zeros(4, 6)) for _ in range(2))
    memo.call(aten.slice.Tensor, (first, 1, 2, 5), {})
    view = memo.call(aten.slice.Tensor, (second, 1, 2, 5), {})
    assert view.storage_offset() == 2 and view.stride() == (6, 1)
    assert _storage(view) == _storage(second) != _storage(first)


def test_a_number_is_not_a_tensor_and_an_integer_not_the_equal_float(memo: Memo) -> None:
    whole = fake(memo.fake_mode, torch.zeros(3, dtype=torch.int32))
    half = fake(memo.fake_mode, torch.zeros((), dtype=torch.float16))
    with memo.fake_mode:
        assert memo.call(aten.add.Scalar, (whole, 1), {}).dtype is torch.int32
        assert memo.call(aten.add.Scalar, (whole, 1.0), {}).dtype is torch.float32
        assert memo.call(aten.mul.Tensor, (half, torch.tensor(2.0, dtype=torch.float64)), {}).dtype is torch.float64


def test_a_result_that_is_an_argument_is_that_of_this_call(memo: Memo) -> None:
    for _ in range(2):
        x, y = (fake(memo.fake_mode, torch.zeros(2)) for _ in range(2))
        assert memo.call(aten.add_.Tensor, (x, y), {}) is x


def test_what_changes_a_tensors_form_is_run_each_time(memo: Memo) -> None:
    for _ in range(2):
        x = fake(memo.fake_mode, torch.zeros(2, 3))
        memo.call(aten.t_.default, (x,), {})
        assert tuple(x.shape) == (3, 2)


class Overwrites(nn.Module):
    """A value that is asked for after what it was computed from has changed."""

    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        before = count + 1
        count.add_(10)
        for _ in range(int(before)):
            x = x.relu()
        return x


def test_a_value_asked_for_later_is_that_of_its_time() -> None:
    captured = capture(Overwrites(), {"x": torch.ones(2), "count": torch.tensor(2)}, route="recorder")
    assert sum(node.meta.get("op") == "torch.Tensor.relu" for node in captured.graph.nodes) == 3


def test_long_chains_of_values_are_computed() -> None:
    class Counts(nn.Module):
        def forward(self, x: Tensor, count: Tensor) -> Tensor:
            for _ in range(2000):
                count = count + 1
            return x * int(count)

    captured = capture(Counts(), {"x": torch.ones(2), "count": torch.tensor(2)}, route="recorder")
    last = [node for node in captured.graph.nodes if node.op == "call_function"][-1]
    assert last.args[1] == 2002
