"""Emitted files run on the real Timeloop. What was run and what it said is recorded in golden/timeloop/accepted.yaml.

With Timeloop installed (`mmsim doctor`) every case is run again; `--update-golden` writes the record
anew. Without it the record still holds two things: that the files accepted then are the files emitted
now, and that our own count of the same mapping is Timeloop's.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmsim import files
from mmsim.arch.load import builtin_names, load
from mmsim.arch.model import Arch, Fanout, Storage
from mmsim.backends import timeloop as backend
from mmsim.emit import accelergy, timeloop
from mmsim.emit.folder import problem_file
from mmsim.energy import filled
from mmsim.nest.constraints import resolve
from mmsim.nest.evaluate import evaluate
from mmsim.nest.mapping import Level, Loop, Mapping
from mmsim.nest.mapping_file import parse, to_timeloop
from mmsim.problem import Problem
from tests import emit_samples as samples

RECORD = Path(__file__).parent / "golden" / "timeloop" / "accepted.yaml"

PROBLEMS: dict[str, Problem] = {
    "conv": samples.convolution(),
    "conv stride 2": samples.convolution(2),
    "conv stride 2 dilation 3": samples.convolution(2, 3),
    "matmul": samples.product(),
    "matmul batch 3": samples.product(batch=3),
    "depthwise": samples.depthwise(),
}
MODELLED = {"array": samples.array(), "gpu-like": samples.gpu_like()}
CASES = [(arch, problem) for arch in MODELLED for problem in PROBLEMS]


def contents(arch: Arch, problem: Problem) -> dict[str, Any]:
    """Everything that a mapper run is given."""
    arch = filled(arch)
    return {
        "architecture": timeloop.architecture(arch),
        "components": accelergy.components(arch),
        **problem_file(problem, arch),
        "mapper": timeloop.mapper(),
        "ERT": accelergy.ert(arch, arch.energy_pj),
        "ART": accelergy.art(arch, arch.area_um2),
    }


def structure(value: Any) -> str:
    """A hash of the files without their energy and area figures, which may be improved freely."""
    plain = {key: part for key, part in value.items() if key not in ("ERT", "ART")}
    names = {key: [table["name"] for table in value[key]["tables"]] for key in ("ERT", "ART")}
    return hashlib.sha256((files.to_yaml(plain) + files.to_yaml(names)).encode()).hexdigest()[:16]


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The record, run anew first when asked to."""
    if request.config.getoption("--update-golden") and backend.missing() is None:
        files.write_yaml(RECORD, run_all())
    found: dict[str, Any] = files.read_yaml(RECORD)
    return found


def run_all() -> dict[str, Any]:
    """Let the front end read every file, and timeloop-model judge a mapping of each case."""
    cases = []
    for name, title in CASES:
        arch, problem = filled(MODELLED[name]), PROBLEMS[title]
        mapping = simple_mapping(arch, problem)
        found = backend.evaluate(problem, arch, mapping)
        cases.append(
            {
                "architecture": name,
                "problem": title,
                "files": structure(contents(arch, problem)),
                "front_end": accepted(contents(arch, problem)),
                "mapping": to_timeloop(mapping, arch, problem),
                "cycles": round(found.latency_s / arch.cycle_s),
                "energy_pj": {**arch.energy_pj, "total": found.energy_j * 1e12},
            }
        )
    builtin = {name: accepted(contents(load(name), samples.product(bits=32))) for name in builtin_names()}
    software = "NVlabs/timeloop 4cf6d4c, Accelergy-Project/timeloop-python b8aaf2c (front end v0.4), Accelergy 6911d15"
    return {"software": software, "builtin_architectures": builtin, "cases": cases}


def accepted(parts: dict[str, Any]) -> str:
    """Whether the front end reads and transpiles these files."""
    with tempfile.TemporaryDirectory() as folder:
        path = files.write_yaml(Path(folder) / "input.yaml", parts)
        return "accepted" if backend.check([path])["characters"] > 1000 else "empty"


def simple_mapping(arch: Arch, problem: Problem) -> Mapping:
    """All loops at the outermost memory, but a dimension over each fan-out that is wide enough for one."""
    left = dict(problem.shape)
    levels = []
    for node in arch.nodes:
        if isinstance(node, Fanout):
            fits = [dim for dim in ("M", "G", "P") if 1 < left.get(dim, 1) <= node.mesh_x]
            spatial = tuple(Loop(dim, left.pop(dim)) for dim in fits[:1])
            levels.append(Level(node.name, spatial=spatial, split=len(spatial)))
        elif isinstance(node, Storage):
            kept = {space.name for space in problem.data_spaces} - set(resolve(node.constraints, problem).bypass)
            levels.append(Level(node.name, keep=frozenset(kept)))
    levels[0] = replace(levels[0], temporal=tuple(Loop(dim, size) for dim, size in left.items() if size > 1))
    return Mapping(tuple(levels))


@pytest.mark.parametrize("arch, problem", CASES)
def test_files_are_those_that_were_accepted(arch: str, problem: str, record: dict[str, Any]) -> None:
    case = _case(record, arch, problem)
    assert case["front_end"] == "accepted"
    assert structure(contents(MODELLED[arch], PROBLEMS[problem])) == case["files"], "run pytest --update-golden"


@pytest.mark.parametrize("arch, problem", CASES)
def test_our_count_is_timeloops(arch: str, problem: str, record: dict[str, Any]) -> None:
    case = _case(record, arch, problem)
    total = case["energy_pj"]["total"]
    energies = {name: table for name, table in case["energy_pj"].items() if name != "total"}
    machine = replace(MODELLED[arch], energy_pj=energies)
    mapping = parse(case["mapping"], machine, PROBLEMS[problem])
    found = evaluate(machine, PROBLEMS[problem], mapping)
    assert found.cycles == case["cycles"]
    assert found.energy_pj == pytest.approx(total, rel=1e-4)


def test_builtin_architectures_were_accepted(record: dict[str, Any]) -> None:
    """An architecture added since then stands in the record after the next run beside the real front end."""
    assert len(record["builtin_architectures"]) >= 17
    assert set(record["builtin_architectures"].values()) == {"accepted"}


@pytest.mark.timeloop
@pytest.mark.slow
def test_real_timeloop_still_agrees(record: dict[str, Any]) -> None:
    if reason := backend.missing():
        pytest.skip(f"no Timeloop: {reason}")
    again = run_all()
    assert again["builtin_architectures"] == record["builtin_architectures"]
    for old, new in zip(record["cases"], again["cases"], strict=True):
        assert (new["front_end"], new["cycles"]) == (old["front_end"], old["cycles"])


@pytest.mark.timeloop
@pytest.mark.slow
@pytest.mark.parametrize("name", builtin_names())
def test_builtin_architectures_on_the_real_timeloop(name: str) -> None:
    """The same mapping of the same product, counted there and here, on every architecture that we ship."""
    if reason := backend.missing():
        pytest.skip(f"no Timeloop: {reason}")
    arch, problem = filled(load(name)), samples.product(64, 48, 32, bits=32)
    mapping = simple_mapping(arch, problem)
    there, here = backend.evaluate(problem, arch, mapping), evaluate(arch, problem, mapping)
    assert round(there.latency_s / arch.cycle_s) == here.cycles
    assert there.energy_j * 1e12 == pytest.approx(here.energy_pj, rel=1e-4)


def _case(record: dict[str, Any], arch: str, problem: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        case for case in record["cases"] if (case["architecture"], case["problem"]) == (arch, problem)
    )
    return found
