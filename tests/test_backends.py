"""Back ends: jobs in other environments, Timeloop's statistics, and the real tools where they are installed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mmsim import backends
from mmsim.arch.model import Arch, LoopConstraints
from mmsim.backends import accelforge, doctor, external, statistics, timeloop
from mmsim.crosscheck import crosscheck, installed
from mmsim.errors import InputError
from mmsim.problem import Problem
from mmsim.solution import Solution
from tests import emit_samples as samples

GOLDEN = Path(__file__).parent / "golden" / "timeloop"


def test_unknown_back_end() -> None:
    with pytest.raises(InputError, match="unknown back end 'vivado': one of builtin, timeloop, accelforge"):
        backends.backend("vivado")


def test_vectors_go_to_the_built_in_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeloop, "solve", lambda *_: pytest.fail("Timeloop knows no softmax"))
    assert backends.solve(samples.softmax(), samples.array(), name="timeloop").latency_s > 0


# --- jobs for another Python ---------------------------------------------------------------------


def job(tmp_path: Path, text: str, timeout_s: float | None = None) -> dict[str, object]:
    script = tmp_path / "job.py"
    script.write_text(text)
    return external.run_job(sys.executable, script, {"n": 20}, timeout_s)


def test_job(tmp_path: Path) -> None:
    """It runs in an empty folder, away from this one, and answers in JSON."""
    text = "import json, os, sys; json.dump({'n': json.load(sys.stdin)['n'] + 1, 'here': os.listdir()}, sys.stdout)"
    assert job(tmp_path, text) == {"n": 21, "here": []}


@pytest.mark.parametrize(
    "text, message",
    [
        ("import json, sys; json.dump({'error': 'no memory fits'}, sys.stdout)", "job: no memory fits"),
        ("raise ValueError('broken')", "job failed: ValueError: broken"),
        ("print('not JSON')", "job failed: not JSON"),
        ("import time; time.sleep(60)", "job: no answer in 0.5 s"),
    ],
)
def test_job_that_fails(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        job(tmp_path, text, timeout_s=0.5 if "sleep" in text else None)


def test_interpreter_that_is_not_there() -> None:
    assert not external.can_import("/nowhere/python", "json")
    with pytest.raises(InputError, match="cannot run /nowhere/python"):
        external.run_job("/nowhere/python", Path(__file__), {})


def test_interpreter_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSIM_TIMELOOP_PYTHON", "/opt/timeloop/bin/python")
    assert external.python("MMSIM_TIMELOOP_PYTHON") == "/opt/timeloop/bin/python"
    monkeypatch.delenv("MMSIM_TIMELOOP_PYTHON")
    assert external.python("MMSIM_TIMELOOP_PYTHON") == sys.executable


# --- Timeloop's statistics -----------------------------------------------------------------------


def test_statistics() -> None:
    """A real file, of a 3x3 convolution on `samples.array`, against the figures that stand in it."""
    found = statistics.read(GOLDEN / "array_conv.stats.txt")
    assert (found.cycles, found.computes, found.utilization) == (12992, 903168, 0.4138)
    assert list(found.levels) == ["psum_spad", "weights_spad", "ifmap_spad", "glb", "DRAM"]
    assert found.bound == "DRAM"
    assert found.energy_pj == pytest.approx(10491.09 * 903168 * 1e-3)


def test_statistics_of_a_search_that_found_nothing(tmp_path: Path) -> None:
    (tmp_path / "stats.txt").write_text("Buffer and Arithmetic Levels\n")
    with pytest.raises(InputError, match="no summary"):
        statistics.read(tmp_path / "stats.txt")


# --- what is missing says so ---------------------------------------------------------------------


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("MMSIM_TIMELOOP_PYTHON", "/nowhere/python")
    monkeypatch.setenv("MMSIM_ACCELFORGE_PYTHON", "/nowhere/python")
    with pytest.raises(InputError, match=r"front end and timeloop-mapper and timeloop-model not found; build"):
        timeloop.solve(samples.product(), samples.array())
    with pytest.raises(InputError, match="has no AccelForge"):
        accelforge.solve(samples.product(), samples.array())
    with pytest.raises(InputError, match="back end timeloop: "):
        crosscheck({}, samples.array(), names=["timeloop"])
    assert installed() == ("builtin",)
    by_name = {finding.name: finding for finding in doctor.findings()}
    assert not by_name["timeloop-model"].found and by_name["timeloop-model"].get


# --- side by side --------------------------------------------------------------------------------


def test_crosscheck_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two made-up back ends; a problem that one of them refuses counts in neither sum."""

    def solve(problem: Problem, arch: Arch, objective: str, *, name: str, limit_s: float | None) -> Solution:
        assert arch.energy_pj["mac"]  # energies are filled in for all
        if name == "timeloop" and problem.family == "conv":
            raise InputError("too slow")
        factor = 2 if name == "timeloop" else 1
        return Solution(latency_s=factor * 1.0, energy_j=factor * 3.0, bound="compute", utilization=1.0)

    monkeypatch.setattr(backends, "solve", solve)
    monkeypatch.setattr(timeloop, "missing", lambda: None)
    problems = {samples.product(): 4, samples.convolution(): 1}
    found = crosscheck(problems, samples.gpu_like(), names=["builtin", "timeloop"])
    assert [(t.latency_s, t.energy_j, t.edp) for t in found.totals] == [(4.0, 12.0, 48.0), (8.0, 24.0, 192.0)]
    assert [row.comparable for row in found.rows] == [True, False]
    assert found.rows[1].answers[1].error == "too slow"
    assert [(t.solved, t.edp_ratio) for t in found.totals] == [(2, 1.0), (1, 4.0)]


# --- the real tools ------------------------------------------------------------------------------


@pytest.mark.timeloop
def test_real_mapper() -> None:
    """Whatever mapping timeloop-mapper finds, its energies are the architecture's and its work the problem's."""
    _need_timeloop()
    problem = samples.product(16, 16, 16)
    found = timeloop.solve(problem, samples.array(), "edp", victory_condition=20, timeout=2000)
    macs = 16**3
    assert found.latency_s >= macs / 168 * 5e-9 and found.energy_j >= macs * 1.1e-12
    assert {traffic.level for traffic in found.traffic} == {"DRAM", "glb", "ifmap_spad", "weights_spad", "psum_spad"}
    assert "target: DRAM" in found.mapping


@pytest.mark.timeloop
def test_real_mapper_cut_short_gives_its_best_so_far() -> None:
    _need_timeloop()
    search = {"algorithm": "random", "victory_condition": 10**9, "timeout": 10**9}  # it would not end by itself
    found = timeloop.solve(samples.product(64, 64, 64), samples.array(), "edp", timeout_s=3, **search)
    assert found.latency_s > 0 and "target: DRAM" in found.mapping


@pytest.mark.timeloop
def test_real_mapper_without_a_valid_mapping() -> None:
    _need_timeloop()
    with pytest.raises(InputError, match="timeloop-mapper: "):
        timeloop.solve(samples.convolution(), _impossible(), "edp", victory_condition=5, timeout=50)


@pytest.mark.accelforge
@pytest.mark.slow
def test_real_accelforge() -> None:
    if reason := accelforge.missing():
        pytest.skip(f"no AccelForge: {reason}")
    found = accelforge.solve(samples.product(16, 16, 16), samples.array(), "energy")
    assert found.energy_j >= 16**3 * 1.1e-12 and 0 < found.utilization <= 1 and found.detail.startswith("AccelForge 1.")
    assert "DRAM]" in found.mapping and found.mapping.endswith("mac computes matmul")


def _need_timeloop() -> None:
    if reason := timeloop.missing():
        pytest.skip(f"no Timeloop: {reason}")


def _impossible() -> Arch:
    """The array, told to hold 64 x 8 weights in a scratchpad of 192 words."""
    arch = samples.array()
    full = LoopConstraints(factors=(("M", "=", 64), ("C", "=", 8)))
    nodes = tuple(
        replace(node, constraints=replace(node.constraints, temporal=full)) if node.name == "weights_spad" else node
        for node in arch.nodes
    )
    return replace(arch, nodes=nodes)  # type: ignore[arg-type]
