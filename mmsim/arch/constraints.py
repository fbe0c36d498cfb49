"""The constraints of one level, read from Timeloop's spelling: ``factors: [C=1, M<=8]``, ``keep: [Weights]``."""

from __future__ import annotations

import re
from typing import Any, cast

from mmsim.arch.model import Constraints, LoopConstraints, Relation
from mmsim.errors import InputError

MAX_FACTOR_TEXT = 100  # of one factor: an expression of this kind takes its length squared
_FACTOR = re.compile(r"\s*([A-Za-z]\w*)\s*(<=|>=|=)?\s*(\d{1,15})\s*")
_ALL = "len(spec.problem.instance)"  # how a tutorial of Timeloop writes a split behind every dimension
ALL = 999
_LOOP_KEYS = {
    "factors",
    "factors_only",
    "permutation",
    "default_max_factor",
    "default_min_factor",
    "no_iteration_over_dataspaces",
    "must_iterate_over_dataspaces",
}
_SPATIAL_KEYS = _LOOP_KEYS | {"split", "no_reuse", "no_link_transfer", "maximize_dims"}
_TEMPORAL_KEYS = _LOOP_KEYS | {"no_reuse", "rmw_first_update"}
_DATASPACE_KEYS = {"keep", "bypass", "keep_only", "bypass_only", "no_coalesce"}


def parse_constraints(value: object, field: str) -> Constraints:
    """The constraints written as ``{spatial: ..., temporal: ..., dataspace: ...}``; `InputError` names the field."""
    groups = _mapping(value, field, {"spatial", "temporal", "dataspace"})
    spatial = _mapping(groups.get("spatial"), f"{field}.spatial", _SPATIAL_KEYS)
    temporal = _mapping(groups.get("temporal"), f"{field}.temporal", _TEMPORAL_KEYS)
    spaces = _mapping(groups.get("dataspace"), f"{field}.dataspace", _DATASPACE_KEYS)
    keep, bypass = _kept(spaces, f"{field}.dataspace")
    return Constraints(
        keep=keep,
        bypass=bypass,
        temporal=_loops(temporal, f"{field}.temporal"),
        spatial=_loops(spatial, f"{field}.spatial"),
        no_reuse=_names(temporal, "no_reuse", f"{field}.temporal"),
        rmw_first_update=_names(temporal, "rmw_first_update", f"{field}.temporal"),
        no_multicast=_names(spatial, "no_reuse", f"{field}.spatial"),
        no_link_transfer=_names(spatial, "no_link_transfer", f"{field}.spatial"),
        no_coalesce=_names(spaces, "no_coalesce", f"{field}.dataspace"),
    )


def _loops(value: dict[str, Any], field: str) -> LoopConstraints:
    factors = parse_factors(value.get("factors"), f"{field}.factors")
    only = value.get("factors_only")
    if only is not None:
        factors += (*parse_factors(only, f"{field}.factors_only"), ("*", "=", 1))
    return LoopConstraints(
        factors=factors,
        permutation=_permutation(value.get("permutation"), f"{field}.permutation"),
        split=_count({**value, "split": ALL} if value.get("split") == _ALL else value, "split", field, minimum=0),
        max_factor=_count(value, "default_max_factor", field, minimum=1),
        min_factor=_count(value, "default_min_factor", field, minimum=1),
        not_over=_names(value, "no_iteration_over_dataspaces", field),
        only_over=_names(value, "must_iterate_over_dataspaces", field),
        maximize=_maximized(value.get("maximize_dims"), f"{field}.maximize_dims"),
    )


def _maximized(value: object, field: str) -> tuple[tuple[str, ...], ...]:
    """``[[M, C], [P]]`` or ``[M, C]`` as groups of dimensions."""
    if value is None:
        return ()
    groups = [value] if isinstance(value, list) and all(isinstance(dim, str) for dim in value) else value
    if not isinstance(groups, list) or not all(
        isinstance(group, list) and all(isinstance(dim, str) for dim in group) for group in groups
    ):
        raise InputError("expected lists of dimensions such as [[M, C]]", field=field)
    return tuple(map(tuple, groups))


def parse_factors(value: object, field: str) -> tuple[tuple[str, Relation, int], ...]:
    """``[C=1, M<=8]`` or ``"C1 M8"`` or ``"C=1,M<=8"`` as (dimension, relation, factor) triples."""
    if value is None:
        return ()
    parts = re.split(r"[\s,]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise InputError("expected a list such as [C=1, M<=8]", field=field)
    found: list[tuple[str, Relation, int]] = []
    for part in parts:
        match = _FACTOR.fullmatch(part) if isinstance(part, str) and len(part) <= MAX_FACTOR_TEXT else None
        if not match:
            raise InputError(f"{str(part)[:60]!r} is not a factor such as C=1 or M<=8", field=field)
        found.append((match[1], cast(Relation, match[2] or "="), int(match[3])))
    return tuple(found)


def _permutation(value: object, field: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = re.split(r"[\s,]+", value.strip()) if re.search(r"[\s,]", value.strip()) else list(value.strip())
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise InputError("expected a list of dimensions, innermost first", field=field)
    if len(set(value)) != len(value):
        raise InputError("a dimension stands twice", field=field)
    return tuple(value)


def _kept(value: dict[str, Any], field: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    keep, bypass = _names(value, "keep", field), _names(value, "bypass", field)
    if "keep_only" in value:
        keep, bypass = keep + _names(value, "keep_only", field), (*bypass, "*")
    if "bypass_only" in value:
        keep, bypass = (*keep, "*"), bypass + _names(value, "bypass_only", field)
    for name in keep:
        if name in bypass:
            raise InputError(f"{name!r} is both kept and bypassed", field=field)
    return keep, bypass


def _names(value: dict[str, Any], key: str, field: str) -> tuple[str, ...]:
    names = value.get(key)
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("expected a list of data spaces", field=f"{field}.{key}")
    return tuple(names)


def _count(value: dict[str, Any], key: str, field: str, *, minimum: int) -> int | None:
    count = value.get(key)
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int) or count < minimum:
        raise InputError(f"expected a whole number of at least {minimum}, got {count!r}", field=f"{field}.{key}")
    return count


def _mapping(value: object, field: str, known: set[str]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"expected a mapping, got {type(value).__name__}", field=field)
    for key in value:
        if key not in known:
            raise InputError(f"not supported; known here: {', '.join(sorted(known))}", field=f"{field}.{key}")
    return value
