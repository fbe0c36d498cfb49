"""What the MMBench paper says of multi-modal networks, asked of measurements and of predictions alike.

Numbers are those of the paper's figures: encoders take longest (figure 6) but for transformer fusion on
MuJoCo Push and Vision & Touch, which exceeds the encoders, about threefold on Push (section 4.3.1); modalities
take different times, on Push up to 4.09-fold (figure 10); multi-modal networks leave the device idle for
longer than their uni-modal counterparts (figure 11); ten times the batch does not take ten times
as long (figure 12); the fusion changes the work little in most networks (section 4.2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsim.validate_network import Comparison

LITTLE = 1.25
"""A fusion that "changes little" keeps the network's time within this factor of its cheapest sibling."""


@dataclass(frozen=True)
class Claim:
    """One claim about one network (or a pair): the figure, measured and predicted, and whether the claim holds."""

    name: str
    about: str
    figure: str
    measured: float
    predicted: float
    holds_measured: bool
    holds_predicted: bool


def claims(comparisons: Sequence[Comparison]) -> list[Claim]:
    """Every claim that these measurements can speak about."""
    found: list[Claim] = []
    for comparison in comparisons:
        found += _stages(comparison)
        found += _straggler(comparison)
    for group in _groups(comparisons, lambda c: (c.measured.variant,)):
        found += _batches(group)
    for group in _groups(comparisons, lambda c: (c.measured.batch,)):
        found += _fusions(group)
        found += _host(group)
    return found


def _claim(
    name: str, about: str, figure: str, values: tuple[float, float], holds: Callable[[float], bool]
) -> list[Claim]:
    return [Claim(name, about, figure, *values, *(holds(value) for value in values))]


def _kinds(comparison: Comparison) -> list[dict[str, float]]:
    """Seconds by kind of stage: measured, predicted."""
    sums: list[dict[str, float]] = [{}, {}]
    for pair in comparison.stages:
        kind = pair.label.partition(":")[0]
        for side, seconds in zip(sums, (pair.measured_s, pair.predicted_s), strict=True):
            side[kind] = side.get(kind, 0.0) + seconds
    return sums


def _stages(comparison: Comparison) -> list[Claim]:
    sides = _kinds(comparison)
    if not all({"encoder", "fusion"} <= set(side) for side in sides):
        return []
    measured, predicted = (side["fusion"] / side["encoder"] if side["encoder"] else 0.0 for side in sides)
    workload, variant = comparison.measured.workload, comparison.measured.variant
    about, figure = comparison.title, "fusion / encoders"
    if variant == "transformer" and workload in ("mujoco_push", "vision_touch"):
        return _claim("transformer fusion exceeds the encoders", about, figure, (measured, predicted), lambda x: x > 1)
    return _claim("encoders exceed the fusion", about, figure, (measured, predicted), lambda x: x < 1)


def _straggler(comparison: Comparison) -> list[Claim]:
    encoders = [pair for pair in comparison.stages if pair.label.startswith("encoder:")]
    sides = [[p.measured_s for p in encoders], [p.predicted_s for p in encoders]]
    if len(encoders) < 2 or not all(min(side) > 0 for side in sides):
        return []
    measured, predicted = (max(side) / min(side) for side in sides)
    return _claim(
        "modalities differ", comparison.title, "slowest / fastest encoder", (measured, predicted), lambda x: x > 1.5
    )


def _batches(group: Sequence[Comparison]) -> list[Claim]:
    """Each batch beside the smallest one: time grows by less than the batch."""
    ordered = sorted(group, key=lambda c: c.measured.batch)
    found: list[Claim] = []
    for larger in ordered[1:]:
        first = ordered[0]
        times = larger.measured.batch / first.measured.batch
        ratios = (
            larger.network.measured_s / first.network.measured_s / times,
            larger.network.predicted_s / first.network.predicted_s / times,
        )
        about = f"{larger.title} over b{first.measured.batch}"
        found += _claim("time grows by less than the batch", about, "growth / batch", ratios, lambda x: x < 1)
    return found


def _fusions(group: Sequence[Comparison]) -> list[Claim]:
    """Each fusion beside the cheapest of the same workload."""
    fused = [c for c in group if not c.measured.source.modality]
    if len(fused) < 2:
        return []
    first = min(fused, key=lambda c: c.network.measured_s)
    found: list[Claim] = []
    for other in fused:
        if other is not first:
            ratios = (
                other.network.measured_s / first.network.measured_s,
                other.network.predicted_s / first.network.predicted_s,
            )
            about = f"{other.title} over {first.measured.variant}"
            found += _claim("the fusion changes little", about, "time ratio", ratios, lambda x: x < LITTLE)
    return found


def _host(group: Sequence[Comparison]) -> list[Claim]:
    """On a GPU: the share of the wall time in which no kernel runs, over that of each uni-modal counterpart."""
    seen = [c for c in group if c.measured.machine.kind == "cuda" and c.measured.kernels is not None]
    multi = [c for c in seen if not c.measured.source.modality]
    single = [c for c in seen if c.measured.source.modality]
    found: list[Claim] = []
    for both in multi:
        for one in single:
            ratios = (_idle(both)[0] / _idle(one)[0], _idle(both)[1] / _idle(one)[1])
            about = f"{both.title} over {one.measured.variant}"
            found += _claim(
                "multi-modal waits more for the host", about, "ratio of idle shares", ratios, lambda x: x > 1
            )
    return found


def _idle(comparison: Comparison) -> tuple[float, float]:
    """The share of the wall time without a kernel: measured, predicted (at least a thousandth, to divide by)."""
    kernels = comparison.measured.kernels
    real = 1 - (kernels.device_s if kernels else 0.0) / comparison.measured.wall_s.median
    predicted = 1 - comparison.predicted.total.kernel_s / comparison.predicted.latency_s
    return max(real, 1e-3), max(predicted, 1e-3)


def _groups(
    comparisons: Iterable[Comparison], key: Callable[[Comparison], tuple[object, ...]]
) -> list[list[Comparison]]:
    """Comparisons of one workload, format, mode and device that also share `key`."""
    groups: dict[tuple[object, ...], list[Comparison]] = {}
    for comparison in comparisons:
        m = comparison.measured
        groups.setdefault((m.workload, m.dtype, m.mode, m.machine.name, m.cache, *key(comparison)), []).append(
            comparison
        )
    return list(groups.values())
