"""The mapper's closed forms against running the loop nest step by step, cut tiles and all."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from mmsim.arch.model import Arch, Compute, Constraints, Fanout, Storage
from mmsim.nest.mapper_answer import decisions, mapping_of
from mmsim.nest.mapper_bound import complete
from mmsim.nest.mapper_count import finish
from mmsim.nest.mapper_grow import growths
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows
from mmsim.nest.mapper_run import Run
from mmsim.nest.mapper_step import loop, root, spread
from mmsim.nest.mapping import Mapping
from mmsim.nest.mapspace import Mapspace
from mmsim.problem import DataSpace, Problem, Rank


def rank(*terms: str) -> Rank:
    return tuple((term, 1) for term in terms)


def matmul(m: int, n: int, k: int) -> Problem:
    return Problem(
        "mac",
        (("M", m), ("N", n), ("K", k)),
        (
            DataSpace("Inputs", (rank("M"), rank("K")), 8),
            DataSpace("Weights", (rank("K"), rank("N")), 8),
            DataSpace("Outputs", (rank("M"), rank("N")), 8, is_output=True),
        ),
    )


def convolution(c: int, m: int, p: int, r: int) -> Problem:
    return Problem(
        "mac",
        (("C", c), ("M", m), ("P", p), ("R", r)),
        (
            DataSpace("Weights", (rank("C"), rank("M"), rank("R")), 8),
            DataSpace("Inputs", (rank("C"), rank("P", "R")), 8),
            DataSpace("Outputs", (rank("M"), rank("P")), 8, is_output=True),
        ),
    )


def storage(name: str, words: int | None, *keep: str, **rates: float) -> Storage:
    names = ("Inputs", "Weights", "Outputs")
    constraints = Constraints(keep=keep, bypass=tuple(n for n in names if n not in keep)) if keep else Constraints()
    return Storage(name, "SRAM", 8, words, constraints=constraints, **rates)


EVERY = ("Inputs", "Weights", "Outputs")
ENERGY = {
    "DRAM": {"read": 100.0, "write": 70.0, "update": 90.0},
    "glb": {"read": 7.0, "write": 6.0, "update": 5.0},
    "spad": {"read": 1.0, "write": 1.25, "update": 0.75},
    "wspad": {"read": 2.0, "write": 1.5, "update": 0.5},
    "mac": {"compute": 0.3},
}


def machine(*nodes: Storage | Fanout) -> Arch:
    return Arch("toy", (*nodes, Compute("mac", "intmac", 8)), 1e-9, 45, energy_pj=ENERGY)


MACHINES = {
    "two levels": machine(storage("DRAM", None, *EVERY), storage("glb", 40, *EVERY)),
    "array": machine(
        storage("DRAM", None, *EVERY), storage("glb", 90, *EVERY), Fanout("PE", 3, 2), storage("spad", 12, *EVERY)
    ),
    "own spads": machine(
        storage("DRAM", None, *EVERY),
        storage("glb", 90, *EVERY),
        Fanout("PE", 3, 2),
        storage("spad", 6, "Inputs", "Outputs"),
        storage("wspad", 6, "Weights"),
    ),
    "bypass": machine(
        storage("DRAM", None, *EVERY),
        storage("glb", 60, "Inputs", "Outputs"),
        Fanout("PE", 3, 1),
        storage("spad", 8, "Weights"),
    ),
    "lanes": machine(
        storage("DRAM", None, *EVERY),
        Fanout("core", 2, 1),
        storage("glb", 60, *EVERY),
        Fanout("lane", 3, 1),
    ),
}


def hopeful(plan: Plan, rows: Rows) -> Rows:
    """The same rows with bounds that rule out nothing."""
    rows.bound = rows.cycles = rows.fixed = np.zeros(len(rows))
    rows.now = rows.least = np.zeros((2, len(plan.space.spaces), len(rows)))
    return rows


def random_row(plan: Plan, seed: int, perfect: bool) -> Rows | None:
    """One complete mapping, every choice drawn by lot."""
    draw = random.Random(seed)
    rows = hopeful(plan, root(plan))
    for slot in plan.slots:
        made = list(growths(Run(("edp",)), plan, rows))
        i, factor = np.concatenate([m.i for m in made]), np.concatenate([m.factors for m in made], axis=1)
        if perfect:
            fine = (np.ceil(rows.left[:, i] / factor) * factor == rows.left[:, i]).all(axis=0)
            i, factor = i[fine], factor[:, fine]
        if not len(i):
            return None
        pick = np.array([draw.randrange(len(i))])
        i, factor = i[pick], factor[:, pick]
        rows = draw.choice((spread if slot.spatial else loop)(plan, rows, i, factor))
        rows = hopeful(plan, rows)
    finish(plan, rows)
    complete(plan, rows)
    return rows


def executed(plan: Plan, mapping: Mapping) -> tuple[float, int]:
    """Energy and cycles by running the nest: every step, every instance, every word."""
    energy, cycles = plan.compute_pj, 0
    sizes = plan.space.problem.shape
    loops: list[tuple[int, str, int, int, bool]] = []  # slot, dimension, factor, stride, spatial; innermost first
    stride = dict.fromkeys(sizes, 1)
    for k, slot in enumerate(plan.slots):
        level = mapping[slot.node.name]
        here = level.temporal
        if slot.spatial:
            here = level.spatial[: level.split] if slot.axis == "X" else level.spatial[level.split :]
        for one in here:
            loops.append((k, one.dim, one.factor, stride[one.dim], slot.spatial))
            stride[one.dim] *= one.factor
    steps = [x for x in loops if not x[4]][::-1]
    lanes = [x for x in loops if x[4]]
    everywhere = list(itertools.product(*(range(x[2]) for x in lanes)))
    for index in itertools.product(*(range(x[2]) for x in steps)):
        base = dict.fromkeys(sizes, 0)
        for i, x in zip(index, steps, strict=True):
            base[x[1]] += i * x[3]
        cycles += all(base[d] < sizes[d] for d in sizes)
    for flow in plan.flows:
        energy += _moved(plan, flow, steps, lanes, everywhere)
    return energy, cycles


def _moved(plan, flow, steps, lanes, everywhere) -> float:  # type: ignore[no-untyped-def]
    """Energy of one boundary."""
    space = plan.space.spaces[flow.boundary.space]
    sizes = plan.space.problem.shape
    child, parent = flow.boundary.child, flow.boundary.parent
    tile = dict.fromkeys(sizes, 1)
    for k, dim, factor, _, _ in steps + lanes:
        if k <= child:
            tile[dim] *= factor
    around = [x for x in steps if x[0] > child or child < 0]
    apart = [n for n, x in enumerate(lanes) if x[0] > child]
    places = sorted({tuple(i if n in apart else 0 for n, i in enumerate(p)) for p in everywhere})
    holds: dict[tuple[int, ...], object] = {}
    linked = child < 0 and plan.slots[0].spatial
    beside: dict[tuple[int, ...], object] = {}
    seen_fill: dict[tuple[int, ...], set[object]] = {}
    seen_read: dict[tuple[int, ...], set[object]] = {}
    reads = fills = 0.0
    for index in itertools.product(*(range(x[2]) for x in around)):
        served: set[object] = set()
        now: dict[tuple[int, ...], object] = {}
        for place in places:
            base = dict.fromkeys(sizes, 0)
            for i, x in zip(index, around, strict=True):
                base[x[1]] += i * x[3]
            for i, x in zip(place, lanes, strict=True):
                base[x[1]] += i * x[3]
            if any(base[d] >= sizes[d] for d in sizes):
                continue
            box = tuple(
                (sum(c * base[d] for d, c in r), 1 + sum(c * (min(tile[d], sizes[d] - base[d]) - 1) for d, c in r))
                for r in space.projection
            )
            before = holds.get(place) if child >= 0 else None
            holds[place] = box
            words = _new_words(box, before)
            if not words:
                continue
            now[place] = box
            if linked and any(beside.get(other) == box for other in _neighbours(place, lanes)):
                continue
            owner = tuple(i for i, x in zip(place, lanes, strict=True) if x[0] > parent)
            fills += words
            if (owner, box) not in served:
                served.add((owner, box))
                reads += words
            seen_fill.setdefault(place, set()).add(box)
            seen_read.setdefault(owner, set()).add(box)
        beside = now
    first_reads = sum(math.prod(e for _, e in b) for s in seen_read.values() for b in s)
    first_fills = sum(math.prod(e for _, e in b) for s in seen_fill.values() for b in s)
    saved = first_reads * flow.first_read_pj + first_fills * flow.first_fill_pj
    return float(reads * flow.read_pj + fills * flow.fill_pj - saved)


def _neighbours(place, lanes) -> list[tuple[int, ...]]:  # type: ignore[no-untyped-def]
    """Places one lane away along the innermost spatial loop, which the innermost fan-out's lanes are counted by."""
    if not lanes or lanes[0][0] > 0:
        return []
    return [(place[0] + step, *place[1:]) for step in (-1, 1) if 0 <= place[0] + step < lanes[0][2]]


def _new_words(box, before) -> int:  # type: ignore[no-untyped-def]
    """Words of a box that the one before did not hold; windows slide along one rank only."""
    whole = math.prod(e for _, e in box)
    if before is None:
        return whole
    if sum(a != b for a, b in zip(box, before, strict=True)) > 1:
        return whole
    common = math.prod(max(0, min(a + e, b + f) - max(a, b)) for (a, e), (b, f) in zip(box, before, strict=True))
    return whole - common


@pytest.mark.parametrize("perfect", [True, False])
@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("problem", [matmul(6, 5, 7), convolution(3, 4, 7, 3)], ids=["matmul", "convolution"])
def test_counts_equal_execution(name: str, problem: Problem, perfect: bool) -> None:
    space = Mapspace(problem, MACHINES[name])
    (keep,) = space.keeps()
    plan = Plan(space, keep)
    compared = 0
    for seed in range(60):
        rows = random_row(plan, seed, perfect)
        if rows is None:
            continue
        energy, cycles = executed(plan, mapping_of(plan, decisions(plan, rows, 0)))
        assert rows.cycles[0] == cycles
        assert rows.energy[0] >= energy * (1 - 1e-12), (seed, rows.energy[0], energy)
        compared += rows.energy[0] == pytest.approx(energy, rel=1e-12)
    assert compared > 0
    print(name, compared)
