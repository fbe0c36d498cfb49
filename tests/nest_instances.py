"""Random small architectures, problems and mappings for the tests of `mmsim.nest`."""

from __future__ import annotations

from hypothesis import strategies as st

from mmsim.arch.model import Arch, Compute, Constraints, Fanout, Storage
from mmsim.nest.mapping import Level, Loop, Mapping
from mmsim.problem import DataSpace, Problem

SPACES = ("Weights", "Inputs", "Outputs")
FANOUT = ("no_multicast", "no_link_transfer")


@st.composite
def problems(draw: st.DrawFn, most: int = 6) -> Problem:
    """A product (batched or not) or a convolution (strided, dilated, grouped)."""
    size = st.integers(1, most)
    if draw(st.booleans()):
        dims = {"B": draw(st.integers(1, 2)), "M": draw(size), "N": draw(size), "K": draw(size)}
        projections = ((("B",), ("K",), ("N",)), (("B",), ("M",), ("K",)), (("B",), ("M",), ("N",)))
        ranks = [tuple(tuple((dim, 1) for dim in rank) for rank in space) for space in projections]
    else:
        dims = {dim: draw(size) for dim in "CMPR"} | {"G": draw(st.integers(1, 2))}
        stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        one = {dim: ((dim, 1),) for dim in dims}
        ranks = [
            (one["G"], one["C"], one["M"], one["R"]),
            (one["G"], one["C"], (("P", stride), ("R", dilation))),
            (one["G"], one["M"], one["P"]),
        ]
    spaces = tuple(DataSpace(name, rank, 8, name == "Outputs") for name, rank in zip(SPACES, ranks, strict=True))
    return Problem("mac", tuple(dims.items()), spaces)


@st.composite
def archs(draw: st.DrawFn, flags: bool = False) -> Arch:
    """Two to four memories with fan-outs of up to 4 x 3 between them, or above the compute."""

    def limits(*names: str) -> Constraints:
        some = st.sets(st.sampled_from(SPACES), max_size=1).map(tuple)
        drawn = {name: draw(some) for name in names if flags}
        return Constraints(**drawn)  # type: ignore[arg-type]  # all of them tuples of names

    nodes: list[Storage | Fanout | Compute] = [Storage("L0", "DRAM", 8)]
    for i in range(1, draw(st.integers(2, 4))):
        if draw(st.booleans()):
            nodes.append(Fanout(f"F{i}", draw(st.integers(1, 4)), draw(st.integers(1, 3)), constraints=limits(*FANOUT)))
        nodes.append(Storage(f"L{i}", "SRAM", 8, constraints=limits("no_reuse")))
    if draw(st.booleans()):
        nodes.append(Fanout("lanes", draw(st.integers(1, 4)), constraints=limits(*FANOUT)))
    return Arch("random", (*nodes, Compute("mac", "intmac", 8)), 1e-9, 45)


@st.composite
def mappings(draw: st.DrawFn, arch: Arch, problem: Problem, *, perfect: bool) -> Mapping:
    """Loops drawn from the compute outwards; with `perfect`, only divisors."""
    left = problem.shape
    levels = []
    for node in [node for node in arch.nodes[::-1] if not isinstance(node, Compute)]:
        outermost = node is arch.nodes[0]
        spatial: list[Loop] = []
        split = 0
        if isinstance(node, Fanout):
            order = draw(st.permutations(list(left)))
            for axis, room in enumerate((node.mesh_x, node.mesh_y)):
                for dim in order[axis::2]:
                    loop = draw(loops(dim, left, room, perfect))
                    room //= loop.factor
                    if loop.factor > 1:
                        spatial.append(loop)
                split = split or len(spatial) if axis == 0 else split
        temporal = []
        for dim in draw(st.permutations(list(left))):
            loop = Loop(dim, left[dim]) if outermost else draw(loops(dim, left, left[dim], perfect))
            if loop.factor > 1:
                temporal.append(loop)
        keep = frozenset[str]()
        if isinstance(node, Storage):
            keep = frozenset(SPACES) if outermost else frozenset(draw(st.sets(st.sampled_from(SPACES))))
        levels.append(Level(node.name, keep, tuple(temporal), tuple(spatial), split))
    return Mapping(tuple(levels[::-1]))


@st.composite
def loops(draw: st.DrawFn, dim: str, left: dict[str, int], room: int, perfect: bool) -> Loop:
    """A loop of at most `room` steps over the tiles that are left of a dimension; updates `left`."""
    tiles = left[dim]
    choices = [f for f in range(1, min(room, tiles) + 1) if not perfect or tiles % f == 0]
    factor = draw(st.sampled_from(choices or [1]))
    left[dim] = -(-tiles // factor)
    return Loop(dim, factor, tiles - (left[dim] - 1) * factor)
