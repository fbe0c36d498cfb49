"""What stands around mmsim on this machine: optional libraries, back ends, a GPU."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import metadata

from mmsim.backends import accelforge, external, timeloop


@dataclass(frozen=True)
class Finding:
    """One thing looked for: what it is good for, whether it is there, and how to get it."""

    name: str
    found: bool
    detail: str
    use: str
    get: str


def findings() -> list[Finding]:
    """Everything that mmsim can use, in the order in which people miss it."""
    return [
        _package("torch", "tracing and measuring"),
        _package("transformers", "the text encoders among the workloads"),
        _package("matplotlib", "figures in reports", "pip install 'mmsim[plot]'"),
        _package("onnx", "ONNX files in", "pip install 'mmsim[onnx]'"),
        _gpu(),
        _binary("timeloop-model", "judging mappings by the real Timeloop", timeloop.INSTALL),
        _binary("timeloop-mapper", "the timeloop back end", timeloop.INSTALL),
        _front_end(),
        _binary("accelergy", "energies by Accelergy's plug-ins", "install Accelergy and its plug-ins"),
        _accelforge(),
    ]


def _package(name: str, use: str, get: str = "") -> Finding:
    try:
        return Finding(name, True, metadata.version(name), use, get)
    except metadata.PackageNotFoundError:
        return Finding(name, False, "", use, get or f"pip install {name}")


def _binary(name: str, use: str, get: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, path is not None, path or "", use, get)


def _gpu() -> Finding:
    found = shutil.which("nvidia-smi")
    return Finding("NVIDIA driver", found is not None, found or "", "measuring on a GPU", "a machine that has one")


def _front_end() -> Finding:
    name = timeloop.front_end()
    detail = f"{name} of {external.python(timeloop.PYTHON)}" if name else ""
    return Finding("Timeloop front end", name is not None, detail, "the timeloop back end", timeloop.INSTALL)


def _accelforge() -> Finding:
    reason = accelforge.missing()
    detail = "" if reason else external.python(accelforge.PYTHON)
    return Finding("AccelForge", reason is None, detail, "the accelforge back end", accelforge.INSTALL)
