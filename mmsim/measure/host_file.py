"""What calibration found, as the plain values of an architecture file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mmsim.cpu.model import Memory
from mmsim.measure import machine


def vector_words() -> int:
    """float32 words of a vector register, by what PyTorch found the CPU capable of."""
    return {"AVX512": 16, "AVX2": 8}.get(torch.backends.cpu.get_cpu_capability(), 4)


def host_file(levels: Sequence[Memory], constants: Mapping[str, Mapping[str, Any]], method: str) -> dict[str, Any]:
    """The architecture, for `mmsim.arch.spec.parse`; `constants` are the tables of its ``cpu`` part, by name."""
    found = machine.describe(torch.device("cpu"))
    torch_version = machine.software()["torch"]
    measured = (
        f"measured on {found.name} by mmsim measure --calibrate: PyTorch {torch_version}, {found.threads} threads"
    )
    clock = next(iter(found.clocks_mhz.values()), 2500.0) * 1e6
    lanes = vector_words()
    macs = (found.threads or 1) * lanes * 2

    def level(part: Memory) -> dict[str, Any]:
        capacity = {} if part.bytes is None else {"size_bytes": int(part.bytes)}
        return {
            "name": part.name,
            "kind": "DRAM" if part.bytes is None else "SRAM",
            "word_bits": 32,
            **capacity,
            "read_bandwidth_bytes_per_s": _rounded(part.read_bytes_per_s),
            "write_bandwidth_bytes_per_s": _rounded(part.write_bytes_per_s),
            "source": f"size: the operating system; bandwidths {measured}: a matrix-vector product, fresh tensors",
        }

    return {
        "name": "host_cpu",
        "description": f"The CPU at hand as PyTorch uses it: {found.name}, {found.threads} threads.",
        "clock_hz": clock,
        "technology_nm": 5,
        "sources": {
            "clock_hz": "as found by the operating system",
            "technology_nm": "assumed, for energies of single accesses only; energy of a run comes from cpu.power_w",
        },
        "levels": [
            *(level(part) for part in reversed(levels)),
            {"name": "lane", "kind": "fanout", "meshX": macs, "source": "two vector FMA units a core and thread"},
            {"name": "mac", "kind": "fpmac", "word_bits": 32, "source": "float32, PyTorch's default format"},
        ],
        "cpu": {
            "threads": found.threads,
            "vector_words": lanes,
            **{name: {key: _rounded(value) for key, value in table.items()} for name, table in constants.items()},
            "power_w": 4.0 * (found.threads or 1),
            "sources": {
                "cold_s": f"{measured}; each after a product of 64 MiB of weights, and another op",
                "code": f"{measured}; mean of some ops that take their turn after products of so many bytes of weights",
                "pace_s": f"{measured}; before and after all this",
                "threads": measured,
                "vector_words": "torch.backends.cpu.get_cpu_capability",
                "dispatch_s": f"{measured}; each op on next to nothing, just run, {method}",
                "operations_per_s": f"{measured}; each op on a size its arithmetic fills, {method}",
                "power_w": "estimate: 4 W a core, as server CPUs of 240 to 400 W have 64 to 96 cores",
            },
        },
    }


def _rounded(value: Any) -> Any:
    return [_rounded(part) for part in value] if isinstance(value, list) else float(f"{value:.3g}")
