"""The cases run on the real Timeloop: every count and cycle to the digit, energies to the printed one."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from mmsim.arch import Arch, load, tables
from mmsim.nest import mapping_file as mappings
from mmsim.nest import problem_file
from mmsim.nest.evaluate import evaluate

GOLDEN = Path(__file__).resolve().parents[1].parent / "shared" / "golden" / "timeloop"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))
COUNTS = ("reads", "fills", "updates", "temporal_reductions", "utilized_capacity", "utilized_instances")

pytestmark = pytest.mark.skipif(not NAMES, reason="the golden cases are kept outside the repository")


@lru_cache
def arch_of(name: str) -> Arch:
    ert = tables.read_ert(GOLDEN / f"{name}.ERT.yaml")
    return tables.with_tables(load(GOLDEN / f"{name}.arch.yaml"), ert, tables.read_art(GOLDEN / f"{name}.ART.yaml"))


@lru_cache
def cases_of(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())
    return cases


CASES = [(name, i) for name in NAMES for i in range(len(cases_of(name)))]


@pytest.mark.parametrize(("name", "i"), CASES, ids=[f"{name}-{i}" for name, i in CASES])
def test_equals_timeloop(name: str, i: int) -> None:
    arch, case = arch_of(name), cases_of(name)[i]
    problem = problem_file.parse(case["problem"])
    found = evaluate(arch, problem, mappings.parse(case["mapping"], arch, problem))
    result = case["result"]
    assert (found.cycles, found.computes) == (result["cycles"], result["computes"])
    assert f"{100 * found.utilization:.2f}" == f"{result['utilization_percent']:.2f}"
    assert f"{found.energy_pj / 1e6:.2f}" == f"{result['energy_uj']:.2f}"
    for level, expected in result["levels"].items():
        if level not in found.levels:  # the compute, and fan-outs, which store nothing
            assert not expected.get("data_spaces")
            continue
        cost = found.levels[level]
        assert cost.cycles == expected["cycles"], level
        assert f"{cost.throttling:.2f}" == f"{expected['bandwidth_throttling']:.2f}", level
        kept = expected.get("data_spaces", {})
        assert set(cost.data_spaces) == set(kept), level
        for space, counts in kept.items():
            access = cost.data_spaces[space]
            assert {key: getattr(access, key) for key in COUNTS} == {key: counts[key] for key in COUNTS}, (level, space)
            assert f"{access.energy_pj:.2f}" == f"{counts['energy_total_pj']:.2f}", (level, space)


@pytest.mark.parametrize(("name", "i"), CASES[::25], ids=[f"{name}-{i}" for name, i in CASES[::25]])
def test_mapping_is_written_as_it_is_read(name: str, i: int) -> None:
    arch, case = arch_of(name), cases_of(name)[i]
    problem = problem_file.parse(case["problem"])
    mapping = mappings.parse(case["mapping"], arch, problem)
    assert mappings.parse(mappings.to_timeloop(mapping, arch, problem), arch, problem) == mapping
