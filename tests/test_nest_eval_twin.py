"""Fast counting against slow, obvious twins: Timeloop's rule run step by step, and the nest executed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import hypothesis.strategies as st
from hypothesis import HealthCheck, assume, given, settings

from mmsim.arch.model import Arch, Fanout
from mmsim.nest.blocks import Block, lay_out, sizes
from mmsim.nest.counts import count
from mmsim.nest.exact_counts import count_exactly, time_steps
from mmsim.nest.mapping import Mapping
from mmsim.problem import DataSpace, Problem
from tests.nest_instances import archs, mappings, problems

Point: TypeAlias = tuple[int, ...]
Words: TypeAlias = frozenset[Point]

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def box(low: Point, size: Point) -> Words:
    return frozenset(itertools.product(*(range(a, a + n) for a, n in zip(low, size, strict=True))))


def moved(words: Words, by: Point) -> Words:
    return frozenset(tuple(a + b for a, b in zip(word, by, strict=True)) for word in words)


def plus(a: Point, b: Point) -> Point:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def lacking(now: Words, low: Point, before: tuple[Words, Point, Point | None] | None) -> tuple[Words, Point | None]:
    """The words asked for, and the move to compare the next one with."""
    if before is None:
        return now, None
    old, old_low, last = before
    move = tuple(a - b for a, b in zip(low, old_low, strict=True))
    if not any(move):
        return now - old, last
    return (now - old, move) if last in (None, move) else (now, None)


# --- Timeloop's rule: every loop at its steps 0 and 1, the second weighted --------------------------


def steps_seen(blocks: list[Block], i: int, space: DataSpace) -> Iterator[tuple[Point, int]]:
    """(where the tile below level i stands, how often that step counts), in the order of time."""
    around = [step for block in blocks[i:] for step in block.temporal][::-1]
    for index in itertools.product(*(range(2) for _ in around)):
        low: Point = (0,) * len(space.projection)
        weight = 1
        for step, at in zip(around, index, strict=True):
            if at:
                low = plus(low, step.move(space).step)
                weight *= step.factor - 1
        yield low, weight


def asked_of(blocks: list[Block], i: int, space: DataSpace) -> tuple[int, int, int]:
    """(words read by the children of level i, copies delivered, words handed on) under one instance."""
    block = blocks[i]
    size = sizes(space, block.inner.full)
    retained = i > 0 and space.name not in blocks[i - 1].constraints.no_reuse
    children = [
        tuple(map(sum, zip((0,) * len(size), *parts, strict=True)))
        for index in itertools.product(*(range(step.factor) for step in reversed(block.spatial)))
        for parts in [
            [
                tuple(at * s for s in step.move(space).step)
                for at, step in zip(index, reversed(block.spatial), strict=True)
            ]
        ]
    ]
    columns = block.node.mesh_x if isinstance(block.node, Fanout) else 1
    rows = block.node.mesh_y if isinstance(block.node, Fanout) else 1
    reads = copies = handed = 0
    before: tuple[Words, Point, Point | None] | None = None
    last: dict[int, Words] = {}
    for low, weight in steps_seen(blocks, i, space):
        now = box(low, size)
        delta, move = lacking(now, low, before if retained else None)
        before = now, low, move
        wanted = {child: moved(delta, at) for child, at in enumerate(children)}
        taken = {
            child
            for child in wanted
            for neighbour in neighbours(child, columns, rows)
            if delta and last.get(neighbour) == wanted[child]
        }
        groups = Counter(wanted.values()) if space.name not in block.constraints.no_multicast else None
        rest = [wanted[child] for child in wanted if child not in taken]
        alone, fewer = (len(groups), len(set(rest))) if groups is not None else (len(wanted), len(rest))
        if not block.spatial or space.name in block.constraints.no_link_transfer or fewer >= alone:
            taken, fewer = set(), alone
        reads += len(delta) * fewer * weight
        copies += len(delta) * (len(wanted) - len(taken)) * weight
        handed += len(delta) * len(taken) * weight
        last = wanted
    return reads, copies, handed


def neighbours(child: int, columns: int, rows: int) -> list[int]:
    row, column = divmod(child, columns)
    around = [(row, column - 1), (row, column + 1), (row - 1, column), (row + 1, column)]
    return [r * columns + c for r, c in around if 0 <= r < rows and 0 <= c < columns]


@QUICK
@given(st.data())
def test_closed_form_equals_timeloops_rule_run_step_by_step(data: st.DataObject) -> None:
    problem = data.draw(problems())
    arch = data.draw(archs(flags=True))
    blocks = lay_out(arch, problem, data.draw(mappings(arch, problem, perfect=True)))
    from mmsim.nest.counts import _tiles

    for space in problem.data_spaces:
        for i, tile in enumerate(_tiles(blocks, space)):
            if sum(len(block.temporal) for block in blocks[i:]) > 8:
                continue
            found = (tile.accesses.total, tile.accesses.weighted, tile.accesses.link_words)
            assert found == asked_of(blocks, i, space), (space.name, blocks[i].name)


# --- the nest, executed --------------------------------------------------------------------------


class Worker:
    """One instance of a level while the nest runs: where its tile stands and how long it is at each step."""

    def __init__(self, blocks: list[Block], inside: int, place: tuple[int, ...]) -> None:
        self.blocks, self.inside, self.place = blocks, inside, place

    def at(self, time: tuple[int, ...]) -> tuple[dict[str, int], dict[str, bool]] | None:
        """(first point, whether at the end) of every dimension at one step in time; None when idle."""
        first = dict.fromkeys(self.blocks[0].inner.full, 0)
        at_end = dict.fromkeys(first, True)
        times, places = iter(time), iter(self.place)
        for i in reversed(range(self.inside, len(self.blocks))):
            block = self.blocks[i]
            ordered = [(step, next(times)) for step in reversed(block.temporal)]
            ordered += [(step, next(places)) for step in reversed(block.spatial)]
            for step, index in ordered:
                if at_end[step.dim] and index >= step.residual:
                    return None
                at_end[step.dim] = at_end[step.dim] and index == step.residual - 1
                first[step.dim] += index * step.stride
        return first, at_end


def ranges(blocks: list[Block], inside: int, kind: str) -> list[range]:
    return [
        range(step.factor) for i in reversed(range(inside, len(blocks))) for step in reversed(getattr(blocks[i], kind))
    ]


def tile_of(
    blocks: list[Block], child: int, space: DataSpace, first: dict[str, int], at_end: dict[str, bool]
) -> tuple[Words, Point]:
    tile = blocks[child].tile if child >= 0 else None
    n = {dim: ((tile.last if at_end[dim] else tile.full)[dim] if tile else 1) for dim in first}
    low = tuple(sum(first[dim] * c for dim, c in rank) for rank in space.projection)
    return box(low, tuple(1 + sum((n[dim] - 1) * c for dim, c in rank) for rank in space.projection)), low


def executed(
    blocks: list[Block], space: DataSpace, child: int, parent: int
) -> tuple[int, int, int, set[tuple[object, Point]]]:
    """(words read from the parent, delivered, handed on by neighbours, (instance, word) pairs that children saw)."""
    hops = [len(block.spatial) for block in blocks[child + 1 :]][::-1]
    above = sum(hops[: len(blocks) - 1 - parent])  # indices that tell the parent's instances apart
    inner = len(blocks[child + 1].spatial)  # indices that tell the children of one fan-out apart
    keeps = child >= 0 and space.name not in blocks[child].constraints.no_reuse
    moves = [
        step.move(space).step for i in reversed(range(child + 1, len(blocks))) for step in blocks[i].temporal[::-1]
    ]
    reads = delivered = linked = 0
    seen: set[tuple[object, Point]] = set()
    state: dict[tuple[int, ...], tuple[Words, Point, tuple[int, ...]]] = {}
    held: dict[tuple[int, ...], dict[tuple[int, ...], Words]] = {}  # parent instance -> child -> its tile one step ago
    places = list(itertools.product(*ranges(blocks, child + 1, "spatial")))
    for time in itertools.product(*ranges(blocks, child + 1, "temporal")):
        wanted: dict[tuple[int, ...], Words] = {}
        tiles: dict[tuple[int, ...], dict[tuple[int, ...], Words]] = {}
        for place in places:
            now = Worker(blocks, child + 1, place).at(time)
            if now is None:
                continue
            tile, low = tile_of(blocks, child, space, *now)
            wanted[place] = asked_for(tile, low, time, state.get(place), moves) if keeps else tile
            state[place] = tile, low, time
            tiles.setdefault(place[:above], {})[place] = tile
            seen |= {(place, word) for word in tile}
        asks = {
            place: (place[:above], shares(blocks, child, parent, space, place[above:]), words)
            for place, words in wanted.items()
            if words
        }
        taken = set() if keeps else handed_on(blocks, child, space, asks, held, above, inner)
        reads += sum(len(words) for _, _, words in {asks[place] for place in asks if place not in taken})
        delivered += sum(len(asks[place][2]) for place in asks if place not in taken)
        linked += sum(len(asks[place][2]) for place in taken)
        held |= tiles  # a parent that is idle is not a step further
    return reads, delivered, linked, seen


def asked_for(
    tile: Words,
    low: Point,
    time: tuple[int, ...],
    before: tuple[Words, Point, tuple[int, ...]] | None,
    moves: list[Point],
) -> Words:
    """Its new words where a tile moves on as its innermost loop moves it, nothing where it stands, else all."""
    if before is None:
        return tile
    old, old_low, then = before
    move = tuple(a - b for a, b in zip(low, old_low, strict=True))
    stepped = next(i for i, (a, b) in enumerate(zip(then, time, strict=True)) if a != b)
    inner = [i for i in range(stepped + 1, len(time)) if then[i] and any(moves[i])]
    usual = not any(move) or not inner or move == moves[inner[-1]]
    return tile - old if usual else tile


def handed_on(
    blocks: list[Block],
    child: int,
    space: DataSpace,
    asks: dict[tuple[int, ...], tuple[tuple[int, ...], object, Words]],
    held: dict[tuple[int, ...], dict[tuple[int, ...], Words]],
    above: int,
    inner: int,
) -> set[tuple[int, ...]]:
    """Units that a neighbour had the words for one step ago, where that goes for all that share a read."""
    hop = blocks[child + 1]
    if not isinstance(hop.node, Fanout) or not hop.spatial or space.name in hop.constraints.no_link_transfer:
        return set()
    lengths = [step.factor for step in reversed(hop.spatial)]
    numbers = {index: n for n, index in enumerate(itertools.product(*map(range, lengths)))}
    by_number = {n: index for index, n in numbers.items()}
    taken = set()
    for place, (instance, _, words) in asks.items():
        node, unit = place[: len(place) - inner], place[len(place) - inner :]
        around = neighbours(numbers[unit], hop.node.mesh_x, hop.node.mesh_y)
        had = [held.get(instance, {}).get((*node, *by_number[n])) for n in around if n in by_number]
        if words in had:
            taken.add(place)
    alone = {asks[place] for place in asks if place not in taken}
    return {place for place in taken if asks[place] not in alone}


def shares(blocks: list[Block], child: int, parent: int, space: DataSpace, place: tuple[int, ...]) -> object:
    """Children with equal answers share words: their tiles lie alike within every hop."""
    answer: list[object] = []
    indices = iter(place)
    for i in reversed(range(child + 1, parent + 1)):
        here = [(step.move(space).step, next(indices)) for step in reversed(blocks[i].spatial)]
        if space.name in blocks[i].constraints.no_multicast:
            answer.append(tuple(index for _, index in here))
        else:
            answer.append([sum(s[r] * index for s, index in here) for r in range(len(space.projection))])
    return str(answer)


def without_links(arch: Arch) -> Arch:
    """The same machine with no words handed on between neighbours."""
    from dataclasses import replace

    return replace(
        arch,
        nodes=tuple(
            replace(node, constraints=replace(node.constraints, no_link_transfer=("*",)))
            if isinstance(node, Fanout)
            else node
            for node in arch.nodes
        ),
    )


@QUICK
@given(st.data())
def test_exact_counts_equal_the_executed_nest(data: st.DataObject) -> None:
    problem = data.draw(problems(most=5))
    arch = data.draw(archs(flags=True))
    mapping = data.draw(mappings(arch, problem, perfect=False))
    blocks = lay_out(arch, problem, mapping)
    for space in problem.data_spaces:
        kept = [i for i, block in enumerate(blocks) if block.keeps(space)]
        counts = count_exactly(blocks, space)
        below = {i: executed(blocks, space, inner, i) for inner, i in itertools.pairwise([-1, *kept])}
        for k, i in enumerate(kept):
            found, instances = counts[blocks[i].name], blocks[i].instances
            reads = below[i][0]
            _, filled, peers, held = below[kept[k + 1]] if k + 1 < len(kept) else (0, 0, 0, None)
            if space.is_output:
                first = len(held) if held is not None else len(whole(problem, space))
                assert found.updates * instances == approx(reads)
                assert found.reads * instances == approx(reads + peers - first)
                assert found.fills * instances == approx(filled + peers - (first if held is not None else 0))
            else:
                assert found.reads * instances == approx(reads + peers)
                assert found.fills * instances == approx(filled + peers)


def approx(value: int) -> object:
    import pytest

    return pytest.approx(value, rel=1e-9, abs=1e-6)


def whole(problem: Problem, space: DataSpace) -> Words:
    return box((0,) * len(space.projection), sizes(space, problem.shape))


@QUICK
@given(st.data())
def test_every_point_is_computed_once_in_the_counted_time(data: st.DataObject) -> None:
    problem = data.draw(problems(most=4))
    arch = data.draw(archs())
    blocks = lay_out(arch, problem, data.draw(mappings(arch, problem, perfect=False)))
    points: Counter[tuple[int, ...]] = Counter()
    busy = 0
    places = list(itertools.product(*ranges(blocks, 0, "spatial")))
    for time in itertools.product(*ranges(blocks, 0, "temporal")):
        done = [now[0] for place in places if (now := Worker(blocks, 0, place).at(time))]
        points.update(tuple(first.values()) for first in done)
        busy += bool(done)
    assert set(points.values()) == {1}
    assert set(points) == set(itertools.product(*(range(n) for n in problem.shape.values())))
    steps = 1
    for dim in problem.shape:
        steps *= time_steps(blocks, dim)
    assert steps == busy


@QUICK
@given(st.data())
def test_exact_and_timeloops_counts_agree_on_products_with_perfect_loops(data: st.DataObject) -> None:
    problem = data.draw(problems())
    assume(all(len(rank) == 1 for space in problem.data_spaces for rank in space.projection))
    arch = without_links(data.draw(archs()))
    blocks = lay_out(arch, problem, data.draw(mappings(arch, problem, perfect=True)))
    for space in problem.data_spaces:
        assert count_exactly(blocks, space) == count(blocks, space)


def test_counting_takes_no_longer_for_long_loops() -> None:
    """A convolution with remainders in every dimension and 1e15 steps: what runs its loops never ends."""
    from mmsim.arch.model import Compute, Storage
    from mmsim.nest.evaluate import evaluate
    from mmsim.nest.mapping import Level, Loop

    names = ("Weights", "Inputs", "Outputs")
    one = {dim: ((dim, 1),) for dim in "CMPR"}
    size, cut = 10**4 + 7, Loop("C", 100, 7)
    spaces = (
        DataSpace("Weights", (one["C"], one["M"], one["R"]), 8),
        DataSpace("Inputs", (one["C"], (("P", 2), ("R", 1))), 8),
        DataSpace("Outputs", (one["M"], one["P"]), 8, True),
    )
    problem = Problem("mac", tuple((dim, size) for dim in "CMPR"), spaces)
    nodes = (Storage("DRAM", "DRAM", 8), Fanout("PE", 100, 100), Storage("spad", "SRAM", 8), Compute("mac", "mac", 8))
    outer = tuple(Loop(dim, 101) for dim in "MRPC")
    spatial, inner = (Loop("P", 100, 7), Loop("R", 100, 7)), (cut, Loop("M", 100, 7))
    levels = (Level("DRAM", frozenset(names), outer), Level("PE", frozenset(), (), spatial, 1))
    mapping = Mapping((*levels, Level("spad", frozenset(names), inner)))
    found = evaluate(Arch("array", nodes, 1e-9, 45), problem, mapping)
    assert found.computes == size**4
    assert found.levels["DRAM"].data_spaces["Outputs"].reads == size**2 * (101 * 101 - 1)  # R and C outside P
    weights = found.levels["spad"].data_spaces["Weights"]
    assert weights.reads * weights.utilized_instances == approx(size**4)


def test_a_product_with_remainders_by_hand() -> None:
    """M10 over 4 columns: 3 rounds, the last on 2 columns; 10 x 3 products in 9 steps, not 3 x 4 x 3."""
    from mmsim.arch.model import Compute, Storage
    from mmsim.nest.evaluate import evaluate
    from mmsim.nest.mapping import Level, Loop

    one = {dim: ((dim, 1),) for dim in "MK"}
    problem = Problem(
        "mac",
        (("M", 10), ("K", 3)),
        (
            DataSpace("Weights", (one["M"], one["K"]), 8),
            DataSpace("Inputs", (one["K"],), 8),
            DataSpace("Outputs", (one["M"],), 8, True),
        ),
    )
    arch = Arch("row", (Storage("DRAM", "DRAM", 8), Fanout("PE", 4), Compute("mac", "intmac", 8)), 1e-9, 45)
    mapping = Mapping(
        (
            Level("DRAM", frozenset({"Weights", "Inputs", "Outputs"}), (Loop("K", 3), Loop("M", 3))),
            Level("PE", spatial=(Loop("M", 4, 2),), split=1),
        )
    )
    found = evaluate(arch, problem, mapping)
    assert (found.cycles, found.computes) == (9, 30)
    dram = found.levels["DRAM"].data_spaces
    assert dram["Weights"].reads == 30  # every weight once
    assert dram["Inputs"].reads == 9  # one word a step, multicast
    assert (dram["Outputs"].updates, dram["Outputs"].reads) == (30, 20)  # the first update of each reads nothing
