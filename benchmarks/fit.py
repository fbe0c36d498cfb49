"""Fit the constants of the kernel models on the rows of the measured tables that `validation.fitted` marks.

    python benchmarks/fit.py GROUP [--evaluations N]

Prints each constant of the group as it stands and as the fit leaves it, with the error on the fitted rows. It changes
nothing: rounded figures were taken over by hand, into the file that each name says.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.validation import MEASURED, TABLES, fitted  # noqa: E402
from mmsim import validate  # noqa: E402
from mmsim.arch import load  # noqa: E402
from mmsim.arch.model import Arch  # noqa: E402
from mmsim.errors import InputError  # noqa: E402
from mmsim.gpu import attention, convolution, host, library, vector  # noqa: E402

MODULES = {m.__name__.rsplit(".", 1)[1]: m for m in (attention, convolution, host, library, validate, vector)}


@dataclass(frozen=True)
class Group:
    """Tables as (file, op), and the constants set on them, each by its path.

    ``products.CUDA.perimeter`` is a field of a module's constant, ``t4.power.burst_s`` of an architecture's device.
    """

    tables: tuple[tuple[str, str], ...]
    constants: tuple[str, ...]


def _of(name: str, fields: str) -> tuple[str, ...]:
    return tuple(f"{name}.{field}" for field in fields.split())


def _tables(op: str, *gpus: str) -> tuple[tuple[str, str], ...]:
    file = {"conv": "conv3x3_fp32", "gemm": "gemm_bf16", "attention": "attention_bf16",
            **dict.fromkeys(("softmax", "ln", "pow"), "vector_fp32")}.get(op, f"{op}_fp32")  # fmt: skip
    return tuple((f"{file}_{gpu}", op) for gpu in gpus)


T4 = _of("t4", "cuda_share power.burst_s power.gemm_fma_pj[float32]")
HBM = ("v100_pcie", "a100_pcie_40gb")
GROUPS = {
    "linear": Group(
        _tables("linear", *HBM, "t4"),
        (*_of("library.CUDA", "perimeter k_clocks stride"), *(f"{gpu}.cuda_share" for gpu in HBM), *T4),
    ),
    "bmm": Group(
        _tables("bmm", "v100_pcie"), _of("library.CUDA_BATCHED", "k_clocks overlap efficiency")
    ),
    "bmm_turing": Group(_tables("bmm", "t4"), _of("library.TURING_BATCHED", "k_clocks overlap efficiency")),
    "gemm_a100": Group(
        _tables("gemm", "a100_sxm_80gb"),
        (*_of("library.TENSOR", "perimeter k_clocks tail overlap setup spread"), "a100_sxm_80gb.tensor_share"),
    ),
    "gemm_h100": Group(
        _tables("gemm", "h100_sxm"), (*_of("library.HOPPER", "k_clocks overlap setup spread"), "h100_sxm.tensor_share")
    ),
    "attention": Group(
        _tables("attention", "h100_sxm"), _of("attention.HOPPER", "efficiency start setup tail overlap")
    ),
    "conv": Group(
        _tables("conv", "v100_pcie", "t4"),
        (*_of("convolution.IMPLICIT[cuda]", "overlap perimeter k_clocks"),
         *_of("convolution.FUSED", "efficiency k_clocks"), *_of("convolution.BATCHED", "efficiency perimeter k_clocks"),
         *_of("convolution", "FUSED_START TRANSFORM FILTER_TRANSFORM"), *_of("host", "ALONE UNFUSED"),
         "validate.ZEROS"),
    ),
    "softmax": Group(  # without the A100, whose table holds two clocks (benchmarks/clocks.py)
        _tables("softmax", "v100_pcie", "t4"),
        ("vector.WARP_SOFTMAX.off_boundary",
         *_of("vector.BLOCK_SOFTMAX", "clocks_per_element waiting")),
    ),
    "host": Group(
        _tables("vector", *HBM, "t4"),
        ("host.SCATTER", *(f"{gpu}.host.launch_s" for gpu in (*HBM, "t4"))),
    ),
    "pow": Group(_tables("pow", *HBM, "t4"), ("validate.POWER",)),
    "layer_norm": Group(_tables("ln", *HBM), _of("vector.LAYER_NORM", "clocks clocks_per_element")),
}  # fmt: skip


class Constants:
    """The constants under their paths: module constants are changed in place, architectures are copies."""

    def __init__(self, arch: Callable[[str], Arch] = load) -> None:
        self.archs: dict[str, Arch] = {}
        self.load = arch

    def arch(self, name: str) -> Arch:
        if name not in self.archs:
            self.archs[name] = self.load(name)
        return self.archs[name]

    def get(self, path: str) -> float:
        value: Any = None
        for step in self._steps(path)[1]:
            value = step if value is None else _down(value, step)
        return float(value)

    def set(self, path: str, number: float) -> None:
        name, (root, *steps) = self._steps(path)
        if name in MODULES and not steps[1:]:
            setattr(MODULES[name], steps[0], number)
        elif name in MODULES:
            setattr(MODULES[name], steps[0], _changed(getattr(root, steps[0]), steps[1:], number))
        else:
            self.archs[name] = replace(self.arch(name), device=_changed(root, steps, number))

    def _steps(self, path: str) -> tuple[str, list[Any]]:
        name, *steps = re.findall(r"[^.\[\]]+", path)
        return name, [MODULES.get(name) or self.arch(name).device, *steps]


def _down(value: Any, step: str) -> Any:
    return value[step] if isinstance(value, dict) else getattr(value, step)


def _changed(value: Any, steps: Sequence[str], number: float) -> Any:
    if not steps:
        return number
    inner = _changed(_down(value, steps[0]), steps[1:], number)
    if isinstance(value, dict):
        return value | {steps[0]: inner}
    return (msgspec.structs.replace if isinstance(value, msgspec.Struct) else replace)(value, **{steps[0]: inner})


@cache
def fitted_rows(measured: Path, file: str, op: str, draw: int = 0) -> Path:
    """A table of the rows that constants are fitted on, in a folder for the time of the run."""
    lines = (measured / f"{file}.csv").read_text().splitlines()
    rows = [line for line in lines[1:] if "op," not in lines[0] or op in ("vector", line.split(",")[0])]
    chosen = [line for line, mark in zip(rows, fitted(len(rows), draw), strict=True) if mark]
    path = Path(tempfile.mkdtemp(prefix="mmsim-fit-")) / f"{file}.csv"
    path.write_text("\n".join([lines[0], *chosen]) + "\n")
    return path


def error(tables: Sequence[tuple[str, str]], measured: Path, constants: Constants, draw: int = 0) -> float:
    """The mean of the tables' MAPE on the fitted rows."""
    found = []
    for file, op in tables:
        _, _, dtype, arch, mode, *_ = next(row for row in TABLES if row[0] == file)
        pairs = validate.kernels(fitted_rows(measured, file, op, draw), op, dtype, constants.arch(arch), mode)
        found.append(validate.errors(pairs).mape_percent)
    return float(np.mean(found))


def fit(group: Group, measured: Path, constants: Constants, evaluations: int, draw: int = 0) -> float:
    """Leave the constants at the least error found (Nelder and Mead, on their logarithms)."""
    from scipy.optimize import minimize

    start = np.log([constants.get(path) for path in group.constants])

    def at(point: Any) -> float:
        try:
            for path, value in zip(group.constants, np.exp(point), strict=True):
                constants.set(path, 1.0 if path.endswith("tail") and value > 1 else float(value))
        except InputError:  # beyond what an architecture file may say
            return float("inf")
        return error(group.tables, measured, constants, draw)

    simplex = np.vstack([start, start + 0.2 * np.eye(len(start))])
    best = minimize(at, start, method="Nelder-Mead", options={"maxfev": evaluations, "initial_simplex": simplex})
    return at(best.x)


@contextmanager
def restored() -> Iterator[None]:
    """Module constants as they were, afterwards."""
    before = {name: dict(vars(module)) for name, module in MODULES.items()}
    try:
        yield
    finally:
        for name, module in MODULES.items():
            vars(module).update(before[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=list(GROUPS))
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--measured", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    group, constants = GROUPS[arguments.group], Constants()
    before = {path: constants.get(path) for path in group.constants}
    print(f"on the fitted rows: {error(group.tables, arguments.measured, constants):.2f} % as it stands")
    print(f"after the fit: {fit(group, arguments.measured, constants, arguments.evaluations):.2f} %")
    for path, value in before.items():
        print(f"  {path:40} {value:10.4g} -> {constants.get(path):10.4g}")


if __name__ == "__main__":
    main()
