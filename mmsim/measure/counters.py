"""Micro-architectural counters and stalls by Nsight Compute, as the MMBench paper groups them, stage by stage.

`ncu` watches one pass, in which each distinct layer of each stage is profiled once and counts as often as it occurs.
Clocks and caches are left as they are. Times never come from here: counters need replays.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from torch import fx

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.measure import marks
from mmsim.measurement import Source

Row: TypeAlias = Mapping[str, str]

DURATION = "gpu__time_duration.sum"
METRICS = {
    "dram_utilization": ("dram__throughput.avg.pct_of_peak_sustained_elapsed",),
    "achieved_occupancy": ("sm__warps_active.avg.pct_of_peak_sustained_active",),
    "ipc": ("smsp__inst_executed.avg.per_cycle_active",),
    "gld_efficiency": ("smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.pct",),
    "gst_efficiency": ("smsp__sass_average_data_bytes_per_sector_mem_global_op_st.pct",),
}
"""The paper's five, in MMBench's own terms; IPC is per sub-partition."""
STALLS = {
    "Cache": ("imc_miss",), "Mem": ("long_scoreboard",), "Exec": ("short_scoreboard", "wait"),
    "Pipe": ("math_pipe_throttle", "mio_throttle"), "Sync": ("barrier", "membar"), "Inst": ("no_instruction",),
    "Else": ("not_selected",),
}  # fmt: skip
"""The paper's seven groups of stall reasons."""
GROUPS = {
    **METRICS,
    **{
        f"stall_{name}": tuple(f"smsp__warp_issue_stalled_{reason}_per_warp_active.pct" for reason in reasons)
        for name, reasons in STALLS.items()
    },
}


NAME = "Kernel Name"


@dataclass(frozen=True)
class Sample:
    """One layer to profile: where it stands among the operations, its stage, and how often the stage has its like."""

    index: int
    stage: str
    times: int


def samples(captured: fx.GraphModule, graph: Graph) -> list[Sample]:
    """The first of all layers of a stage with the same op and the same problems, in order."""
    layers = {layer.name: layer for layer in graph.layers}
    alike: dict[Any, list[int]] = {}
    for index, node in enumerate(marks.operations(captured)):
        layer = layers.get(node.name)
        if layer is not None and graph.problems(layer):
            alike.setdefault((str(layer.stage), layer.op, graph.problems(layer)), []).append(index)
    return sorted((Sample(found[0], key[0], len(found)) for key, found in alike.items()), key=lambda s: s.index)


def counters(
    source: Source, batch: int, dtype: str, wanted: Sequence[Sample], within_s: float = 120.0
) -> dict[str, dict[str, float]]:
    """stage -> metric -> mean over its kernels, weighted by their time.

    Raises `InputError` without a usable `ncu`, and after `within_s`.
    """
    if shutil.which("ncu") is None:
        raise InputError("Nsight Compute (ncu) is not installed", field="--counters")
    request = {"source": msgspec.to_builtins(source), "batch": batch, "dtype": dtype}
    metrics = [DURATION, *(column for columns in GROUPS.values() for column in columns)]
    start, unknown = time.monotonic(), True
    while unknown:  # a chip or a version of ncu may lack some; it names one a run, or all
        text = _ncu(request, metrics, within_s - (time.monotonic() - start))
        lacking = set(re.findall(r"[a-z]+__[\w.]+", " ".join(re.findall(r"(?i)failed to find metric.*", text))))
        unknown = bool(lacking.intersection(metrics))
        metrics = [metric for metric in metrics if metric not in lacking]
    return parse(text, wanted)


def parse(text: str, wanted: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """The table that ``ncu --csv --page raw`` prints: names, units, then a row a kernel; per stage.

    The first kernel is a marker, and stands before the kernels of each sample. Raises `InputError` for anything
    else, with what `ncu` said.
    """
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))[1:]  # the first row holds units
    if not rows or DURATION not in rows[0] or NAME not in rows[0]:
        said = next((line for line in text.splitlines() if "ERR" in line), "no kernels")
        raise InputError(f"ncu gave no counters: {' '.join(said.split())[:200]}", field="--counters")
    groups: list[list[Row]] = []
    for row in rows:
        if row[NAME] == rows[0][NAME]:
            groups.append([])
        else:
            groups[-1].append(row)
    if len(groups) != len(wanted):
        raise InputError(f"ncu saw {len(groups)} layers of {len(wanted)}", field="--counters")
    known = {name: columns for name, columns in GROUPS.items() if set(columns) <= set(rows[0])}
    found: dict[str, dict[str, float]] = {}
    for stage in dict.fromkeys(sample.stage for sample in wanted):
        of_stage = [
            (row, s.times) for s, group in zip(wanted, groups, strict=True) if s.stage == stage for row in group
        ]
        found[stage] = {name: _weighted(of_stage, columns) for name, columns in known.items()}
    return found


def _weighted(rows: Sequence[tuple[Row, int]], columns: tuple[str, ...]) -> float:
    weights = [times * _number(row[DURATION]) for row, times in rows]
    values = (sum(_number(row[column]) for column in columns) for row, _ in rows)
    total = sum(weights)
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / total if total else 0.0


def _number(text: str | None) -> float:
    """A figure with separators; ``n/a`` (as for loads that bypass the counter) is 0."""
    try:
        value = float((text or "").replace(",", ""))
    except ValueError:
        return 0.0
    return value if value == value else 0.0


def _ncu(request: Mapping[str, Any], metrics: Sequence[str], within_s: float) -> str:
    command = [
        "ncu", "--csv", "--page", "raw", "--print-units", "base", "--profile-from-start", "off",
        "--clock-control", "none", "--cache-control", "none", "--metrics", ",".join(metrics),
        sys.executable, "-m", "mmsim.measure.one_pass", json.dumps(request),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    ) as process:
        try:
            return "".join(process.communicate(timeout=max(1.0, within_s)))
        except BaseException as error:  # with it ends what it watches, which would work on
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise InputError(f"ncu took more than {within_s:.0f} s", field="--counters") from None
            raise
