"""Pruning never loses the best mapping: random small machines, the search against looking at everything."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from mmsim.arch.model import Arch, Compute, Constraints, Fanout, Storage
from mmsim.errors import InputError
from mmsim.nest.mapper_bound import complete
from mmsim.nest.mapper_count import finish
from mmsim.nest.mapper_grow import growths
from mmsim.nest.mapper_keeps import Keeps
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows, join
from mmsim.nest.mapper_run import Run
from mmsim.nest.mapper_step import loop, root, spread
from mmsim.nest.mapspace import Mapspace
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


def everything(space: Mapspace) -> tuple[np.ndarray, np.ndarray]:
    """Energy and cycles of every tiling and order of every choice of what is kept; nothing is ruled out."""
    energy, cycles = [np.zeros(0)], [np.zeros(0)]
    for keep in space.keeps():
        plan = Plan(space, keep)
        for rows in _every_completion(plan, hopeful(plan, root(plan))):
            energy.append(rows.energy)
            cycles.append(rows.cycles)
    return np.concatenate(energy), np.concatenate(cycles)


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


SEEDS = [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 80))]


@pytest.mark.parametrize("seed", SEEDS)
def test_search_finds_the_best_of_everything(seed: int) -> None:
    draw = random.Random(seed)
    arch, problem = some_machine(draw), some_problem(draw)
    energy, cycles = everything(Mapspace(problem, arch))
    for objective, score in OBJECTIVES.items():
        if not len(energy):
            with pytest.raises(InputError):
                best_mapping(problem, arch, objective)
            continue
        best = score(energy, cycles).min()
        found = best_mapping(problem, arch, objective, mappings=20_000_000)
        # `evaluate` counts whole accesses per instance, which on so few steps makes a difference
        assert found.lower_bound == pytest.approx(min(best, found.score), rel=1e-9), objective


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
