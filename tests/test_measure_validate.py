"""A measurement beside its prediction: figures by hand, names that must meet, claims on both sides."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mmsim import cli, measurement
from mmsim.arch import load
from mmsim.claims import claims
from mmsim.errors import InputError
from mmsim.layer_dump import dump
from mmsim.measurement import Kernels, LayerTime, Machine, Measurement, Source, StageTime, spread
from mmsim.run import run
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
        date="", rule="", parameters=1, macs=1, wall_s=whole, device_s=whole, layers_s=whole, host_s=whole,
        layers=layers, stages=stages,
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
    renamed = msgspec.structs.replace(measured.layers[0], name="other")
    with pytest.raises(InputError, match="no layer 'other'"):
        compare(msgspec.structs.replace(measured, layers=[renamed]), toy(), HOST)
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
