"""A measurement beside its prediction: figures by hand, names that must meet, claims on both sides."""

from __future__ import annotations

import copy
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mmsim import cli, measurement
from mmsim.arch import load
from mmsim.arch.cpu import KEPT
from mmsim.claims import claims
from mmsim.errors import InputError
from mmsim.layer_dump import dump, from_record, to_record
from mmsim.measurement import Energy, Kernels, LayerTime, Machine, Measurement, Source, StageTime, spread
from mmsim.repeat import repeat
from mmsim.run import run
from mmsim.size import concrete
from mmsim.validate_network import compare, record, weighted_error
from tests.toy import toy

HOST = load("host_cpu")


def as_predicted(batch: int = 4, factor: float = 1.0, **changes: object) -> Measurement:
    """A measurement of the toy that takes `factor` times what the host's model says, each layer."""
    graph = toy().at(B=batch)
    costs = run(graph, HOST).layers
    layers = [
        LayerTime(c.layer.id, c.layer.name, c.layer.op, str(c.layer.stage), spread([factor * c.latency_s] * 3))
        for c in costs
    ]
    whole = spread([sum(layer.device_s.median for layer in layers)] * 3)
    stages = {layer.stage: StageTime(0.0) for layer in layers}
    found = Measurement(
        format=measurement.FORMAT, version=measurement.VERSION, workload="toy", variant="concat", batch=batch,
        dtype="float32", source=Source("toy"), mode="eager", machine=Machine("cpu", "by hand"), software={}, command="",
        date="", rule="", parameters=1, macs=concrete(graph.totals().macs), wall_s=whole, device_s=whole,
        layers_s=whole, host_s=whole, layers=layers, stages=stages,
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def test_a_prediction_that_is_right_has_no_error() -> None:
    found = compare(as_predicted(), toy(), HOST)
    assert [row.name for row in found.layers] == [layer.name for layer in toy().layers]
    assert found.network.error == pytest.approx(0)
    assert all(pair.error == pytest.approx(0) for pair in found.stages)
    value = record([found])
    assert value["all"]["layers"]["mape_percent"] == pytest.approx(0, abs=1e-6)
    assert value["files"][0]["stage_rank_correlation"] == pytest.approx(1)


def test_errors_by_hand() -> None:
    """Everything took 1.25 times as long as predicted: each error is -20 %, weighted and not."""
    found = compare(as_predicted(factor=1.25), toy(), HOST)
    value = record([found, found])
    for kind in ("layers", "stages", "networks"):
        assert value["all"][kind]["bias_percent"] == pytest.approx(-20)
        assert value["all"][kind]["weighted_percent"] == pytest.approx(20)
        assert value["all"][kind]["spearman"] == pytest.approx(1)
    worst = value["files"][0]["worst"]
    missed = [row["measured_s"] - row["predicted_s"] for row in worst]
    assert missed == sorted(missed, reverse=True) and worst[0]["bytes"] > 0 and worst[0]["bound"]


def test_the_error_by_time_forgives_small_layers() -> None:
    pairs = [row.pair for row in compare(as_predicted(), toy(), HOST).layers]
    longest = max(pairs, key=lambda pair: pair.measured_s)
    off = [replace(p, predicted_s=2 * p.predicted_s) if p is not longest else p for p in pairs]
    assert weighted_error(off) < 100 * (len(off) - 1) / len(off)


def test_one_stage_alone_meets_its_layers_only() -> None:
    every = as_predicted()
    layers = [layer for layer in every.layers if layer.stage == "head"]
    alone = msgspec.structs.replace(
        every, layers=layers, stages={"head": StageTime(0.0)}, device_s=layers[0].device_s,
        source=Source("toy", only="head"),
    )  # fmt: skip
    found = compare(alone, toy(), HOST)
    assert [pair.label for pair in found.stages] == ["head"]
    assert found.network.error == pytest.approx(0)


def test_another_network_or_batch_is_refused() -> None:
    measured = as_predicted()

    def first(**changes: object) -> Measurement:
        layer = msgspec.structs.replace(measured.layers[0], **changes)
        return msgspec.structs.replace(measured, layers=[layer, *measured.layers[1:]])

    with pytest.raises(InputError, match="no layer 'other'"):
        compare(first(name="other"), toy(), HOST)
    with pytest.raises(InputError, match=r"is torch\.conv2d in this graph, torch\.relu in the measurement"):
        compare(first(op="torch.relu"), toy(), HOST)
    with pytest.raises(InputError, match="the measurement has no layer"):
        compare(msgspec.structs.replace(measured, layers=measured.layers[1:]), toy(), HOST)
    with pytest.raises(InputError, match="not at batch 4"):
        compare(measured, toy().at(B=2), HOST)


def test_on_a_gpu_kernels_meet_kernels_and_wall_meets_latency() -> None:
    gpu = load("h200")
    costs = run(toy().at(B=4), gpu).layers
    kernels = Kernels(
        3, sum(c.kernel_s for c in costs), {}, {}, {}, {}, {c.layer.name: c.kernel_s for c in costs}, unmapped_share=0.0
    )
    measured = as_predicted(kernels=kernels, machine=Machine("cuda", "by hand"))
    found = compare(measured, toy(), gpu)
    assert all(row.pair.error == pytest.approx(0) for row in found.layers)
    assert {row.name for row in found.layers} == {c.layer.name for c in costs if c.kernel_s > 0}
    assert found.network.predicted_s == run(toy().at(B=4), gpu).latency_s


def test_the_machines_pace_is_held_against_its_calibration() -> None:
    assert HOST.cpu is not None
    slower = {name: 1.5 * seconds for name, seconds in HOST.cpu.pace_s.items()}
    found = compare(as_predicted(pace_s={**slower, "unknown": 1.0}), toy(), HOST)
    assert found.pace == pytest.approx(dict.fromkeys(set(HOST.cpu.pace_s) - {KEPT}, 1.5)) and len(found.pace) == 3
    assert found.predicted.arch.cpu is not None  # other work on the machine is taken as it was then
    assert found.predicted.arch.cpu.pace_s[KEPT] == slower[KEPT]
    assert compare(as_predicted(), toy(), load("h200")).pace == {}


def test_on_a_cpu_the_lower_quartile_counts() -> None:
    """Three of four runs took what was predicted; what else ran made one longer."""
    one = as_predicted()
    noisy = [
        msgspec.structs.replace(layer, device_s=spread([layer.device_s.median] * 3 + [9.0] * 4)) for layer in one.layers
    ]
    whole = spread([one.device_s.median] * 3 + [9.0] * 4)
    found = compare(msgspec.structs.replace(one, layers=noisy, device_s=whole), toy(), HOST)
    assert found.network.error == pytest.approx(0) and found.layers[0].pair.error == pytest.approx(0)


# --- two runs ------------------------------------------------------------------------------------


def test_two_runs_by_hand() -> None:
    one, slower = as_predicted(), as_predicted(factor=1.02)
    alone = {"head": StageTime(0.0, device_s=spread([1e-3]), wall_s=spread([1e-3]))}
    found = repeat(*(msgspec.structs.replace(run, stages={**run.stages, **alone}) for run in (one, slower)))
    assert found["device"] == found["wall"] == found["layers_median"] == pytest.approx(0.02, abs=1e-5)
    assert found["stages"] == {"head": 0} and found["overhead"] == [0, 0]
    assert found["within"] == {"two runs": True, "marks": True}
    far = repeat(one, as_predicted(factor=1.04, layers_s=spread([2 * one.device_s.median])))
    assert found["noise"] == [0, 0] and far["within"] == {"two runs": False, "marks": False}


def test_runs_of_different_networks_are_not_compared() -> None:
    with pytest.raises(InputError, match="batch: 4 in one, 1 in the other"):
        repeat(as_predicted(4), as_predicted(1))
    with pytest.raises(InputError, match="layers: the two do not have the same layers"):
        repeat(as_predicted(), as_predicted(layers=as_predicted().layers[1:]))


# --- claims --------------------------------------------------------------------------------------


def by_name(*measured: Measurement) -> dict[str, tuple[bool, bool]]:
    found = claims([compare(one, toy(), HOST) for one in measured])
    return {claim.name: (claim.holds_measured, claim.holds_predicted) for claim in found}


def test_stages_stragglers_and_batches() -> None:
    verdicts = by_name(as_predicted(1), as_predicted(40))
    assert verdicts["encoders exceed the fusion"] == (True, True)
    assert verdicts["modalities differ"][0] == verdicts["modalities differ"][1]
    assert verdicts["time grows by less than the batch"] == (True, True)


def test_a_claim_can_fail_on_one_side() -> None:
    slow = as_predicted(40, factor=100.0)
    assert by_name(as_predicted(1), slow)["time grows by less than the batch"] == (False, True)


def test_fusions_of_one_workload_meet() -> None:
    dear = as_predicted(variant="tensor", device_s=spread([10 * as_predicted().device_s.median]))
    found = claims([compare(one, toy(), HOST) for one in (as_predicted(), dear)])
    (claim,) = [claim for claim in found if claim.name == "the fusion changes little"]
    assert claim.measured == pytest.approx(10) and not claim.holds_measured and claim.holds_predicted


# --- damaged files ------------------------------------------------------------------------------


BAD: list[Any] = [
    None, -1, 0, True, 1e400, float("nan"), "x", "", "\x00", [], {}, [1, 2], 1e-300, 1e308, 10**30, "encoder:image",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a record."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def damage(record: Any, where: tuple[Any, ...], draw: random.Random) -> None:
    """Set, delete or double what stands at a place."""
    for key in where[:-1]:
        record = record[key]
    how = draw.choice(("set", "set", "delete", "double"))
    if how == "delete":
        del record[where[-1]]
    elif how == "double" and isinstance(record, list):
        record.insert(where[-1], record[where[-1]])
    else:
        record[where[-1]] = draw.choice(BAD)


def on_a_gpu() -> Measurement:
    """Of a model of one's own, with its graph and everything that a GPU tells."""
    graph = toy().at(B=4)
    costs = {c.layer.name: c.kernel_s for c in run(graph, load("h200")).layers}
    kernels = Kernels(3, sum(costs.values()), {"Conv": 1e-6}, {}, {"<10 us": 1.0}, {}, costs, 0.0, {"x": 1}, {"y": 1})
    return as_predicted(
        kernels=kernels, machine=Machine("cuda", "by hand"), source=Source("toy.py:build"), graph=to_record(graph),
        energy=Energy(1e-3, 300.0, "by hand"), counters={"head": {"ipc": 1.0}},
    )  # fmt: skip


def test_a_measurement_of_a_graph_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"macs: 7 in the measurement, \d+ in this graph"):
        compare(as_predicted(macs=7), toy(), HOST)


@pytest.mark.parametrize(
    "where, value, message",
    [
        (("layers", 0, "attrs", "stride"), [0, 0], r"a convolution of stride \(0, 0\) and dilation"),
        (("layers", 0, "outputs"), [], "at .* cannot have these tensors and arguments: tuple index out of range"),
        (("layers", 0, "attrs", "padding"), 10**30, "layers.0.attrs.padding: larger than any argument"),
        (("tensors", "image", "shape"), [2**62, 4, 1, 1], "tensors.image.shape: larger than any tensor"),
        (("tensors", "image", "shape"), [1] * 65, "tensors.image.shape: larger than any tensor"),
    ],
)
def test_a_damaged_graph_is_told_by_its_place(where: tuple[Any, ...], value: Any, message: str) -> None:
    damaged = to_record(toy().at(B=4))
    damaged_part: Any = damaged
    for key in where[:-1]:
        damaged_part = damaged_part[key]
    damaged_part[where[-1]] = value
    with pytest.raises(InputError, match=message) as caught:
        compare(as_predicted(), from_record(damaged, file="toy.json"), HOST)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make, arch", [(as_predicted, "host_cpu"), (on_a_gpu, "h200")])
def test_whatever_is_damaged_is_refused_on_one_line_or_does_no_harm(
    make: Callable[[], Measurement], arch: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """By command: exit 2 and one line that names the file, or exit 0 and figures that are numbers."""
    draw, path, out = random.Random(0), tmp_path / "m.json", tmp_path / "out.json"
    sound = measurement.to_record(make())
    graph = [] if sound["graph"] else ["--graph", str(dump(toy(), tmp_path / "toy.json"))]
    monkeypatch.setattr(
        sys, "argv", ["mmsim", "validate", "network", str(path), "--arch", arch, "-o", str(out), *graph]
    )
    every, refused = list(places(sound)), 0
    for _ in range(500):
        record_ = copy.deepcopy(sound)
        damage(record_, draw.choice(every), draw)
        path.write_text(json.dumps(record_))
        status, said = cli._run(), capsys.readouterr()
        if status == 0:
            json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(name))
            assert said.err == "" and not re.search(r"\b(nan|inf)\b", said.out)
            out.unlink()
        else:
            refused += 1
            assert status == 2 and said.err.count("\n") == 1 and "m.json" in said.err and not out.exists()
    assert 250 < refused < 500  # dates and the like may be anything


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"[]", "not a measurement"), (b"\xff\xfe", "is not UTF-8 text"),
        (b'{"format": "mmsim measurement", "version": 1}', "version: version 1, expected 2"),
        (b'{"format": "mmsim measurement", "version": 2}', "missing required field"),
        (b"[" * 100_000, "nested too deeply"), (b"\x1f\x8b" + b"\x00" * 100, "is not UTF-8 text"),
    ],
)  # fmt: skip
def test_by_command_a_damaged_file_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["mmsim", "validate", "network", str(path), "--arch", "host_cpu"])
    assert cli._run() == 2
    error = capsys.readouterr().err
    assert message in error and "damaged.json" in error and error.count("\n") == 1


def test_by_command_the_file_of_another_network_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, good = str(dump(toy(), tmp_path / "toy.json")), as_predicted()
    other = msgspec.structs.replace(good, layers=good.layers[1:])
    paths = [str(measurement.dump(m, tmp_path / name)) for m, name in ((good, "good.json"), (other, "other.json"))]
    monkeypatch.setattr(sys, "argv", ["mmsim", "validate", "network", *paths, "--arch", "host_cpu", "--graph", graph])
    assert cli._run() == 2
    error = capsys.readouterr().err
    assert "other.json with " in error and "toy.json: the measurement has no layer" in error


# --- by command ----------------------------------------------------------------------------------


def test_by_command_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = str(dump(toy(), tmp_path / "toy.json"))
    paths = [str(measurement.dump(as_predicted(b, 1.1), tmp_path / f"b{b}.json")) for b in (1, 40)]
    plot, out = tmp_path / "plot.svg", tmp_path / "out.json"
    options = ["--arch", "host_cpu", "--graph", graph, "--plot", str(plot), "-o", str(out)]
    monkeypatch.setattr(sys, "argv", ["mmsim", "validate", "network", *paths, *options])
    assert cli._run() == 0
    shown = capsys.readouterr().out
    assert "The paper's claims" in shown and "Layers that miss the most time" in shown
    assert json.loads(out.read_text())["all"]["networks"]["rows"] == 2
    assert plot.stat().st_size > 1000


def test_a_users_own_model_in_two_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("from torch import nn\n\n\ndef build():\n    return nn.Linear(64, 32)\n")
    out = str(tmp_path / "mine.json")
    quick = ("--repeats", "3", "--seconds", "0.2", "--threads", "1", "--batch", "8", "-o", out)
    commands = (
        ("measure", f"{tmp_path}/mine.py:build", "--input", "input=Bx64", *quick),
        ("validate", "network", out, "--arch", "host_cpu", "--json"),
    )
    for command in commands:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["mmsim", *command])
        assert cli._run() == 0
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["network"]["measured_s"] > 0 and found["network"]["predicted_s"] > 0
    assert len(found["stages"]) == 1


ROUTED = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(16, 4), nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        chosen, out = self.gate(x).argmax(-1), torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            if (rows := torch.where(chosen == i)[0]).numel():
                out[rows] = expert(x[rows])
        return out

def build():
    return Net(), {"x": torch.randn(3, 16)}
"""


def test_a_network_that_takes_its_way_by_its_activations_is_validated_on_the_way_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "routed.py").write_text(ROUTED)
    out = str(tmp_path / "routed.json")
    quick = ("--repeats", "3", "--seconds", "0.2", "--threads", "1", "--batch", "7", "-o", out)
    for command in (
        ("measure", f"{tmp_path}/routed.py:build", *quick),
        ("validate", "network", out, "--arch", "host_cpu", "--json"),
    ):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["mmsim", *command])
        assert cli._run() == 0
    graph = measurement.load(out).graph
    assert graph is not None and graph["provenance"]["route"] == "recorder-real"
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["network"]["predicted_s"] > 0


def test_a_file_never_names_a_program_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('run')\n")
    for network in (f"{tmp_path}/evil.py:build", "os:abort", "../evil.pt2"):
        measured = msgspec.structs.replace(as_predicted(1, 1.0), source=Source(network))
        path = str(measurement.dump(measured, tmp_path / "m.json"))
        monkeypatch.setattr(sys, "argv", ["mmsim", "validate", "network", path, "--arch", "host_cpu"])
        assert cli._run() == 2
        assert "graph: holds no graph of a model of one's own" in capsys.readouterr().err
