"""Pruning never loses the best mapping: random small machines, the search against looking at everything."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mmsim.arch.model import Arch, Compute, Constraints, Fanout, Storage
from mmsim.errors import InputError
from mmsim.nest.evaluate import evaluate
from mmsim.nest.mapper_answer import decisions, mapping_of
from mmsim.nest.mapper_bound import complete
from mmsim.nest.mapper_count import finish
from mmsim.nest.mapper_grow import growths
from mmsim.nest.mapper_keeps import Keeps
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows, join
from mmsim.nest.mapper_run import Run
from mmsim.nest.mapper_step import loop, root, spread
from mmsim.nest.mapping import Level, Loop, Mapping
from mmsim.nest.mapspace import Mapspace, factors
from mmsim.nest.search import best_mapping
from mmsim.problem import Problem
from tests.test_mapper_counts import convolution, hopeful, matmul

NAMES = ("Inputs", "Weights", "Outputs")
OBJECTIVES = {"edp": lambda e, c: e * c, "energy": lambda e, c: e, "latency": lambda e, c: c}


def some_machine(draw: random.Random) -> Arch:
    """Two to four memories, up to two fan-outs; sizes, energies, bandwidths and what may bypass drawn by lot."""
    nodes: list[Storage | Fanout | Compute] = [_memory(draw, "m0", None)]
    energy = {"m0": _energies(draw, 60)}
    fans = draw.sample(range(1, 4), draw.choice([0, 1, 1, 2]))
    for i in range(1, draw.choice([2, 3, 3, 4])):
        if i in fans:
            nodes.append(Fanout(f"f{i}", draw.choice([2, 3, 4]), draw.choice([1, 2, 3])))
        nodes.append(_memory(draw, f"m{i}", draw.randint(3, 60 // i)))
        energy[f"m{i}"] = _energies(draw, 12 / i**2)
    if draw.random() < 0.4:
        # in one row: on a grid, whether neighbours hand words on depends on how numbers wrap around
        nodes.append(Fanout("lanes", draw.choice([2, 3, 4]), 1))
    energy["mac"] = {"compute": draw.choice([0.0, 0.5])}
    return Arch("drawn", (*nodes, Compute("mac", "intmac", 8)), 1e-9, 45, energy_pj=energy)


def _memory(draw: random.Random, name: str, words: int | None) -> Storage:
    rates = {
        rate: draw.choice([0.5, 1.0, 2.0, 4.0])
        for rate in ("read_words_per_cycle", "write_words_per_cycle", "shared_words_per_cycle")
        if draw.random() < 0.3
    }
    decided = {space: draw.choice(["keep", "bypass", "free", "free"]) for space in NAMES} if words else {}
    constraints = Constraints(
        keep=tuple(s for s, what in decided.items() if what == "keep"),
        bypass=tuple(s for s, what in decided.items() if what == "bypass"),
        rmw_first_update=tuple(s for s in ("Outputs",) if draw.random() < 0.15),
    )
    return Storage(name, "SRAM", 8, words, constraints=constraints, **rates)  # type: ignore[arg-type]


def _energies(draw: random.Random, around: float) -> dict[str, float]:
    return {action: around * draw.uniform(0.5, 1.5) for action in ("read", "write", "update")} | {
        "leak": draw.choice([0.0, 0.0, around / 50])
    }


def some_problem(draw: random.Random) -> Problem:
    """A product, a convolution or a depthwise one of few steps."""
    if draw.random() < 0.5:
        return matmul(*(draw.randint(1, 4) for _ in range(3)))
    return convolution(draw.randint(1, 2), draw.randint(1, 2), draw.randint(2, 4), draw.randint(1, 2))


def everything(space: Mapspace) -> list[tuple[Plan, Rows]]:
    """Every tiling and order of every choice of what is kept; nothing is ruled out."""
    return [
        (plan, rows)
        for plan in (Plan(space, keep) for keep in space.keeps())
        for rows in _every_completion(plan, hopeful(plan, root(plan)))
    ]


def least(every: list[tuple[Plan, Rows]], score: Callable[[Any, Any], Any], most: int = 40) -> float:
    """The least score by `evaluate` among the mappings that are the best by the search's own counts."""
    scores = [score(rows.energy, rows.cycles) for _, rows in every]
    whose = np.repeat(np.arange(len(every)), [len(one) for one in scores])
    first = np.concatenate([[0], np.cumsum([len(one) for one in scores])])
    best = np.inf
    for i in np.argsort(np.concatenate(scores))[:most]:
        plan, rows = every[whose[i]]
        mapping = mapping_of(plan, decisions(plan, rows, int(i - first[whose[i]])))
        cost = evaluate(plan.space.arch, plan.space.problem, mapping)
        best = min(best, score(cost.energy_pj, cost.cycles))
    return float(best)


def _every_completion(plan: Plan, rows: Rows) -> list[Rows]:
    if rows.slot > plan.last:
        finish(plan, rows)
        complete(plan, rows)
        return [rows]
    grow = spread if plan.slots[rows.slot].spatial else loop
    parts = [part for m in growths(Run(("edp",)), plan, rows) for part in grow(plan, rows, m.i, m.factors)]
    if not parts:
        return []
    grown = join(parts)
    pieces = [grown.take(np.arange(i, min(i + 20_000, len(grown)))) for i in range(0, len(grown), 20_000)]
    return list(itertools.chain(*(_every_completion(plan, hopeful(plan, piece)) for piece in pieces)))


SEEDS = [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 150))]


@pytest.mark.parametrize("seed", SEEDS)
def test_search_finds_the_best_of_everything(seed: int) -> None:
    draw = random.Random(seed)
    arch, problem = some_machine(draw), some_problem(draw)
    every = everything(Mapspace(problem, arch))
    for objective, score in OBJECTIVES.items():
        if not every:
            with pytest.raises(InputError):
                best_mapping(problem, arch, objective)
            continue
        best = least(every, score)
        found = best_mapping(problem, arch, objective, mappings=20_000_000)
        assert found.lower_bound <= best * (1 + 1e-9), objective
        assert found.proof == "gap" or found.score <= best * (1 + 1e-9), objective


def every_nest(problem: Problem, arch: Arch) -> Iterator[Mapping]:
    """Every mapping that keeps everything everywhere: all factors of the mapspace, all orders, both axes."""
    nodes = [node for node in arch.nodes if isinstance(node, Storage | Fanout)]
    cuts = [list(_cuts(dim, size, len(nodes))) for dim, size in problem.shape.items() if size > 1]
    for chosen in itertools.product(*cuts):
        loops = [[cut[i] for cut in chosen if cut[i].factor > 1] for i in range(len(nodes))]
        orders = [
            [
                Level(node.name, spatial=order, split=split)
                if isinstance(node, Fanout)
                else Level(node.name, keep=frozenset(NAMES), temporal=order)
                for order in itertools.permutations(here)
                for split in (range(len(here) + 1) if isinstance(node, Fanout) else [0])
            ]
            for node, here in zip(nodes, loops, strict=True)
        ]
        yield from map(Mapping, itertools.product(*orders))


def _cuts(dim: str, size: int, levels: int) -> Iterator[tuple[Loop, ...]]:
    """Every way to cut a dimension into one loop a level, outermost first, by the factors of the mapspace."""
    if levels == 1:
        yield (Loop(dim, size),)
        return
    for factor in factors(size):
        left = -(-size // factor)
        for outer in _cuts(dim, left, levels - 1):
            yield (*outer, Loop(dim, factor, size - (left - 1) * factor))


def some_array(draw: random.Random) -> Arch:
    """Two memories and an array of compute units, or of spads: windows slide, neighbours hand words on."""
    mesh = draw.choice([(2, 1), (3, 1), (4, 1), (1, 3), (2, 2), (3, 2), (2, 3), (4, 2)])
    kept = Constraints(keep=NAMES)
    inner = [Storage("spad", "SRAM", 8, draw.randint(3, 8), constraints=kept)] if draw.random() < 0.3 else []
    rate = {"shared_words_per_cycle": draw.choice([0.5, 1.0, 2.0])} if draw.random() < 0.4 else {}
    nodes = (
        Storage("m0", "SRAM", 8, None, constraints=kept, **rate),
        Storage("m1", "SRAM", 8, draw.randint(4, 14), constraints=kept),
        Fanout("lanes", *mesh),
        *inner,
        Compute("mac", "intmac", 8),
    )
    energy = {name: _energies(draw, pj) for name, pj in (("m0", 100), ("m1", 7), ("spad", 1))}
    return Arch("drawn", nodes, 1e-9, 45, energy_pj={**energy, "mac": {"compute": 0.3}})


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 100))])
def test_no_nest_evaluates_better(seed: int) -> None:
    draw = random.Random(seed)
    arch = some_array(draw)
    problem = matmul(*(draw.randint(1, 3) for _ in range(3)))
    if draw.random() < 0.6:
        problem = convolution(draw.randint(1, 2), draw.randint(1, 2), draw.randint(2, 3), draw.randint(1, 2))
    costs = []
    for mapping in every_nest(problem, arch):
        with contextlib.suppress(InputError):  # does not fit
            costs.append(evaluate(arch, problem, mapping))
    for objective, score in OBJECTIVES.items():
        found = best_mapping(problem, arch, objective, mappings=20_000_000)
        assert found.proof == "optimal"
        assert found.score == pytest.approx(min(score(cost.energy_pj, cost.cycles) for cost in costs), rel=1e-9)


def test_a_problem_of_one_step() -> None:
    arch = some_array(random.Random(0))
    assert best_mapping(matmul(1, 1, 1), arch).proof == "optimal"


@pytest.mark.parametrize("seed", range(20))
def test_quick_bounds_hold(seed: int) -> None:
    draw = random.Random(seed)
    space = Mapspace(some_problem(draw), some_machine(draw))
    keeps = Keeps(space)
    assert sorted(map(hash, keeps.keeps)) == sorted(map(hash, space.keeps()))
    for bound, cycles, keep in zip(keeps.energy, keeps.cycles, keeps.keeps, strict=True):
        plan = keeps.plan(keep)
        if plan:
            assert bound <= plan[1].bound[0] * (1 + 1e-9)
            assert cycles <= plan[1].cycles[0]
