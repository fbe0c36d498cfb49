"""Recompute the validation figures from measured tables, and write docs/validation.md from the committed figures.

    python benchmarks/validation.py figures MEASURED [--dumps DUMPS]   # -> benchmarks/validation.json
    python benchmarks/validation.py page                               # -> docs/validation.md

MEASURED holds the CSV files named in `TABLES` and `NETWORKS` (their sources stand beside them), DUMPS the
layer dumps of the networks, ``MODEL.json``. Constants were fitted on the rows that `fitted` marks; errors are
of all other rows.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmsim import files, gpu, layer_dump, validate
from mmsim.arch import load
from mmsim.validate import Pair

HERE = Path(__file__).resolve().parent
FIGURES, PAGE = HERE / "validation.json", HERE.parent / "docs" / "validation.md"
NEUSIGHT = "NeuSight, PyTorch 2.1, one op between two events"
AICONFIGURATOR = "AIConfigurator, vLLM collector, CUDA graph"
TABLES = (  # file, op, format, architecture, mode, source, target MAPE
    ("gemm_bf16_h100_sxm", "gemm", "bf16", "h100_sxm", "graph", AICONFIGURATOR, 7),
    ("gemm_bf16_a100_sxm_80gb", "gemm", "bf16", "a100_sxm_80gb", "graph", AICONFIGURATOR, 9),
    ("attention_bf16_h100_sxm", "attention", "bf16", "h100_sxm", "graph", AICONFIGURATOR, 11),
    *((f"linear_fp32_{gpu_}", "linear", "fp32", gpu_, "eager", NEUSIGHT, goal)
      for gpu_, goal in (("v100_pcie", 7), ("a100_pcie_40gb", 8), ("t4", 12))),
    *((f"bmm_fp32_{gpu_}", "bmm", "fp32", gpu_, "eager", NEUSIGHT, goal)
      for gpu_, goal in (("v100_pcie", 11), ("a100_pcie_40gb", 18), ("t4", 15))),
    *((f"conv3x3_fp32_{gpu_}", "conv", "fp32", gpu_, "eager", NEUSIGHT, 15) for gpu_ in ("v100_pcie", "t4")),
    *((f"vector_fp32_{gpu_}", op, "fp32", gpu_, "eager", NEUSIGHT, 8)
      for gpu_ in ("v100_pcie", "a100_pcie_40gb", "t4") for op in ("vector", "softmax", "ln")),
)  # fmt: skip
NETWORKS = (  # file, column, architecture, format, copy counted, source, target
    ("cnn_inference_fp32_rtx_2080_ti", "latency_ms_median_of_50", "rtx_2080_ti", "float32", True,
     "pytorch-gpu-benchmark, batch 12", 10),
    ("cnn_inference_fp16_rtx_2080_ti", "latency_ms_median_of_50", "rtx_2080_ti", "float16", True,
     "pytorch-gpu-benchmark, batch 12", 10),
    ("cnn_inference_fp16_jetson_nano", "pytorch_latency_ms", "jetson_nano", "float16", False, "torch2trt, batch 1", 15),
    ("timm_inference_amp_fp16_rtx_3090", "step_time_ms", "rtx_3090", "float16", False, "timm results, AMP", 12),
)  # fmt: skip


def fitted(rows: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows of a table the constants were fitted on: three in ten, by a fixed draw."""
    return np.random.default_rng(0).random(rows) < 0.3


def kernel_figures(folder: Path) -> list[dict[str, Any]]:
    found = []
    for file, op, dtype, arch, mode, source, target in TABLES:
        pairs = validate.kernels(folder / f"{file}.csv", op, dtype, load(arch), mode)
        unseen = [pair for pair, seen in zip(pairs, fitted(len(pairs)), strict=True) if not seen]
        floor = validate.NOISE_FLOOR_PERCENT.get((op, arch))
        found.append(
            {"op": op, "dtype": dtype, "arch": arch, "mode": mode, "source": source, "target": target, "floor": floor}
            | asdict(validate.errors(unseen))
        )
    return found


def network_figures(folder: Path, dumps: Path) -> list[dict[str, Any]]:
    found = []
    for file, column, arch, dtype, copied, source, target in NETWORKS:
        pairs = []
        for row in csv.DictReader((folder / f"{file}.csv").open()):
            size = row.get("input_size")
            path = dumps / (f"{row['model']}_{size}.json" if size else f"{row['model']}.json")
            if not path.exists():
                continue
            graph = layer_dump.load(path)
            if "B" not in graph.symbols:
                continue
            time = gpu.network(graph.at(B=int(row["batch"])).cast(dtype), load(arch))
            predicted = time.wall_s + (time.copy_s if copied else 0.0)
            pairs.append(Pair(path.stem, float(row[column]) * 1e-3, predicted))
        rows = [{"name": p.label, "measured_s": p.measured_s, "predicted_s": p.predicted_s} for p in pairs]
        found.append(
            {"arch": arch, "dtype": dtype, "source": source, "target": target, "networks": rows}
            | asdict(validate.errors(pairs))
        )
    return found


def page(figures: dict[str, Any]) -> str:
    kernel_rows = [
        _row(
            r["op"], r["dtype"], r["arch"], r["mode"], r["rows"], _number(r["target"]), *_errors(r), _number(r["floor"])
        )
        for r in figures["kernels"]
    ]
    network_rows = [
        _row(r["source"], r["arch"], r["dtype"], r["rows"], _number(r["target"]), *_errors(r))
        for r in figures["networks"]
    ]
    worst = []
    for r in figures["networks"]:
        pairs = [(n["name"], n["predicted_s"] / n["measured_s"] - 1) for n in r["networks"]]
        five = sorted(pairs, key=lambda pair: -abs(pair[1]))[:5]
        worst.append(f"- {r['arch']}, {r['dtype']}: " + ", ".join(f"{name} {100 * e:+.0f} %" for name, e in five))
    return (
        (HERE / "validation.md.in")
        .read_text()
        .format(kernels="\n".join(kernel_rows), networks="\n".join(network_rows), worst="\n".join(worst))
    )


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _errors(r: dict[str, Any]) -> tuple[str, ...]:
    percent = (f"{r['median_percent']:.1f}", f"{r['p90_percent']:.1f}", f"{r['bias_percent']:+.1f}")
    return (f"**{r['mape_percent']:.1f}**", *percent, f"{r['spearman']:.3f}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["figures", "page"])
    parser.add_argument("measured", nargs="?", type=Path)
    parser.add_argument("--dumps", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "figures":
        known = files.read_json(FIGURES) if FIGURES.exists() else {"networks": []}
        networks = network_figures(arguments.measured, arguments.dumps) if arguments.dumps else known["networks"]
        files.write_json(FIGURES, {"kernels": kernel_figures(arguments.measured), "networks": networks})
    files.write_text(PAGE, page(files.read_json(FIGURES)))


if __name__ == "__main__":
    main()
