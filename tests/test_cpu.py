"""The CPU as a device: each term of the model by hand, limits it must keep, and the file that calibration writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from mmsim import files
from mmsim.arch import load, spec
from mmsim.arch.cpu import KEPT, LONGEST_KEPT_S, Code
from mmsim.cpu.model import (
    HOT,
    NATIVE,
    PACK,
    RELAYOUT,
    Hierarchy,
    Memory,
    Site,
    faults,
    is_native,
    layer_time,
    operations,
    site,
)
from mmsim.cpu.reuse import Moved, Reuse, most_alive, reuses
from mmsim.errors import InputError
from mmsim.layer import Layer, Stage, Tensor
from mmsim.measure import bandwidth, calibrate, op_samples, op_times
from mmsim.measure.clock import CpuClock
from mmsim.ops import problems_of
from mmsim.problem import Problem
from mmsim.run import run
from tests.toy import toy

HOST = load("host_cpu")
assert HOST.cpu is not None
ROUND = msgspec.structs.replace(
    HOST.cpu,
    dispatch_s={"elementwise": 1e-6, "matmul": 2e-6, "conv": 3e-6, "free": 1e-7},
    operations_per_s={
        "elementwise": 1e9,
        "matmul": 1e10,
        "conv": 1e10,
        "linear": 1e10,
        "relayout": 1e9,
        "native": 1e9,
        "pack": 1e9,
        "fetch": 1e8,
    },
    code=None,
)
MEMORIES = (Memory("L2", 1 << 20, 1e10, 1e10), Memory("DRAM", None, 1e9, 5e8))
WHERE = Site(ROUND, Hierarchy(MEMORIES))
GRAPH = toy().at(B=4)


def problems(name: str) -> tuple[Problem, ...]:
    return problems_of(next(layer for layer in GRAPH.layers if layer.name == name))


def seconds(name: str, where: Site = WHERE, reuse: Reuse = HOT) -> float:
    layer = next(layer for layer in GRAPH.layers if layer.name == name)
    return layer_time(layer, problems(name), where, reuse).seconds


def test_a_product_by_hand() -> None:
    """4 x 16 times 16 x 32: 2048 MACs, 32 columns are two whole vectors; the 512 weights are packed first."""
    assert seconds("text") == pytest.approx(2e-6 + 512 / 1e9 + 2048 / 1e10)
    fast = msgspec.structs.replace(ROUND, operations_per_s={**ROUND.operations_per_s, "linear": 1e12})
    rows = 4 * (4 * 16 + 4 * 32)  # what is not weights moves while it computes
    assert seconds("text", replace(WHERE, cpu=fast)) == pytest.approx(2e-6 + 512 / 1e9 + rows / 1e10)


def test_a_convolution_by_hand() -> None:
    """4 output channels fill a quarter of a vector: four times the MACs; activations move twice."""
    macs = 4 * 64 * 4 * 27
    activations, weights = 4 * (4 * 3 * 64 + 4 * 4 * 64), 4 * 108
    expected = 3e-6 + 4 * macs / 1e10 + 108 / 1e9 + (2 * activations + weights) / 1e10
    assert seconds("image.conv") == pytest.approx(expected)


@pytest.mark.parametrize(
    "shape, kernel, stride, threads, expected",
    [
        ((1, 64, 16, 16), 3, 1, 1, True),  # 16384 words
        ((1, 64, 32, 32), 3, 1, 1, False), ((2, 64, 16, 16), 3, 1, 1, False), ((1, 1, 28, 28), 5, 1, 1, False),
        ((1, 256, 56, 56), 1, 1, 1, True), ((1, 256, 56, 56), 1, 2, 1, False), ((1, 256, 56, 56), 1, 1, 2, False),
        ((16, 256, 56, 56), 1, 1, 1, False), ((1, 8, 128, 128, 128), 3, 1, 1, False),
    ],
)  # fmt: skip
def test_which_convolutions_pytorch_computes_itself(
    shape: tuple[int, ...], kernel: int, stride: int, threads: int, expected: bool
) -> None:
    space = (kernel,) * (len(shape) - 2)
    layer = Layer(
        0, "conv", f"torch.nn.functional.conv{len(space)}d", Stage("head"),
        (("input", Tensor("x", shape, "float32", "input")),
         ("weight", Tensor("w", (8, shape[1], *space), "float32", "weight"))),
        (Tensor("y", shape, "float32", "output"),), (("stride", (stride,) * len(space)), ("groups", 1)),
    )  # fmt: skip
    assert is_native(layer, threads) is expected


def test_a_view_costs_its_dispatch_alone() -> None:
    assert seconds("image.flatten") == 1e-7


def test_what_was_used_long_ago_comes_from_further_away() -> None:
    """The head's 11520 bytes of weights lie in DRAM after a pass that moved a gigabyte; its input was just made."""
    head = next(layer for layer in GRAPH.layers if layer.name == "head")
    far = Reuse(ages=tuple((tensor.name, float(1 << 30)) for tensor in head.weights))
    macs = operations(problems("head")[0], ROUND.vector_words)
    assert seconds("head", reuse=far) == pytest.approx(2e-6 + 2880 / 1e8 + macs / 1e10)
    assert seconds("head") < seconds("head", reuse=far)


def test_dispatch_lies_between_hot_and_cold() -> None:
    """A view of 0.1 us, cold 2.1 us. After 1 MB half its code is lost; right behind a layer that moves so much, all."""
    code = Code((1e4, 1e6), (0.0, 0.5), (0.0, 1.0))
    cold = msgspec.structs.replace(
        ROUND, code=code, cold_s={"free": 2.1e-6, "elementwise": 1e-6, "matmul": 2e-6, "conv": 3e-6},
        sources={**ROUND.sources, "code": "by hand", "cold_s": "by hand"},
    )  # fmt: skip
    where = replace(WHERE, cpu=cold)
    assert seconds("image.flatten", where) == pytest.approx(1e-7)
    assert seconds("image.flatten", where, Reuse(since=1e6)) == pytest.approx(1.1e-6)
    assert seconds("image.flatten", where, Reuse(since=1e5)) == pytest.approx(0.6e-6)
    assert seconds("image.flatten", where, Reuse(since=1e9, before=1e6)) == pytest.approx(2.1e-6)


def chain(*ops: str) -> list[Layer]:
    """Layers of these ops, each on what the one before it gave, each with a weight of its own."""
    layers = []
    for index, op in enumerate(ops):
        given, weight = (
            Tensor(f"t{index}", (4,), "float32", "activation"),
            Tensor(f"w{index}", (4,), "float32", "weight"),
        )
        out = Tensor(f"t{index + 1}", (4,), "float32", "activation")
        layers.append(Layer(index, str(index), f"torch.{op}", Stage("head"), (("x", given), ("w", weight)), (out,)))
    return layers


def of_weights(*sizes: float) -> list[Moved]:
    return [Moved(size) for size in sizes]


def test_ages_are_the_bytes_moved_since() -> None:
    """a moves 100 bytes, b 20, c 3. b reads what a just made, and its weight was last read in the pass before."""
    found = list(reuses(chain("a", "b", "c"), of_weights(100.0, 20.0, 3.0)))
    assert found[1].age("t1") == 0 and found[1].age("w1") == 103
    assert found[0].age("w0") == 23 and found[0].age("unknown") == 0


def test_a_view_is_the_memory_of_its_operand() -> None:
    found = list(reuses(chain("a", "view", "b"), of_weights(100.0, 0.0, 7.0)))
    assert found[2].age("t2") == 0
    kept = list(reuses(chain("a", "relu", "b"), of_weights(100.0, 50.0, 7.0)))
    assert kept[1].age("t1") == kept[2].age("t2") == 0


def test_an_op_finds_its_code_as_old_as_the_data_moved_since() -> None:
    """a, b, a of 5, 1 and 2 bytes: its code runs before its data moves, so that its own bytes count as well."""
    found = list(reuses(chain("a", "b", "a"), of_weights(5.0, 1.0, 2.0)))
    assert [reuse.since for reuse in found] == [2, 8, 6]
    assert [reuse.before for reuse in found] == [2, 5, 1]


def test_results_that_nobody_needs_give_their_place_to_others() -> None:
    """Results of 16 bytes in a row, two alive at a time: a weight of a pass ago is 3 other weights and these older."""
    layers = chain("a", "b", "c", "d")
    assert most_alive(layers) == 32
    found = list(reuses(layers, [Moved(1.0, 32.0)] * 4))
    assert found[0].age("w0") == 3 + 32


def test_what_others_do_ages_what_is_not_used_at_once() -> None:
    """Where the caches keep nothing for longer than 10 us, even the toy's dispatches take longer."""
    assert HOST.cpu is not None and HOST.cpu.code is not None
    paces = ({**HOST.cpu.pace_s, KEPT: seconds} for seconds in (LONGEST_KEPT_S, 1e-5))
    alone, busy = (replace(HOST, cpu=msgspec.structs.replace(HOST.cpu, pace_s=found)) for found in paces)
    assert alone.cpu is not None and alone.cpu.others_bytes_per_s == 0
    assert busy.cpu is not None and busy.cpu.others_bytes_per_s == HOST.cpu.code.half_bytes / 1e-5
    assert run(GRAPH, alone).latency_s < run(GRAPH, busy).latency_s


def test_half_of_what_an_op_can_lose() -> None:
    assert Code((1e4, 1e5, 1e6), (0.0, 0.1, 0.4), (0.0, 0.1, 1.0)).half_bytes == 1e6


@pytest.mark.parametrize(
    "value, message",
    [
        ({"bytes": [1.0, 2.0], "op": [0.1], "any": [0.1, 0.2]}, "cpu.code: op: needs as many shares as sizes"),
        ({"bytes": [2.0, 1.0], "op": [0.1, 0.1], "any": [0.1, 0.2]}, "cpu.code: bytes: must be positive and rise"),
        ({"bytes": [1.0], "op": [-0.1], "any": [0.1]}, "cpu.code: op: must not be negative"),
    ],
)
def test_a_damaged_table_of_code_is_refused(value: object, message: str) -> None:
    written = files.read_yaml(Path(__file__).parents[1] / "arch_specs" / "host_cpu.yaml")
    assert isinstance(written, dict)
    written["cpu"]["code"] = value
    with pytest.raises(InputError) as error:
        spec.parse(written, file="mine.yaml")
    assert message in str(error.value)


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


@pytest.mark.parametrize("size, expected", [(2 << 20, False), (31 << 20, False), (32 << 20, True), (1 << 30, True)])
def test_blocks_that_the_heap_does_not_keep_fault(size: int, expected: bool) -> None:
    assert faults(size) is expected


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
            {
                "elementwise": 1.0,
                "matmul": 1.0,
                "conv": -1.0,
                "linear": 1.0,
                "relayout": 1.0,
                "native": 1.0,
                "pack": 1.0,
                "fetch": 1.0,
            },
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
    every = op_samples.samples()
    few = {name: every[name] for name in ("add", "linear", "conv2d", "gru", PACK, RELAYOUT, NATIVE)}
    monkeypatch.setattr(calibrate, "samples", lambda: few)
    monkeypatch.setattr(calibrate, "caches", lambda: [("L2", float(1 << 20)), ("DRAM", None)])
    monkeypatch.setattr(op_times, "SWEPT", op_times.SWEPT[:2])
    monkeypatch.setattr(bandwidth, "SETS", 2)
    quick = replace(op_times.RULE, repeats=3, least_runs=1, budget_s=1.0)
    for where, rules in ((op_times, ("RULE", "SWEEPS", "ROUNDS", "FEW_ROUNDS")), (bandwidth, ("RULE", "TURNS"))):
        for rule in rules:
            monkeypatch.setattr(where, rule, quick)
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
    assert arch.cpu.code is not None and len(arch.cpu.code.bytes) == 3
    assert all(cold >= arch.cpu.dispatch_s[op] for op, cold in arch.cpu.cold_s.items())
    assert set(arch.cpu.pace_s) == {"arithmetic", "data", "dispatch", KEPT} and 1e-6 < arch.cpu.pace_s["arithmetic"] < 1


def test_every_sample_holds_the_op_that_it_is_named_after() -> None:
    for name in ("gelu", "max_pool2d", "layer_norm", "lstm", "contiguous"):
        sample = op_times.sample(name, op_samples.samples()[name][0], CpuClock(1))
        assert sample.layer.kind == name and sample.problems and sample.seconds() >= 0
