"""Counters of single kernels, and of a network's stages, beside what Nsight Compute read (benchmarks/counters.csv).

    python benchmarks/counters.py [--rows]       # prints the errors, and every row

A row is one kernel that PyTorch launched: which operation of which sizes it computes, and what was read of it, in
percent and instructions a clock. Nsight Compute locks the clock (`clock_mhz`) and empties the caches before each.
Rows without an operation (split sums, index tables) only count in their stage.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from mmsim import gpu, layer_dump, schedule, validate  # noqa: E402
from mmsim.arch import load  # noqa: E402
from mmsim.gpu import counters, lowering, vector  # noqa: E402
from mmsim.gpu.convolution import Shape, convolution  # noqa: E402
from mmsim.gpu.kernel import Kernel  # noqa: E402
from mmsim.gpu.machine import Machine  # noqa: E402
from mmsim.gpu.network import NetworkTime  # noqa: E402
from mmsim.gpu.products import gemm  # noqa: E402
from mmsim.gpu.vector import Traffic, lost  # noqa: E402
from mmsim.layer import Tensor  # noqa: E402

DUMPS = HERE.parent / "layer_dumps"
WORD = 4  # bytes; every row is float32
READ = {
    "dram": counters.dram_utilization,
    "occupancy": counters.achieved_occupancy,
    "ipc": counters.ipc,
    "load": lambda kernel, machine: kernel.load_efficiency,
    "store": lambda kernel, machine: kernel.store_efficiency,
}
CLASSES = (
    ("Conv", ("scudnn", "convolve", "computeOffsets")), ("Gemm", ("sgemm", "gemv", "splitK")),
    ("Relu", ("leaky_relu", "threshold")), ("Other", ("copy_device", "CatArray")),
)  # fmt: skip
"""Kernel classes by what their names contain; the others are elementwise."""
STAGED = {"workload": "vision_touch", "variant": "low_rank", "arch": "rtx_2080_ti", "batch": 64}
"""What MMBench's own rows are of: its Vision & Touch on the paper's server."""


def table() -> list[dict[str, str]]:
    """The committed rows as they stand."""
    return list(csv.DictReader((HERE / "counters.csv").read_text().splitlines()))


def rows() -> list[dict[str, Any]]:
    """Every row with what was read (`dram`, ...) and what is predicted (`dram_predicted`, ...), shares of 1."""
    found = []
    for row in table():
        read = {name: float(row[name]) / (1 if name == "ipc" else 100) if row[name] else None for name in READ}
        machine = at_clock(gpu.machine(load(row["arch"])), row["clock_mhz"])
        kernel = predicted(row, machine) if row["op"] else None
        found.append(
            {key: row[key] for key in ("source", "arch", "stage", "kernel", "op", "sizes")}
            | {"us": float(row["us"] or "nan")} | read
            | {f"{name}_predicted": kernel and figure(kernel, machine) for name, figure in READ.items()}
        )  # fmt: skip
    return found


def at_clock(machine: Machine, mhz: str) -> Machine:
    """The machine at the profiler's clock: L2, shared memory and launches slow down with it, DRAM does not."""
    slower = float(mhz) * 1e6 / machine.clock_hz if mhz else 1.0
    return replace(
        machine,
        device=structs.replace(machine.device, launch_s=machine.device.launch_s / slower),
        clock_hz=machine.clock_hz * slower,
        l2_bytes_per_s=machine.l2_bytes_per_s * slower,
        shared_bytes_per_s=machine.shared_bytes_per_s * slower,
    )


def predicted(row: dict[str, str], machine: Machine) -> Kernel:
    """The kernel of a row, its inputs in DRAM; of its output DRAM sees what L2 can't hold."""
    sizes = [int(size) for size in row["sizes"].split()]
    return PREDICT[row["op"].split()[-1]](machine, row, *sizes)


def _product(machine: Machine, row: dict[str, str], m: int, n: int, k: int, batch: int = 1) -> Kernel:
    spilled = lost(m * n * batch * WORD, machine.device.l2_resident_bytes)
    return gemm(m, n, k, batch, row["dtype"], machine, cold=(1.0, 1.0, spilled))


def _convolution(
    machine: Machine, row: dict[str, str], n: int, c: int, h: int, w: int, k: int, r: int, s: int, stride: int
) -> Kernel:
    one, p, q = np.ones(()), -(-h // stride), -(-w // stride)
    shape = Shape(n * one, c * one, k * one, h * w * one, p * one, q * one, taps=float(r * s))
    spilled = lost(n * k * p * q * WORD, machine.device.l2_resident_bytes)
    return convolution(machine, shape, row["dtype"], cold=(1.0, 1.0, spilled), channels_last="nhwc" in row["op"])[-1]


def _pointwise(machine: Machine, row: dict[str, str], elements: int, inputs: int = 1) -> Kernel:
    size = elements * WORD
    spilled = lost((inputs + 1) * size, machine.device.l2_resident_bytes)
    indexed = row["op"] != "pointwise"
    return vector.elementwise(machine, elements, Traffic(inputs * size, size, 1.0, spilled), indexed=indexed)


def _transposed(machine: Machine, row: dict[str, str], elements: int) -> Kernel:
    x = Tensor("x", (elements,), row["dtype"], "activation")
    return lowering.transposed_copy(x, lowering.Site(machine, cold={"x": 1.0}))


def _softmax(machine: Machine, row: dict[str, str], count: int, columns: int) -> Kernel:
    size = count * columns * WORD
    traffic = Traffic(size, size, 1.0, lost(2 * size, machine.device.l2_resident_bytes))
    return vector.rows(machine, count, columns, traffic, vector.softmax_row(columns), name="softmax", kind="Other")


PREDICT: dict[str, Callable[..., Kernel]] = {
    "product": _product, "convolution": _convolution, "nhwc": _convolution, "pointwise": _pointwise,
    "broadcast": _pointwise, "copy": _pointwise, "transpose": _transposed, "softmax": _softmax,
}  # fmt: skip
"""By the last word of a row's operation."""


def errors(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each source and counter: rows, mean read and predicted, mean absolute difference, rank correlation."""
    summed = []
    for source in dict.fromkeys(row["source"] for row in found):
        for name in READ:
            pairs = [
                (row[name], row[f"{name}_predicted"]) for row in found
                if row["source"] == source and row[name] is not None and row[f"{name}_predicted"] is not None
            ]  # fmt: skip
            if pairs:
                read, ours = (list(column) for column in zip(*pairs, strict=True))
                off = float(np.mean([abs(a - b) for a, b in pairs]))
                summed.append(
                    {"source": source, "counter": name, "rows": len(pairs), "read": float(np.mean(read)),
                     "predicted": float(np.mean(ours)), "off": off,
                     "spearman": validate.spearman(read, ours) if len(pairs) > 2 else None}
                )  # fmt: skip
    return summed


def staged() -> tuple[NetworkTime, dict[str, counters.Counters]]:
    """MMBench's network as predicted, and its counters by stage."""
    graph = layer_dump.load(DUMPS / STAGED["workload"] / f"{STAGED['variant']}.json")
    arch = load(STAGED["arch"])
    time = gpu.network(graph.at(B=STAGED["batch"]), arch)
    return time, counters.by_stage(time, gpu.machine(arch))


def stages(found: list[dict[str, Any]], ours: dict[str, counters.Counters]) -> list[dict[str, Any]]:
    """Each stage of MMBench's network: counters weighted by the time of its kernels, read and predicted."""
    theirs = [row for row in found if row["stage"]]
    compared = []
    for stage in (*dict.fromkeys(row["stage"] for row in theirs), "total"):
        part = [row for row in theirs if stage in (row["stage"], "total")]
        weights = [max(row["us"], 0.5) for row in part]  # whole microseconds
        read = {name: sum(w * (row[name] or 0.0) for w, row in zip(weights, part, strict=True)) / sum(weights)
                for name in READ}  # fmt: skip
        mine = ours[stage]
        compared.append(
            {"stage": stage, "kernels": len(part), "kernels_predicted": mine.kernels} | read
            | {"dram_predicted": mine.dram_utilization, "occupancy_predicted": mine.achieved_occupancy,
               "ipc_predicted": mine.ipc, "load_predicted": mine.gld_efficiency, "store_predicted": mine.gst_efficiency}
        )  # fmt: skip
    return compared


def classes(ours: counters.Counters) -> dict[str, Any]:
    """Shares of time by kernel class, and kernels by duration, of MMBench's trace and of the prediction."""
    shares = dict.fromkeys((*(name for name, _ in CLASSES), "Elewise"), 0.0)
    bins = [0, 0, 0, 0]
    theirs = [row for row in table() if row["stage"]]
    times = [max(float(row["us"]), 0.5) for row in theirs]  # whole microseconds
    for row, us in zip(theirs, times, strict=True):
        name = next((name for name, parts in CLASSES if any(part in row["kernel"] for part in parts)), "Elewise")
        shares[name] += us / sum(times)
        bins[sum(us > 1e6 * edge for edge in counters.SIZE_BINS_S)] += 1
    compared = {name: (share, ours.classes.get(name, 0.0)) for name, share in shares.items()}
    return {"shares": compared, "bins": bins, "bins_predicted": list(ours.size_bins)}


def figures() -> dict[str, Any]:
    """What docs/validation.md shows."""
    found = rows()
    time, ours = staged()
    nano = layer_dump.load(DUMPS / "av_mnist" / "concat.json").at(B=320)
    return {
        "kernels": errors(found),
        "stages": stages(found, ours),
        "classes": classes(ours["total"]),
        "trace_ms": sum(row["us"] for row in found if row["stage"]) / 1e3,
        "predicted_ms": time.kernel_s * 1e3,
        "nhwc_us": [
            1e6 * predicted(row, gpu.machine(load(row["arch"]))).device_s for row in table() if "nhwc" in row["op"]
        ],
        "av_mnist_peak_bytes": schedule.memory(nano).peak_bytes,
    }


def main() -> None:
    found = rows()
    for line in errors(found):
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()})
    for line in stages(found, staged()[1]):
        print({key: round(value, 2) if isinstance(value, float) else value for key, value in line.items()})
    if "--rows" in sys.argv:
        for row in found:
            read = " ".join(
                f"{name} {row[name]:.3f} {row[f'{name}_predicted']:.3f}" for name in READ
                if row[name] is not None and row[f"{name}_predicted"] is not None
            )  # fmt: skip
            print(row["source"], row["stage"], row["kernel"], row["op"], row["sizes"], "|", read)


if __name__ == "__main__":
    main()
