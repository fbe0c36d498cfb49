"""Every path of a measurement on a GPU, run on one that the CPU plays (`tests.fake_cuda`)."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx, nn

from mmsim import cli, measurement
from mmsim.cli.measured import tables
from mmsim.errors import InputError
from mmsim.measure import counters, energy, machine, memory, programs, session, subject, sweep
from mmsim.measure.clock import CudaClock, Pass, excess
from mmsim.measure.details import detailed, warned
from mmsim.measure.kernels import profile
from mmsim.measure.rule import Rule
from mmsim.measure.session import Options, measure
from mmsim.measure.subject import Subject, prepare, subject_of
from mmsim.measurement import Measurement, Source
from mmsim.workloads import names
from tests import fake_cuda
from tests.test_measure_validate import as_predicted

CUDA, META = torch.device("cuda"), torch.device("meta")
QUICK = Rule(repeats=3, least_runs=2, warmup_runs=1, warmup_s=0.0, budget_s=1.0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> fake_cuda.Machine:
    monkeypatch.setattr(energy, "LEAST_S", 0.1)
    profile.cache_clear()
    return fake_cuda.install(monkeypatch)


def two_encoders() -> Subject:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.text, self.head = nn.Linear(8, 16), nn.Linear(4, 16), nn.Linear(16, 2)

        def forward(self, image: torch.Tensor, text: torch.Tensor) -> Any:
            return self.head(torch.relu(self.image(image) + self.text(text)))

    stages = {"image": "encoder:image", "text": "encoder:text", "": "fusion", "head": "head"}
    inputs = {"image": torch.randn(2, 8), "text": torch.randn(2, 4)}
    return replace(prepare(Two(), inputs, stages, "float32", torch.device("cpu")), device=CUDA)


def measured(network: Subject, **options: Any) -> Measurement:
    chosen = Options(2, "float32", Source("two"), **options)
    return detailed(network, measure(network, QUICK, chosen), QUICK, chosen)


# --- where the program runs ----------------------------------------------------------------------


QUICKLY_BUILT = ("av_mnist", "mujoco_push", "vision_touch")


@pytest.mark.parametrize(
    "name", [name if name in QUICKLY_BUILT else pytest.param(name, marks=pytest.mark.slow) for name in names()]
)
def test_all_of_a_network_moves_to_its_device(name: str) -> None:
    """On ``meta``, which mixes with no other device: nothing that the network makes on its way stays behind."""
    stayed: list[str] = []

    class Watching(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            out = super().run_node(n)
            found = out if isinstance(out, (list, tuple)) else [out]
            stayed.extend(n.name for part in found if isinstance(part, torch.Tensor) and not part.is_meta)
            return out

    network = subject_of(Source(name), batch=2, dtype="float32", device=META)
    with torch.no_grad():
        Watching(network.captured).run(*network.inputs)
    assert stayed == []


def test_a_device_named_as_text_stays() -> None:
    class Copies(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.ones(4, device="cpu").to(x.device) + torch.zeros(4, device=x.device)

    captured = prepare(Copies(), {"x": torch.randn(4)}, {"": "head"}, "float32", torch.device("cpu")).captured
    moved = subject.placed(captured, META)
    devices = [
        node.kwargs.get("device", node.args[-1]) for node in moved.graph.nodes if node.name in ("ones", "zeros", "to")
    ]
    assert devices == ["cpu", META, META]


# --- clocks and programs -------------------------------------------------------------------------


def test_an_operation_is_what_lies_between_its_two_events(
    gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look at the clock takes 10 us: two by an event of the host's own, and one by the event itself."""
    clock, ticks = CudaClock(), iter(range(1000))
    monkeypatch.setattr(fake_cuda.time, "perf_counter", lambda: next(ticks) * 1e-5)
    for index in (-1, 0, 1):
        clock.mark(index)
    device, host = clock.finish()
    assert device == [pytest.approx(3e-5)] * 2 and len(host) == 2


def test_events_are_used_again_in_the_next_pass(gpu: fake_cuda.Machine) -> None:
    clock = CudaClock()
    for length in (5, 5, 3):
        for index in range(-1, length):
            clock.mark(index)
        assert len(clock.finish()[0]) == length
    assert len(clock._events) == 6


def test_what_libraries_keep_is_no_memory_of_the_network(
    gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuBLAS takes a workspace in the first pass and keeps it; intermediates take 100 bytes in each."""
    held = [0]
    network = two_encoders()

    def forward(*_: Any) -> None:
        held[0] = 32 << 20

    monkeypatch.setattr(network.captured, "forward", forward)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: held[0])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: held[0] + 100)
    assert memory.peak(network.captured, network.inputs, CUDA)[0].intermediates_bytes == 100


def test_what_pytorch_warns_of_stands_in_the_notes_once() -> None:
    def measure() -> Measurement:
        for _ in range(3):
            warnings.warn("RNN module weights are\nnot contiguous", UserWarning, stacklevel=1)
        return sound

    sound = as_predicted(notes=["first"])
    assert warned(measure).notes == ["first", "PyTorch warns: RNN module weights are not contiguous"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0, 30))
def test_what_is_taken_off_makes_the_layers_as_long_as_the_whole(spans: list[float], whole: float) -> None:
    each = excess(spans, whole)
    left = sum(max(0.0, span - each) for span in spans)
    assert left == pytest.approx(min(whole, sum(spans)), abs=1e-9)


def test_marks_that_slow_a_pass_are_taken_off_its_layers() -> None:
    """A third of 15 us each, of which one layer has only 2: 5 + 3 + 0 are the 8 us of the pass without marks."""
    passes = [session._Passes(([10e-6, 8e-6, 2e-6], [1e-6] * 3), Pass(8e-6, 9e-6))] * 3
    settled, mark_s = session._settled(passes)
    assert mark_s == pytest.approx(5e-6) and settled[0].layers is not None
    assert settled[0].layers[0] == pytest.approx([5e-6, 3e-6, 0.0]) and settled[0].layers[1] == [1e-6] * 3
    assert session._settled([session._Passes(None, Pass(8e-6, 9e-6))])[1] == 0.0


def test_a_wait_that_was_not_seen_in_tracing_breaks_the_capture_by_name(gpu: fake_cuda.Machine) -> None:
    class Waits(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.sum().item()

    network = prepare(Waits(), {"x": torch.ones(4)}, {"": "head"}, "float32", torch.device("cpu"))
    with pytest.raises(InputError, match=r"cannot be captured as a CUDA graph: .* during capture"):
        programs.captured(lambda: network.captured(*network.inputs), CUDA)
    gpu.synchronize()


def test_a_failed_capture_is_one_line_and_leaves_the_stream_as_it_was(gpu: fake_cuda.Machine) -> None:
    before, gpu.refuses = gpu.stream, True
    with pytest.raises(InputError, match=r"cannot be captured as a CUDA graph: CUDA error: .* during capture$"):
        programs.runner(two_encoders(), "graph")
    assert gpu.stream is before


def test_a_network_that_waits_for_the_host_is_not_captured() -> None:
    class Waits(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.sum().item() > 0 else x

    network = prepare(Waits(), {"x": torch.ones(4)}, {"": "head"}, "float32", torch.device("cpu"))
    with pytest.raises(InputError, match="cannot wait for a value on the host, as item does"):
        programs.runner(replace(network, device=CUDA), "graph")


def test_the_cold_cache_is_larger_than_the_devices(gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(torch, "randn", lambda size, device: sizes.append(4 * size) or torch.ones(4))
    programs.flusher(CUDA, "cold")()
    assert sizes[0] >= 4 * fake_cuda.L2_BYTES and sizes[0] >= programs.COLD_BYTES


# --- measurements --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_one_measurement_has_every_part(gpu: fake_cuda.Machine, tmp_path: Path, mode: Any) -> None:
    found = measured(two_encoders(), mode=mode, streams=True)
    assert found.notes == []
    assert [layer.name for layer in found.layers] == ["linear", "linear_1", "add", "relu", "linear_2"]
    assert all(stage.device_s and stage.dispatches for stage in found.stages.values())
    assert found.kernels and found.kernels.count == 5 and found.kernels.unmapped_share == 0
    assert found.kernels.layers_s["relu"] == pytest.approx(3e-6)
    assert found.memory and found.memory.intermediates_bytes == 4000
    assert found.energy and found.energy.average_w == pytest.approx(100, rel=0.5)
    assert found.machine.driver == "580.159.04" and found.machine.throttled == ["software power cap"]
    assert found.software["cuda"] == "13.0" and "float32 convolutions" in found.software
    assert found.concurrent and found.system and found.system.busy_by_driver is None
    assert measurement.load(measurement.dump(found, tmp_path / "m.json")).kernels


def test_in_a_graph_layers_are_timed_by_the_events_in_it(gpu: fake_cuda.Machine) -> None:
    """A replay puts events 10 us apart: the whole lies between two, and so does each of five layers: 8 us too long."""
    found = measured(two_encoders(), mode="graph")
    assert found.device_s.median == pytest.approx(10e-6) and found.wall_s.median > 10e-6
    assert found.mark_s == pytest.approx(8e-6) and found.overhead == pytest.approx(0)
    assert [layer.device_s.median for layer in found.layers] == pytest.approx([2e-6] * 5)
    assert found.host_s.median == 0.0


def test_what_marks_added_is_said(gpu: fake_cuda.Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Five marks of 8 us on a pass of 10 us."""
    tables(measured(two_encoders(), mode="graph"))
    assert "(+0.0 %, +400 % before 8 us a mark were taken off)" in " ".join(capsys.readouterr().out.split())


def test_a_noisy_pass_does_not_make_the_layers_longer_than_the_whole() -> None:
    """Another layer takes 9 us too long in each pass: no median of one layer shows it, every sum does."""
    spans = [[19e-6 if layer == noisy else 10e-6 for layer in range(3)] for noisy in range(3)]
    settled, mark_s = session._settled([session._Passes((of_pass, [0.0] * 3), Pass(30e-6, 31e-6)) for of_pass in spans])
    assert mark_s == pytest.approx(3e-6)
    assert [sum(p.layers[0]) for p in settled if p.layers] == pytest.approx([30e-6] * 3)


def test_without_events_in_a_graph_the_kernels_stand_for_the_layers(
    gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: CudaClock, index: int) -> None:
        raise RuntimeError("events in a graph are not supported")

    monkeypatch.setattr(CudaClock, "mark", refused)
    found = measured(two_encoders(), mode="graph")
    assert found.layers[3].device_s.median == pytest.approx(3e-6)
    assert found.notes[0].startswith("layers not measured: ") and "kernels' own times" in found.notes[1]


def test_what_fails_is_left_out_with_its_reason(gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no CUPTI here\nand more")

    for where in ("kernels.record", "details.energy", "details.concurrent", "session.peak", "details.counters"):
        monkeypatch.setattr(f"mmsim.measure.{where}", broken)
    found = measured(two_encoders(), streams=True, counted=True)
    assert len(found.layers) == 5 and found.kernels is found.energy is found.memory is found.concurrent is None
    assert [note.split(" not measured: ")[0] for note in found.notes] == [
        "memory", "kernels", "energy", "streams", "counters",
    ]  # fmt: skip
    assert all(note.endswith("RuntimeError: no CUPTI here and more") for note in found.notes)


def test_a_profiler_that_sees_no_kernel_is_said_not_taken_for_zeros(
    gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsim.measure.kernels.record", lambda *_, **__: [])
    found = measured(two_encoders())
    assert found.kernels is None and found.notes == ["kernels not measured: the profiler saw no kernel"]


def test_long_passes_do_not_pile_up_while_energy_is_read(gpu: fake_cuda.Machine) -> None:
    """Passes of 60 ms: the device is waited for after each, however fast the host could launch them."""
    found = energy.energy(lambda: time.sleep(0.06), CUDA)
    assert found and found.passes <= 3


def test_one_stage_that_fails_alone_leaves_the_others(gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = programs.runner

    def runner(part: Subject, mode: Any) -> Any:
        if [node.name for node in part.captured.graph.nodes if node.op == "call_function"] == ["linear_1"]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(part, mode)

    monkeypatch.setattr("mmsim.measure.session.runner", runner)
    found = measured(two_encoders())
    alone = {name: stage.device_s is not None for name, stage in found.stages.items()}
    assert alone == {"encoder:image": True, "encoder:text": False, "fusion": True, "head": True}
    assert found.notes == ["encoder:text alone not measured: OutOfMemoryError: CUDA out of memory."]


def test_energy_from_power_where_there_is_no_counter(gpu: fake_cuda.Machine) -> None:
    del sys.modules["pynvml"].nvmlDeviceGetTotalEnergyConsumption
    found = energy.energy(lambda: None, CUDA)
    assert found and found.average_w == pytest.approx(100) and "averaged" in found.method


def test_without_nvml_the_driver_is_asked_by_its_tool(gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    table = SimpleNamespace(stdout="580.159.04, 345, 3201, 700.00\n")
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: table)
    found = machine.describe(CUDA)
    assert (found.driver, found.clocks_mhz, found.power_limit_w) == ("580.159.04", {"sm": 345, "memory": 3201}, 700)
    monkeypatch.setattr(table, "stdout", "[N/A]\n")
    assert machine.describe(CUDA).driver is None


def test_a_network_that_does_not_fit_is_one_line(
    gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.full = True
    monkeypatch.setattr(sys, "argv", ["mmsim", "measure", "vision_touch", "--device", "cuda", "--mode", "graph"])
    assert cli._run() == 2
    error = capsys.readouterr().err
    assert error.startswith("mmsim: vision_touch: does not run on cuda: OutOfMemoryError: CUDA out of memory. Tried")
    assert error.count("\n") == 1


# --- sweeps --------------------------------------------------------------------------------------


def sweeping(folder: Path, *more: str) -> list[str]:
    quick = ("--repeats", "2", "--seconds", "0.1", "--device", "cuda", "--json")
    return ["mmsim", "measure", "vision_touch", "--all", "-o", str(folder), *quick, *more]


@pytest.fixture
def two_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsim.workloads import get

    workload = get("vision_touch")
    some = {name: how for name, how in workload.variants().items() if name in ("uni_force", "uni_proprio")}
    monkeypatch.setattr(type(workload), "variants", lambda self: some)


def test_a_sweep_of_a_gpu_by_command(
    gpu: fake_cuda.Machine, two_variants: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "argv", sweeping(tmp_path, "--mode", "eager", "--mode", "graph"))
    assert cli._run() == 0
    assert len(json.loads(capsys.readouterr().out)["measured"]) == 4
    first, second = (
        measurement.load(tmp_path / f"vision_touch.{v}.b1.float32.graph.json") for v in ("uni_force", "uni_proprio")
    )
    assert first.energy is not None and second.energy is None  # the paper's own variant in full
    assert second.kernels is not None and second.layers


def test_out_of_memory_skips_larger_batches_and_is_not_tried_again(
    gpu: fake_cuda.Machine, two_variants: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    gpu.full = True
    command = sweeping(tmp_path, "--mode", "graph", "--batch", "1", "--batch", "40")
    monkeypatch.setattr(sys, "argv", command)
    assert cli._run() == 0
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert len(failed) == 4
    assert failed["vision_touch.uni_force.b1.float32.graph.json"].startswith("out of memory: CUDA out of memory. Tried")
    assert failed["vision_touch.uni_force.b40.float32.graph.json"].endswith(
        "uni_force.b1.float32.graph.json does not fit either"
    )
    gpu.full = False
    assert cli._run() == 0
    assert json.loads(capsys.readouterr().out) == {"measured": [], "stood": [], "failed": failed, "left": 0}
    (tmp_path / sweep.FAILED).unlink()
    assert cli._run() == 0
    assert len(json.loads(capsys.readouterr().out)["measured"]) == 4


def test_a_gpu_that_fails_for_good_ends_the_sweep(
    gpu: fake_cuda.Machine, two_variants: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """An illegal access: every later call fails. Only the culprit is noted; the same command goes on after it."""

    def lost(*_: Any) -> Any:
        monkeypatch.setattr(torch.cuda, "synchronize", lost)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as patch:
        patch.setattr("mmsim.measure.session.peak", lost)
        patch.setattr("mmsim.measure.session._passes", lost)
        patch.setattr(sys, "argv", sweeping(tmp_path))
        assert cli._run() == 2
        assert "the GPU fails since vision_touch.uni_force.b1.float32.eager.json" in capsys.readouterr().err
    assert list(json.loads((tmp_path / sweep.FAILED).read_text())) == ["vision_touch.uni_force.b1.float32.eager.json"]
    fake_cuda.install(monkeypatch)
    monkeypatch.setattr(sys, "argv", sweeping(tmp_path))
    assert cli._run() == 0
    assert json.loads(capsys.readouterr().out)["measured"] == ["vision_touch.uni_proprio.b1.float32.eager.json"]


# --- Nsight Compute ------------------------------------------------------------------------------


def table(groups: list[list[tuple[str, str]]], columns: list[str]) -> str:
    """As ``ncu --csv --page raw`` prints it: a marker, then (duration in ns, value of all metrics) of a layer."""
    rows = [["ID", "Kernel Name", *columns], ["", "", "ns", *["%"] * (len(columns) - 1)]]
    for group in groups:
        rows.append(["0", "spin_kernel(long)", "900", *["1"] * (len(columns) - 1)])
        rows += [["1", "void gemm<float, 4>", ns, *[value] * (len(columns) - 1)] for ns, value in group]
    lines = (",".join(f'"{cell}"' for cell in row) for row in rows)
    return "==PROF== Connected to process 12\n==PROF== Disconnected\n" + "\n".join(lines) + "\n"


COLUMNS = [counters.DURATION, *(column for group in counters.GROUPS.values() for column in group)]
WANTED = [counters.Sample(0, "encoder:image", 3), counters.Sample(4, "encoder:image", 1), counters.Sample(7, "head", 1)]


def test_counters_are_weighted_by_time_and_by_how_often_a_layer_occurs() -> None:
    """Three times 1 us at 60 and once 1 us at 20 give 50; the Exec stalls are two reasons added up."""
    found = counters.parse(table([[("1,000", "60")], [("500", "20"), ("500", "20")], [("7", "n/a")]], COLUMNS), WANTED)
    assert found["encoder:image"]["dram_utilization"] == found["encoder:image"]["ipc"] == pytest.approx(50)
    assert found["encoder:image"]["stall_Exec"] == pytest.approx(100)
    assert found["head"]["ipc"] == 0 and set(found["head"]) == set(counters.GROUPS)


def test_what_ncu_refuses_is_said() -> None:
    with pytest.raises(InputError, match="ERR_NVGPUCTRPERM"):
        counters.parse("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission\n", WANTED)
    with pytest.raises(InputError, match="ncu saw 2 layers of 3"):
        counters.parse(table([[("1", "1")], [("1", "1")]], COLUMNS), WANTED)


def test_ncu_is_asked_again_without_metrics_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = ("smsp__warp_issue_stalled_membar_per_warp_active.pct", counters.METRICS["ipc"][0])
    asked: list[list[str]] = []

    def ncu(request: Any, metrics: list[str], within_s: float) -> str:
        asked.append(metrics)
        for name in lacking:
            if name in metrics:
                return f"==ERROR== Failed to find metric {name}\n"
        return table([[("1", "5")]] * 3, metrics)

    monkeypatch.setattr(counters.shutil, "which", lambda name: "/usr/bin/ncu")
    monkeypatch.setattr(counters, "_ncu", ncu)
    found = counters.counters(Source("av_mnist"), 1, "float32", WANTED)
    assert (
        len(asked) == 3
        and not {"stall_Sync", "ipc"} & set(found["head"])
        and found["head"]["stall_Mem"] == pytest.approx(5)
    )


@pytest.fixture
def ncu_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """A script of that name, first on the path."""

    def install(script: str) -> None:
        (tmp_path / "ncu").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "ncu").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


def test_ncu_is_called_with_the_clocks_left_alone(ncu_that: Callable[[str], None]) -> None:
    ncu_that('for word in "$@"; do echo "$word"; done; printf "\\377" >&2')
    words = counters._ncu({"batch": 1}, ["a", "b"], 10.0).splitlines()
    assert words[words.index("--clock-control") + 1] == words[words.index("--cache-control") + 1] == "none"
    assert words[words.index("--metrics") + 1] == "a,b" and json.loads(words[-2]) == {"batch": 1}


def test_with_ncu_ends_the_program_that_it_watches(ncu_that: Callable[[str], None], tmp_path: Path) -> None:
    """It holds the pipe, and would go on using the GPU."""
    ncu_that(f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    start = time.monotonic()
    with pytest.raises(InputError, match="ncu took more than 1 s"):
        counters._ncu({}, ["a"], 1.0)
    assert time.monotonic() - start < 10
    watched = Path("/proc") / (tmp_path / "pid").read_text().strip() / "stat"
    assert not watched.exists() or watched.read_text().split()[2] == "Z"


def test_equal_layers_of_a_stage_are_profiled_once() -> None:
    network = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3)], nn.Linear(8, 2))
    found = prepare(network, {"input": torch.randn(1, 8)}, {"": "head"}, "float32", torch.device("cpu"))
    assert [(s.index, s.times) for s in counters.samples(found.captured, found.graph)] == [(0, 3), (1, 3), (6, 1)]


def test_the_watched_pass_profiles_each_sample_behind_a_marker(
    gpu: fake_cuda.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsim.measure import one_pass

    calls: list[str] = []
    monkeypatch.setattr(one_pass, "subject_of", lambda *_, **__: two_encoders())
    for name, where in (("start", torch.cuda.profiler), ("stop", torch.cuda.profiler), ("_sleep", torch.cuda)):
        monkeypatch.setattr(where, name, lambda *_, name=name: calls.append(name))
    one_pass.main(json.dumps({"source": {"network": "two"}, "batch": 2, "dtype": "float32"}))
    assert calls == ["start", "_sleep", "stop"] * 5
