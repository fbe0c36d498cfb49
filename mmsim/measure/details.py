"""What a device tells beside times: kernels and copies, system metrics, energy, encoders on streams, counters."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable

import msgspec
import torch

from mmsim.errors import InputError
from mmsim.measure.built import release
from mmsim.measure.counters import counters, samples
from mmsim.measure.energy import energy
from mmsim.measure.kernels import profile
from mmsim.measure.machine import gpu
from mmsim.measure.parts import alone
from mmsim.measure.programs import runner
from mmsim.measure.rule import Notes, Rule
from mmsim.measure.session import Options
from mmsim.measure.streams import concurrent
from mmsim.measure.subject import Subject
from mmsim.measurement import Kernels, LayerTime, Measurement, Spread, StageTime, System

COMPILED = "a compiled program has no layers: times of the whole and of its stages alone"
BY_PROFILER = "layers are the kernels' own times, profiled op by op: a CUDA graph launches the same kernels"


def check(device: torch.device, options: Options, tools: bool = True) -> None:
    """Refuse what this device cannot tell before anything runs; without `tools`, what a tool lacks is a note later."""
    if options.counted and device.type != "cuda":
        raise InputError("counters are those of a GPU: it needs --device cuda", field="--counters")
    if tools and options.counted and shutil.which("ncu") is None:
        raise InputError("Nsight Compute (ncu) is not installed", field="--counters")
    if options.streams and device.type != "cuda":
        raise InputError("encoders run side by side on CUDA streams: it needs --device cuda", field="--streams")


def detailed(subject: Subject, measured: Measurement, rule: Rule, options: Options) -> Measurement:
    """`measured` with what this device can tell beside times; what fails is left out, with a note why."""
    network = subject
    if options.source.only is not None:
        subject = alone(subject, options.source.only)
    notes = Notes([*measured.notes, *([COMPILED] if options.mode == "compiled" else [])])
    kernels = None
    if subject.device.type == "cuda" and options.mode != "compiled":
        kernels = notes.attempt("kernels", lambda: profile(subject))
    if kernels is not None and not measured.layers:
        measured = _by_kernels(subject, measured, kernels)
        notes.lines.append(BY_PROFILER)
    busy = None
    used = None
    if options.full:
        used = notes.attempt("energy", lambda: energy(runner(subject, options.mode), subject.device))
        busy = notes.attempt("the driver's utilization", lambda: _busy_by_driver(subject.device))
    both = notes.attempt("streams", lambda: concurrent(subject, rule, options.mode)) if options.streams else None
    found = None
    if options.counted:
        wanted = samples(network.captured, network.graph)
        release()  # ncu watches another process, which needs memory of its own
        found = notes.attempt("counters", lambda: counters(options.source, options.batch, options.dtype, wanted))
    stages = {name: _with_kernels(subject, name, stage, kernels) for name, stage in measured.stages.items()}
    measured = msgspec.structs.replace(measured, kernels=kernels, stages=stages)
    return msgspec.structs.replace(
        measured,
        system=system(measured, busy),
        energy=used,
        concurrent=both,
        counters={stage: values for stage, values in (found or {}).items() if stage in stages},
        notes=notes.lines,
    )


def warned(measure: Callable[[], Measurement]) -> Measurement:
    """What `measure` gives, with what PyTorch warned of on the way among the notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        measured = measure()
    lines = dict.fromkeys(f"PyTorch warns: {' '.join(str(one.message).split())[:200]}" for one in caught)
    return msgspec.structs.replace(measured, notes=[*measured.notes, *lines])


def system(measured: Measurement, busy_by_driver: float | None = None) -> System:
    """The system metrics of a measurement, from its times, kernels and memory."""
    kernels, memory = measured.kernels, measured.memory
    worked = kernels.device_s if kernels else measured.device_s.median
    if measured.machine.kind == "cuda" and measured.mode != "eager":
        worked = measured.device_s.median  # events around one launch: the device waits for nothing between
    return System(
        busy=min(1.0, worked / measured.wall_s.median),
        macs_per_s=measured.macs / measured.wall_s.median,
        copies=sum(kernels.copies.values()) if kernels else 0,
        copy_bytes=kernels.copy_bytes if kernels else 0,
        copy_s=kernels.copy_s if kernels else 0.0,
        synchronisations=sum(stage.synchronisations for stage in measured.stages.values()),
        memory_bytes=memory.total_bytes if memory else None,
        busy_by_driver=busy_by_driver,
    )


def _busy_by_driver(device: torch.device) -> float | None:
    """What NVML says just after many passes."""
    nvml = gpu(device) if device.type == "cuda" else None
    rates = nvml.ask("nvmlDeviceGetUtilizationRates") if nvml is not None else None
    return rates.gpu / 100 if rates is not None else None


def _with_kernels(subject: Subject, name: str, stage: StageTime, kernels: Kernels | None) -> StageTime:
    """The kernels that a stage launched, its copies between host and device and its waits, as the profiler saw them."""
    if kernels is None:
        return stage

    def count(table: dict[str, int]) -> int:
        return sum(table.get(layer.name, 0) for layer in subject.graph.layers if str(layer.stage) == name)

    return msgspec.structs.replace(
        stage,
        dispatches=count(kernels.launches),
        copies=count(kernels.copies),
        synchronisations=count(kernels.synchronisations),
    )


def _by_kernels(subject: Subject, measured: Measurement, kernels: Kernels) -> Measurement:
    """Layers by their kernels alone, where events inside a CUDA graph could not be had."""

    def timed(seconds: float) -> Spread:
        return Spread(seconds, seconds, seconds, seconds, 1)

    layers = [
        LayerTime(la.id, la.name, la.op, str(la.stage), timed(kernels.layers_s.get(la.name, 0.0)), 0.0)
        for la in subject.graph.layers if str(la.stage) in measured.stages
    ]  # fmt: skip
    sums = {name: sum(la.device_s.median for la in layers if la.stage == name) for name in measured.stages}
    return msgspec.structs.replace(
        measured,
        layers=layers,
        layers_s=timed(sum(sums.values())),
        stages={name: msgspec.structs.replace(s, layers_s=sums[name]) for name, s in measured.stages.items()},
    )
