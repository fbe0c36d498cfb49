"""AccelForge (the Turbo-Charged and Fast and Fusiest Mapper) in its own Python 3.12 environment, from problem files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mmsim import files
from mmsim.arch.model import Arch
from mmsim.backends import external
from mmsim.emit import accelforge
from mmsim.energy import filled
from mmsim.errors import InputError
from mmsim.problem import Problem
from mmsim.size import concrete
from mmsim.solution import Objective, Solution

PYTHON = "MMSIM_ACCELFORGE_PYTHON"
SCRIPT = Path(__file__).with_name("accelforge_job.py")
METRICS: dict[Objective, str] = {"latency": "LATENCY", "energy": "ENERGY", "edp": "ENERGY_DELAY_PRODUCT"}
INSTALL = f"python3.12 -m venv FOLDER; FOLDER/bin/pip install accelforge; set {PYTHON}=FOLDER/bin/python"


def missing() -> str | None:
    """What is not there, in words, or None."""
    interpreter = external.python(PYTHON)
    return None if external.can_import(interpreter, "accelforge") else f"{interpreter} has no AccelForge"


def solve(problem: Problem, arch: Arch, objective: Objective = "edp", *, timeout_s: float | None = 600.0) -> Solution:
    """The best mapping that AccelForge finds, judged by its own model and written in its own words.

    Energies that `arch` lacks come from the built-in models. Raises `InputError` for a problem that
    is no single Einsum, and when it gives no answer within `timeout_s` (convolutions take minutes).
    """
    reason = missing()
    if reason:
        raise InputError(f"the accelforge back end is not installed: {reason}; {INSTALL}")
    parts = {"workload": accelforge.workload(problem), "arch": accelforge.architecture(filled(arch))}
    with tempfile.TemporaryDirectory(prefix="mmsim-") as folder:
        path = files.write_yaml(Path(folder) / "input.yaml", parts)
        job = {"file": str(path), "metric": METRICS[objective]}
        found = external.run_job(external.python(PYTHON), SCRIPT, job, timeout_s)
    instances = concrete(problem.instances)
    ideal_s = concrete(problem.points) / arch.instances(arch.compute.name) * arch.cycle_s
    return Solution(
        latency_s=found["latency_s"] * instances,
        energy_j=found["energy_j"] * instances,
        bound="",
        utilization=ideal_s / found["latency_s"],
        mapping=found["mapping"],
        proof="optimal",
        detail=f"AccelForge {found['version']}, perfect factors, {found['cpu_seconds']:.1f} CPU s".replace("  ", " "),
    )
