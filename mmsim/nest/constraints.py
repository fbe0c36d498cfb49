"""An architecture's constraints spelled out for one problem: no wildcards, whole dimensions as numbers."""

from __future__ import annotations

from dataclasses import replace

from mmsim.arch.model import Constraints, Fanout, LoopConstraints, Storage
from mmsim.errors import InputError
from mmsim.problem import Problem

REUSE = ("no_reuse", "rmw_first_update", "no_multicast", "no_link_transfer", "no_coalesce")


def both(constraints: Constraints, limits: Constraints) -> Constraints:
    """`constraints` with the reuse that `limits` rules out ruled out as well."""
    ruled_out = {key: tuple(dict.fromkeys(getattr(constraints, key) + getattr(limits, key))) for key in REUSE}
    return replace(constraints, **ruled_out)  # type: ignore[arg-type]  # all of them tuples of names


def reuse(constraints: Constraints) -> Constraints:
    """Of `constraints` only the reuse that they rule out."""
    return both(Constraints(), constraints)


def resolved(node: Storage | Fanout, problem: Problem) -> Constraints:
    """The constraints of a level, as `resolve` spells them out; errors name the level."""
    try:
        return resolve(node.constraints, problem)
    except InputError as error:
        raise InputError(error.message, field=f"{node.name}.constraints.{error.field}") from None


def resolve(constraints: Constraints, problem: Problem) -> Constraints:
    """The same constraints with every ``"*"``, `not_over` and `only_over` spelled out for `problem`.

    Raises `InputError` for a data space or dimension that the problem lacks, and for one data space
    both kept and bypassed.
    """
    spaces = [space.name for space in problem.data_spaces]
    named = {"keep": constraints.keep, "bypass": constraints.bypass}
    for key, listed in named.items():
        for name in listed:
            if name != "*" and name not in spaces:
                raise InputError(f"unknown data space {name!r}; this problem has {', '.join(spaces)}", field=key)
    keep = _expand(constraints.keep, constraints.bypass, spaces)
    bypass = _expand(constraints.bypass, constraints.keep, spaces)
    for name in keep:
        if name in bypass:
            raise InputError(f"{name!r} is both kept and bypassed", field="keep")
    return replace(
        constraints,
        keep=keep,
        bypass=bypass,
        temporal=_resolve_loops(constraints.temporal, problem),
        spatial=_resolve_loops(constraints.spatial, problem),
        **{  # type: ignore[arg-type]  # all of them tuples of names
            key: _expand(getattr(constraints, key), (), spaces) for key in REUSE
        },
    )


def _expand(names: tuple[str, ...], against: tuple[str, ...], spaces: list[str]) -> tuple[str, ...]:
    return tuple(name for name in spaces if name in names or ("*" in names and name not in against))


def _resolve_loops(loops: LoopConstraints, problem: Problem) -> LoopConstraints:
    relevant = {space.name: space.dims for space in problem.data_spaces}
    dims = [dim for dim, _ in problem.dims]
    for name in (*loops.not_over, *loops.only_over):
        if name not in relevant:
            raise InputError(f"unknown data space {name!r}; this problem has {', '.join(relevant)}", field="dataspaces")
    still = {dim for name in loops.not_over for dim in relevant[name]}
    if loops.only_over:
        still |= set(dims) - {dim for name in loops.only_over for dim in relevant[name]}
    named = {dim for dim, _, _ in loops.factors}
    if "*" in named:
        still |= set(dims) - named
    factors = [factor for factor in loops.factors if factor[0] in dims]
    factors += [(dim, "=", 1) for dim in dims if dim in still and dim not in named]
    shape = problem.shape
    return replace(
        loops,
        factors=tuple((dim, relation, value or shape[dim]) for dim, relation, value in factors),
        permutation=tuple(dim for dim in loops.permutation if dim in dims),
        maximize=tuple(tuple(dim for dim in group if dim in dims) for group in loops.maximize),
        not_over=(),
        only_over=(),
    )
