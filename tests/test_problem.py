"""Problems: footprints against counting every point, on random nests; and by hand where that teaches."""

from __future__ import annotations

from itertools import product
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsim.errors import InputError
from mmsim.layer import Tensor
from mmsim.ops.conv import windowed_product
from mmsim.problem import DataSpace, Problem, Rank
from mmsim.size import Size, concrete, symbol

B = symbol("B")


def indices(projection: tuple[Rank, ...], tile: dict[str, int]) -> list[tuple[int, ...]]:
    """Every index that the loop nest gives a tensor: the slow, obvious twin."""
    points = (dict(zip(tile, point, strict=True)) for point in product(*(range(size) for size in tile.values())))
    return [tuple(sum(c * point[d] for d, c in rank) for rank in projection) for point in points]


def box(found: list[tuple[int, ...]]) -> int:
    size = 1
    for values in zip(*found, strict=True):
        size *= max(values) - min(values) + 1
    return size


coefficients = st.integers(1, 5)
dims = st.sampled_from("NCPQRS")
ranks = st.lists(st.tuples(dims, coefficients), max_size=3, unique_by=lambda term: term[0]).map(tuple)
projections = cast("st.SearchStrategy[tuple[Rank, ...]]", st.lists(ranks, min_size=1, max_size=3).map(tuple))
tiles = st.fixed_dictionaries({dim: st.integers(1, 4) for dim in "NCPQRS"})


@given(projections, tiles)
def test_footprint_is_the_bounding_box(projection: tuple[Rank, ...], tile: dict[str, int]) -> None:
    assert DataSpace("x", projection, 32).footprint(tile) == box(indices(projection, tile))


@given(projections, tiles)
def test_touched_counts_distinct_points(projection: tuple[Rank, ...], tile: dict[str, int]) -> None:
    assert DataSpace("x", projection, 32).touched(tile) == len(set(indices(projection, tile)))


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6))
def test_touched_in_a_sliding_window(p: int, r: int, stride: int, dilation: int) -> None:
    rank = (("P", stride), ("R", dilation))
    seen = {stride * i + dilation * j for i in range(p) for j in range(r)}
    assert DataSpace("x", (rank,), 32).touched({"P": p, "R": r}) == len(seen)
    symbolic = DataSpace("x", (rank, (("N", 1),)), 32).touched({"P": p, "R": r, "N": B})
    assert symbolic == len(seen) * B


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[dict[str, int], bool]:
    groups, c, m = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    size, kernel, stride, dilation, padding = (draw(st.integers(1, n)) for n in (6, 3, 3, 2, 2))
    padding -= 1
    if size + 2 * padding < dilation * (kernel - 1) + 1:
        size = dilation * (kernel - 1) + 1
    values = locals()
    return {k: values[k] for k in ("groups", "c", "m", "size", "kernel", "stride", "dilation", "padding")}, draw(
        st.booleans()
    )


@given(convolutions())
def test_convolutions_touch_what_their_definition_touches(drawn: tuple[dict[str, int], bool]) -> None:
    """A 1-d convolution and its transpose, element by element as torch defines them."""
    v, transposed = drawn
    span = v["dilation"] * (v["kernel"] - 1)
    out = (
        (v["size"] - 1) * v["stride"] + span + 1
        if transposed
        else (v["size"] + 2 * v["padding"] - span - 1) // v["stride"] + 1
    )
    data = Tensor("x", (2, v["groups"] * v["c"], v["size"]), "float32", "activation")
    lead, other = (v["c"], v["m"]) if transposed else (v["m"], v["c"])
    weight = Tensor("w", (v["groups"] * lead, other, v["kernel"]), "float32", "weight")
    result = Tensor("y", (2, v["groups"] * v["m"], out), "float32", "activation")
    (problem,) = windowed_product(
        data,
        weight,
        result,
        stride=(v["stride"],),
        dilation=(v["dilation"],),
        groups=v["groups"],
        transposed=transposed,
    )
    macs, reads, writes = 0, set(), set()
    steps = v["size"] if transposed else out
    for n, g, c, m, p, r in product(
        range(2), *(range(v[k]) for k in ("groups", "c", "m")), range(steps), range(v["kernel"])
    ):
        macs += 1
        moving = p * v["stride"] + r * v["dilation"]
        reads.add((n, g, c, p if transposed else moving))
        writes.add((n, g, m, moving if transposed else p))
    assert problem.macs == macs
    inputs, outputs = problem.data_spaces[1:]
    assert (inputs.touched(problem.sizes), outputs.touched(problem.sizes)) == (len(reads), len(writes))
    stored = {i for i in reads if 0 <= i[3] - (0 if transposed else v["padding"]) < v["size"]}
    padded_only = len(stored) <= concrete(inputs.stored(problem.sizes)) <= min(len(reads), concrete(data.elements))
    assert padded_only


def test_padding_is_indexed_but_not_stored() -> None:
    space = DataSpace("Inputs", ((("P", 1), ("R", 1)),), 32, extents=(7,))
    tile: dict[str, Size] = {"P": 7, "R": 3}
    assert (space.footprint(tile), space.touched(tile), space.stored(tile)) == (9, 9, 7)


def test_symbolic_extents() -> None:
    strided = DataSpace("Inputs", ((("P", 2), ("R", 1)),), 32, extents=(8 * B,))
    assert strided.stored({"P": 4 * B, "R": 1}) == 4 * B  # every other element
    assert strided.stored({"P": 4 * B, "R": 3}) == 8 * B  # all, and one of padding
    assert strided.at(B=2).extents == (16,)
    table = DataSpace("Weights", ((("E", 1),), (("F", 1),)), 32, extents=(30000, 64))
    assert table.stored({"E": 128 * B, "F": 64}) == 8192 * B  # rows looked up, below 235 sequences


def test_matrix_product_by_hand() -> None:
    problem = Problem(
        "mac",
        (("M", 4), ("N", 3), ("K", 5)),
        (
            DataSpace("Weights", ((("K", 1),), (("N", 1),)), 16),
            DataSpace("Inputs", ((("M", 1),), (("K", 1),)), 16),
            DataSpace("Outputs", ((("M", 1),), (("N", 1),)), 32, is_output=True),
        ),
        instances=2,
    )
    assert problem.macs == 2 * 60
    assert problem.read_bytes == 2 * 2 * (15 + 20)
    assert problem.written_bytes == 2 * 4 * 12
    assert problem.compulsory_bytes == 140 + 96


def test_the_name_does_not_count() -> None:
    dims = (("E", 4),)
    assert Problem("movement", dims, (), name="a") == Problem("movement", dims, (), name="b")


@pytest.mark.parametrize(
    ("dims", "space", "message"),
    [
        ((("M", 0),), DataSpace("x", (), 8), "size 0 of dimension M must be positive"),
        ((("M", 2), ("M", 3)), DataSpace("x", (), 8), "a dimension stands twice"),
        ((("M", 2),), DataSpace("x", ((("K", 1),),), 8), r"x is indexed by unknown \['K'\]"),
        ((("M", 2),), DataSpace("x", ((("M", 1),),), 8, extents=()), "x has 0 extents"),
    ],
)
def test_what_is_no_problem(dims: tuple[tuple[str, int], ...], space: DataSpace, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Problem("mac", dims, (space,))
