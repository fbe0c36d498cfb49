"""What a device tells beside times: kernels and copies, energy, encoders on streams, counters."""

from __future__ import annotations

import msgspec

from mmsim.measure.counters import counters
from mmsim.measure.energy import energy
from mmsim.measure.kernels import profile
from mmsim.measure.programs import runner
from mmsim.measure.session import Options, Rule, parts
from mmsim.measure.streams import concurrent
from mmsim.measure.subject import Subject
from mmsim.measurement import Kernels, LayerTime, Measurement, Spread

COMPILED = "a compiled program has no layers: times of the whole and of its stages alone"
IN_GRAPH = "layers are the kernels' own times, profiled op by op: a CUDA graph launches the same kernels"


def detailed(
    subject: Subject, measured: Measurement, rule: Rule, options: Options, *, streams: bool, counted: bool
) -> Measurement:
    """`measured` with what this device can tell; `streams` and `counted` (by ncu) take longer and are asked for."""
    if options.source.only is not None:
        subject = parts(subject, (options.source.only,))[0]
    on_gpu = subject.device.type == "cuda"
    kernels = profile(subject) if on_gpu and options.mode != "compiled" else None
    notes = [*measured.notes, *([COMPILED] if options.mode == "compiled" else [])]
    if options.mode == "graph" and kernels is not None:
        measured = _in_graph(measured, kernels)
        notes.append(IN_GRAPH)
    return msgspec.structs.replace(
        measured,
        kernels=kernels,
        energy=energy(runner(subject, options.mode), subject.device),
        concurrent=concurrent(subject, rule) if streams else None,
        counters=counters(options.source, options.batch, options.dtype, measured.stages) if counted else {},
        notes=notes,
    )


def _in_graph(measured: Measurement, kernels: Kernels) -> Measurement:
    """Layers by their kernels alone: events between ops would hold the host's gaps, which a graph has not."""

    def timed(layer: LayerTime) -> LayerTime:
        seconds = kernels.layers_s.get(layer.name, 0.0)
        return msgspec.structs.replace(layer, device_s=Spread(seconds, seconds, seconds, seconds, 1), host_s=0.0)

    layers = [timed(layer) for layer in measured.layers]
    sums = {name: sum(la.device_s.median for la in layers if la.stage == name) for name in measured.stages}
    whole = sum(sums.values())
    return msgspec.structs.replace(
        measured,
        layers=layers,
        layers_s=Spread(whole, whole, whole, whole, 1),
        stages={name: msgspec.structs.replace(s, layers_s=sums[name]) for name, s in measured.stages.items()},
    )
