"""Timeloop v0.4 files (problem, architecture, mapper, mapping) as plain values: the one place that spells them.

What a reader of Timeloop's files expects and what the tools take differ; the choices below are those
that the v0.4 Python front end and the C++ behind it accept: `width` and `depth` on every memory,
``optimization_metrics`` in the plural, complete permutations, one-letter dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from mmsim._yaml import Quoted
from mmsim.arch.model import Arch, Compute, Constraints, Fanout, LoopConstraints, Node, Storage, level_name
from mmsim.emit import accelergy
from mmsim.errors import InputError
from mmsim.nest.constraints import both, resolve, resolved, reuse
from mmsim.nest.mapping import Mapping as LoopMapping
from mmsim.nest.mapping import nodes_of
from mmsim.nest.mapping_file import to_timeloop
from mmsim.problem import DataSpace, Problem
from mmsim.solution import Objective

VERSION = 0.4
MAX_ROWS = 2**30  # the front end wants a depth on every memory, DRAM included; the C++ reads it as an int

Spec = dict[str, Any]

COEFFICIENTS = {
    "Q": "Wstride", "P": "Hstride", "O": "Dstride",
    "S": "Wdilation", "R": "Hdilation", "T": "Ddilation",
}  # fmt: skip
"""What a convolution's coefficients are called: P and R run over rows, Q and S over columns."""

METRICS: dict[Objective, list[str]] = {"latency": ["delay", "energy"], "energy": ["energy", "delay"], "edp": ["edp"]}


# --- problem -------------------------------------------------------------------------------------


def refusal(problem: Problem) -> str | None:
    """Why Timeloop can't take this problem, or None when it can.

    >>> refusal(Problem("movement", (("N", 8),), (DataSpace("x", ((("N", 1),),), 16),)))
    'Timeloop counts multiply-accumulates only, this is movement'
    """
    if problem.kind != "mac":
        return f"Timeloop counts multiply-accumulates only, this is {problem.kind}"
    if len(problem.outputs) != 1:
        return f"Timeloop takes one output, this has {len(problem.outputs)}"
    long = [dim for dim, _ in problem.dims if len(dim) != 1]
    if long:
        return f"Timeloop takes one-letter dimensions, not {', '.join(long)}"
    if any(coefficient < 1 for space in problem.data_spaces for rank in space.projection for _, coefficient in rank):
        return "Timeloop takes positive coefficients only"
    return None


def problem(problem: Problem) -> Spec:
    """The ``problem`` of a Timeloop file; `bits` and `instances` have no place in it.

    Raises `InputError` where `refusal` gives a reason, and for a size that is still symbolic.
    """
    reason = refusal(problem)
    if reason:
        raise InputError(reason, field=problem.name or problem.family or None)
    names = _coefficient_names(problem)
    shape: Spec = {"name": problem.family or "problem", "dimensions": [dim for dim, _ in problem.dims]}
    if names:
        shape["coefficients"] = [{"name": name, "default": 1} for name in names.values()]
    shape["data_spaces"] = [_data_space(space, names) for space in problem.data_spaces]
    instance = {**problem.shape, **{name: value for (_, value), name in names.items()}}
    return {"version": VERSION, "shape": shape, "instance": instance}


def _coefficient_names(problem: Problem) -> dict[tuple[str, int], str]:
    """(dimension, coefficient other than 1) -> the coefficient's name."""
    used = {
        (dim, coefficient): None
        for space in problem.data_spaces
        for rank in space.projection
        for dim, coefficient in rank
        if coefficient != 1
    }
    repeated = {dim for dim, _ in used if sum(other == dim for other, _ in used) > 1}
    return {
        (dim, value): f"{dim}times{value}" if dim in repeated else COEFFICIENTS.get(dim, f"{dim}times{value}")
        for dim, value in used
    }


def _data_space(space: DataSpace, names: Mapping[tuple[str, int], str]) -> Spec:
    out: Spec = {
        "name": space.name,
        "projection": [
            [[dim] if coefficient == 1 else [dim, names[dim, coefficient]] for dim, coefficient in rank]
            for rank in space.projection
            if rank  # a rank of size 1 holds nothing that Timeloop counts
        ],
    }
    return {**out, "read_write": True} if space.is_output else out


# --- architecture --------------------------------------------------------------------------------


def architecture(arch: Arch) -> Spec:
    """The ``architecture`` of a Timeloop file; `constraints` are a section of their own.

    A fan-out becomes a container with ``spatial``, or belongs to the component of the same name that
    follows it.
    """
    system = {"global_cycle_seconds": arch.cycle_s, "technology": Quoted(f"{arch.technology_nm:g}nm")}
    nodes: list[Spec] = [{"!": "Container", "name": accelergy.system_name(arch), "attributes": system}]
    fanout: Fanout | None = None
    for node, below in zip(arch.nodes, (*arch.nodes[1:], None), strict=True):
        if isinstance(node, Fanout):
            if below is not None and below.name == node.name:
                fanout = node
            else:
                nodes.append(_container(node))
        else:
            nodes.append(_component(node, fanout))
            fanout = None
    for node_spec in nodes[1:]:  # what all inherit need not be said again
        own = node_spec.get("attributes", {})
        node_spec["attributes"] = {key: value for key, value in own.items() if system.get(key) != value}
    return {"version": VERSION, "nodes": [_without_empty(node_spec) for node_spec in nodes]}


def _without_empty(node_spec: Spec) -> Spec:
    return {key: value for key, value in node_spec.items() if value != {}}


def _spatial(node: Fanout) -> Spec:
    mesh = {axis: size for axis, size in (("meshX", node.mesh_x), ("meshY", node.mesh_y)) if size > 1}
    return mesh or {"meshX": 1}


def _container(node: Fanout) -> Spec:
    out: Spec = {"!": "Container", "name": node.name, "spatial": _spatial(node)}
    if node.attributes:
        out["attributes"] = _attributes(node.attributes)
    return out


def _component(node: Node, fanout: Fanout | None) -> Spec:
    assert not isinstance(node, Fanout)
    own = _storage_attributes(node) if isinstance(node, Storage) else _compute_attributes(node)
    out: Spec = {"!": "Component", "name": node.name, "class": node.kind}
    if subclass := accelergy.subclass(node):
        out["subclass"] = subclass
    out["attributes"] = accelergy.attributes(node) | own
    return out if fanout is None else {**out, "spatial": _spatial(fanout)}


def _attributes(given: Mapping[str, object]) -> Spec:
    """Attributes passed on; text in quotes, or else the front end evaluates it."""
    return {
        key: Quoted(value) if isinstance(value, str) else value for key, value in given.items() if key != "subclass"
    }


def _compute_attributes(node: Compute) -> Spec:
    return {**_attributes(node.attributes), "datawidth": node.word_bits}


def _storage_attributes(node: Storage) -> Spec:
    """Attributes as Timeloop names them; `depth` in rows of ``block_size`` words, bandwidths in words a cycle."""
    if node.capacity_words is not None and node.capacity_words % node.block_size:
        raise InputError(f"{node.capacity_words} words are not whole rows of {node.block_size}", field=node.name)
    rows = MAX_ROWS if node.capacity_words is None else min(node.capacity_words // node.block_size, MAX_ROWS)
    out: Spec = _attributes(node.attributes) | {
        "datawidth": node.word_bits,
        "width": node.word_bits * node.block_size * node.cluster_size,
        "depth": rows,
    }
    optional = {
        "cluster_size": node.cluster_size if node.cluster_size > 1 else None,
        "read_bandwidth": node.read_words_per_cycle,
        "write_bandwidth": node.write_words_per_cycle,
        "shared_bandwidth": node.shared_words_per_cycle,
        "multiple_buffering": node.multiple_buffering if node.multiple_buffering != 1 else None,
        "network_fill_latency": node.fill_latency_cycles or None,
        "network_drain_latency": node.drain_latency_cycles or None,
        "min_utilization": node.constraints.min_utilization or None,
    }
    out |= {key: _number(value) for key, value in optional.items() if value is not None}
    if node.bandwidth_scale:
        out["per_dataspace_bandwidth_consumption_scale"] = dict(node.bandwidth_scale)
    return out


def constraints(arch: Arch, problem: Problem) -> Spec:
    """The ``constraints`` of a Timeloop file: those of `arch` in the dimensions and data spaces of `problem`.

    Constraints name dimensions, and Timeloop stops at a name that the problem doesn't have; so they
    stand beside each problem, without the names that mean nothing there.
    """
    targets = []
    for node in arch.nodes:
        if not isinstance(node, Compute):
            given = resolved(node, problem)
            parts = _fanout_parts(given) if isinstance(node, Fanout) else _storage_parts(given)
            targets += [{"target": node.name, "type": kind, **part} for kind, part in parts.items() if part]
    return {"version": VERSION, "targets": targets}


def _storage_parts(given: Constraints) -> dict[str, Spec]:
    return {
        "dataspace": _named(keep=given.keep, bypass=given.bypass, no_coalesce=given.no_coalesce),
        "temporal": _loops(given.temporal) | _named(no_reuse=given.no_reuse, rmw_first_update=given.rmw_first_update),
    }


def _fanout_parts(given: Constraints) -> dict[str, Spec]:
    named = _named(no_reuse=given.no_multicast, no_link_transfer=given.no_link_transfer)
    return {"spatial": _loops(given.spatial) | named}


def _loops(loops: LoopConstraints) -> Spec:
    parts: Spec = {
        "factors": [f"{dim}{relation}{value}" for dim, relation, value in loops.factors],
        "permutation": list(loops.permutation),
        "split": loops.split,
        "maximize_dims": [list(dims) for dims in loops.maximize],
        "default_max_factor": loops.max_factor,
        "default_min_factor": loops.min_factor,
    }
    return {key: part for key, part in parts.items() if part not in (None, [])}


def _named(**names: tuple[str, ...]) -> Spec:
    return {key: list(listed) for key, listed in names.items() if listed}


def _number(value: float) -> float | int:
    """Whole numbers without the point, as people write them."""
    return int(value) if value == int(value) else value


# --- mapper and mapping --------------------------------------------------------------------------


def mapper(
    objective: Objective = "edp",
    *,
    algorithm: Literal["random", "exhaustive", "linear_pruned", "hybrid", "random_pruned"] = "random_pruned",
    victory_condition: int = 500,
    timeout: int = 10_000,
    threads: int = 2,
) -> Spec:
    """The ``mapper`` of a Timeloop file.

    `victory_condition` is per thread the valid mappings in a row without progress after which it
    stops, `timeout` the invalid ones in a row.
    """
    return {
        "version": VERSION,
        "optimization_metrics": METRICS[objective],
        "algorithm": algorithm,
        "victory_condition": victory_condition,
        "timeout": timeout,
        "num_threads": threads,
    }


def mapping(mapping: LoopMapping, arch: Arch, problem: Problem) -> list[Spec]:
    """The ``mapping`` of a v0.4 file, innermost level first, every dimension spelled out.

    It differs from what Timeloop's C++ reads and prints (`mmsim.nest.mapping_file.to_timeloop`): a fan-out
    is called by its node (``PE``, not ``inter_PE_spatial``) and has spatial loops only, and factors
    are a list of ``C=3``. The reuse that `arch` lacks is ruled out here too. Raises `InputError` for what
    v0.4 cannot say: temporal loops at a fan-out, imperfect factors.
    """
    mapping = _with_limits(mapping, arch, problem)
    fanouts = {level_name(node): node.name for node in arch.fanouts}
    out: list[Spec] = []
    for directive in to_timeloop(mapping, arch, problem):
        target = directive["target"]
        if directive["type"] in ("temporal", "spatial"):
            factors = directive["factors"].split()
            if any("," in factor for factor in factors):
                raise InputError("imperfect factors have no place in a v0.4 mapping", field=target)
            if target in fanouts and directive["type"] == "temporal":
                if any(factor[1:] != "1" for factor in factors):
                    raise InputError("a fan-out has no temporal loops in a v0.4 mapping", field=target)
                continue
            loops = {
                "factors": [f"{factor[0]}={factor[1:]}" for factor in factors],
                "permutation": directive["permutation"].split(),
            }
            out.append({**directive, "target": fanouts.get(target, target), **loops})
        elif target not in fanouts:
            out.append({**directive, "type": "dataspace"})
    return out


def _with_limits(mapping: LoopMapping, arch: Arch, problem: Problem) -> LoopMapping:
    """The same mapping, its levels with the kinds of reuse that the architecture's constraints rule out."""
    limits = {node.name: reuse(resolve(node.constraints, problem)) for node in nodes_of(arch)}
    levels = (replace(level, limits=both(limits[level.node], level.limits)) for level in mapping.levels)
    return LoopMapping(tuple(levels))
