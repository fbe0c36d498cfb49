"""A mapping: how a problem's loops are cut into tiles, ordered, and spread over an architecture's levels.

The words are Timeloop's. A `Level` belongs to one node of the architecture: a
memory has temporal loops and a list of the data spaces it keeps, a fan-out has spatial loops (and
may have temporal ones). Loops are written innermost first. A loop of three steps whose very last
run has only two is ``Loop("C", 3, 2)``, in files ``C3,2``.

>>> Loop("C", 3, 2)
Loop(dim='C', factor=3, residual=2)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsim.arch.model import Arch, Constraints, Fanout, Storage
from mmsim.errors import InputError
from mmsim.problem import Problem


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over `dim` with `factor` steps; `residual` steps when every outer loop of `dim` is at its last step."""

    dim: str
    factor: int
    residual: int = 0  # 0 stands for `factor`: a perfect loop

    def __post_init__(self) -> None:
        if not self.residual:
            object.__setattr__(self, "residual", self.factor)

    @property
    def perfect(self) -> bool:
        """Whether all of its runs are of the same length."""
        return self.residual == self.factor


@dataclass(frozen=True, slots=True)
class Level:
    """What one node of the architecture does: loops innermost first, `spatial` inside `temporal`.

    `split` is the number of leading loops of `spatial` that lie along X; the others lie along Y.
    `keep` names the data spaces that stay here; a fan-out keeps none. `limits` are the kinds of reuse
    that the mapping itself does without, on top of the architecture's constraints (``no_reuse``, ...).
    """

    node: str
    keep: frozenset[str] = frozenset()
    temporal: tuple[Loop, ...] = ()
    spatial: tuple[Loop, ...] = ()
    split: int = 0
    limits: Constraints = field(default_factory=Constraints)

    @property
    def loops(self) -> tuple[Loop, ...]:
        """All loops, innermost first."""
        return self.spatial + self.temporal


@dataclass(frozen=True)
class Mapping:
    """Levels from the outermost memory in, one for each memory and fan-out of the architecture.

    Loops of one step are left out.
    """

    levels: tuple[Level, ...]

    def __getitem__(self, node: str) -> Level:
        return next(level for level in self.levels if level.node == node)


def check(mapping: Mapping, arch: Arch, problem: Problem) -> None:
    """Raise `InputError` unless the levels are those of `arch` and the factors make up `problem`."""
    nodes = [node.name for node in nodes_of(arch)]
    if [level.node for level in mapping.levels] != nodes:
        raise InputError(f"levels must be {', '.join(nodes)}")
    for dim, size in problem.shape.items():
        covered = extent(mapping, dim)
        if covered != size:
            raise InputError(f"factors of {dim} make {covered}, the problem has {size}")


def extent(mapping: Mapping, dim: str) -> int:
    """The size that the factors of `dim` make up, residual runs at the end of every loop counted."""
    last = 0  # the last index reached so far, in steps of the loop at hand
    for level in mapping.levels:
        for loop in reversed(level.loops):
            if loop.dim == dim:
                last = last * loop.factor + loop.residual - 1
    return last + 1


def to_text(mapping: Mapping) -> str:
    """One line a level, for people: ``DRAM [Weights Inputs] M4 C2 | PE: P7(X) R3(Y)``, outermost loop first."""
    parts = []
    for level in mapping.levels:
        words = [level.node]
        if level.keep:
            words.append("[" + " ".join(sorted(level.keep)) + "]")
        words += [factor_text(loop) for loop in reversed(level.temporal)]
        axis = ["(X)" if i < level.split else "(Y)" for i in range(len(level.spatial))]
        words += [factor_text(loop) + side for loop, side in zip(level.spatial[::-1], axis[::-1], strict=True)]
        parts.append(" ".join(words))
    return " | ".join(parts)


def nodes_of(arch: Arch) -> list[Storage | Fanout]:
    """The nodes that a mapping has a level for, outermost first."""
    return [node for node in arch.nodes if isinstance(node, (Storage, Fanout))]


def factor_text(loop: Loop) -> str:
    """``C3``, or ``C3,2`` with a remainder."""
    return f"{loop.dim}{loop.factor}" + ("" if loop.perfect else f",{loop.residual}")
