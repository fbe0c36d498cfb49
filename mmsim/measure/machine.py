"""The device at hand as it is found: name, clocks, driver, software. Nothing here is ever set."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from mmsim import __version__
from mmsim.errors import InputError
from mmsim.measurement import Machine


def device_of(name: str) -> torch.device:
    """``cpu`` or ``cuda``; raises `InputError` for a device that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device here: use --device cpu", field="--device")
    if name not in ("cpu", "cuda"):
        raise InputError(f"unknown device {name!r}: cpu or cuda", field="--device")
    return torch.device(name)


def use_threads(threads: int | None) -> None:
    """Let torch use this many CPU threads from now on; None leaves it as it is."""
    if threads is not None:
        torch.set_num_threads(threads)


def describe(device: torch.device) -> Machine:
    """The machine as found now."""
    return _cuda(device) if device.type == "cuda" else _cpu()


def software() -> dict[str, str]:
    """Versions of what ran, and the settings of torch that choose a GPU's kernels, as found."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__), "mmsim": __version__}
    if torch.cuda.is_available():
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        found |= {
            "cuda": str(torch.version.cuda),
            "cudnn": str(cudnn.version()),  # type: ignore[no-untyped-call]
            "float32 convolutions": str(cudnn.conv.fp32_precision),  # type: ignore[attr-defined]
            "float32 products": str(matmul.fp32_precision),
            "cudnn.benchmark": str(cudnn.benchmark),
        }
    return found


def _cpu() -> Machine:
    info = _read("/proc/cpuinfo")
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    clocks = [float(line.split(":", 1)[1]) for line in info.splitlines() if line.startswith("cpu MHz")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return Machine(
        kind="cpu",
        name=model or platform.processor() or platform.machine(),
        threads=torch.get_num_threads(),
        memory_bytes=pages,
        clocks_mhz={"core": max(clocks)} if clocks else {},
    )


def _cuda(device: torch.device) -> Machine:
    properties = torch.cuda.get_device_properties(device)
    found = Machine(
        kind="cuda", name=properties.name, threads=torch.get_num_threads(), memory_bytes=properties.total_memory
    )
    nvml = gpu(device)
    return msgspec.structs.replace(found, **(_asked(nvml) if nvml is not None else _smi(str(properties.uuid))))


def _asked(nvml: Nvml) -> dict[str, Any]:
    """What NVML says of the driver, the clocks, and what holds them down."""
    clocks = {name: nvml.ask("nvmlDeviceGetClockInfo", kind) for name, kind in (("sm", 1), ("memory", 2))}
    limit, reasons = nvml.ask("nvmlDeviceGetPowerManagementLimit"), nvml.ask("nvmlDeviceGetCurrentClocksEventReasons")
    driver = nvml.library.nvmlSystemGetDriverVersion()
    return {
        "driver": driver.decode() if isinstance(driver, bytes) else str(driver),
        "clocks_mhz": {name: float(mhz) for name, mhz in clocks.items() if mhz is not None},
        "power_limit_w": None if limit is None else limit / 1000,
        "throttled": [name for bit, name in THROTTLES.items() if (reasons or 0) & bit],
    }


def _smi(uuid: str) -> dict[str, Any]:
    """The same by ``nvidia-smi``, where nvidia-ml-py is not installed; nothing without it."""
    query = [
        "nvidia-smi",
        f"--id=GPU-{uuid}",
        "--query-gpu=driver_version,clocks.sm,clocks.mem,power.limit",
        "--format=csv,noheader,nounits",
    ]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
        driver, sm, memory, limit = (part.strip() for part in done.stdout.splitlines()[0].split(","))
        clocks = {"sm": float(sm), "memory": float(memory)}
        return {"driver": driver, "clocks_mhz": clocks, "power_limit_w": float(limit)}
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}


THROTTLES = {
    0x4: "software power cap", 0x8: "hardware slowdown", 0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown", 0x80: "hardware power brake",
}  # fmt: skip
"""Bits of NVML's clocks event reasons (nvml.h) that mean a lower clock than asked for."""


@dataclass(frozen=True)
class Nvml:
    """NVML and the handle of one GPU."""

    library: Any
    handle: Any

    def ask(self, name: str, *arguments: Any) -> Any:
        """What the GPU answers to a call, None where it does not support it."""
        try:
            return getattr(self.library, name)(self.handle, *arguments)
        except (self.library.NVMLError, AttributeError):
            return None


def gpu(device: torch.device) -> Nvml | None:
    """NVML for this CUDA device, or None where nvidia-ml-py is not installed or the driver's library is not there."""
    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        return Nvml(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except ImportError:
        return None
    except Exception:  # NVML has an error class a code
        return _first_gpu()


def _first_gpu() -> Nvml | None:
    """Where the driver knows no such id, as in some containers: the only one, if there is but one."""
    import pynvml

    try:
        return Nvml(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)) if pynvml.nvmlDeviceGetCount() == 1 else None
    except pynvml.NVMLError:
        return None


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
