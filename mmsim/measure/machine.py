"""The device at hand as it is found: name, clocks, driver, software. Nothing here is ever set."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

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
    return _cuda() if device.type == "cuda" else _cpu()


def software() -> dict[str, str]:
    """Versions of what ran."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__), "mmsim": __version__}
    if torch.version.cuda:
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
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


def _cuda() -> Machine:
    properties = torch.cuda.get_device_properties(0)
    driver, clocks, limit = None, {}, None
    nvml = nvml_handle()
    if nvml is not None:
        pynvml, handle = nvml
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        clocks = {
            "sm": float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
            "memory": float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)),
        }
        limit = pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000
    return Machine(
        kind="cuda",
        name=properties.name,
        threads=torch.get_num_threads(),
        memory_bytes=properties.total_memory,
        driver=driver,
        clocks_mhz=clocks,
        power_limit_w=limit,
    )


def nvml_handle() -> tuple[Any, Any] | None:
    """(pynvml, handle of GPU 0), or None where NVML is not installed or refuses."""
    try:
        metadata.version("nvidia-ml-py")
        import pynvml

        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
    except (ImportError, metadata.PackageNotFoundError):
        return None
    except Exception:  # NVML has an error class a code: a machine without the driver's library
        return None


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
