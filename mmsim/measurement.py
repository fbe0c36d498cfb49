"""One measured run of a traced network as a value, and its file: schema-checked, small enough to commit."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from mmsim import files
from mmsim.errors import InputError

FORMAT, VERSION = "mmsim measurement", 2
Mode: TypeAlias = Literal["eager", "graph", "compiled"]


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A figure that was measured `runs` times: its median, the middle half, and the least; a list in files."""

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


class LayerTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One layer of the graph, a list in files: `device_s` is the time the device worked on it.

    On a CPU device and host are one; on a GPU `host_s` is what the host took to dispatch it.
    """

    id: int
    name: str
    op: str
    stage: str
    device_s: Spread
    host_s: float | None = None


class StageTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage run alone on inputs of the right shape, and what its layers sum to inside the network.

    `copies` are those between host and device, `synchronisations` the times that the host waits for a value.
    """

    layers_s: float
    device_s: Spread | None = None
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

    @property
    def total_bytes(self) -> int:
        """All three."""
        return self.weights_bytes + self.inputs_bytes + self.intermediates_bytes


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to have the same network again: what was named on the command line, option by option."""

    network: str
    fusion: str | None = None
    modality: str | None = None
    end_to_end: bool = False
    host_costs: bool = False
    knobs: dict[str, int] = {}
    inputs: dict[str, str] = {}
    stages: dict[str, str] = {}
    only: str | None = None  # the one stage that was measured

    @property
    def is_own(self) -> bool:
        """Whether this is a model of the user's own: a program or a factory, not a workload's name."""
        return not self.network.isidentifier()


class Kernels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kernels of one pass as the profiler saw them, in device seconds; `layers_s` are kernels alone, no gaps.

    `unmapped_share` is the share of device time of kernels that belong to no layer. Copies are those between
    host and device; one on the device is a kernel.
    """

    count: int
    device_s: float
    by_class: dict[str, float]  # by kernel name, MMBench's rule
    by_operator: dict[str, float]  # by the layer's op
    by_size: dict[str, float]  # share of device time of kernels in the paper's bins
    by_name: dict[str, float]
    layers_s: dict[str, float]  # layer name -> seconds
    unmapped_share: float
    launches: dict[str, int] = {}  # layer name -> kernels
    copies: dict[str, int] = {}  # layer name -> copies
    copy_s: float = 0.0
    copy_bytes: int = 0
    synchronisations: dict[str, int] = {}  # layer name -> waits for the device


class System(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The paper's system metrics: how busy the device is, what moves between host and device, the memory it takes.

    `busy` is the share of the wall time in which the device works: kernels on a GPU, CPU time on a CPU.
    """

    busy: float
    macs_per_s: float
    copies: int
    copy_bytes: int
    copy_s: float
    synchronisations: int
    memory_bytes: int | None  # peak: weights, inputs and intermediates
    busy_by_driver: float | None = None  # as nvidia-smi says: of the last moments, those with a kernel


class Concurrent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The encoders at once, each on a CUDA stream of its own, and one after another."""

    wall_s: Spread
    serial_s: Spread
    straggler: str
    straggler_ratio: float  # slowest encoder over fastest, each alone
    idle_share: float  # of the encoders' streams, while the straggler still runs


class Energy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Energy of one pass, read from the device's own counter over many passes."""

    joules: float
    average_w: float
    method: str
    passes: int = 1


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The device as it was found; clocks are read, never set."""

    kind: Literal["cpu", "cuda"]
    name: str
    threads: int | None = None
    memory_bytes: int | None = None
    driver: str | None = None
    clocks_mhz: dict[str, float] = {}
    power_limit_w: float | None = None
    throttled: list[str] = []  # why the driver says that clocks were held down, if they were


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A traced network timed on a real device. Times in seconds of one forward pass.

    `wall_s` is what the user waits for and `device_s` what the device works, both of the program as
    it is; `layers_s` is the sum of its layers, timed one by one in passes that alternate with those.
    """

    format: str
    version: int
    workload: str
    variant: str
    batch: int
    dtype: str
    source: Source
    mode: Mode
    machine: Machine
    software: dict[str, str]
    command: str
    date: str
    rule: str
    parameters: int
    macs: int
    wall_s: Spread
    device_s: Spread
    layers_s: Spread
    host_s: Spread
    layers: list[LayerTime]
    stages: dict[str, StageTime]
    memory: Peak | None = None
    energy: Energy | None = None
    kernels: Kernels | None = None
    system: System | None = None
    concurrent: Concurrent | None = None
    counters: dict[str, dict[str, float]] = {}  # stage -> metric of Nsight Compute -> mean weighted by time
    host_steps: dict[str, Spread] = {}  # preprocessing that no graph holds, such as tokenisation; not in `wall_s`
    mark_s: float = 0.0  # taken off each layer: by as much the passes with marks were longer than those without
    cache: Literal["warm", "cold"] = "warm"
    graph: dict[str, Any] | None = None  # the layer dump of a model of one's own: a file names no program to run
    pace_s: dict[str, float] = {}  # of a CPU: what a few programs took just then, to hold against its calibration
    notes: list[str] = []

    @property
    def name(self) -> str:
        """Workload and variant; one's own model has no variant."""
        return f"{self.workload} {self.variant}".strip()

    @property
    def overhead(self) -> float:
        """How much longer the layers take one by one than the program as it is, as a share."""
        return self.layers_s.median / self.device_s.median - 1 if self.device_s.median else 0.0


def load(path: str | Path) -> Measurement:
    """Read a measurement; raises `InputError` naming the field of what is wrong."""
    value = files.read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"not a measurement (its 'format' must be {FORMAT!r})", file=str(path))
    if value.get("version") != VERSION:
        raise InputError(f"version {value.get('version')!r}, expected {VERSION}", file=str(path), field="version")
    measured = files.check(value, Measurement, file=str(path))
    try:
        _check(measured)
    except InputError as error:
        raise InputError(error.message, file=str(path), field=error.field) from None
    return measured


LONGEST_S, LARGEST_BATCH, LARGEST = 1e7, 2**31, 2**63
"""No pass takes months; no count or rate is beyond the last."""


def _check(measured: Measurement) -> None:
    """What types cannot say."""
    for where, figure in _figures(measured):
        ordered = 0 <= figure.least <= figure.p25 <= figure.median <= figure.p75 < LONGEST_S
        if not ordered or figure.runs < 1:
            raise InputError("not a spread of times", field=where)
    for where, seconds in (("wall_s", measured.wall_s), ("device_s", measured.device_s)):
        if seconds.median <= 0:
            raise InputError("must be positive", field=f"{where}.median")
    for name in ("batch", "parameters", "macs"):
        if getattr(measured, name) < (name == "batch"):
            raise InputError("must be positive", field=name)
    if measured.batch > LARGEST_BATCH:
        raise InputError(f"larger than {LARGEST_BATCH}", field="batch")
    excused = measured.mode == "compiled" or any(note.startswith("layers not measured") for note in measured.notes)
    if not measured.layers and not excused:
        raise InputError("no layer was measured", field="layers")
    names: set[str] = set()
    for index, layer in enumerate(measured.layers):
        if layer.name in names:
            raise InputError(f"{layer.name!r} stands twice", field=f"layers.{index}.name")
        names.add(layer.name)
        if layer.stage not in measured.stages:
            raise InputError(f"{layer.stage!r} is not among the stages", field=f"layers.{index}.stage")
    parts = {name: value for name, value in msgspec.to_builtins(measured).items() if name != "graph"}
    for where, number in _numbers(parts):
        if not 0 <= number < LARGEST:
            raise InputError("no figure of a measurement is negative or so large", field=where)


def dump(measurement: Measurement, path: str | Path) -> Path:
    """Write a measurement; the inverse of `load`."""
    return files.write_json(path, to_record(measurement))


def to_record(measurement: Measurement) -> dict[str, Any]:
    """The plain values of a measurement file, figures to four digits."""
    record = msgspec.to_builtins(measurement)
    return {key: value if key == "graph" else _rounded(value) for key, value in record.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value


def _numbers(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Every number, with its place."""
    if isinstance(value, (int, float)):
        yield where, value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from _numbers(part, f"{where}.{name}" if where else str(name))


def _figures(measured: Measurement) -> Iterable[tuple[str, Spread]]:
    for name in ("wall_s", "device_s", "layers_s", "host_s"):
        yield name, getattr(measured, name)
    for index, layer in enumerate(measured.layers):
        yield f"layers.{index}.device_s", layer.device_s
    for stage, times in measured.stages.items():
        for name in ("wall_s", "device_s"):
            if (figure := getattr(times, name)) is not None:
                yield f"stages.{stage}.{name}", figure
    for step, figure in measured.host_steps.items():
        yield f"host_steps.{step}", figure
