"""Tables of a run: per stage and in total, and its slowest layers."""

from __future__ import annotations

from mmsim.arch.load import stated_error
from mmsim.report.table import percent, show, si
from mmsim.run import Cost, Run


def stages(run: Run) -> None:
    """Print latency, energy, MACs and bound per stage; on a GPU also kernels, host and the best mapping."""
    on_gpu = run.arch.device is not None
    gpu_columns = ("kernels", "host", *(["best mapping"] if run.total.best_s is not None else [])) if on_gpu else ()
    title = f"{run.graph.name} on {run.arch.name}" + (f", batch {run.graph.batch}" if run.graph.batch else "")
    rows = [_row(run, name, cost, cost.latency_s, cost.energy_j) for name, cost in run.by_stage().items()]
    show(
        title + (f", {run.mode} mode" if on_gpu else ""),
        ("stage", "layers", "MACs", "latency", "share", *gpu_columns, "energy", "bound"),
        [*rows, _row(run, "total", run.total, run.latency_s, run.energy_j)],
        note="; ".join(_notes(run)),
        total=True,
    )


def _row(run: Run, name: str, cost: Cost, latency_s: float, energy_j: float) -> list[str]:
    times = (cost.kernel_s, cost.host_s, *([] if cost.best_s is None else [cost.best_s]))
    gpu = [si(time, "s") for time in times] if run.arch.device is not None else []
    share = percent(latency_s / run.latency_s) if run.latency_s else "-"
    return [
        name, str(cost.layers), si(cost.macs), si(latency_s, "s"), share, *gpu, si(energy_j, "J"), cost.bound,
    ]  # fmt: skip


def _notes(run: Run) -> list[str]:
    notes = [f"peak memory {si(run.memory.peak_bytes, 'B')}{_beyond(run)}"]
    if run.overhead_s:
        notes.append(f"{si(run.overhead_s, 's')} of the total is launch and synchronisation")
    notes.append(f"encoders side by side at best {si(run.concurrent_s, 's')}")
    if run.arch.device is not None:
        notes.append(f"board power {si(run.average_w, 'W')} on average")
        notes += [f"{run.arch.name}: {known}" for known in _errors(run)]
    return notes


def _beyond(run: Run) -> str:
    """Says so where the pass needs more memory than the outermost level has."""
    memory = run.arch.storages[0]
    held = None if memory.capacity_words is None else memory.capacity_words * memory.word_bits // 8
    return f", more than the {si(held, 'B')} of {memory.name}" if held and run.memory.peak_bytes > held else ""


def _errors(run: Run) -> list[str]:
    """How far predictions on this GPU have been off, where that is known; few have been of one sample."""
    known = stated_error(run.arch)
    if known and run.graph.batch == 1 and "of several samples" in known and "of one sample" not in known:
        known += "; of networks of one sample unknown"
    return [known] if known else []


SIZES = "<10/<50/<100/>100 us"


def counters(run: Run) -> None:
    """Print what Nsight Compute would count on a GPU, per stage; nothing for other architectures."""
    rows = []
    for name, found in run.counters.items():
        shares = (found.dram_utilization, found.achieved_occupancy, found.gld_efficiency, found.gst_efficiency)
        rows.append(
            (name, str(found.kernels), "/".join(map(str, found.size_bins)), *map(percent, shares), f"{found.ipc:.2f}",
             percent(found.host_share), _shares(found.stalls), _shares(found.classes))
        )  # fmt: skip
    if not rows:
        return
    show(
        f"Counters on {run.arch.name}, predicted",
        ("stage", "kernels", SIZES, "DRAM", "occupancy", "gld", "gst", "IPC", "host", "waits for", "classes"),
        rows,
        note="IPC per sub-partition; averages by device time. Not validated: no counters of these devices are public. "
        "Stalls for synchronisation, instruction fetch and other reasons are not predicted.",
        total=True,
    )  # fmt: skip


def _shares(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {x:.0%}" for name, x in sorted(found.items(), key=lambda item: -item[1]) if x >= 0.005)


def slowest(run: Run, count: int) -> None:
    """Print the layers that take longest."""
    chosen = sorted(run.layers, key=lambda cost: -cost.latency_s)[:count]
    show(
        "Slowest layers",
        ("layer", "op", "stage", "MACs", "latency", "share", "energy", "bound"),
        [
            (
                cost.layer.name,
                cost.layer.kind,
                cost.layer.stage,
                si(cost.macs),
                si(cost.latency_s, "s"),
                percent(cost.latency_s / run.latency_s),
                si(cost.energy_j, "J"),
                cost.bound,
            )
            for cost in chosen
        ],
    )
