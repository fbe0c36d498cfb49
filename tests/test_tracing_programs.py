"""Networks as researchers write them (`tests/programs.py`): captured, replayed, counted, and left as they were."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmsim
from mmsim.errors import InputError
from mmsim.tracing import capture, nested, run
from mmsim.tracing.export import call
from tests import more_programs  # noqa: F401 - enters its networks into the table
from tests.programs import PROGRAMS

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own words on its compiler and on scripts

BY_VALUE = {"EarlyExit", "RoutedExperts", "OverNumpy", "Flexible", "BoxHead"}
"""Captured by a real run: their way depends on activations, or leaves torch."""

VALID_AT_ONE_BATCH = {"RoutedExperts", "PackedGRU", "HyperNetwork"}  # how many rows or groups there are
REFUSED = {"SparseWeights": "unknown ops: aten._sparse_addmm", "Ragged": "_nested_tensor_from_tensor_list"}


@pytest.fixture(autouse=True)
def without_fast_path() -> Iterator[None]:
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@lru_cache(maxsize=1)
def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return PROGRAMS[name][0]().eval()


def inputs(name: str, batch: int) -> Any:
    torch.manual_seed(batch)
    return PROGRAMS[name][1](batch)


def flat(value: object) -> list[Tensor]:
    return [tensor for _, tensor in nested.tensors(nested.plain(value, lambda tensor: tensor))]


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in REFUSED])
def test_captured_graph_equals_eager_and_leaves_the_module_alone(name: str) -> None:
    module, given = network(name), inputs(name, 2)
    before = {path: dict(vars(part)) for path, part in module.named_modules()}
    captured = capture(module, given)
    assert captured.meta["route"] == ("recorder-real" if name in BY_VALUE else "recorder")
    assert {path: dict(vars(part)) for path, part in module.named_modules()} == before
    others = nested.replace(given, lambda _, t: torch.randn_like(t) if t.is_floating_point() else t)
    others = given if name in BY_VALUE else others
    with torch.no_grad():
        expected, got = flat(call(module, others)), flat(run(captured, others))
    assert len(got) == len(expected) > 0
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in REFUSED])
def test_one_graph_for_every_batch(name: str) -> None:
    module = network(name)
    graph = mmsim.trace(module, lambda B: inputs(name, B), symbols={"B": 2}, stages={"": "head"})
    assert graph.totals().parameters == sum(p.numel() for p in module.parameters())
    if name in VALID_AT_ONE_BATCH:
        assert "only at 2" in dict(graph.provenance.symbols)["B"]
        return
    fresh = mmsim.trace(module, inputs(name, 4), symbols=(), stages={"": "head"})
    assert (graph.at(B=4) if graph.symbols else graph).layers == fresh.layers


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_count_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        mmsim.trace(network(name), inputs(name, 2))


def test_a_scripted_layer_counts_once() -> None:
    graph = mmsim.trace(network("Scripted"), inputs("Scripted", 2), symbols=())
    assert graph.macs == 2 * (8 * 16 + 16 * 8 + 8 * 2)


def test_a_real_run_says_that_it_holds_for_its_values() -> None:
    graph = mmsim.trace(network("EarlyExit"), inputs("EarlyExit", 2))
    assert any("values" in note for note in graph.provenance.notes)
    assert not any("random" in note for note in graph.provenance.notes)


def test_sizes_drawn_at_random_are_noted() -> None:
    class Cropped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : int(torch.rand(()) * 4) + 1].relu()

    graph = mmsim.trace(Cropped(), {"x": torch.ones(2, 8)}, symbols=())
    assert any("waits for a number drawn at random" in note for note in graph.provenance.notes)
