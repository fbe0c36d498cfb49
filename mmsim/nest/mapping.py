"""A mapping: how a problem's loops are cut into tiles, ordered, and spread over an architecture's levels.

The words and the file syntax are Timeloop's. A `Level` belongs to one node of the architecture: a
memory has temporal loops and a list of the data spaces it keeps, a fan-out has spatial loops (and
may have temporal ones). Loops are written innermost first. A loop of three steps whose very last
run has only two is ``Loop("C", 3, 2)``, in files ``C3,2``.

>>> Loop("C", 3, 2)
Loop(dim='C', factor=3, residual=2)
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsim import files
from mmsim.arch.model import Arch, Fanout, Storage
from mmsim.errors import InputError
from mmsim.nest.constraints import resolve
from mmsim.problem import Problem

MAX_FACTOR = 2**31
_FACTOR = re.compile(r"([A-Za-z]\w*?)\s*=?\s*(\d{1,12})(?:,(\d{1,12}))?")
_LOOP_KEYS = {"target", "type", "factors", "permutation"}
_KEYS = {
    "temporal": _LOOP_KEYS,
    "spatial": _LOOP_KEYS | {"split"},
    "dataspace": {"target", "type", "keep", "bypass"},
}
_FLAGS = ("no_reuse", "no_temporal_reuse", "no_link_transfer", "rmw_first_update", "no_coalesce")
_TYPES = ("temporal", "spatial", "dataspace", "datatype", "bypass")


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
    `keep` names the data spaces that stay here; a fan-out keeps none.
    """

    node: str
    keep: frozenset[str] = frozenset()
    temporal: tuple[Loop, ...] = ()
    spatial: tuple[Loop, ...] = ()
    split: int = 0

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


def spatial_name(fanout: str) -> str:
    """The name that a fan-out has in Timeloop's mappings."""
    return f"inter_{fanout}_spatial"


def read(path: str | Path, arch: Arch, problem: Problem) -> Mapping:
    """The mapping in a Timeloop file (a ``mapping:`` list), checked against `arch` and `problem`."""
    value = files.read_yaml(path)
    if isinstance(value, dict):
        if "mapping" not in value:
            raise InputError("missing", file=str(path), field="mapping")
        value = value["mapping"]
    return parse(value, arch, problem, file=str(path))


def parse(value: object, arch: Arch, problem: Problem, *, file: str = "mapping") -> Mapping:
    """As `read`, from plain values: a list of Timeloop directives.

    A level not mentioned has no loops. A data space that the mapping neither keeps nor bypasses at a
    memory stays there unless the architecture's constraints bypass it, as in Timeloop. Raises `InputError` when
    a target, dimension or data space is unknown, or factors do not multiply to the problem's sizes.
    """
    try:
        directives = _directives(value, arch)
        mapping = Mapping(tuple(_level(node, directives, problem) for node in _nodes(arch)))
        check(mapping, arch, problem)
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None
    return mapping


def check(mapping: Mapping, arch: Arch, problem: Problem) -> None:
    """Raise `InputError` unless the levels are those of `arch` and the factors make up `problem`."""
    nodes = [node.name for node in _nodes(arch)]
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


def to_timeloop(mapping: Mapping, arch: Arch, problem: Problem) -> list[dict[str, Any]]:
    """Timeloop's directives, innermost level first, every dimension spelled out; `parse` reads them back."""
    dims = [dim for dim, _ in problem.dims]
    spaces = [space.name for space in problem.data_spaces]
    kept: list[dict[str, Any]] = []
    loops: list[dict[str, Any]] = []
    for level, node in zip(reversed(mapping.levels), reversed(_nodes(arch)), strict=True):
        target = _target(node)
        kept.append(
            {
                "target": target,
                "type": "datatype",
                "keep": [space for space in spaces if space in level.keep],
                "bypass": [space for space in spaces if space not in level.keep],
            }
        )
        if isinstance(node, Fanout):
            order, split = _spatial_order(level, dims)
            loops.append({"target": target, "type": "spatial", **_written(level.spatial, order), "split": split})
        order = [loop.dim for loop in level.temporal]
        order += [dim for dim in dims if dim not in order]
        loops.append({"target": target, "type": "temporal", **_written(level.temporal, order)})
    return kept + loops


def to_text(mapping: Mapping) -> str:
    """One line a level, for people: ``DRAM [Weights Inputs] M4 C2 | PE: P7(X) R3(Y)``, outermost loop first."""
    parts = []
    for level in mapping.levels:
        words = [level.node]
        if level.keep:
            words.append("[" + " ".join(sorted(level.keep)) + "]")
        words += [_factor_text(loop) for loop in reversed(level.temporal)]
        axis = ["(X)" if i < level.split else "(Y)" for i in range(len(level.spatial))]
        words += [_factor_text(loop) + side for loop, side in zip(level.spatial[::-1], axis[::-1], strict=True)]
        parts.append(" ".join(words))
    return " | ".join(parts)


def _nodes(arch: Arch) -> list[Storage | Fanout]:
    return [node for node in arch.nodes if isinstance(node, (Storage, Fanout))]


def _target(node: Storage | Fanout) -> str:
    return spatial_name(node.name) if isinstance(node, Fanout) else node.name


def _spatial_order(level: Level, dims: list[str]) -> tuple[list[str], int]:
    """Every dimension, X ones first, and how many lie on X (those of factor 1 on Y)."""
    named = [loop.dim for loop in level.spatial]
    return named + [dim for dim in dims if dim not in named], level.split


def _written(loops: tuple[Loop, ...], order: list[str]) -> dict[str, str]:
    """Factors and permutation; `order` begins with the dimensions of `loops`, in their order."""
    spelled = [*loops, *(Loop(dim, 1) for dim in order[len(loops) :])]
    return {"factors": " ".join(map(_factor_text, spelled)), "permutation": " ".join(order)}


def _factor_text(loop: Loop) -> str:
    return f"{loop.dim}{loop.factor}" + ("" if loop.perfect else f",{loop.residual}")


def _directives(value: object, arch: Arch) -> Dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """(target, kind) -> (field, directive), with kinds temporal, spatial and dataspace."""
    if not isinstance(value, list):
        raise InputError("expected a list of directives", field="mapping")
    targets = {_target(node): node for node in _nodes(arch)}
    found: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for i, item in enumerate(value):
        where = f"mapping.{i}"
        if not isinstance(item, dict):
            raise InputError("expected a mapping with target and type", field=where)
        kind, target = item.get("type"), item.get("target")
        if kind not in _TYPES:
            raise InputError(f"{kind!r} is not one of {', '.join(_TYPES)}", field=f"{where}.type")
        if kind == "spatial" and isinstance(target, str) and spatial_name(target) in targets:
            target = spatial_name(target)  # a v0.4 file names the node with the fan-out
        if not isinstance(target, str) or target not in targets:
            raise InputError(f"{target!r} is not one of {', '.join(targets)}", field=f"{where}.target")
        kind = kind if kind in ("temporal", "spatial") else "dataspace"
        if kind == "spatial" and not isinstance(targets[target], Fanout):
            raise InputError(f"{target!r} has no fan-out below it", field=f"{where}.target")
        for key in item:
            if key not in _KEYS[kind]:
                hint = "; give it among the architecture's constraints" if key in _FLAGS else ""
                raise InputError(f"not supported{hint}", field=f"{where}.{key}")
        if (target, kind) in found:
            raise InputError(f"{kind} of {target!r} stands twice", field=where)
        found[target, kind] = (where, item)
    return found


def _level(
    node: Storage | Fanout, directives: Dict[tuple[str, str], tuple[str, dict[str, Any]]], problem: Problem
) -> Level:
    target = _target(node)
    temporal = _loops(*directives.get((target, "temporal"), ("", {})), problem)
    where, item = directives.get((target, "spatial"), ("", {}))
    spatial = _loops(where, item, problem)
    split = item.get("split", len(spatial))
    if isinstance(split, bool) or not isinstance(split, int) or split < 0:
        raise InputError(f"expected a whole number, got {split!r}", field=f"{where}.split")
    for loops in (temporal, spatial[:split], spatial[split:]):
        named = [loop.dim for loop in loops]
        if len(set(named)) != len(named):
            raise InputError("a dimension stands twice", field=where or target)
    return Level(
        node=node.name,
        keep=_keep(*directives.get((target, "dataspace"), ("", {})), node, problem),
        temporal=tuple(loop for loop in temporal if loop.factor > 1),
        spatial=tuple(loop for loop in spatial if loop.factor > 1),
        split=sum(loop.factor > 1 for loop in spatial[:split]),
    )


def _keep(where: str, item: dict[str, Any], node: Storage | Fanout, problem: Problem) -> frozenset[str]:
    """The data spaces kept: what the mapping says, else what the architecture says, else all."""
    if isinstance(node, Fanout):
        return frozenset()
    names = [space.name for space in problem.data_spaces]
    for key in ("keep", "bypass"):
        listed = item.get(key) or []
        if not isinstance(listed, list):
            raise InputError("expected a list of data spaces", field=f"{where}.{key}")
        for name in listed:
            if name not in names:
                raise InputError(f"unknown data space {name!r}", field=f"{where}.{key}")
    both = [name for name in item.get("bypass") or [] if name in (item.get("keep") or [])]
    if both:
        raise InputError(f"{both[0]!r} is both kept and bypassed", field=where)
    bypassed = set(item.get("bypass") or []) | set(resolve(node.constraints, problem).bypass)
    return frozenset(name for name in names if name in (item.get("keep") or []) or name not in bypassed)


def _loops(where: str, item: dict[str, Any], problem: Problem) -> list[Loop]:
    """Every dimension's loop in the order of the permutation, those of factor 1 too."""
    dims = [dim for dim, _ in problem.dims]
    factors = _factors(item.get("factors", ""), f"{where}.factors", problem)
    twice = len(factors) - len({loop.dim for loop in factors})
    order = item.get("permutation", "")
    if not isinstance(order, (str, list)) or not all(isinstance(part, str) for part in order):
        raise InputError("expected dimensions, innermost first", field=f"{where}.permutation")
    order = [part for part in order if part.strip() and part != ","]
    for dim in order:
        if dim not in dims:
            raise InputError(f"unknown dimension {dim!r}", field=f"{where}.permutation")
    if len(order) - len(set(order)) > twice:
        raise InputError("a dimension stands twice", field=f"{where}.permutation")
    found = []
    for dim in order + [dim for dim in dims if dim not in order]:
        loop = next((loop for loop in factors if loop.dim == dim), Loop(dim, 1))
        if loop in factors:
            factors.remove(loop)
        found.append(loop)
    if factors:
        raise InputError(f"{factors[0].dim} stands twice", field=f"{where}.factors")
    return found


def _factors(value: object, field: str, problem: Problem) -> list[Loop]:
    """``"C3,2 M8"`` or ``[C=3, M=8]``; the factor 0 is the whole dimension.

    In a fan-out a dimension may stand twice, once on each axis (Timeloop itself has no way to say so);
    the permutation then names it twice as well.
    """
    if not isinstance(value, (str, list)) or not all(isinstance(part, str) for part in value):
        raise InputError("expected factors such as 'C3 M8'", field=field)
    text = value if isinstance(value, str) else " ".join(value)
    sizes = problem.shape
    found: list[Loop] = []
    end = 0
    for match in _FACTOR.finditer(text):
        dim, steps, last = match[1], int(match[2]), match[3]
        if text[end : match.start()].strip(" \t\n,"):
            break
        end = match.end()
        if dim not in sizes:
            raise InputError(f"unknown dimension {dim!r}", field=field)
        loop = Loop(dim, steps or sizes[dim], int(last) if last else 0)
        if not 1 <= loop.residual <= loop.factor <= MAX_FACTOR:
            raise InputError(f"{match[0]!r}: expected 1 <= last <= factor", field=field)
        found.append(loop)
    if text[end:].strip(" \t\n,"):
        raise InputError(f"not a factor: {text[end:].strip()[:20]!r}", field=field)
    return found
