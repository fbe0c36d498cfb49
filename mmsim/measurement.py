"""One measured run of a traced network as a value, and its file: schema-checked, small enough to commit."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from mmsim import files
from mmsim.errors import InputError

FORMAT, VERSION = "mmsim measurement", 1


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure that was measured `runs` times: its median, the middle half, and the least."""

    median: float
    p25: float
    p75: float
    least: float
    runs: int

    @property
    def relative(self) -> float:
        """Half the interquartile range over the median: the noise of this figure."""
        return (self.p75 - self.p25) / 2 / self.median if self.median else 0.0


def spread(samples: Sequence[float]) -> Spread:
    """The `Spread` of at least one sample.

    >>> spread([3.0, 1.0, 2.0]).median
    2.0
    """
    ordered = sorted(samples)
    low, _, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return Spread(statistics.median(ordered), low, high, ordered[0], len(ordered))


class LayerTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer of the graph: `device_s` is the time the device worked on it.

    On a CPU device and host are one; on a GPU `host_s` is what the host took to dispatch it, and
    `kernels` are the names of the kernels that it launched.
    """

    id: int
    name: str
    op: str
    stage: str
    device_s: Spread
    host_s: float | None = None
    kernels: dict[str, float] = {}


class StageTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage run alone on inputs of the right shape, and what its layers sum to inside the network."""

    layers_s: float
    wall_s: Spread | None = None
    dispatches: int = 0
    copies: int = 0
    synchronisations: int = 0


class Peak(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Peak memory split as in the MMBench paper: weights, inputs, intermediates."""

    weights_bytes: int
    inputs_bytes: int
    intermediates_bytes: int
    method: str


class Energy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Energy of one pass, read from the device's own counter over many passes."""

    joules: float
    average_w: float
    method: str


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The device as it was found; clocks are read, never set."""

    kind: Literal["cpu", "cuda"]
    name: str
    threads: int | None = None
    memory_bytes: int | None = None
    driver: str | None = None
    clocks_mhz: dict[str, float] = {}
    power_limit_w: float | None = None


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A traced network timed on a real device. Times in seconds of one forward pass."""

    format: str
    version: int
    workload: str
    variant: str
    batch: int
    dtype: str
    mode: Literal["eager", "graph", "compiled"]
    machine: Machine
    software: dict[str, str]
    command: str
    date: str
    rule: str
    wall_s: Spread  # the whole network as the user waits for it
    device_s: Spread  # the sum of the layers' device time, per pass
    layers: list[LayerTime]
    stages: dict[str, StageTime]
    memory: Peak | None = None
    energy: Energy | None = None
    host_s: Spread | None = None
    host_steps: dict[str, Spread] = {}  # preprocessing that no graph holds, such as tokenisation; not in `wall_s`
    cache: Literal["warm", "cold"] = "warm"
    unmapped_share: float = 0.0
    notes: list[str] = []


def load(path: str | Path) -> Measurement:
    """Read a measurement; raises `InputError` naming the field of what is wrong."""
    value = files.read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"not a measurement (its 'format' must be {FORMAT!r})", file=str(path))
    if value.get("version") != VERSION:
        raise InputError(f"version {value.get('version')!r}, expected {VERSION}", file=str(path), field="version")
    measured = files.check(value, Measurement, file=str(path))
    for where, figure in _figures(measured):
        if not (0 <= figure.least <= figure.median) or figure.runs < 1 or figure.p25 > figure.p75:
            raise InputError("not a spread of times", file=str(path), field=where)
    if not measured.layers:
        raise InputError("no layer was measured", file=str(path), field="layers")
    return measured


def dump(measurement: Measurement, path: str | Path) -> Path:
    """Write a measurement; the inverse of `load`."""
    return files.write_json(path, to_record(measurement))


def to_record(measurement: Measurement) -> dict[str, Any]:
    """The plain values of a measurement file, times rounded to a tenth of a nanosecond."""
    record = msgspec.to_builtins(measurement)
    rounded: dict[str, Any] = _rounded(record)
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 10)
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value


def _figures(measured: Measurement) -> Iterable[tuple[str, Spread]]:
    yield "wall_s", measured.wall_s
    yield "device_s", measured.device_s
    for index, layer in enumerate(measured.layers):
        yield f"layers.{index}.device_s", layer.device_s
    for name, stage in measured.stages.items():
        if stage.wall_s is not None:
            yield f"stages.{name}.wall_s", stage.wall_s
    for name, step in measured.host_steps.items():
        yield f"host_steps.{name}", step
