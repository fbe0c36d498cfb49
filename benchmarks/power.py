"""Board power and energy beside published measurements (benchmarks/measured/power.csv).

A row gives watts while a network or a product runs over and over, and how long a pass took; joules of a pass are
their product. What it was used for stands in the row: constants were set on ``set``, ``test`` rows were in view
meanwhile, ``unseen`` ones were predicted once, after the constants stood.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.power_networks import read
from mmsim import gpu
from mmsim.arch import load
from mmsim.arch.model import Arch
from mmsim.training import training_graph

OPTIMIZERS = {"resnet50": "adam", "bert_base_384": "adamw"}  # Adadelta keeps two states as Adam does


def rows(folder: Path) -> list[dict[str, Any]]:
    """Every measured row with its prediction."""
    found = []
    for row in csv.DictReader((folder / "power.csv").read_text().splitlines()):
        watts, joules = predicted(row)
        period_s = float(row["period_ms"]) * 1e-3 if row["period_ms"] else None
        found.append(
            {key: row[key] for key in ("arch", "network", "phase", "batch", "length", "dtype", "used", "scope")}
            | {"measured_w": float(row["power_w"]), "predicted_w": watts, "predicted_j": joules,
               "measured_j": period_s and period_s * float(row["power_w"])}
        )  # fmt: skip
    return found


def predicted(row: dict[str, str]) -> tuple[float, float]:
    """Average watts, and joules of a pass."""
    arch = load(row["arch"])
    if row["phase"] == "kernel":
        return _product(row, arch)
    time = gpu.network(_graph(row["network"], row["phase"]).at(**_sizes(row)), arch, row["mode"])
    return time.energy_j / time.wall_s, time.energy_j


def _product(row: dict[str, str], arch: Arch) -> tuple[float, float]:
    """One product, back to back."""
    where = gpu.machine(arch)
    m, n, k = (int(size) for size in row["network"].split()[1].split("x"))
    kernel = gpu.products.gemm(m, n, k, int(row["batch"]), row["dtype"], where)
    assert arch.device is not None
    joules = gpu.power.energy(kernel, where) + arch.device.power.idle_w * kernel.device_s
    return joules / kernel.device_s, joules


@cache
def _graph(network: str, phase: str) -> Any:
    graph = read(network)
    return training_graph(graph, optimizer=OPTIMIZERS[network]) if phase == "training" else graph


def _sizes(row: dict[str, str]) -> dict[str, int]:
    symbols = _graph(row["network"], row["phase"]).symbols
    given = {"B": int(row["batch"])} | ({"L": int(row["length"])} if row["length"] else {})
    return {name: size for name, size in given.items() if name in symbols}


def summary(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean errors by device and by what the rows were used for."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found:
        groups.setdefault((row["arch"], row["used"]), []).append(row)
    return [
        {"arch": arch, "used": used, "rows": len(group)} | {f"{unit}_percent": errors(group, unit) for unit in "wj"}
        for (arch, used), group in groups.items()
    ]


def errors(found: list[dict[str, Any]], unit: str) -> float | None:
    """Mean absolute error in percent of watts (``w``) or joules (``j``) of a pass."""
    pairs = [(r[f"measured_{unit}"], r[f"predicted_{unit}"]) for r in found if r[f"measured_{unit}"]]
    return 100 * sum(abs(p / m - 1) for m, p in pairs) / len(pairs) if pairs else None
