"""Problems solved on accelerators: products by the mapper, vectors and copies streamed; and ``mmsim evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmsim import files
from mmsim.arch.model import Arch, Compute, Fanout, Storage, VectorUnit
from mmsim.cli import cli
from mmsim.nest.solve import solve
from mmsim.nest.streaming import stream
from mmsim.problem import DataSpace, Problem

ENERGY = {"DRAM": {"read": 100.0, "write": 200.0}, "buffer": {"read": 1.0, "write": 2.0}, "mac": {"compute": 0.5}}
MACHINE = Arch(
    "machine",
    (
        Storage("DRAM", "DRAM", 16, shared_words_per_cycle=4),
        Storage("buffer", "SRAM", 8, 64, read_words_per_cycle=2, write_words_per_cycle=8),
        Fanout("PE", 4),
        Storage("rf", "regfile", 8),
        Compute("mac", "intmac", 8),
    ),
    1e-9,
    45,
    ENERGY,
)
N = ((("N", 1),),)


def relu(n: int, ops: int = 1, instances: int = 1) -> Problem:
    spaces = (DataSpace("Inputs", N, 8), DataSpace("Outputs", N, 8, True))
    return Problem("vector", (("N", n),), spaces, ops_per_point=ops, instances=instances)


def test_a_vector_problem_passes_every_memory_once() -> None:
    """100 bytes: 50 words of DRAM in and 50 out at 4 a cycle; 200 words read from the buffer at 2 a cycle bind."""
    found = stream(relu(100, instances=3), MACHINE)
    assert found.bound == "buffer"
    assert found.latency_s == pytest.approx(3 * 100e-9)  # Inputs to the array and Outputs to DRAM: 200 reads
    words = {(one.level, one.data_space): (one.reads, one.fills, one.updates) for one in found.traffic}
    assert words["DRAM", "Inputs"] == (150, 0, 0)
    assert words["DRAM", "Outputs"] == (0, 0, 150)
    assert words["buffer", "Inputs"] == (300, 300, 0)
    assert words["buffer", "Outputs"] == (300, 0, 300)
    pj = 50 * 100 + 50 * 200 + 200 * 1 + 200 * 2 + 100 * 0.5
    assert found.energy_j == pytest.approx(3 * pj * 1e-12)


def test_operations_bind_where_they_are_many() -> None:
    assert stream(relu(100, ops=40), MACHINE).bound == "compute"
    assert stream(relu(100, ops=40), MACHINE).latency_s == pytest.approx(100 * 40 / 4 * 1e-9)


def test_a_vector_unit_sets_where_the_path_ends_and_how_fast_it_goes() -> None:
    from dataclasses import replace

    machine = replace(MACHINE, vector=VectorUnit("DRAM", 0.5, 2.0))
    found = stream(relu(100), machine)
    assert {one.level for one in found.traffic} == {"DRAM"}
    assert found.bound == "compute"
    assert found.latency_s == pytest.approx(200e-9)
    assert found.energy_j == pytest.approx((50 * 100 + 50 * 200 + 100 * 2) * 1e-12)


def test_movement_does_no_operations() -> None:
    copy = Problem("movement", (("N", 8),), (DataSpace("Inputs", N, 16), DataSpace("Outputs", N, 16, True)))
    found = solve(copy, MACHINE)
    assert found.utilization == 0
    assert found.energy_j == pytest.approx((8 * 100 + 8 * 200 + 32 * 1 + 32 * 2) * 1e-12)


def test_a_product_is_mapped_and_its_instances_are_multiplied() -> None:
    one = {dim: ((dim, 1),) for dim in "MNK"}
    spaces = (
        DataSpace("Weights", (one["K"], one["N"]), 8),
        DataSpace("Inputs", (one["M"], one["K"]), 8),
        DataSpace("Outputs", (one["M"], one["N"]), 8, True),
    )
    dims = (("M", 8), ("N", 4), ("K", 6))
    single = solve(Problem("mac", dims, spaces), MACHINE, "latency")
    triple = solve(Problem("mac", dims, spaces, instances=3), MACHINE, "latency")
    assert single.latency_s >= 8 * 4 * 6 / 4 * 1e-9
    assert triple.latency_s == pytest.approx(3 * single.latency_s)
    assert triple.energy_j == pytest.approx(3 * single.energy_j)
    assert single.energy_j == pytest.approx(sum(one.energy_j for one in single.traffic) + 8 * 4 * 6 * 0.5e-12)
    assert single.lower_bound is not None
    assert single.lower_bound <= single.latency_s * (1 + 1e-9)


@pytest.mark.parametrize("ranks", [(), ((),)])
def test_a_dot_product_has_an_output_without_ranks(ranks: tuple[tuple[()], ...]) -> None:
    k = ((("K", 1),),)
    spaces = (DataSpace("Weights", k, 8), DataSpace("Inputs", k, 8), DataSpace("Outputs", ranks, 8, True))
    found = solve(Problem("mac", (("K", 60),), spaces), MACHINE, "latency")
    assert sum(one.updates for one in found.traffic if (one.level, one.data_space) == ("DRAM", "Outputs")) >= 1


def test_a_memory_may_have_the_name_of_the_fan_out_above_it() -> None:
    """As a Timeloop component with a ``spatial`` of its own has."""
    from dataclasses import replace

    from mmsim.errors import InputError
    from mmsim.nest.evaluate import evaluate
    from mmsim.nest.mapping import Level, Loop, Mapping

    rf = Storage("rf", "regfile", 8, cluster_size=2)
    arch = replace(MACHINE, nodes=(*MACHINE.nodes[:2], Fanout("rf", 4), rf, MACHINE.nodes[-1]))
    keep = frozenset({"Inputs", "Outputs"})
    spread = Level("rf", spatial=(Loop("N", 2),), split=1)
    mapping = Mapping((Level("DRAM", keep, (Loop("N", 5),)), Level("buffer"), spread, Level("rf", keep)))
    assert evaluate(arch, relu(10), mapping).levels["rf"].data_spaces["Inputs"].reads == 5
    odd = replace(arch, nodes=(*arch.nodes[:3], replace(rf, cluster_size=3), arch.nodes[-1]))
    with pytest.raises(InputError, match="rf: cluster_size 3 does not divide its 4 instances"):
        evaluate(odd, relu(10), mapping)


def test_leakage_of_the_instances_switched_on() -> None:
    """Two of four register files in use: two leak; all four behind the buffer's gate do."""
    from dataclasses import replace

    from mmsim.nest.evaluate import evaluate
    from mmsim.nest.mapping import Level, Loop, Mapping

    arch = replace(MACHINE, energy_pj={"rf": {"leak": 3.0}})
    gated = replace(
        arch,
        nodes=tuple(replace(node, power_gated_at="buffer") if node.name == "rf" else node for node in arch.nodes),
    )
    keep = frozenset({"Inputs", "Outputs"})
    levels = (
        Level("DRAM", keep, (Loop("N", 5),)),
        Level("buffer"),
        Level("PE", spatial=(Loop("N", 2),), split=1),
        Level("rf", keep),
    )
    cycles = evaluate(arch, relu(10), Mapping(levels)).cycles
    assert evaluate(arch, relu(10), Mapping(levels)).levels["rf"].leak_pj == 3.0 * cycles * 2
    assert evaluate(gated, relu(10), Mapping(levels)).levels["rf"].leak_pj == 3.0 * cycles * 4


# --- mmsim evaluate --------------------------------------------------------------------------------

PROBLEM = {
    "problem": {
        "version": "0.4",
        "shape": {
            "name": "gemm",
            "dimensions": ["M", "K"],
            "data_spaces": [
                {"name": "Weights", "projection": [[["M"]], [["K"]]]},
                {"name": "Inputs", "projection": [[["K"]]]},
                {"name": "Outputs", "projection": [[["M"]]], "read_write": True},
            ],
        },
        "instance": {"M": 28, "K": 4},
    }
}
MAPPING = {
    "mapping": [
        {"target": "DRAM", "type": "temporal", "factors": "M2 K4", "permutation": "KM"},
        {"target": "inter_PE_spatial", "type": "spatial", "factors": "M14"},
    ]
}


def run(tmp_path: Path, *more: str, problem: Any = PROBLEM, mapping: Any = MAPPING) -> Any:
    files.write_yaml(tmp_path / "p.yaml", problem)
    files.write_yaml(tmp_path / "m.yaml", mapping)
    arguments = ["evaluate", "eyeriss_like", str(tmp_path / "p.yaml"), str(tmp_path / "m.yaml"), *more]
    return CliRunner().invoke(cli, arguments)


def test_evaluate_prints_the_contract_as_json(tmp_path: Path) -> None:
    result = run(tmp_path, "--json", "-o", str(tmp_path / "out.json"))
    found = json.loads(result.output)
    assert found == json.loads((tmp_path / "out.json").read_text())
    assert (found["computes"], found["compute"]["cycles"]) == (112, 8)
    assert found["bound"] == "DRAM"  # 112 weights at 2.4 bytes a cycle
    assert found["utilization_percent"] == pytest.approx(100 * 112 / 168 / found["cycles"], abs=1e-4)
    spad = found["levels"]["weights_spad"]["data_spaces"]["Weights"]
    assert {key: spad[key] for key in ("reads", "fills", "updates", "utilized_capacity", "utilized_instances")} == {
        "reads": 8,
        "fills": 8,
        "updates": 0,
        "utilized_capacity": 1,
        "utilized_instances": 14,
    }
    pj = [space["energy_pj"] for level in found["levels"].values() for space in level["data_spaces"].values()]
    assert found["energy_pj"] == pytest.approx(sum(pj) + found["compute"]["energy_pj"])


def test_evaluate_prints_a_table_for_people(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "utilization" in result.output
    assert "weights_spad" in result.output


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ({"problem": {"shape": {}}}, "p.yaml: instance: missing"),
        ({"problem": 3}, "p.yaml: problem: expected a mapping"),
        ({"M": 3}, "p.yaml: M: not supported"),
    ],
)
def test_evaluate_refuses_a_bad_problem(tmp_path: Path, problem: Any, said: str) -> None:
    error = run(tmp_path, problem=problem).exception
    assert said in str(error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"M": 0}, "instance.M: expected a positive whole number, got 0"),
        ({"M": 2.5}, "instance.M: expected a positive whole number"),
        ({"M": "many"}, "instance.M: unknown name 'many'"),
        ({"M": None}, "instance.M: missing"),
        ({"Q": 3}, "instance.Q: is neither a dimension nor a coefficient"),
        ({"m": 3}, "instance.m: is neither a dimension nor a coefficient of the shape; did you mean M?"),
    ],
)
def test_evaluate_refuses_a_bad_size(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    shape = PROBLEM["problem"]["shape"]
    bad = {"problem": {"shape": shape, "instance": {"M": 28, "K": 4, **change}}}
    assert said in str(run(tmp_path, problem=bad).exception)


DESIGN = {
    "architecture": {
        "version": 0.4,
        "nodes": [
            {"!": "Component", "name": "DRAM", "class": "DRAM", "attributes": {"datawidth": 8, "width": 8}},
            {"!": "Container", "name": "PE", "spatial": {"meshX": 14, "meshY": 12}},
            {"!": "Component", "name": "mac", "class": "intmac", "attributes": {"datawidth": 8}},
        ],
    }
}
TABLES = {
    "ERT": {
        "tables": [
            {"name": "DRAM", "actions": [{"name": "read", "energy": 100}]},
            {"name": "mac", "actions": [{"name": "compute", "energy": 1}]},
        ]
    }
}


def test_one_file_or_many_in_any_order(tmp_path: Path) -> None:
    parts = {"arch": DESIGN, "tables": TABLES, "problem": PROBLEM, "mapping": MAPPING}
    for name, part in parts.items():
        files.write_yaml(tmp_path / f"{name}.yaml", part)
    files.write_yaml(tmp_path / "all.yaml", {key: value for part in parts.values() for key, value in part.items()})
    answers = set()
    for names in (["all"], list(parts), ["mapping", "tables", "problem", "arch"]):
        result = CliRunner().invoke(cli, ["evaluate", *(str(tmp_path / f"{name}.yaml") for name in names), "--json"])
        answers.add(json.dumps({**json.loads(result.output), "architecture": ""}))
    assert len(answers) == 1
    assert json.loads(answers.pop())["energy_pj"] > 100 * 112


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["arch", "problem"], "no mapping in any of the files given"),
        (["problem", "mapping"], "no architecture in any of the files given"),
        (["arch", "problem", "problem", "mapping"], "problem.yaml: problem: stands in {}/problem.yaml already"),
        (["arch", "other", "problem", "mapping"], "more than one architecture"),
        (["arch", "nothing"], "nothing.yaml: expected keys such as architecture, problem or mapping"),
    ],
)
def test_files_that_make_no_whole(tmp_path: Path, names: list[str], said: str) -> None:
    for name, part in {"arch": DESIGN, "problem": PROBLEM, "mapping": MAPPING, "nothing": None}.items():
        files.write_yaml(tmp_path / f"{name}.yaml", part)
    arguments = ["tpu_like" if name == "other" else str(tmp_path / f"{name}.yaml") for name in names]
    assert said.format(tmp_path) in str(CliRunner().invoke(cli, ["evaluate", *arguments]).exception)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    wide = {
        "mapping": [
            {"target": "inter_PE_spatial", "type": "spatial", "factors": "M28"},
            {"target": "DRAM", "type": "temporal", "factors": "K4"},
        ]
    }
    assert "PE: mapped to 28 x 1 instances, there are 14 x 12" in str(run(tmp_path, mapping=wide).exception)
    deep = {"mapping": [{"target": "ifmap_spad", "type": "temporal", "factors": "K4 M28"}]}
    assert "psum_spad" not in str(run(tmp_path, mapping=deep).exception)
    tall = {"mapping": [{"target": "psum_spad", "type": "temporal", "factors": "K4 M28"}]}
    assert "psum_spad: tiles of 28 words exceed its 24" in str(run(tmp_path, mapping=tall).exception)
