"""Recompute the validation figures from the committed tables and layer dumps, and write docs/validation.md.

    python benchmarks/validation.py               # all figures (under a minute) and the page
    python benchmarks/validation.py --left-out    # also fits anew: each GPU left out, other draws (minutes)
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

from benchmarks import counters, elsewhere, power  # noqa: E402
from benchmarks.clocks import POINTWISE, clock_figures, state_figures  # noqa: E402
from benchmarks.networks import path_of, read  # noqa: E402
from benchmarks.paper import paper_figures  # noqa: E402
from benchmarks.published import published_figures  # noqa: E402
from benchmarks.reach import OPS, reach_figures  # noqa: E402
from benchmarks.vector_rows import GPUS  # noqa: E402
from mmsim import files, gpu, validate  # noqa: E402
from mmsim.arch import builtin_names, load  # noqa: E402
from mmsim.arch.model import Arch  # noqa: E402
from mmsim.validate import Pair  # noqa: E402

MEASURED, FIGURES, PAGE = HERE / "measured", HERE / "validation.json", HERE.parent / "docs" / "validation.md"
SAID = {
    "nano_dram": "DRAM utilization on the Nano",
    "nano_one": "same at batch 1",
    "nano_forty": "server's, at batch 40",
}
"""Figures of the page's text -> the paper's statement that they were predicted for."""
UNKNOWN = "mean error unknown: never compared with a measurement"
STATED = HERE.parent / "arch_specs" / "errors.json"
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


def fitted(rows: int, draw: int = 0) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows of a table the constants were fitted on: three in ten, by a fixed draw (0; others test the fit)."""
    return np.random.default_rng(draw).random(rows) < 0.3


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


def stated(figures: dict[str, Any]) -> dict[str, str]:
    """One line for each architecture on what its predictions have been off by: what `mmsim run` prints beside them."""
    found = {}
    for name in builtin_names():
        if load(name).device is None:
            continue
        known = ", ".join(f"{what} {percent} %" for what, percent in _known(figures, name) if percent)
        found[name] = f"mean error on published measurements: {known}" if known else UNKNOWN
    return found


def _known(figures: dict[str, Any], arch: str) -> list[tuple[str, str]]:
    """What was predicted on an architecture, and how far off it was, or nothing. Rates where no table has more."""
    of = {key: [r for r in figures[key] if r["arch"] == arch] for key in ("networks", "kernels", "published", "power")}
    every = [r for r in figures["elsewhere"] if r["arch"] == arch]
    single = [r["mape_percent"] for r in of["kernels"]]
    rates = [] if single else [float(np.mean([r["mape_percent"] for r in of["published"]] or [0.0]))]
    passes = [r for r in of["power"] if r["used"] != "set" and r["measured_j"]]
    one, several = (
        [r["mape_percent"] for r in of["networks"] if r["source"].endswith("batch 1") == one_sample]
        + _off(every, one_sample=one_sample)
        for one_sample in (True, False)
    )
    return [
        ("latency of networks of several samples", _span(several)),
        ("of one sample" if several else "latency of networks of one sample", _span(one)),
        ("latency of single kernels", _span(single)),
        ("rates of large products", _span([rate for rate in rates if rate])),
        (f"joules of {len(passes)} networks", _span([power.errors(passes, "j")]) if passes else ""),
    ]


def _off(rows: list[dict[str, Any]], *, one_sample: bool) -> list[float]:
    """MAPE of figures published elsewhere, of one sample or of more; none without any."""
    some = [r for r in rows if (int(r["batch"]) == 1) == one_sample]
    return [100 * float(np.mean([abs(r["predicted_s"] / r["measured_s"] - 1) for r in some]))] if some else []


def _span(percent: list[float]) -> str:
    if not percent:
        return ""
    least, most = round(min(percent)), round(max(percent))
    return f"{least}" if least == most else f"{least} to {most}"


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
        reach="\n".join(_reach(op, figures["reach"]) for op in (*OPS, "all")),
        clocks="\n".join(
            _row(r["arch"], *(f"{r[op]:.2f}" for op in (*POINTWISE, "many"))) for r in figures["clocks"]
        ),
        states="\n".join(_states(r, figures["reach"]) for r in figures["states"]),
        draws="\n".join(_row(r["op"], r["arch"], *(f"{e:.1f}" for e in r["mape_percent"])) for r in figures["draws"]),
        left_out="\n".join(_left_out(r, kernels, networks) for r in figures["left_out"]),
        published="\n".join(_published(r) for r in figures["published"]),
        published_mape=f"{np.mean([r['mape_percent'] for r in figures['published']]):.0f}",
        published_median=f"{np.median([r['mape_percent'] for r in figures['published']]):.0f}",
        series=len(figures["published"]),
        power="\n".join(_power(r) for r in figures["power"]),
        power_errors="\n".join(
            _row(r["arch"], r["used"], r["rows"], *(_number(r[f"{unit}_percent"], ".1f") for unit in "wj"))
            for r in power.summary(figures["power"])
        ),
        paper="\n".join(
            _row(r["claim"], r["paper"], r["predicted"], "yes" if r["holds"] else "**no**") for r in figures["paper"]
        ),
        counters="\n".join(_counter(r) for r in figures["counters"]["kernels"]),
        stages="\n".join(_stage(r) for r in figures["counters"]["stages"]),
        trace_ms=figures["counters"]["trace_ms"],
        class_shares=", ".join(
            f"{name} {a:.2f} ({b:.2f})" for name, (a, b) in figures["counters"]["classes"]["shares"].items()
        ),
        size_bins=", ".join(map(str, figures["counters"]["classes"]["bins"])),
        size_bins_predicted=", ".join(map(str, figures["counters"]["classes"]["bins_predicted"])),
        nhwc_us=", ".join(f"{us:.0f}" for us in figures["counters"]["nhwc_us"][1:-1]),
        direct_us=" and ".join(f"{figures['counters']['nhwc_us'][i]:.0f}" for i in (0, -1)),
        predicted_ms=figures["counters"]["predicted_ms"],
        av_mnist_peak=f"{figures['counters']['av_mnist_peak_bytes'] / 1e6:.0f}",
        **{name: next(r["predicted"] for r in figures["paper"] if said in r["claim"]) for name, said in SAID.items()},
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


def _reach(op: str, rows: list[dict[str, Any]]) -> str:
    """An op's rank correlation on each GPU, the model's and the best that its shapes allow."""
    found = {r["arch"]: r for r in rows if r["op"] == op}
    return _row(op, *(f"{found[gpu_][key]:.3f}" for gpu_ in GPUS for key in ("rank", "reach")))


def _states(r: dict[str, Any], reach: list[dict[str, Any]]) -> str:
    smooth = next(other["mape_reach"] for other in reach if (other["arch"], other["op"]) == (r["arch"], r["op"]))
    clocks = (f"{r[f'{state}_mhz']:.0f}" for state in ("first", "second"))
    return _row(r["arch"], r["op"], *clocks, *(f"{e:.1f}" for e in (r["one_percent"], r["two_percent"], smooth)))


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


def _published(r: dict[str, Any]) -> str:
    unit = "GB/s" if r["kernel"] == "stream" else "TFLOP/s"
    return _row(
        r["arch"], r["board"], f"{r['kernel']}, {r['dtype']}", r["rows"], f"{r['measured']:.4g} {unit}",
        f"{r['predicted']:.4g}", f"{r['mape_percent']:.1f}", f"{r['bias_percent']:+.1f}", r["source"],
    )  # fmt: skip


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _errors(r: dict[str, Any]) -> tuple[str, ...]:
    percent = (f"{r['median_percent']:.1f}", f"{r['p90_percent']:.1f}", f"{r['bias_percent']:+.1f}")
    return (f"**{r['mape_percent']:.1f}**", *percent, f"{r['spearman']:.3f}")


def _power(r: dict[str, Any]) -> str:
    cells = [r["arch"], f"{r['network']}, {r['phase']}", r["batch"], r["length"], r["dtype"], r["used"]]
    for unit, form in (("w", ".0f"), ("j", ".3g")):
        measured, predicted = r[f"measured_{unit}"], r[f"predicted_{unit}"]
        off = "" if measured is None else f"{100 * (predicted / measured - 1):+.0f}"
        cells += [_number(measured, form), _number(predicted, form), off]
    return _row(*cells)


def _counter(r: dict[str, Any]) -> str:
    figures = (f"{r[key]:.2f}" for key in ("read", "predicted", "off"))
    return _row(r["source"], r["counter"], r["rows"], *figures, _number(r["spearman"], ".2f"))


def _stage(r: dict[str, Any]) -> str:
    pairs = (f"{r[key]:.2f}" for name in counters.READ for key in (name, f"{name}_predicted"))
    return _row(r["stage"], r["kernels"], *pairs)


def _number(value: float | None, form: str = "g") -> str:
    return "" if value is None else format(value, form)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--left-out", action="store_true", help="fit again without each GPU in turn")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--measured", type=Path, default=MEASURED, help="another folder of the same tables")
    arguments = parser.parse_args()
    figures = files.read_json(FIGURES) if FIGURES.exists() else {}
    if not arguments.page:
        figures |= {"kernels": kernel_figures(arguments.measured), "networks": network_figures(arguments.measured)}
        figures |= {
            "power": power.rows(MEASURED),
            "paper": paper_figures(),
            "counters": counters.figures(),
            "published": published_figures(),
        }
        figures |= {"elsewhere": elsewhere.figures(), "clocks": clock_figures(arguments.measured)}
        figures |= {"states": state_figures(arguments.measured), "reach": reach_figures(arguments.measured)}
    if arguments.left_out:
        from benchmarks.draws import draw_figures
        from benchmarks.left_out import all_left_out

        figures["left_out"] = all_left_out(arguments.measured)
        figures["draws"] = draw_figures(arguments.measured)
    files.write_json(FIGURES, figures)
    files.write_text(PAGE, page(figures))
    files.write_json(STATED, stated(figures))


if __name__ == "__main__":
    main()
