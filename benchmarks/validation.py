"""Recompute the validation figures from the committed tables and layer dumps, and write docs/validation.md.

    python benchmarks/validation.py               # all figures (under a minute) and the page
    python benchmarks/validation.py --left-out    # also each GPU left out, with constants fitted anew (minutes)
    python benchmarks/validation.py --page        # the page alone, from the committed figures

Tables are those of benchmarks/measured (their sources stand there), layer dumps those of benchmarks/networks. Constants
were fitted (`fit.py`) on the rows that `fitted` marks and the networks that `halved` marks; errors are of all others.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from benchmarks import elsewhere  # noqa: E402
from benchmarks.networks import path_of, read  # noqa: E402
from benchmarks.paper import paper_figures  # noqa: E402
from mmsim import files, gpu, validate  # noqa: E402
from mmsim.arch import load  # noqa: E402
from mmsim.arch.model import Arch  # noqa: E402
from mmsim.gpu import vector  # noqa: E402
from mmsim.validate import Pair  # noqa: E402

MEASURED, FIGURES, PAGE = HERE / "measured", HERE / "validation.json", HERE.parent / "docs" / "validation.md"
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
NETWORKS = (  # file, column, architecture, format (None: as dumped), copy counted, source, target
    ("cnn_inference_fp32_rtx_2080_ti", "latency_ms_median_of_50", "rtx_2080_ti", "float32", True,
     "pytorch-gpu-benchmark, batch 12", 10),
    ("cnn_inference_fp16_rtx_2080_ti", "latency_ms_median_of_50", "rtx_2080_ti", "float16", True,
     "pytorch-gpu-benchmark, batch 12", 10),
    ("cnn_inference_fp16_jetson_nano", "pytorch_latency_ms", "jetson_nano", "float16", False, "torch2trt, batch 1", 15),
    ("timm_inference_amp_fp16_rtx_3090", "step_time_ms", "rtx_3090", None, False, "timm results, AMP", 12),
)  # fmt: skip
BOARDS = (  # architecture, board measured, W at rest, pJ a bit from DRAM, pJ a float32 operation
    ("a100_pcie_40gb", "A100 40 GB", 66, 14.7, 5.1),
    ("h200", "GH200 96 GB", 105, 15.3, 5.8),
    ("l40s", "A40", 69, 24.7, 6.5),
)
"""Regressions of board power on bandwidth and rate (RRZE gpu-benches): the nearest board for each architecture."""


def fitted(rows: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows of a table the constants were fitted on: three in ten, by a fixed draw."""
    return np.random.default_rng(0).random(rows) < 0.3


def halved(rows: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which networks of a table constants may be set on: about half, by a fixed draw."""
    return np.random.default_rng(0).random(rows) < 0.5


def kernel_figures(folder: Path) -> list[dict[str, Any]]:
    found = []
    for file, op, dtype, arch, mode, source, target in TABLES:
        pairs = validate.kernels(folder / f"{file}.csv", op, dtype, load(arch), mode)
        unseen = [pair for pair, seen in zip(pairs, fitted(len(pairs)), strict=True) if not seen]
        found.append(
            {"op": op, "dtype": dtype, "arch": arch, "mode": mode, "source": source, "target": target,
             "floor": validate.NOISE_FLOOR_PERCENT.get((op, arch))}
            | asdict(validate.errors(unseen)) | _rank_without_floor(unseen)
        )  # fmt: skip
    return found


def _rank_without_floor(pairs: list[Pair]) -> dict[str, Any]:
    """The rank correlation of the rows that are longer than what the host alone takes, and the share of the others."""
    floor = 1.15 * min(pair.predicted_s for pair in pairs)
    above = [pair for pair in pairs if pair.predicted_s > floor]
    rank = validate.spearman([p.measured_s for p in above], [p.predicted_s for p in above])
    return {"at_floor": 1 - len(above) / len(pairs), "spearman_above_floor": rank}


def network_errors(
    entry: tuple[Any, ...], folder: Path, arch: Arch | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The errors of the networks that no constant was set on, and every network's row."""
    file, column, name, dtype, copied, *_ = entry
    table = list(csv.DictReader((folder / f"{file}.csv").read_text().splitlines()))
    rows = []
    for row, seen in zip(table, halved(len(table)), strict=True):
        graph = read(path_of(row))
        time = gpu.network(graph if dtype is None else graph.cast(dtype), arch or load(name))
        predicted = time.wall_s + (time.copy_s if copied else 0.0)
        rows.append(
            {
                "name": row["model"],
                "measured_s": float(row[column]) * 1e-3,
                "predicted_s": predicted,
                "seen": bool(seen),
            }
        )
    unseen = [Pair(row["name"], row["measured_s"], row["predicted_s"]) for row in rows if not row["seen"]]
    return asdict(validate.errors(unseen)), rows


def network_figures(folder: Path) -> list[dict[str, Any]]:
    found = []
    for entry in NETWORKS:
        errors, rows = network_errors(entry, folder)
        _, _, arch, dtype, _, source, target = entry
        found.append(
            {"arch": arch, "dtype": dtype or "AMP float16", "source": source, "target": target, "networks": rows}
            | errors
        )
    return found


def power_figures() -> list[dict[str, Any]]:
    """Board power of a long stream and of a large product, by the model and by the regressions."""
    found = []
    for name, board, rest_w, bit_pj, flop_pj in BOARDS:
        where = gpu.machine(load(name))
        size = 2.0**32
        stream = vector.elementwise(where, size / 4, vector.Traffic(size, size))
        product = gpu.products.gemm(8192, 8192, 8192, 1, "float32", where)
        for kernel, kind in ((stream, "stream"), (product, "float32 product")):
            model_w = where.device.power.idle_w + gpu.power.dynamic(kernel, where) / kernel.device_s
            moved, rate = kernel.dram_bytes / kernel.device_s, kernel.flops / kernel.device_s
            board_w = rest_w + 8e-12 * bit_pj * moved + 1e-12 * flop_pj * rate
            limit = where.device.power.limit_w
            found.append(
                {"arch": name, "board": board, "kernel": kind, "model_w": model_w, "board_w": min(board_w, limit)}
            )
    return found


# --- the page ------------------------------------------------------------------------------------


def page(figures: dict[str, Any]) -> str:
    kernels, networks = figures["kernels"], figures["networks"]
    return (HERE / "validation.md.in").read_text().format(
        kernels="\n".join(
            _row(r["op"], r["dtype"], r["arch"], r["mode"], r["rows"], _number(r["target"]), *_errors(r),
                 f"{r['spearman_above_floor']:.3f}", _number(r["floor"]))
            for r in kernels
        ),
        networks="\n".join(
            _row(r["source"], r["arch"], r["dtype"], r["rows"], _number(r["target"]), *_errors(r)) for r in networks
        ),
        worst="\n".join(_worst(r) for r in networks),
        ranks="\n".join(_rank(r) for r in kernels if r["spearman"] < 0.98),
        elsewhere="\n".join(_elsewhere(figures["elsewhere"])),
        elsewhere_sums="\n".join(_sums(figures["elsewhere"])),
        left_out="\n".join(_left_out(r, kernels, networks) for r in figures["left_out"]),
        power="\n".join(
            _row(r["arch"], r["board"], r["kernel"], f"{r['model_w']:.0f}", f"{r['board_w']:.0f}",
                 f"{100 * (r['model_w'] / r['board_w'] - 1):+.0f}")
            for r in figures["power"]
        ),
        paper="\n".join(
            _row(r["claim"], r["paper"], r["predicted"], "yes" if r["holds"] else "**no**") for r in figures["paper"]
        ),
        agree=f"{sum(r['holds'] for r in figures['paper'])} of {len(figures['paper'])}",
    )  # fmt: skip


def _worst(r: dict[str, Any]) -> str:
    pairs = [(n["name"], n["predicted_s"] / n["measured_s"] - 1) for n in r["networks"] if not n["seen"]]
    five = sorted(pairs, key=lambda pair: -abs(pair[1]))[:5]
    return f"- {r['arch']}, {r['dtype']}: " + ", ".join(f"{name} {100 * e:+.0f} %" for name, e in five)


def _rank(r: dict[str, Any]) -> str:
    return _row(
        r["op"], r["arch"], f"{r['spearman']:.3f}", f"{100 * r['at_floor']:.0f} %", f"{r['spearman_above_floor']:.3f}"
    )


def _elsewhere(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each network and format, the GPUs' errors in it: of one sample, and of more."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for r in rows:
        source = r["source"].split("/")[4]
        groups.setdefault((source, r["network"], r["precision"]), []).append(r)
    return [
        _row(*key, *(", ".join(_one(r) for r in group if (r["batch"] == "1") == single) for single in (True, False)))
        for key, group in groups.items()
    ]


def _one(r: dict[str, Any]) -> str:
    batch = "" if r["batch"] == "1" else f" x {r['batch']}"
    return f"{r['gpu'].split()[0]}{batch} {100 * (r['predicted_s'] / r['measured_s'] - 1):+.0f}"


def _sums(rows: list[dict[str, Any]]) -> list[str]:
    found = []
    for name, chosen in (("one sample", True), ("more", False)):
        for gpu_ in sorted({r["gpu"].split()[0] for r in rows}):
            pairs = [
                Pair(r["network"], r["measured_s"], r["predicted_s"])
                for r in rows if (r["batch"] == "1") == chosen and r["gpu"].split()[0] == gpu_
            ]  # fmt: skip
            found.append(_row(name, gpu_, len(pairs), *_errors(asdict(validate.errors(pairs)))))
    return found


def _left_out(r: dict[str, Any], kernels: list[dict[str, Any]], networks: list[dict[str, Any]]) -> str:
    own = next(
        x["mape_percent"] for x in (networks if r["op"] == "networks" else kernels)
        if x["arch"] == r["arch"] and x.get("op", "networks") == r["op"] and (x["dtype"] == r["dtype"])
    )  # fmt: skip
    known = "yes" if r["known"] else "no"
    return _row(
        r["arch"], r["op"], r["taught_by"], known, f"{own:.1f}", f"{r['mape_percent']:.1f}",
        f"{r['mape_percent'] / own:.2f}", f"{r['bias_percent']:+.1f}",
    )  # fmt: skip


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _errors(r: dict[str, Any]) -> tuple[str, ...]:
    percent = (f"{r['median_percent']:.1f}", f"{r['p90_percent']:.1f}", f"{r['bias_percent']:+.1f}")
    return (f"**{r['mape_percent']:.1f}**", *percent, f"{r['spearman']:.3f}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--left-out", action="store_true", help="fit again without each GPU in turn")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--measured", type=Path, default=MEASURED, help="another folder of the same tables")
    arguments = parser.parse_args()
    figures = files.read_json(FIGURES) if FIGURES.exists() else {}
    if not arguments.page:
        figures |= {"kernels": kernel_figures(arguments.measured), "networks": network_figures(arguments.measured)}
        figures |= {"power": power_figures(), "paper": paper_figures(), "elsewhere": elsewhere.figures()}
    if arguments.left_out:
        from benchmarks.left_out import all_left_out

        figures["left_out"] = all_left_out(arguments.measured)
    files.write_json(FIGURES, figures)
    files.write_text(PAGE, page(figures))


if __name__ == "__main__":
    main()
