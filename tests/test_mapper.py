"""The mapper against every mapping of small mapspaces, and what it promises: proof, determinism, constraints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mmsim.arch.model import Arch, Constraints, Fanout, LoopConstraints, Storage
from mmsim.errors import InputError
from mmsim.nest.evaluate import evaluate
from mmsim.nest.mapping import Level, Loop, Mapping
from mmsim.nest.mapping_file import parse, to_timeloop
from mmsim.nest.mapspace import Mapspace, factors
from mmsim.nest.search import best_mapping
from mmsim.problem import Problem
from tests.test_mapper_counts import EVERY, machine, matmul, storage

FREE = (storage("DRAM", None, *EVERY), storage("glb", 14))
SMALL = {
    "two levels": machine(*FREE),
    "slow memory": machine(storage("DRAM", None, *EVERY, shared_words_per_cycle=0.5), storage("glb", 9)),
    "array": machine(*FREE, Fanout("PE", 3, 1)),
    "array with spads": machine(storage("DRAM", None, *EVERY), Fanout("PE", 2, 1), storage("spad", 5)),
}


def every_mapping(problem: Problem, arch: Arch) -> Iterator[Mapping]:
    """All tilings (perfect or not), orders and bypasses, by brute force."""
    nodes = [node for node in arch.nodes if isinstance(node, (Storage, Fanout))]
    splits = [list(_splits(dim, size, len(nodes))) for dim, size in problem.shape.items()]
    names = frozenset(space.name for space in problem.data_spaces)
    subsets = [frozenset(s) for n in range(len(names) + 1) for s in itertools.combinations(sorted(names), n)]
    for chosen in itertools.product(*splits):
        loops = [[split[i] for split in chosen if split[i].factor > 1] for i in range(len(nodes))]
        orders = [
            list(itertools.permutations(here)) if isinstance(node, Storage) else [tuple(here)]
            for node, here in zip(nodes, loops, strict=True)
        ]
        keeps = [
            [names] if i == 0 else [frozenset()] if isinstance(node, Fanout) else subsets
            for i, node in enumerate(nodes)
        ]
        for order, keep in itertools.product(itertools.product(*orders), itertools.product(*keeps)):
            yield Mapping(tuple(_level(n, k, o) for n, k, o in zip(nodes, keep, order, strict=True)))


def _level(node: Storage | Fanout, keep: frozenset[str], loops: tuple[Loop, ...]) -> Level:
    if isinstance(node, Fanout):
        return Level(node.name, spatial=loops, split=len(loops))
    return Level(node.name, keep=keep, temporal=loops)


def _splits(dim: str, size: int, levels: int) -> Iterator[tuple[Loop, ...]]:
    """Every way to cut a dimension into one loop a level, outermost first."""
    if levels == 1:
        yield (Loop(dim, size),)
        return
    for factor in range(1, size + 1):
        left = math.ceil(size / factor)
        for outer in _splits(dim, left, levels - 1):
            yield (*outer, Loop(dim, factor, size - (left - 1) * factor))


@pytest.mark.parametrize("objective", ["edp", "energy", "latency"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("sizes", [(2, 3, 2), (3, 1, 4)])
def test_no_mapping_is_better(name: str, objective: str, sizes: tuple[int, int, int]) -> None:
    problem, arch = matmul(*sizes), SMALL[name]
    found = best_mapping(problem, arch, objective)
    costs = []
    for mapping in every_mapping(problem, arch):
        try:
            cost = evaluate(arch, problem, mapping)
        except InputError:  # does not fit
            continue
        costs.append({"edp": cost.edp, "energy": cost.energy_pj, "latency": cost.cycles}[objective])
    assert found.proof == "optimal"
    assert found.score == pytest.approx(min(costs), rel=1e-9)
    assert found.lower_bound <= min(costs) * (1 + 1e-9)


def test_factors_leave_every_number_of_tiles() -> None:
    for tiles in range(1, 200):
        listed = factors(tiles)
        assert {-(-tiles // f) for f in listed} == {-(-tiles // f) for f in range(1, tiles + 1)}
        assert all(-(-tiles // (f - 1)) > -(-tiles // f) for f in listed[1:])


ARRAY = machine(
    storage("DRAM", None, *EVERY, shared_words_per_cycle=2),
    storage("glb", 300, *EVERY),
    Fanout("PE", 5, 3),
    storage("spad", 16, "Inputs", "Outputs"),
    storage("wspad", 16, "Weights"),
)


def test_result_is_the_evaluation_of_its_mapping() -> None:
    problem = matmul(30, 17, 24)
    found = best_mapping(problem, ARRAY)
    assert found.proof == "optimal"
    again = evaluate(ARRAY, problem, found.mapping)
    assert found.evaluation.cycles == again.cycles
    assert found.evaluation.energy_pj == pytest.approx(again.energy_pj, rel=1e-12)
    assert found.evaluation.levels == again.levels
    assert found.score == found.evaluation.edp
    assert found.lower_bound == pytest.approx(found.score, rel=1e-3)  # whole accesses per instance
    written = to_timeloop(found.mapping, ARRAY, problem)
    assert evaluate(ARRAY, problem, parse(written, ARRAY, problem)) == again


def test_imperfect_factors_use_more_of_the_array() -> None:
    wide = machine(storage("DRAM", None, *EVERY), Fanout("PE", 5, 3), storage("glb", 16, *EVERY))
    found = best_mapping(matmul(32, 32, 32), wide, "latency")
    assert found.evaluation.utilization > 0.88  # 7 x 11 of 32 x 32 steps; perfect factors fill 4 x 2 of 5 x 3, 0.53


def test_same_answer_every_time() -> None:
    problem = matmul(31, 18, 23)
    one, two = (best_mapping(problem, ARRAY, mappings=30_000) for _ in range(2))
    assert (one.mapping, one.score, one.lower_bound, one.judged_mappings) == (
        two.mapping,
        two.score,
        two.lower_bound,
        two.judged_mappings,
    )


def test_a_budget_leaves_an_honest_gap() -> None:
    problem = matmul(60, 45, 50)
    whole = best_mapping(problem, ARRAY, mappings=50_000_000)
    short = best_mapping(problem, ARRAY, mappings=1_000)
    assert whole.proof == "optimal"
    assert short.proof == "gap"
    assert short.lower_bound <= whole.score <= short.score
    assert short.judged_mappings < whole.judged_mappings


def test_lexicographic_objective_breaks_ties() -> None:
    problem = matmul(30, 17, 24)
    fast = best_mapping(problem, ARRAY, "latency")
    both = best_mapping(problem, ARRAY, "latency,energy")
    assert both.evaluation.cycles == fast.evaluation.cycles
    assert both.evaluation.energy_pj <= fast.evaluation.energy_pj


def test_infeasible_names_the_memory() -> None:
    tiny = machine(storage("DRAM", None, *EVERY), storage("glb", 2, *EVERY))
    with pytest.raises(InputError, match=r"glb: the smallest tiles of Inputs, Weights, Outputs take 3 words, .* 2"):
        best_mapping(matmul(4, 4, 4), tiny)


def test_unknown_objective_is_refused() -> None:
    with pytest.raises(InputError, match=r"objective: 'speed' is not a list of latency, energy, edp"):
        best_mapping(matmul(2, 2, 2), ARRAY, "speed")


def constrained(node: str, constraints: Constraints) -> Arch:
    nodes = tuple(replace(n, constraints=constraints) if n.name == node else n for n in ARRAY.nodes)
    return replace(ARRAY, nodes=nodes)


def test_constraints_are_honoured() -> None:
    problem = matmul(30, 17, 24)
    keep = Constraints(keep=EVERY)
    fixed = replace(
        keep, temporal=LoopConstraints(factors=(("K", "=", 3), ("M", "<=", 2)), permutation=("N", "M", "K"))
    )
    level = best_mapping(problem, constrained("glb", fixed)).mapping["glb"]
    factor = {loop.dim: loop.factor for loop in level.temporal}
    assert factor["K"] == 3
    assert factor.get("M", 1) <= 2
    assert [loop.dim for loop in level.temporal] == [d for d in ("N", "M", "K") if d in factor]
    spread = Constraints(
        spatial=LoopConstraints(factors=(("M", "=", 1), ("N", ">=", 2)), permutation=("N", "K", "M"), split=1)
    )
    level = best_mapping(problem, constrained("PE", spread)).mapping["PE"]
    assert [loop.dim for loop in level.spatial[: level.split]] == ["N"]
    assert all(loop.dim == "K" for loop in level.spatial[level.split :])
    bypass = Constraints(keep=("Inputs", "Outputs"), bypass=("Weights",))
    assert best_mapping(problem, constrained("glb", bypass)).mapping["glb"].keep == {"Inputs", "Outputs"}


@pytest.mark.parametrize("unsearched", [{"min_utilization": 0.5}, {"no_coalesce": ("Outputs",)}])
def test_what_is_not_searched_is_refused_by_name(unsearched: dict[str, Any]) -> None:
    (name,) = unsearched
    with pytest.raises(InputError, match=rf"glb: the mapper does not search under {name}"):
        best_mapping(matmul(4, 4, 4), constrained("glb", Constraints(keep=EVERY, **unsearched)))


def test_bypass_is_searched() -> None:
    space = Mapspace(matmul(4, 4, 4), machine(storage("DRAM", None, *EVERY), storage("glb", 9)))
    assert len(list(space.keeps())) == 8
