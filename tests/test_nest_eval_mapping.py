"""Mappings read and written: Timeloop's syntax, and what is wrong with a file said in one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsim.arch.model import Arch, Compute, Fanout, Storage
from mmsim.errors import InputError
from mmsim.nest.evaluate import evaluate
from mmsim.nest.mapping import Level, Loop, Mapping, extent, to_text
from mmsim.nest.mapping_file import parse, to_timeloop
from mmsim.problem import DataSpace, Problem
from tests.nest_instances import archs, mappings, problems

ONE = {dim: ((dim, 1),) for dim in "MK"}
PROBLEM = Problem(
    "mac",
    (("M", 10), ("K", 3)),
    (DataSpace("A", (ONE["M"], ONE["K"]), 8), DataSpace("B", (ONE["K"],), 8), DataSpace("Z", (ONE["M"],), 8, True)),
)
ARCH = Arch("row", (Storage("DRAM", "DRAM", 8), Fanout("PE", 4, 2), Compute("mac", "intmac", 8)), 1e-9, 45)
GOOD: list[dict[str, Any]] = [
    {"target": "DRAM", "type": "temporal", "factors": "K3 M3", "permutation": "K M"},
    {"target": "inter_PE_spatial", "type": "spatial", "factors": "M4,2", "split": 1},
]


def test_loops_are_innermost_first_and_unmentioned_ones_are_of_one_step() -> None:
    mapping = parse(GOOD, ARCH, PROBLEM)
    assert mapping["DRAM"].temporal == (Loop("K", 3), Loop("M", 3))
    assert mapping["PE"].spatial == (Loop("M", 4, 2),)
    assert mapping["DRAM"].keep == {"A", "B", "Z"}
    assert extent(mapping, "M") == 2 * 4 + 2
    assert to_text(mapping) == "DRAM [A B Z] M3 K3 | PE M4,2(X)"


def test_a_fan_out_goes_by_its_own_name_too() -> None:
    assert parse([GOOD[0], {**GOOD[1], "target": "PE"}], ARCH, PROBLEM) == parse(GOOD, ARCH, PROBLEM)


def test_directives_may_rule_out_reuse_as_constraints_do() -> None:
    listed = [{**GOOD[0], "rmw_first_update": ["Z"]}, {**GOOD[1], "no_reuse": ["B"], "no_link_transfer": ["Z"]}]
    mapping = parse(listed, ARCH, PROBLEM)
    assert mapping["DRAM"].limits.rmw_first_update == ("Z",)
    assert (mapping["PE"].limits.no_multicast, mapping["PE"].limits.no_link_transfer) == (("B",), ("Z",))
    assert parse(to_timeloop(mapping, ARCH, PROBLEM), ARCH, PROBLEM) == mapping
    plain, limited = (evaluate(ARCH, PROBLEM, parse(one, ARCH, PROBLEM)).levels["DRAM"] for one in (GOOD, listed))
    assert plain.data_spaces["B"].reads == 9  # once for each of 9 steps
    assert limited.data_spaces["B"].reads == 30  # once for each of 30 products
    assert (plain.data_spaces["Z"].reads, limited.data_spaces["Z"].reads) == (20, 30)


def test_a_dimension_may_lie_on_both_axes() -> None:
    level = Level("PE", spatial=(Loop("M", 4), Loop("M", 2)), split=1)
    problem = Problem("mac", (("M", 16), ("K", 3)), PROBLEM.data_spaces)
    mapping = Mapping((Level("DRAM", frozenset({"A", "B", "Z"}), (Loop("K", 3), Loop("M", 2))), level))
    assert parse(to_timeloop(mapping, ARCH, problem), ARCH, problem) == mapping


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_written_and_read_back(data: st.DataObject) -> None:
    problem, arch = data.draw(problems()), data.draw(archs())
    mapping = data.draw(mappings(arch, problem, perfect=False))
    assert parse(to_timeloop(mapping, arch, problem), arch, problem) == mapping


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "L2"}, "mapping.0.target: 'L2' is not one of DRAM, inter_PE_spatial"),
        ({"type": "spacial"}, "mapping.0.type: 'spacial' is not one of"),
        ({"factors": "K3 M2"}, "factors of M make 6, the problem has 10"),
        ({"factors": "K3 X2"}, "mapping.0.factors: unknown dimension 'X'"),
        ({"factors": "K3 M-2"}, "mapping.0.factors: not a factor: 'M-2'"),
        ({"factors": "K3 M3,4"}, "mapping.0.factors: 'M3,4': expected 1 <= last <= factor"),
        ({"factors": "K" * 1_000_000}, "mapping.0.factors: more than 4000 characters"),
        ({"factors": 7}, "mapping.0.factors: expected factors such as 'C3 M8'"),
        ({"factors": "M3 M3"}, "stands twice"),
        ({"permutation": "KQ"}, "mapping.0.permutation: unknown dimension 'Q'"),
        ({"permutation": "KK"}, "mapping.0.permutation: a dimension stands twice"),
        ({"permutation": 3}, "mapping.0.permutation: expected dimensions"),
        ({"type": "spatial"}, "mapping.0.target: 'DRAM' has no fan-out below it"),
        ({"type": "dataspace", "keep": ["A"], "bypass": ["A"]}, "'A' is both kept and bypassed"),
        ({"type": "dataspace", "keep": ["Q"]}, "unknown data space 'Q'"),
        ({"target": ["DRAM"]}, "mapping.0.target: ['DRAM'] is not one of"),
        ({"type": {}}, "mapping.0.type: {} is not one of"),
        ({"skew": 3}, "mapping.0.skew: not supported"),
        ({"no_coalesce": ["A"]}, "mapping.0.no_coalesce: not supported"),
        ({"no_reuse": ["X"]}, "mapping.0.no_reuse: unknown data space 'X'"),
        ({"no_reuse": "A"}, "mapping.0.no_reuse: expected a list of data spaces"),
    ],
)
def test_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(
            [{**(GOOD[0] if "keep" not in change else {"target": "DRAM"}), **change}, *GOOD[1:]],
            ARCH,
            PROBLEM,
            file="m.yaml",
        )
    text = str(caught.value)
    assert text.startswith("m.yaml: ")
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize("value", [None, 3, {}, [3], [None], [{}], [[]], "M3"])
def test_no_mapping_at_all(value: object) -> None:
    with pytest.raises(InputError):
        parse(value, ARCH, PROBLEM)
