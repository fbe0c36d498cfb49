"""Two measurements of one network beside each other: how well a measurement repeats, and what its marks add."""

from __future__ import annotations

from statistics import median
from typing import Any

from mmsim.errors import InputError
from mmsim.measurement import Measurement, Spread

TWO_RUNS, MARKS = 0.03, 0.05
"""What a quiet device should reach: two runs this near in the median, layers that sum to the whole this closely."""


def repeat(first: Measurement, second: Measurement) -> dict[str, Any]:
    """Differences of the second run from the first, as shares, and each run's overhead of timing layer by layer.

    Raises `InputError` when the two are not of one network, measured alike.
    """
    for field in ("workload", "variant", "batch", "dtype", "mode", "cache"):
        if getattr(first, field) != getattr(second, field):
            raise InputError(f"{getattr(first, field)!r} in one, {getattr(second, field)!r} in the other", field=field)
    if [layer.name for layer in first.layers] != [layer.name for layer in second.layers]:
        raise InputError("the two do not have the same layers", field="layers")
    stages = {
        name: difference(stage.device_s, other)
        for name, stage in first.stages.items()
        if stage.device_s is not None and name in second.stages and (other := second.stages[name].device_s) is not None
    }
    layers = [difference(a.device_s, b.device_s) for a, b in zip(first.layers, second.layers, strict=True)]
    apart = {
        "device": difference(first.device_s, second.device_s),
        "wall": difference(first.wall_s, second.wall_s),
        "stages": stages,
        "stages_median": median(map(abs, stages.values())) if stages else None,
        "layers_median": median(map(abs, layers)) if layers else None,
    }
    overheads = [run.overhead if run.layers else None for run in (first, second)]
    return {
        **apart,
        "noise": [run.device_s.relative for run in (first, second)],
        "overhead": overheads,
        "within": {
            "two runs": abs(difference(first.device_s, second.device_s)) <= TWO_RUNS,
            "marks": all(overhead is None or abs(overhead) <= MARKS for overhead in overheads),
        },
    }


def difference(first: Spread, second: Spread) -> float:
    """Of two medians, as a share of the first.

    >>> difference(Spread(2.0, 2.0, 2.0, 2.0, 1), Spread(2.1, 2.1, 2.1, 2.1, 1))
    0.05
    """
    return round(second.median / first.median - 1, 6) if first.median else 0.0
