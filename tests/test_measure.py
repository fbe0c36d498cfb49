"""The traced graph run on the CPU at hand: marks change nothing, parts see true inputs, files are checked."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn

from mmsim import cli, measurement
from mmsim.errors import InputError
from mmsim.measure import marks
from mmsim.measure.clock import CpuClock
from mmsim.measure.memory import peak
from mmsim.measure.parts import alone, cuts, parts
from mmsim.measure.rule import Rule
from mmsim.measure.session import Options, measure
from mmsim.measure.subject import Subject, filled, prepare, subject_of
from mmsim.measurement import Measurement, Source, spread
from mmsim.tracing.source import trace_source
from mmsim.tracing.weightless import weightless

CPU = torch.device("cpu")
QUICK = Rule(repeats=5, least_runs=2, warmup_runs=1, warmup_s=0.0, budget_s=2.0)
MODEL = """
from torch import nn, randn
import torch


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Flatten())
        self.text = nn.Linear(16, 32)
        self.head = nn.Linear(8 * 36 + 32, 10)

    def forward(self, image, text):
        return self.head(torch.cat([self.vision(image), self.text(text)], 1))


def build():
    return Two()
"""


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def av_mnist() -> Subject:
    return subject_of(Source("av_mnist"), batch=2, dtype="float32", device=CPU)


@pytest.fixture(scope="module")
def measured(av_mnist: Subject) -> Measurement:
    return measure(av_mnist, QUICK, Options(2, "float32", Source("av_mnist")))


def mmsim(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mmsim", *arguments])
    return cli._run()


# --- marks and parts -----------------------------------------------------------------------------


def test_a_marked_program_computes_the_same_and_calls_every_mark_in_order(av_mnist: Subject) -> None:
    seen: list[int] = []

    def mark(index: int) -> None:
        seen.append(index)

    with torch.no_grad():
        expected = av_mnist.captured(*av_mnist.inputs)
        found = marks.marked(av_mnist.captured, mark)(*av_mnist.inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert seen == [-1, *range(len(marks.operations(av_mnist.captured)))]


def test_stages_in_turn_compute_the_network(av_mnist: Subject) -> None:
    """Each part runs on what the parts before it gave: the head's output is the network's."""
    stages = tuple(av_mnist.graph.by_stage())
    found = {
        name: part.captured(*part.inputs)
        for name, part in zip(stages, parts(av_mnist, cuts(av_mnist, stages)), strict=True)
    }
    with torch.no_grad():
        torch.testing.assert_close(found["head"][0], av_mnist.captured(*av_mnist.inputs))


def test_a_part_takes_the_input_of_its_stage_before_anything_wrote_into_it() -> None:
    """`y` is 2 x + 1; the head then adds 5 to it in place, which the fusion's own input must not see."""

    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            z = self.b(y)
            y.add_(5)
            return z + y

    subject = prepare(Writes(), {"x": torch.randn(2, 4)}, {"a": "encoder:x", "": "head"}, "float32", CPU)
    head = alone(subject, "head")
    with torch.no_grad():
        whole = subject.captured(*subject.inputs)
        first = head.captured(*(value.clone() for value in head.inputs))
    torch.testing.assert_close(first[-1], whole[0] if isinstance(whole, tuple) else whole)


def test_the_pass_that_follows_memory_keeps_what_stages_begin_with(av_mnist: Subject) -> None:
    """A network of 12 s a pass is run once for both, not twice."""
    apart = cuts(av_mnist, tuple(av_mnist.graph.by_stage()))
    feeds = [node for cut in apart for node in cut.feeds]
    alone_peak, nothing = peak(av_mnist.captured, av_mnist.inputs, CPU)
    found_peak, values = peak(av_mnist.captured, av_mnist.inputs, CPU, feeds)
    assert found_peak == alone_peak and not nothing and set(values) == set(feeds)
    with torch.no_grad():
        for kept, made in zip(parts(av_mnist, apart, values), parts(av_mnist, apart), strict=True):
            torch.testing.assert_close(kept.inputs, made.inputs, rtol=0, atol=0)


def test_a_part_keeps_items_of_a_layer_with_several_outputs() -> None:
    subject = subject_of(Source("mujoco_push"), batch=1, dtype="float32", device=CPU)
    encoders = alone(subject, "encoder")
    kept = {node.name for node in marks.operations(encoders.captured)}
    items = [n for n in marks.operations(subject.captured) if n.name.startswith("getitem")]
    assert all(item.name in kept for item in items if _is_encoder(subject, item))


def _is_encoder(subject: Subject, item: fx.Node) -> bool:
    layer = subject.layers.get(item.args[0].name)  # type: ignore[union-attr]
    return layer is not None and layer.stage.kind == "encoder"


def test_an_unknown_stage_is_refused_with_those_there_are(av_mnist: Subject) -> None:
    with pytest.raises(InputError, match=r"no layer in stage 'encoder:smell'.*encoder:image.*head"):
        cuts(av_mnist, ("encoder:smell",))


# --- time ----------------------------------------------------------------------------------------


def test_with_one_thread_time_asleep_does_not_count() -> None:
    clock = CpuClock(threads=1)
    clock.mark(-1)
    time.sleep(0.05)
    clock.mark(0)
    device, host = clock.finish()
    assert device == host and device[0] < 0.02
    assert CpuClock(threads=2).timed(lambda: time.sleep(0.05)).device_s >= 0.05


def test_a_mark_takes_nothing_from_a_layer() -> None:
    clock = CpuClock(threads=1)
    for index in range(-1, 200):
        clock.mark(index)
    assert sorted(clock.finish()[0])[100] < 1e-6


def test_layers_sum_to_the_network(av_mnist: Subject) -> None:
    """The issue asks for 5 % on a quiet machine; the limit here is loose, for a busy one."""
    found = measure(av_mnist, Rule(repeats=30, budget_s=4.0), Options(2, "float32", Source("av_mnist")))
    assert abs(found.overhead) < 0.3
    assert sum(layer.device_s.median for layer in found.layers) == pytest.approx(found.layers_s.median, rel=0.3)


def test_the_rule_repeats_and_stops() -> None:
    calls: list[int] = []
    assert len(QUICK.samples(lambda: calls.append(1))) == 5
    assert len(calls) == 6  # one to warm up
    slow = Rule(repeats=100, least_runs=2, warmup_runs=1, warmup_s=0.0, budget_s=0.05)
    assert len(slow.samples(lambda: time.sleep(0.03))) == 2


def test_a_pass_that_was_looked_at_is_of_the_warm_up() -> None:
    rule, calls = Rule(repeats=2, warmup_runs=3, warmup_s=0, budget_s=10), list[int]()
    rule.samples(lambda: calls.append(1), warmed_s=4)
    assert len(calls) == 3 + 2
    calls.clear()
    rule.samples(lambda: calls.append(1), warmed_s=6)  # over half the budget
    assert len(calls) == 2


def test_spread_of_known_samples() -> None:
    found = spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.median, found.p25, found.p75, found.least, found.runs) == (3.0, 2.0, 4.0, 1.0, 5)
    assert found.relative == pytest.approx(1 / 3)


# --- what is measured ----------------------------------------------------------------------------


def test_a_measurement_meets_its_graph(av_mnist: Subject, measured: Measurement) -> None:
    assert [layer.name for layer in measured.layers] == [layer.name for layer in av_mnist.graph.layers]
    assert set(measured.stages) == set(av_mnist.graph.by_stage())
    assert measured.macs == av_mnist.graph.macs and measured.parameters == av_mnist.graph.parameters
    assert all(stage.device_s is not None and stage.device_s.median > 0 for stage in measured.stages.values())


def test_peak_memory_by_hand() -> None:
    """Linear 256 -> 512 -> 128 on one row: 2 KiB of weights a row; both intermediates alive at once."""
    module = nn.Sequential(nn.Linear(256, 512, bias=False), nn.Linear(512, 128, bias=False))
    subject = prepare(module, {"input": torch.randn(1, 256)}, {"": "head"}, "float32", CPU)
    memory = measure(subject, QUICK, Options(1, "float32", Source("hand"))).memory
    assert memory is not None
    assert memory.weights_bytes == 4 * (256 * 512 + 512 * 128)
    assert memory.inputs_bytes == 4 * 256
    assert memory.intermediates_bytes == 4 * (512 + 128)


@pytest.mark.parametrize("stage, layers", [("encoder:image", "encoder:image"), ("fusion", "fusion")])
def test_one_stage_alone(av_mnist: Subject, stage: str, layers: str) -> None:
    found = measure(av_mnist, QUICK, Options(2, "float32", Source("av_mnist", only=stage)))
    assert {layer.stage for layer in found.layers} == {layers}
    assert found.macs == av_mnist.graph.by_stage()[stage].macs  # of that stage, not of the network


def test_a_uni_modal_counterpart() -> None:
    subject = subject_of(Source("av_mnist", modality="image"), batch=1, dtype="float32", device=CPU)
    found = measure(subject, QUICK, Options(1, "float32", Source("av_mnist", modality="image")))
    assert set(found.stages) == {"encoder:image", "head"}


def test_a_users_own_model_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    out = tmp_path / "mine.json"
    inputs = (
        "--input",
        "image=Bx3x8x8",
        "--input",
        "text=Bx16",
        "--stage",
        "head=head",
        "--stage",
        "text=encoder:text",
    )
    quick = ("--repeats", "3", "--seconds", "0.5", "--threads", "1", "--batch", "3")
    assert mmsim(monkeypatch, "measure", f"{tmp_path}/mine.py:build", *inputs, *quick, "-o", str(out)) == 0
    found = measurement.load(out)
    assert found.batch == 3 and found.machine.threads == 1
    assert found.source.inputs == {"image": "Bx3x8x8", "text": "Bx16"}
    assert {"encoder:text", "head"} <= set(found.stages)
    assert "whole network" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("av_mnist", "--device", "tpu"), "--device: unknown device 'tpu'"),
        (("av_mnist", "--dtype", "float9"), "--dtype: unknown floating format 'float9'"),
        (("av_mnist", "--stage", "smell"), "--stage: no layer in stage 'smell'"),
        (("av_mnist", "--stage", "fusion", "--stage", "head"), "--stage: one stage at a time"),
        (("av_mnist", "--mode", "graph"), "--mode: a CUDA graph needs --device cuda"),
        (("av_mnist", "--input", "x=1"), "--input does not go with the workload"),
        (("toy.json",), "a layer dump has no program to run"),
    ],
)
def test_bad_requests_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert mmsim(monkeypatch, "measure", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


# --- files ---------------------------------------------------------------------------------------


def test_a_file_keeps_every_figure(measured: Measurement, tmp_path: Path) -> None:
    path = measurement.dump(measured, tmp_path / "m.json")
    again = measurement.load(path)
    assert measurement.to_record(again) == measurement.to_record(measured)
    assert path.stat().st_size < 14_000  # small enough to commit


DAMAGES: list[tuple[tuple[Any, ...], Any, str]] = [
    (("format",), "other", "not a measurement"),
    (("version",), 99, "version: version 99, expected 2"),
    (("batch",), 0, "batch: must be positive"),
    (("batch",), "two", "batch"),
    (("machine", "kind"), "tpu", "machine.kind"),
    (("wall_s", 0), -1.0, "wall_s: not a spread"),
    (("device_s", 1), 1e9, "device_s: not a spread"),
    (("device_s", 4), 0, "device_s: not a spread"),
    (("layers",), [], "layers: no layer"),
    (("layers", 3, 4, 3), 1e9, "layers.3.device_s: not a spread"),
    (("layers", 3, 4), None, "layers.3.4"),
    (("layers", 3, 3), "encoder:smell", "layers.3.stage: 'encoder:smell' is not among the stages"),
    (("layers", 1, 1), "SAME", "stands twice"),
    (("stages", "fusion", "wall_s", 2), -3.0, "stages.fusion.wall_s: not a spread"),
    (("mode",), "fast", "mode"),
    (("surprise",), 1, "surprise"),
    (("memory", "weights_bytes"), 1.5, "memory.weights_bytes"),
]


@pytest.mark.parametrize("where, value, message", DAMAGES, ids=lambda part: str(part)[:40])
def test_damaged_files_are_refused_with_the_field(
    measured: Measurement, tmp_path: Path, where: tuple[Any, ...], value: Any, message: str
) -> None:
    record = measurement.to_record(measured)
    target: Any = record
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = record["layers"][0][1] if value == "SAME" else value
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError) as error:
        measurement.load(path)
    assert message in str(error.value) and "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{}", "[" * 5000, '{"format": NaN}', "\x00"])
def test_files_that_are_no_json_record_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"damaged\.json"):
        measurement.load(path)


def test_any_truncation_is_refused(measured: Measurement, tmp_path: Path) -> None:
    text = measurement.dump(measured, tmp_path / "m.json").read_text().rstrip()
    path = tmp_path / "cut.json"
    for end in range(0, len(text) - 1, len(text) // 40):
        path.write_text(text[:end])
        with pytest.raises(InputError):
            measurement.load(path)


def test_what_runs_on_the_host_before_the_network_is_timed_beside_it() -> None:
    cpu = torch.device("cpu")
    small = prepare(nn.Linear(4, 2), {"input": torch.randn(1, 4)}, {"": "head"}, "float32", cpu)
    subject = replace(small, host_steps={"preprocess:text tokenise": lambda: time.sleep(0.01)})
    options = Options(1, "float32", Source(network="small"))
    measured = measure(subject, Rule(repeats=3, warmup_s=0.01, budget_s=1.0), options)
    assert 0.01 <= measured.host_steps["preprocess:text tokenise"].median < 0.1
    assert measured.device_s.median < 0.01


def test_a_workload_from_raw_data_brings_its_tokenisation() -> None:
    source = Source(network="mm_imdb", modality="text", end_to_end=True, knobs={"length": 8})
    subject = subject_of(source, batch=1, dtype="float32", device=torch.device("cpu"))
    assert list(subject.host_steps) == ["preprocess:text tokenise"]


def test_a_weight_that_two_modules_share_is_filled_once() -> None:
    with weightless():
        words, head = nn.Embedding(1000, 64), nn.Linear(64, 1000, bias=False)
    head.weight = words.weight
    network = filled(nn.Sequential(words, head))
    assert head.weight is words.weight and not head.weight.is_meta
    assert sum(weight.numel() for weight in network.parameters()) == 64_000


POSITIONAL = """
import torch
from torch import nn

class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, scale, frames, sound):
        return self.linear(frames) * scale + sound

def build():
    return Policy(), (torch.ones(8), torch.ones(2, 8), torch.ones(2, 8))
"""


def test_inputs_of_a_factory_are_named_and_batched_as_traced(tmp_path: Path) -> None:
    (tmp_path / "policy.py").write_text(POSITIONAL)
    source = Source(network=f"{tmp_path / 'policy.py'}:build")
    subject = subject_of(source, batch=5, dtype="float32", device=torch.device("cpu"))
    assert [tuple(tensor.shape) for tensor in subject.inputs] == [(8,), (5, 8), (5, 8)]
    traced = trace_source(source.network).at(B=5)
    assert subject.graph.layers == traced.layers
    assert [tensor.name for tensor in subject.graph.inputs] == ["scale", "frames", "sound"]
