"""Micro-architectural counters and stalls by Nsight Compute, as the MMBench paper groups them, stage by stage.

`ncu` runs one pass of one stage at a time; its clocks and caches are left as they are. Times never come
from here: counters need replays.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping

from mmsim.errors import InputError
from mmsim.measurement import Source

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


def counters(source: Source, batch: int, dtype: str, stages: Iterable[str]) -> dict[str, dict[str, float]]:
    """stage -> metric -> mean over its kernels, weighted by their time. Raises `InputError` without a usable `ncu`."""
    if shutil.which("ncu") is None:
        raise InputError("Nsight Compute (ncu) is not installed", field="--counters")
    return {stage: parse(_ncu(source, batch, dtype, stage)) for stage in stages}


def parse(text: str) -> dict[str, float]:
    """The table that ``ncu --csv --page raw`` prints: names, units, then a row a kernel.

    Raises `InputError` for anything else, with what `ncu` said.
    """
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))[1:]  # the first row holds units
    if not rows or DURATION not in rows[0]:
        said = next((line for line in text.splitlines() if "ERR" in line), "no kernels")
        raise InputError(f"ncu gave no counters: {' '.join(said.split())[:200]}", field="--counters")
    return {name: _weighted(rows, columns) for name, columns in GROUPS.items() if set(columns) <= set(rows[0])}


def _weighted(rows: list[Mapping[str, str]] | list[dict[str, str]], columns: tuple[str, ...]) -> float:
    total = sum(_number(row[DURATION]) for row in rows)
    sums = (_number(row[DURATION]) * sum(_number(row[column]) for column in columns) for row in rows)
    return sum(sums) / total if total else 0.0


def _number(text: str | None) -> float:
    """A figure with separators; ``n/a`` (as for loads that bypass the counter) is 0."""
    try:
        value = float((text or "").replace(",", ""))
    except ValueError:
        return 0.0
    return value if value == value else 0.0


def _ncu(source: Source, batch: int, dtype: str, stage: str) -> str:
    import msgspec

    names = [DURATION, *(column for columns in GROUPS.values() for column in columns)]
    request = json.dumps({"source": msgspec.to_builtins(source), "batch": batch, "dtype": dtype, "stage": stage})
    command = [
        "ncu", "--csv", "--page", "raw", "--profile-from-start", "off", "--clock-control", "none",
        "--cache-control", "none", "--metrics", ",".join(names),
        sys.executable, "-m", "mmsim.measure.one_pass", request,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    return done.stdout + done.stderr
