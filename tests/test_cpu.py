"""The CPU as a device: each term of the model by hand, limits it must keep, and the file that calibration writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from mmsim import files
from mmsim.arch import load, spec
from mmsim.cpu.model import Hierarchy, Memory, Site, faults, layer_time, operations, site
from mmsim.errors import InputError
from mmsim.measure import calibrate
from mmsim.ops import problems_of
from mmsim.problem import Problem
from mmsim.run import run
from tests.toy import toy

HOST = load("host_cpu")
assert HOST.cpu is not None
ROUND = msgspec.structs.replace(
    HOST.cpu,
    dispatch_s={"elementwise": 1e-6, "matmul": 2e-6, "conv": 3e-6, "free": 1e-7},
    operations_per_s={"elementwise": 1e9, "matmul": 1e10, "conv": 1e10, "relayout": 1e9, "pack": 1e9},
)
MEMORIES = (Memory("L2", 1 << 20, 1e10, 1e10), Memory("DRAM", None, 1e9, 5e8))
WHERE = Site(ROUND, Hierarchy(MEMORIES, weight_bytes=0.0, largest_bytes=1 << 20))
GRAPH = toy().at(B=4)


def problems(name: str) -> tuple[Problem, ...]:
    return problems_of(next(layer for layer in GRAPH.layers if layer.name == name))


def seconds(name: str, where: Site = WHERE) -> float:
    layer = next(layer for layer in GRAPH.layers if layer.name == name)
    return layer_time(layer, problems(name), where).seconds


def test_a_product_by_hand() -> None:
    """4 x 16 times 16 x 32: 2048 MACs, 32 columns are two whole vectors; the 512 weights are packed first."""
    assert seconds("text") == pytest.approx(2e-6 + 2048 / 1e10 + 512 / 1e9)
    unpacked = msgspec.structs.replace(ROUND, operations_per_s={**ROUND.operations_per_s, "pack": 1e12})
    assert seconds("text", replace(WHERE, cpu=unpacked)) == pytest.approx(2e-6 + 2816 / 1e10)  # bytes take longer


def test_a_convolution_by_hand() -> None:
    """4 output channels fill a quarter of a vector: four times the MACs; activations move twice."""
    macs = 4 * 64 * 4 * 27
    activations, weights = 4 * (4 * 3 * 64 + 4 * 4 * 64), 4 * 108
    expected = 3e-6 + 4 * macs / 1e10 + 108 / 1e9 + (2 * activations + weights) / 1e10
    assert seconds("image.conv") == pytest.approx(expected)


def test_a_view_costs_its_dispatch_alone() -> None:
    assert seconds("image.flatten") == 1e-7


def test_weights_come_from_where_all_of_them_rest() -> None:
    far = replace(WHERE, hierarchy=replace(WHERE.hierarchy, weight_bytes=float(1 << 30)))
    assert seconds("head", far) == pytest.approx(2e-6 + (4608 + 160) / 1e10 + 11520 / 1e9)
    assert seconds("head") < seconds("head", far)
    assert seconds("image.relu", far) == seconds("image.relu")  # no weights


def test_more_bandwidth_or_rate_never_slows() -> None:
    quick = msgspec.structs.replace(
        ROUND, operations_per_s={name: 2 * rate for name, rate in ROUND.operations_per_s.items()}
    )
    wide = tuple(replace(m, read_bytes_per_s=2 * m.read_bytes_per_s) for m in MEMORIES)
    for layer in GRAPH.layers:
        now = seconds(layer.name)
        assert seconds(layer.name, replace(WHERE, cpu=quick)) <= now
        assert seconds(layer.name, replace(WHERE, hierarchy=replace(WHERE.hierarchy, memories=wide))) <= now


def test_lanes_that_a_product_leaves_empty() -> None:
    (product,) = problems("text")
    assert operations(product, 16) == 2048
    assert operations(product, 64) == 2 * 2048
    (head,) = problems("head")
    assert operations(head, 16) == pytest.approx(4 * 288 * 16)  # 10 columns in one vector of 16


@pytest.mark.parametrize(
    "size, largest, expected",
    [(2 << 20, 2 << 20, True), (6 << 20, 12 << 20, False), (12 << 20, 12 << 20, True), (300_000, 602_112, False),
     (64 << 20, 1 << 30, True), (16 << 20, 1 << 30, False)],
)  # fmt: skip
def test_blocks_that_the_heap_gives_back_fault(size: int, largest: int, expected: bool) -> None:
    assert faults(size, largest) is expected


def test_a_network_on_the_host() -> None:
    found = run(GRAPH, HOST)
    assert found.mode == "serial"
    assert found.latency_s == pytest.approx(sum(cost.latency_s for cost in found.layers))
    assert {cost.bound for cost in found.layers} <= {"dispatch", "compute", "L1", "L2", "L3", "DRAM"}
    assert found.energy_j == pytest.approx(found.latency_s * HOST.cpu.power_w)
    assert run(toy().at(B=40), HOST).latency_s > found.latency_s


def test_other_architectures_are_no_cpu() -> None:
    with pytest.raises(InputError, match="is not a CPU"):
        site(load("eyeriss_like"))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("threads", 0, "cpu: threads: must be positive"),
        ("dispatch_s", {}, "cpu: dispatch_s: needs elementwise"),
        (
            "operations_per_s",
            {"elementwise": 1.0, "matmul": 1.0, "conv": -1.0, "relayout": 1.0, "pack": 1.0},
            "cpu: operations_per_s.conv",
        ),
        ("sources", {}, "cpu: sources: no source for threads"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, field: str, value: object, message: str) -> None:
    written = files.read_yaml(Path(__file__).parents[1] / "arch_specs" / "host_cpu.yaml")
    assert isinstance(written, dict)
    written["cpu"][field] = value
    with pytest.raises(InputError) as error:
        spec.parse(written, file="mine.yaml")
    assert message in str(error.value)


# --- calibration ---------------------------------------------------------------------------------


def test_a_calibration_is_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a few ops and repeats: the form is right, and rates lie within what any CPU of today does."""
    every = calibrate.samples()
    few = {name: every[name] for name in ("add", "linear", "conv2d", "gru", calibrate.PACK, calibrate.RELAYOUT)}
    monkeypatch.setattr(calibrate, "samples", lambda: few)
    monkeypatch.setattr(calibrate, "caches", lambda: [("L2", float(1 << 20)), ("DRAM", None)])
    monkeypatch.setattr(calibrate, "RULE", replace(calibrate.RULE, repeats=3, least_runs=1, budget_s=1.0))
    seen: list[str] = []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        arch = spec.parse(calibrate.calibrate(seen.append), file="calibration")
    finally:
        torch.set_num_threads(before)
    assert arch.cpu is not None and len(seen) == calibrate.steps()
    assert 1e8 < arch.cpu.operations_per_s["linear"] < 1e13
    assert 1e-8 < arch.cpu.dispatch_s["add"] < 1e-2
    assert [memory.name for memory in site(arch).hierarchy.memories] == ["L2", "DRAM"]


def test_every_sample_holds_the_op_that_it_is_named_after() -> None:
    for name in ("gelu", "max_pool2d", "layer_norm", "lstm", "contiguous"):
        sample = calibrate._sample(name, calibrate.samples()[name][0])
        assert sample.layer.kind == name and sample.problems
