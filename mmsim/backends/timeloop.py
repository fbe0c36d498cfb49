"""The real Timeloop through its v0.4 Python front end: timeloop-mapper to solve, timeloop-model to judge a mapping.

The front end may stand in an environment of its own (``MMSIM_TIMELOOP_PYTHON``), the binaries on the PATH.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmsim import files
from mmsim.arch.model import Arch
from mmsim.backends import external
from mmsim.backends.statistics import Statistics, read
from mmsim.emit import accelergy, timeloop
from mmsim.emit.folder import problem_file
from mmsim.energy import filled
from mmsim.errors import InputError
from mmsim.nest.mapping import Mapping
from mmsim.problem import Problem
from mmsim.size import concrete
from mmsim.solution import Objective, Solution, Traffic

PYTHON = "MMSIM_TIMELOOP_PYTHON"
FRONT_ENDS = ("pytimeloop.timeloopfe.v4", "timeloopfe.v4")  # its names, now and before
SCRIPT = Path(__file__).with_name("timeloop_job.py")
INSTALL = (
    "build NVlabs/timeloop so that timeloop-model and timeloop-mapper are on the PATH, install Accelergy and "
    f"Accelergy-Project/timeloop-python, and set {PYTHON} to the Python that has them"
)
LAST_WORDS_S = 60.0
"""For the front end to read its files, and for a search that was asked to end to write its best mapping."""


def front_end() -> str | None:
    """The name under which the front end is installed, or None."""
    interpreter = external.python(PYTHON)
    return next((name for name in FRONT_ENDS if external.can_import(interpreter, name)), None)


def accelergy_installed() -> bool:
    """Whether Accelergy can be handed the energies."""
    return shutil.which("accelergy") is not None


def missing() -> str | None:
    """What is not there, in words, or None."""
    absent = [name for name in ("timeloop-mapper", "timeloop-model") if shutil.which(name) is None]
    if front_end() is None:
        absent.insert(0, "the Python front end")
    return f"{' and '.join(absent)} not found" if absent else None


def solve(
    problem: Problem, arch: Arch, objective: Objective = "edp", *, timeout_s: float | None = 600.0, **search: Any
) -> Solution:
    """The best mapping that timeloop-mapper finds; `search` goes to `mmsim.emit.timeloop.mapper`.

    Energies that `arch` gives are Timeloop's too. When it gives none, Accelergy estimates them, or
    the built-in models where Accelergy is not installed. Raises `InputError` for a problem that
    Timeloop cannot take, and when no valid mapping is found. After `timeout_s` the search ends with its best so far.
    """
    job = {"mapper": timeloop.mapper(objective, **search)}
    with tempfile.TemporaryDirectory(prefix="mmsim-") as folder:
        found = _run("mapper", Path(folder), arch, {**problem_file(problem, arch), **job}, timeout_s)
        mapping = files.read_text(Path(folder) / "timeloop-mapper.map.yaml")
    detail = f"timeloop-mapper, {job['mapper']['algorithm']}, victory condition {job['mapper']['victory_condition']}"
    return _solution(found, problem, arch, mapping, detail)


def evaluate(problem: Problem, arch: Arch, mapping: Mapping) -> Solution:
    """What timeloop-model says of `mapping`; energies as in `solve`."""
    parts = {"problem": timeloop.problem(problem), "mapping": timeloop.mapping(mapping, arch, problem)}
    with tempfile.TemporaryDirectory(prefix="mmsim-") as folder:
        found = _run("model", Path(folder), arch, parts, None)
    return _solution(found, problem, arch, "", "timeloop-model")


def check(paths: Sequence[Path]) -> dict[str, Any]:
    """Let the front end parse and transpile these files, without any C++."""
    return external.run_job(
        external.python(PYTHON), SCRIPT, {"action": "check", "files": [str(path.resolve()) for path in paths]}
    )


def _run(action: str, folder: Path, arch: Arch, parts: dict[str, Any], timeout_s: float | None) -> Statistics:
    reason = missing()
    if reason:
        raise InputError(f"the timeloop back end is not installed: {reason}; {INSTALL}")
    if not arch.energy_pj and not accelergy_installed():
        arch = filled(arch)
    parts = {"architecture": timeloop.architecture(arch), "components": accelergy.components(arch), **parts}
    if arch.energy_pj:
        arch = filled(arch)  # Timeloop wants every component in the tables
        parts |= {"ERT": accelergy.ert(arch, arch.energy_pj), "ART": accelergy.art(arch, arch.area_um2)}
    path = files.write_yaml(folder / "input.yaml", parts)
    job = {"action": action, "files": [str(path)], "out": str(folder), "seconds": timeout_s}
    external.run_job(external.python(PYTHON), SCRIPT, job, None if timeout_s is None else timeout_s + LAST_WORDS_S)
    statistics = folder / f"timeloop-{action}.stats.txt"
    if not statistics.exists() or not statistics.stat().st_size:
        raise InputError(f"timeloop-{action}: {_last_words(folder)}")
    return read(statistics)


def _last_words(folder: Path) -> str:
    """The line of the log that says what was wrong; Timeloop exits 0 on most failures."""
    logs = [path for path in (*folder.glob("*.accelergy.log"), folder / "log.txt") if path.exists()]
    lines = [line.strip() for path in logs for line in files.read_text(path).splitlines() if line.strip()]
    errors = [line for line in lines if "Can not find" in line or "ERROR:" in line or "Failed" in line]
    return (errors or lines[-1:] or ["no valid mapping found"])[0][:300]


def _solution(found: Statistics, problem: Problem, arch: Arch, mapping: str, detail: str) -> Solution:
    instances = concrete(problem.instances)
    bits = {storage.name: storage.word_bits for storage in arch.storages}
    traffic = tuple(
        Traffic(
            level=level,
            data_space=space,
            reads=access.reads * access.instances * instances,
            fills=access.fills * access.instances * instances,
            updates=access.updates * access.instances * instances,
            bytes=(access.reads + access.fills + access.updates) * access.instances * instances * bits[level] / 8,
            energy_j=access.energy_pj * instances * 1e-12,
        )
        for level, spaces in reversed(found.levels.items())
        for space, access in spaces.items()
        if level in bits
    )
    return Solution(
        latency_s=found.cycles * arch.cycle_s * instances,
        energy_j=found.energy_pj * instances * 1e-12,
        bound=found.bound,
        utilization=found.utilization,
        traffic=traffic,
        mapping=mapping,
        proof="gap",
        detail=detail,
    )
