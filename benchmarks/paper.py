"""What the MMBench paper says in words of its counters and times, beside the prediction on an RTX 2080 Ti, its server.

`validation.py` runs it. The paper (Xu et al., IISWC 2023) shows its counters in figures without numbers; these are the
statements and the few figures of its text, sections 4.3 and 5, on the committed layer dumps at its batch of 40.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmsim import gpu, layer_dump
from mmsim.arch import load
from mmsim.gpu.counters import Counters, achieved_occupancy, by_stage, dram_utilization, ipc
from mmsim.gpu.machine import machine
from mmsim.gpu.network import NetworkTime

DUMPS = Path(__file__).resolve().parents[1] / "layer_dumps"
NINE = (
    ("av_mnist", "concat"), ("mm_imdb", "concat"), ("cmu_mosei", "transformer"), ("mustard", "transformer"),
    ("medical_vqa", "transformer"), ("medical_seg", "transformer"), ("mujoco_push", "transformer"),
    ("vision_touch", "transformer"), ("transfuser", "transformer"),
)  # fmt: skip
EXCEPT = "mujoco_push"  # "slight increase in IPC and GPU occupancy" in its fusion
BATCH = 40
SERVER = "rtx_2080_ti"
COUNTERS = {"dram_utilization": dram_utilization, "achieved_occupancy": achieved_occupancy, "ipc": ipc}
Found = tuple[NetworkTime, dict[str, Counters]]


def predict(workload: str, variant: str, arch: str = SERVER, batch: int = BATCH) -> Found:
    """A dump at a batch on an architecture: its times, and its counters by stage."""
    graph = layer_dump.load(DUMPS / workload / f"{variant}.json")
    where = load(arch)
    time = gpu.network(graph.at(**dict.fromkeys(graph.symbols, batch)), where)
    return time, by_stage(time, gpu.machine(where))


def paper_figures() -> list[dict[str, Any]]:
    """Every statement with the paper's figure, ours, and whether they agree (a figure: within a factor of 1.5)."""
    nine = [predict(*name) for name in NINE]
    efficiency = [c.gld_efficiency for _, found in nine for c in found.values()]
    return [
        *(_ahead(nine, name) for name in COUNTERS),
        _said("load efficiency nearly the same in all stages", f"{min(efficiency):.2f} to 1", min(efficiency) > 0.7),
        _number("MM-IMDB: products' share of VGG's time", 0.72, nine[1][1]["encoder:image"].classes["Conv"]),
        *_mujoco(nine[6]),
        *_batch(nine[0]),
        *_nano(nine[0]),
    ]


def _mujoco(found: Found) -> list[dict[str, Any]]:
    image, other = (predict("mujoco_push", f"uni_{name}")[0].wall_s for name in ("image", "control"))
    return [
        _number(
            "Mujoco Push: time of transformer fusion over encoders'",
            3.0,
            _wall(found, "fusion") / _wall(found, "encoder"),
        ),
        _number("Mujoco Push: time of the image over another modality's", 4.09, image / other),
    ]


def _batch(small: Found) -> list[dict[str, Any]]:
    """Ten thousand tasks in batches of 40 and of 400."""
    large = predict("av_mnist", "concat", batch=10 * BATCH)
    less = 10 * small[0].wall_s / large[0].wall_s
    few, many = (sum(found[1]["total"].size_bins[2:]) for found in (small, large))
    return [
        _said(
            "AV-MNIST: ten times the batch saves less than nine tenths of the time", f"{less:.1f} times less", less < 10
        ),
        _said("AV-MNIST: more kernels over 50 us in the larger batch", f"{few} and {many}", many > few),
    ]


def _nano(on_server: Found) -> list[dict[str, Any]]:
    nano = {batch: predict("av_mnist", "concat", "jetson_nano", batch) for batch in (BATCH, 160, 320)}
    server, edge = on_server[1]["total"], nano[BATCH][1]["total"]
    rise = nano[320][0].wall_s / nano[160][0].wall_s / 2
    waits = [counters.stalls["Exec"] for counters in (edge, server)]
    return [
        _number("AV-MNIST: time on the Jetson Nano over the server's, at batch 40", 6.48, _slower(BATCH)),
        _number("AV-MNIST: the same at batch 1 (the paper does not say which)", 6.48, _slower(1)),
        _said("AV-MNIST: on the Nano a task takes longer at 320 than at 160", f"{rise:.2f} times", rise > 1),
        _said(
            "AV-MNIST: more execution dependency on the Nano", f"{waits[0]:.2f} and {waits[1]:.2f}", waits[0] > waits[1]
        ),
        _said(
            "AV-MNIST: DRAM utilization on the Nano highest",
            f"{edge.dram_utilization:.2f}",
            edge.dram_utilization > 0.6,
        ),
    ]


def _slower(batch: int) -> float:
    """How many times longer than the RTX 2080 Ti the Jetson Nano takes for AV-MNIST."""
    nano, server = (predict("av_mnist", "concat", arch, batch)[0].wall_s for arch in ("jetson_nano", "rtx_2080_ti"))
    return nano / server


def _ahead(nine: list[Found], counter: str) -> dict[str, Any]:
    """Whether the encoders show more of a counter than the fusion does, as the paper says of all networks but one."""
    but = EXCEPT if counter != "dram_utilization" else ""
    as_said = sum(
        (_mean(found, "encoder", counter) > _mean(found, "fusion", counter)) != (name == but)
        for (name, _), found in zip(NINE, nine, strict=True)
    )
    claim = f"in general more {counter.replace('_', ' ')} in encoders than in fusion"
    return _said(claim + (", less in Mujoco Push" if but else ""), f"{as_said} of 9", as_said > 6)


def _mean(found: Found, stage: str, counter: str) -> float:
    """Over the kernels of a stage, whatever their time: as MMBench's ``scripts/ncu_dataprocess.py`` averages."""
    layers = [layer for layer in found[0].layers if str(layer.layer.stage).split(":")[0] == stage]
    kernels = [kernel for layer in layers for kernel in layer.kernels]
    where = machine(load(SERVER))
    figures = [COUNTERS[counter](kernel, where) * kernel.count for kernel in kernels]
    return sum(figures) / sum(kernel.count for kernel in kernels)


def _wall(found: Found, stage: str) -> float:
    return sum(t.wall_s for t in found[0].layers if str(t.layer.stage).split(":")[0] == stage)


def _number(claim: str, paper: float, predicted: float) -> dict[str, Any]:
    return _said(claim, f"{predicted:.2f}", 2 / 3 < predicted / paper < 3 / 2, f"{paper:g}")


def _said(claim: str, predicted: str, holds: bool, paper: str = "") -> dict[str, Any]:
    return {"claim": claim, "paper": paper, "predicted": predicted, "holds": bool(holds)}
