"""A measured network beside its prediction: per layer, stage and network, with the reason where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import isclose
from typing import Any

import msgspec

from mmsim.arch.cpu import KEPT
from mmsim.arch.model import Arch
from mmsim.errors import InputError
from mmsim.gpu import Mode
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.measurement import Measurement, Spread
from mmsim.run import LayerCost, Run, run
from mmsim.size import concrete, total
from mmsim.validate import Pair, errors, spearman

MODES: dict[str, Mode] = {"eager": "eager", "graph": "graph", "compiled": "fused"}
"""How it was measured -> how it is predicted."""
SAME = 0.01
"""Of the MACs of two graphs of one network, which two versions may count a little differently."""


@dataclass(frozen=True)
class LayerPair:
    """One layer: measured with its noise, predicted with its bound, and what it computes and moves at least."""

    name: str
    op: str
    stage: str
    measured_s: float
    noise: float
    predicted_s: float
    bound: str
    macs: int
    bytes: int

    @property
    def pair(self) -> Pair:
        """Without the reasons."""
        return Pair(self.name, self.measured_s, self.predicted_s)

    @property
    def missed_s(self) -> float:
        """Seconds by which the prediction is off: what makes a layer one of the worst."""
        return abs(self.predicted_s - self.measured_s)


@dataclass(frozen=True)
class Comparison:
    """One measurement beside one prediction.

    `layers` are those that the prediction gives a time; `unpredicted_share` is the share of measured
    time in the others (views and the like).
    """

    measured: Measurement
    predicted: Run
    layers: tuple[LayerPair, ...]
    stages: tuple[Pair, ...]
    network: Pair
    unpredicted_share: float

    @property
    def pace(self) -> dict[str, float]:
        """On a CPU: program -> how many times longer it took than when the machine was calibrated."""
        then = self.predicted.arch.cpu.pace_s if self.predicted.arch.cpu else {}
        now = self.measured.pace_s
        return {name: seconds / then[name] for name, seconds in now.items() if name in then and name != KEPT}

    @property
    def title(self) -> str:
        """``av_mnist concat b40 float32 eager``."""
        m = self.measured
        return f"{m.name} b{m.batch} {m.dtype} {m.mode}"


def compare(measured: Measurement, graph: Graph, arch: Arch) -> Comparison:
    """Predict what was measured. `graph` is the traced network, symbolic in the batch or at the batch measured.

    On a GPU the kernels' own times meet, where the profiler saw them; the network's wall time meets
    the predicted latency. On a CPU all times are one, and other work is taken to sweep the caches as it did then.
    Raises `InputError` when graph and measurement are not of the same network.
    """
    predicted = run(_as_measured(graph, measured), _as_found(arch, measured), mode=MODES[measured.mode])
    costs = {cost.layer.name: cost for cost in predicted.layers}
    _check_same(measured, [cost.layer for cost in predicted.layers])
    macs = concrete(predicted.graph.totals().macs)
    if measured.source.only is None and not isclose(macs, measured.macs, rel_tol=SAME, abs_tol=1):
        raise InputError(f"{measured.macs} in the measurement, {macs} in this graph", field="macs")
    kernels = measured.kernels if arch.device is not None else None
    times = {layer.name: _time(layer.device_s, measured) for layer in measured.layers}
    if kernels is not None:
        times = {name: kernels.layers_s.get(name, 0.0) for name in times}
    found = {name: _seconds(costs[name], kernels is not None) for name in times}
    rows = [
        LayerPair(
            layer.name, layer.op, layer.stage, times[layer.name], layer.device_s.relative, found[layer.name],
            costs[layer.name].bound, costs[layer.name].macs, _bytes(predicted.graph, costs[layer.name]),
        )
        for layer in measured.layers if found[layer.name] > 0 and times[layer.name] > 0
    ]  # fmt: skip
    covered, whole = sum(row.measured_s for row in rows), sum(times.values())
    return Comparison(
        measured=measured,
        predicted=predicted,
        layers=tuple(rows),
        stages=tuple(_stages(measured, times, found)),
        network=_network(measured, predicted, found),
        unpredicted_share=1 - covered / whole if whole else 0.0,
    )


def _check_same(measured: Measurement, layers: Sequence[Layer]) -> None:
    """The layers of the graph and of the measurement must be the same ones, of the stages that were measured."""
    ops = {layer.name: layer.op for layer in layers}
    for layer in measured.layers:
        if layer.name not in ops:
            raise InputError(f"this graph has no layer {layer.name!r}: it is not the network that was measured")
        if layer.op != ops[layer.name]:
            raise InputError(f"layer {layer.name!r} is {ops[layer.name]} in this graph, {layer.op} in the measurement")
    seen = {layer.name for layer in measured.layers}
    wanted = (layer.name for layer in layers if measured.source.only in (None, layer.stage.kind, str(layer.stage)))
    missing = next((name for name in wanted if name not in seen), None)
    if measured.layers and missing is not None:
        raise InputError(f"the measurement has no layer {missing!r} of this graph")


def _as_found(arch: Arch, measured: Measurement) -> Arch:
    """A CPU whose caches other work took as quickly as it did during the measurement."""
    if arch.cpu is None or KEPT not in measured.pace_s:
        return arch
    paces = {**arch.cpu.pace_s, KEPT: measured.pace_s[KEPT]}
    return replace(arch, cpu=msgspec.structs.replace(arch.cpu, pace_s=paces))


def _as_measured(graph: Graph, measured: Measurement) -> Graph:
    if "B" in graph.symbols:
        graph = graph.at(B=measured.batch)
    if graph.symbols - set(measured.source.knobs):
        raise InputError(f"the graph leaves {', '.join(sorted(graph.symbols))} open")
    graph = graph.at(**{name: measured.source.knobs[name] for name in graph.symbols})
    leading = {concrete(tensor.shape[0]) for tensor in graph.inputs if tensor.shape}
    if measured.batch not in leading and measured.batch != 1:
        raise InputError(f"the graph is not at batch {measured.batch}, which was measured", field="batch")
    return graph.cast(measured.dtype)


def _time(spread: Spread, measured: Measurement) -> float:
    """On a CPU the lower quartile, as in its calibration: what else runs there only ever adds to a time."""
    return spread.p25 if measured.machine.kind == "cpu" else spread.median


def _seconds(cost: LayerCost, kernels_alone: bool) -> float:
    return cost.kernel_s if kernels_alone else cost.latency_s


def _bytes(graph: Graph, cost: LayerCost) -> int:
    return concrete(total(problem.compulsory_bytes for problem in graph.problems(cost.layer)))


def _stages(measured: Measurement, times: dict[str, float], found: dict[str, float]) -> list[Pair]:
    members: dict[str, list[str]] = {}
    for layer in measured.layers:
        members.setdefault(layer.stage, []).append(layer.name)
    sums = ((stage, sum(times[n] for n in names), sum(found[n] for n in names)) for stage, names in members.items())
    return [Pair(stage, real, predicted) for stage, real, predicted in sums if real > 0]


def _network(measured: Measurement, predicted: Run, found: dict[str, float]) -> Pair:
    real = measured.device_s if measured.machine.kind == "cpu" else measured.wall_s
    overhead = predicted.overhead_s if measured.source.only is None else 0.0
    alone = measured.layers and (measured.source.only is not None or measured.machine.kind == "cpu")
    return Pair("network", _time(real, measured), sum(found.values()) + overhead if alone else predicted.latency_s)


# --- sums over several comparisons ---------------------------------------------------------------


def weighted_error(pairs: Sequence[Pair]) -> float:
    """The mean absolute error in percent, each row by the time it takes: 100 * sum of misses / sum of times."""
    missed = sum(abs(pair.predicted_s - pair.measured_s) for pair in pairs)
    return 100 * missed / sum(pair.measured_s for pair in pairs)


def record(comparisons: Sequence[Comparison], worst: int = 10) -> dict[str, Any]:
    """The answer for programs: each file, and all of them together. Raises `InputError` for none."""
    from mmsim.claims import claims

    if not comparisons:
        raise InputError("no measurement to compare")
    return {
        "files": [_one(comparison, worst) for comparison in comparisons],
        "all": {
            "layers": summary([row.pair for c in comparisons for row in c.layers]),
            "stages": summary([pair for c in comparisons for pair in c.stages]),
            "networks": summary([c.network for c in comparisons]),
        },
        "claims": [asdict(claim) for claim in claims(comparisons)],
    }


def summary(pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """`mmsim.validate.errors` and the error weighted by time; None for no rows."""
    return {**asdict(errors(pairs)), "weighted_percent": weighted_error(pairs)} if pairs else None


def _one(comparison: Comparison, worst: int) -> dict[str, Any]:
    measured = comparison.measured
    return {
        "workload": measured.workload,
        "variant": measured.variant,
        "batch": measured.batch,
        "dtype": measured.dtype,
        "mode": measured.mode,
        "device": measured.machine.name,
        "arch": comparison.predicted.arch.name,
        "pace": comparison.pace,
        "noise_percent": 100 * measured.device_s.relative,
        "network": _figures(comparison.network),
        "stages": {pair.label: _figures(pair) for pair in comparison.stages},
        "layers": summary([row.pair for row in comparison.layers]),
        "stage_rank_correlation": spearman(
            [p.measured_s for p in comparison.stages], [p.predicted_s for p in comparison.stages]
        ),
        "unpredicted_share": comparison.unpredicted_share,
        "worst": [
            asdict(row) | {"error_percent": 100 * row.pair.error} for row in worst_layers(comparison.layers, worst)
        ],
    }


def worst_layers(layers: Sequence[LayerPair], count: int) -> list[LayerPair]:
    """The layers whose prediction misses the most seconds."""
    return sorted(layers, key=lambda row: -row.missed_s)[:count]


def _figures(pair: Pair) -> dict[str, float]:
    return {"measured_s": pair.measured_s, "predicted_s": pair.predicted_s, "error_percent": 100 * pair.error}
