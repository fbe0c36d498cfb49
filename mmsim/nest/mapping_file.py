"""Timeloop mapping files in and out: a list of directives, each for one level of the architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from typing import Any

from mmsim.arch.model import Arch, Constraints, Fanout, Storage, level_name
from mmsim.errors import InputError
from mmsim.nest.constraints import resolved
from mmsim.nest.mapping import Level, Loop, Mapping, check, factor_text, nodes_of
from mmsim.problem import Problem

MAX_FACTOR = 2**31
MAX_TEXT = 4000  # of the factors of one directive; to look through them takes the length squared
_FACTOR = re.compile(r"([A-Za-z]\w*?)\s*=?\s*(\d{1,12})(?:,(\d{1,12}))?")
_TYPES = ("temporal", "spatial", "dataspace", "datatype", "bypass")
_KEYS = {
    "temporal": {"target", "type", "factors", "permutation"},
    "spatial": {"target", "type", "factors", "permutation", "split"},
    "dataspace": {"target", "type", "keep", "bypass"},
}
_LIMITS = {  # how a directive rules out reuse -> the constraint's name
    "temporal": {
        "no_reuse": "no_reuse",
        "no_temporal_reuse": "no_reuse",
        "rmw_first_update": "rmw_first_update",
    },
    "spatial": {"no_reuse": "no_multicast", "no_link_transfer": "no_link_transfer"},
    "dataspace": {"no_coalesce": "no_coalesce"},
}


def parse(value: object, arch: Arch, problem: Problem, *, file: str = "mapping") -> Mapping:
    """A mapping from plain values, a list of Timeloop directives, checked against `arch` and `problem`.

    A level not mentioned has no loops. A data space that the mapping neither keeps nor bypasses at a
    memory stays there unless the architecture's constraints bypass it, as in Timeloop. Raises `InputError` when
    a target, dimension or data space is unknown, or factors do not multiply to the problem's sizes.
    """
    try:
        directives = _directives(value, arch)
        mapping = Mapping(tuple(_level(node, directives, problem) for node in nodes_of(arch)))
        check(mapping, arch, problem)
    except InputError as error:
        raise InputError(error.message, file=file, field=error.field) from None
    return mapping


def to_timeloop(mapping: Mapping, arch: Arch, problem: Problem) -> list[dict[str, Any]]:
    """Timeloop's directives, innermost level first, every dimension spelled out; `parse` reads them back."""
    dims = [dim for dim, _ in problem.dims]
    spaces = [space.name for space in problem.data_spaces]
    kept: list[dict[str, Any]] = []
    loops: list[dict[str, Any]] = []
    for level, node in zip(reversed(mapping.levels), reversed(nodes_of(arch)), strict=True):
        target = level_name(node)
        keep = {
            "keep": [space for space in spaces if space in level.keep],
            "bypass": [space for space in spaces if space not in level.keep],
        }
        kept.append({"target": target, "type": "datatype", **keep, **_ruled_out(level, "dataspace")})
        if isinstance(node, Fanout):
            order, split = _spatial_order(level, dims)
            written = {**_written(level.spatial, order), "split": split, **_ruled_out(level, "spatial")}
            loops.append({"target": target, "type": "spatial", **written})
        order = [loop.dim for loop in level.temporal]
        order += [dim for dim in dims if dim not in order]
        written = {**_written(level.temporal, order), **_ruled_out(level, "temporal")}
        loops.append({"target": target, "type": "temporal", **written})
    return kept + loops


def _ruled_out(level: Level, kind: str) -> dict[str, list[str]]:
    """The reuse that a level's directive of this kind rules out."""
    named = {key: list(getattr(level.limits, name)) for key, name in _LIMITS[kind].items()}
    return {key: names for key, names in named.items() if names and key != "no_temporal_reuse"}


def _spatial_order(level: Level, dims: list[str]) -> tuple[list[str], int]:
    """Every dimension, X ones first, and how many lie on X (those of factor 1 on Y)."""
    named = [loop.dim for loop in level.spatial]
    return named + [dim for dim in dims if dim not in named], level.split


def _written(loops: tuple[Loop, ...], order: list[str]) -> dict[str, str]:
    """Factors and permutation; `order` begins with the dimensions of `loops`, in their order."""
    spelled = [*loops, *(Loop(dim, 1) for dim in order[len(loops) :])]
    return {"factors": " ".join(map(factor_text, spelled)), "permutation": " ".join(order)}


def _directives(value: object, arch: Arch) -> Dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """(target, kind) -> (field, directive), with kinds temporal, spatial and dataspace."""
    if not isinstance(value, list):
        raise InputError("expected a list of directives", field="mapping")
    targets = {level_name(node): node for node in nodes_of(arch)}
    fanouts = {node.name: level_name(node) for node in arch.fanouts}
    found: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for i, item in enumerate(value):
        where = f"mapping.{i}"
        if not isinstance(item, dict):
            raise InputError("expected a mapping with target and type", field=where)
        kind, target = item.get("type"), item.get("target")
        if kind not in _TYPES:
            raise InputError(f"{kind!r} is not one of {', '.join(_TYPES)}", field=f"{where}.type")
        if kind == "spatial" and isinstance(target, str) and target in fanouts:
            target = fanouts[target]  # a v0.4 file names the node with the fan-out
        if not isinstance(target, str) or target not in targets:
            raise InputError(f"{target!r} is not one of {', '.join(targets)}", field=f"{where}.target")
        kind = kind if kind in ("temporal", "spatial") else "dataspace"
        if kind == "spatial" and not isinstance(targets[target], Fanout):
            raise InputError(f"{target!r} has no fan-out below it", field=f"{where}.target")
        for key in item:
            if key not in (*_KEYS[kind], *_LIMITS[kind]):
                raise InputError("not supported", field=f"{where}.{key}")
        if (target, kind) in found:
            raise InputError(f"{kind} of {target!r} stands twice", field=where)
        found[target, kind] = (where, item)
    return found


def _level(
    node: Storage | Fanout, directives: Dict[tuple[str, str], tuple[str, dict[str, Any]]], problem: Problem
) -> Level:
    target = level_name(node)
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
        limits=_limits(target, directives, problem),
    )


def _limits(
    target: str, directives: Dict[tuple[str, str], tuple[str, dict[str, Any]]], problem: Problem
) -> Constraints:
    """The reuse that the directives of one level rule out."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, limits in _LIMITS.items():
        where, item = directives.get((target, kind), ("", {}))
        for key, name in limits.items():
            if key in item:
                found[name] = tuple(_spaces(item, key, where, problem))
    return Constraints(**found)  # type: ignore[arg-type]  # all of them tuples of names


def _keep(where: str, item: dict[str, Any], node: Storage | Fanout, problem: Problem) -> frozenset[str]:
    """The data spaces kept: what the mapping says, else what the architecture says, else all."""
    if isinstance(node, Fanout):
        return frozenset()
    keep, bypass = (_spaces(item, key, where, problem) for key in ("keep", "bypass"))
    both = [name for name in bypass if name in keep]
    if both:
        raise InputError(f"{both[0]!r} is both kept and bypassed", field=where)
    bypassed = {*bypass, *resolved(node, problem).bypass}
    names = [space.name for space in problem.data_spaces]
    return frozenset(name for name in names if name in keep or name not in bypassed)


def _spaces(item: dict[str, Any], key: str, where: str, problem: Problem) -> list[str]:
    """The data spaces that a directive lists under `key`."""
    names = [space.name for space in problem.data_spaces]
    listed = item.get(key) or []
    if not isinstance(listed, list):
        raise InputError("expected a list of data spaces", field=f"{where}.{key}")
    for name in listed:
        if name not in names:
            raise InputError(f"unknown data space {name!r}", field=f"{where}.{key}")
    return listed


def _loops(where: str, item: dict[str, Any], problem: Problem) -> list[Loop]:
    """Every dimension's loop in the order of the permutation, those of factor 1 too."""
    dims = [dim for dim, _ in problem.dims]
    factors = _factors(item.get("factors", ""), f"{where}.factors", problem)
    if len(factors) > 2 * len(dims):
        raise InputError("more factors than dimensions", field=f"{where}.factors")
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
    if len(text) > MAX_TEXT:
        raise InputError(f"more than {MAX_TEXT} characters", field=field)
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
