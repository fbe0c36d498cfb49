"""Predicted beside measured: tables of single kernels, and whole networks; errors as the field states them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import log10
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from mmsim import measured_table
from mmsim.arch.model import Arch
from mmsim.errors import InputError
from mmsim.gpu import attention, convolution, host, vector
from mmsim.gpu.machine import Machine, machine
from mmsim.gpu.products import gemm
from mmsim.kernel_table import COLUMNS, MEASURED, ROTATION, KernelMode

Row: TypeAlias = dict[str, float]

DTYPES = {
    "fp32": "float32", "tf32": "tfloat32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8",
    "float32": "float32", "tfloat32": "tfloat32", "float16": "float16", "bfloat16": "bfloat16",
}  # fmt: skip

ELEMENTWISE_INPUTS = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "relu": 1, "gelu": 1, "tanh": 1, "sigmoid": 1, "silu": 1,
}  # fmt: skip
"""Pointwise op -> tensors it reads."""
POWER = 90.0
"""Instructions of one power of two tensors' elements (logarithm and exponential in extended precision); the other
pointwise ops wait for memory everywhere. Fitted on 30 % of the pow rows."""
ROW_OPS = ("softmax", "ln")
OPS = (*COLUMNS, *ELEMENTWISE_INPUTS, *ROW_OPS)
IMPLAUSIBLE = 200.0
"""A median ratio of measured to predicted that only another unit explains."""
NOISE_FLOOR_PERCENT = {("gemm", "h100_sxm"): 4.6, ("gemm", "a100_sxm_80gb"): 5.9}
"""Mean disagreement of two frameworks that measured the same shapes (AIConfigurator: vLLM against TensorRT-LLM)."""


@dataclass(frozen=True)
class Pair:
    """One measured row beside its prediction; `label` says which row, `size` orders rows by work."""

    label: str
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        """Relative: 0.1 is 10 % too slow."""
        return self.predicted_s / self.measured_s - 1


@dataclass(frozen=True)
class Errors:
    """The error of some pairs, in percent; `bias` is the mean with its sign, `spearman` the rank correlation."""

    rows: int
    mape_percent: float
    median_percent: float
    p90_percent: float
    bias_percent: float
    spearman: float


def errors(pairs: Sequence[Pair]) -> Errors:
    """Sum up some pairs. Raises `InputError` for none."""
    if not pairs:
        raise InputError("no rows to compare")
    signed = 100 * np.array([pair.error for pair in pairs])
    size = np.abs(signed)
    return Errors(
        rows=len(pairs),
        mape_percent=float(size.mean()),
        median_percent=float(np.median(size)),
        p90_percent=float(np.quantile(size, 0.9)),
        bias_percent=float(signed.mean()),
        spearman=spearman([p.measured_s for p in pairs], [p.predicted_s for p in pairs]),
    )


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, ties by their mean rank; 1 for fewer than two values.

    >>> round(spearman([1, 2, 3], [10, 30, 20]), 3)
    0.5
    """
    if len(first) < 2:
        return 1.0
    a, b = ranks(first), ranks(second)
    if a.std() == 0 or b.std() == 0:
        return 1.0 if a.std() == b.std() else 0.0
    return float(np.corrcoef(a, b)[0, 1])


def ranks(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The rank of each value from 1 on, ties by their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(last - (counts - 1) / 2)[inverse]


def by_size(pairs: Sequence[Pair]) -> dict[str, Errors]:
    """Errors by decade of the measured time."""
    groups: dict[int, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(int(np.floor(log10(pair.measured_s))), []).append(pair)
    return {_decade(power): errors(group) for power, group in sorted(groups.items())}


def _decade(power: int) -> str:
    names = {
        -6: "1 to 10 us",
        -5: "10 to 100 us",
        -4: "0.1 to 1 ms",
        -3: "1 to 10 ms",
        -2: "10 to 100 ms",
        -1: "0.1 to 1 s",
    }
    return names.get(power, f"1e{power} to 1e{power + 1} s")


# --- tables of kernels ---------------------------------------------------------------------------


def kernels(path: str | Path, op: str, dtype: str, arch: Arch, mode: KernelMode = "eager") -> list[Pair]:
    """Each row of the table at `path`, predicted for `op` in `dtype` on `arch`.

    In ``graph`` mode a row is one kernel inside a CUDA graph; in ``eager`` mode one op between two
    events, host dispatch included. A table of vector ops keeps only the rows of `op`, unless `op` is
    ``vector``. Raises `InputError` for an unknown op or format, and for a table without the columns.
    """
    if op not in OPS:
        raise InputError(f"unknown op {op!r}: one of {', '.join(OPS)}")
    if dtype not in DTYPES:
        raise InputError(f"unknown format {dtype!r}: one of {', '.join(sorted(DTYPES))}")
    where = machine(arch)
    pairs = []
    for kind, label, row in list(_read(Path(path), op)):  # a damaged row is told before the first prediction
        device_s, units = PREDICT[kind if kind in PREDICT else "vector"](where, kind, row, DTYPES[dtype])
        predicted = host.alone(where.device.host, units, device_s) if mode == "eager" else device_s
        pairs.append(Pair(label, row[MEASURED] * 1e-3, predicted))
    if not pairs:
        raise InputError(f"no rows of {op}", file=str(path))
    _check_units(pairs, Path(path))
    return pairs


def _read(path: Path, op: str) -> Iterable[tuple[str, str, Row]]:
    """(op, label, figures) of each row; refuses a table with wrong columns."""
    family = op if op in COLUMNS else "vector"
    for line, row in measured_table.rows(path, (*COLUMNS[family], MEASURED), op):
        kind = row.pop("op", op)
        if family == "vector" and kind not in (*ELEMENTWISE_INPUTS, *ROW_OPS):
            raise InputError(f"unknown op {kind!r}", file=str(path), field=f"line {line}.op")
        if op not in ("vector", kind):
            continue
        figures = {
            name: measured_table.figure(
                cell, path, f"line {line}.{name}", whole=name != MEASURED, zero=name == "padding"
            )
            for name, cell in row.items()
        }
        if family == "conv" and figures["kernel"] > figures["input_size"] + 2 * figures["padding"]:
            raise InputError("larger than the padded input", file=str(path), field=f"line {line}.kernel")
        yield kind, f"{kind} {' x '.join(cell for name, cell in row.items() if name != MEASURED)}", figures


def _check_units(pairs: Sequence[Pair], path: Path) -> None:
    """Refuse a table whose times cannot be milliseconds: no model is off by a factor of hundreds throughout."""
    ratio = float(np.median([pair.measured_s / pair.predicted_s for pair in pairs]))
    if not 1 / IMPLAUSIBLE < ratio < IMPLAUSIBLE:
        raise InputError(
            f"measured times are {ratio:.3g} times the predicted: {MEASURED} must be in milliseconds", file=str(path)
        )


Predict: TypeAlias = Callable[[Machine, str, Row, str], tuple[float, float]]
"""(machine, op, row, format) -> device time of one launch, and host work in plain ops."""


def _resident(where: Machine, size: float, times: float) -> float:
    """The share of a benchmark's operands that it does not find in L2 the next time."""
    return vector.lost(times * size, where.device.l2_resident_bytes)


def _gemm(where: Machine, op: str, row: Row, dtype: str) -> tuple[float, float]:
    m, n, k = (int(row[name]) for name in ("m", "n", "k"))
    a, own = m * k, n * k + m * n
    again, anew = (_resident(where, words * _word(dtype), 1) for words in (a + own, a + ROTATION * own))
    return gemm(m, n, k, 1, dtype, where, cold=(again, anew, anew)).device_s, host.calls("linear")


def _product(where: Machine, op: str, row: Row, dtype: str) -> tuple[float, float]:
    batch, m, n, k = (int(row[name]) for name in ("batch", "m", "n", "k_reduction"))
    cold = _resident(where, batch * (m * k + n * k + m * n) * _word(dtype), 1)
    if op == "linear":
        batch, m = 1, batch * m
    kernel = gemm(m, n, k, batch, dtype, where, cold=(cold, cold, cold), b_along_k=op == "linear")
    return kernel.device_s, host.calls(op)


def _conv(where: Machine, op: str, row: Row, dtype: str) -> tuple[float, float]:
    size, kernel, stride = row["input_size"], row["kernel"], row["stride"]
    out = (size + 2 * row["padding"] - kernel) // stride + 1
    n, c, k, x, p = (
        np.array(v) for v in (row["batch"], row["in_channels"], row["out_channels"], size * size, out)
    )  # fmt: skip
    shape = convolution.Shape(n, c, k, x, p, p, taps=kernel * kernel)
    cold = _resident(where, sum(float(part) for part in shape.bytes(_word(dtype))), 1)
    found = convolution.convolution(
        _on_zeros(where), shape, dtype, cold=(cold, cold, cold), three_by_three=kernel == 3 and stride == 1,
        unfused_host_s=host.UNFUSED * where.device.host.dispatch_s,
    )  # fmt: skip
    unfused = any(kernel.name.startswith(convolution.UNFUSED_NAME) for kernel in found)
    return sum(kernel.device_s for kernel in found), host.ALONE + unfused * host.UNFUSED


ZEROS = 0.402
"""The share of a product's energy left on zeros, which these tables were measured on: no multiplier or operand toggles,
instructions are still issued. Fitted on 30 % of the convolution rows of the T4, which reaches its power limit."""


def _on_zeros(where: Machine) -> Machine:
    """The machine with products of zeros."""
    power = where.device.power
    energies = power.gemm_fma_pj | {"float32": ZEROS * power.gemm_fma_pj["float32"]}
    return replace(
        where,
        device=msgspec.structs.replace(where.device, power=msgspec.structs.replace(power, gemm_fma_pj=energies)),
    )


def _attention(where: Machine, op: str, row: Row, dtype: str) -> tuple[float, float]:
    batch, length, heads, head = (int(row[name]) for name in ("batch", "seq_len", "num_heads", "head_dim"))
    kernel = attention.attention(where, batch, heads, length, length, head, dtype)
    return kernel.device_s, host.calls("scaled_dot_product_attention")


def _vector(where: Machine, op: str, row: Row, dtype: str) -> tuple[float, float]:
    rows, columns = row["rows"], row["cols"]
    size = rows * columns * _word(dtype)
    read = size * ELEMENTWISE_INPUTS.get(op, 1)
    cold = _resident(where, read + size, 1)
    traffic = vector.Traffic(read, size, cold, cold)
    if op == "softmax":
        kind = vector.softmax_row(columns)
        units = host.calls(op) + kind.by_warp * host.IN_REGISTERS
        return vector.rows(where, rows, columns, traffic, kind, name=op, kind="Other").device_s, units
    if op == "ln":
        kernel = vector.rows(where, rows, columns, traffic, vector.LAYER_NORM, name=op, kind="BNorm")
        return kernel.device_s, host.calls("layer_norm")
    ops = POWER if op == "pow" else 1.0
    return vector.elementwise(where, rows * columns, traffic, ops=ops).device_s, host.calls(op)


def _word(dtype: str) -> float:
    from mmsim.layer import BITS

    return BITS[dtype] / 8


PREDICT: dict[str, Predict] = {
    "gemm": _gemm, "linear": _product, "bmm": _product, "conv": _conv, "attention": _attention, "vector": _vector,
}  # fmt: skip
