"""ZigZag workload files as plain values: one layer as an equation over loop dimensions."""

from __future__ import annotations

from typing import Any

from mmsim.emit import timeloop
from mmsim.errors import InputError
from mmsim.problem import DataSpace, Problem, Rank

OPERANDS = {"Weights": "W", "Inputs": "I", "Outputs": "O"}


def refusal(problem: Problem) -> str | None:
    """Why this problem is no layer of ZigZag's, or None when it is one."""
    reason = timeloop.refusal(problem)
    if reason:
        return reason.replace("Timeloop", "ZigZag")
    names = sorted(space.name for space in problem.data_spaces)
    if names != sorted(OPERANDS):
        return f"ZigZag takes Weights, Inputs and Outputs, not {', '.join(names)}"
    sums = [rank for space in problem.data_spaces for rank in space.projection if rank and not _plain(rank)]
    return None if all(len(rank) == 2 for rank in sums) else "ZigZag takes ranks of one loop, or the sum of two"


def _plain(rank: Rank) -> bool:
    """Whether a rank is one loop, step by step."""
    return len(rank) == 1 and rank[0][1] == 1


def layer(problem: Problem, id: int = 0) -> dict[str, Any]:
    """One entry of a ZigZag workload; ranks that two loops share stand in ``dimension_relations``.

    Raises `InputError` where `refusal` gives a reason.
    """
    reason = refusal(problem)
    if reason:
        raise InputError(reason, field=problem.name or problem.family or None)
    terms, relations = {}, []
    for space in problem.data_spaces:
        terms[space.name], found = _term(space)
        relations += found
    bits = {OPERANDS[space.name]: space.bits for space in problem.data_spaces}
    return {
        "id": id,
        "operator_type": "Conv" if relations else "Gemm",
        "equation": f"{terms['Outputs']}+={terms['Weights']}*{terms['Inputs']}",
        "dimension_relations": list(dict.fromkeys(relations)),
        "loop_dims": [dim.upper() for dim, _ in problem.dims],
        "loop_sizes": list(problem.shape.values()),
        "operand_precision": {**bits, "O_final": bits["O"]},
        "operand_source": {"I": id, "W": id},
    }


def _term(space: DataSpace) -> tuple[str, list[str]]:
    """``I[n][c][ip][iq]`` and the relations ``ip=2*p+1*r`` of ranks that are sums."""
    text, relations = OPERANDS[space.name], []
    for rank in space.projection:
        if not rank:
            continue
        if _plain(rank):
            text += f"[{rank[0][0].lower()}]"
            continue
        name = "i" + rank[0][0].lower()
        relations.append(f"{name}=" + "+".join(f"{value}*{dim.lower()}" for dim, value in rank))
        text += f"[{name}]"
    return text, relations
