"""AccelForge files (workload, arch) as plain values; SI units, sizes in bits, rank variables in lower case."""

from __future__ import annotations

from typing import Any

from mmsim.arch.model import Arch, Compute, Constraints, Fanout, Node, Storage
from mmsim.emit import timeloop
from mmsim.errors import InputError
from mmsim.problem import Problem, Rank

Spec = dict[str, Any]


def refusal(problem: Problem) -> str | None:
    """Why this problem is not written as one Einsum, or None when it is."""
    reason = timeloop.refusal(problem)
    return reason.replace("Timeloop", "an Einsum of AccelForge") if reason else None


def workload(problem: Problem) -> Spec:
    """The ``workload`` of one problem: a single Einsum named after its family.

    Tensors are called after their data spaces with a ``T`` in front, since ``Inputs`` and ``Outputs``
    are words of AccelForge's own. Raises `InputError` where `refusal` gives a reason.
    """
    reason = refusal(problem)
    if reason:
        raise InputError(reason, field=problem.name or problem.family or None)
    return {
        "iteration_space_shape": {dim.lower(): f"0 <= {dim.lower()} < {size}" for dim, size in problem.shape.items()},
        "bits_per_value": {tensor(space.name): space.bits for space in problem.data_spaces},
        "einsums": [
            {
                "name": problem.family or "problem",
                "tensor_accesses": [
                    {
                        "name": tensor(space.name),
                        "projection": {f"R{i}": _expression(rank) for i, rank in enumerate(space.projection) if rank},
                        **({"output": True} if space.is_output else {}),
                    }
                    for space in problem.data_spaces
                ],
            }
        ],
    }


def tensor(data_space: str) -> str:
    """What a data space is called in AccelForge's files."""
    return f"T{data_space}"


def _expression(rank: Rank) -> str:
    return " + ".join(dim.lower() if value == 1 else f"{value} * {dim.lower()}" for dim, value in rank)


def architecture(arch: Arch) -> Spec:
    """The ``arch``: energies from the architecture's tables, so that no component model is asked.

    Raises `InputError` for a component without energies.
    """
    return {"nodes": [_node(node, arch, outermost=i == 0) for i, node in enumerate(arch.nodes)]}


def _node(node: Node, arch: Arch, outermost: bool) -> Spec:
    if isinstance(node, Fanout):
        axes = {"X": node.mesh_x, "Y": node.mesh_y}
        spatial = [{"name": f"{node.name}_{axis}", "fanout": size} for axis, size in axes.items() if size > 1]
        return {"!": "Container", "name": node.name, "spatial": spatial}
    if node.name not in arch.energy_pj:
        raise InputError("no energies", field=node.name)
    leak_w = arch.energy_pj[node.name].get("leak", 0.0) * 1e-12 / arch.cycle_s
    common = {"name": node.name, "leak_power": leak_w, "area": arch.area_um2.get(node.name, 0.0) * 1e-12}
    if isinstance(node, Compute):
        energy = arch.energy_pj[node.name].get("compute", 0.0) * 1e-12
        action = {"name": "compute", "energy": energy, "throughput": 1 / arch.cycle_s}
        return {"!": "Compute", **common, "actions": [action]}
    return {"!": "Memory", **common, **_memory(node, arch, outermost)}


def _memory(node: Storage, arch: Arch, outermost: bool) -> Spec:
    bits = node.word_bits * node.block_size
    size = "inf" if node.capacity_words is None else int(node.capacity_words * node.word_bits / node.multiple_buffering)
    rates = {
        "read": node.read_words_per_cycle or node.shared_words_per_cycle,
        "write": node.write_words_per_cycle or node.shared_words_per_cycle,
    }
    out: Spec = {
        "size": size,
        "bits_per_value": {"All": node.word_bits},  # a value takes a word of the memory, as in Timeloop
        "tensors": {"keep": "All"} if outermost else _kept(node.constraints),
        "actions": [
            {
                "name": action,
                "energy": arch.energy_pj[node.name].get(action, 0.0) * 1e-12,
                "bits_per_action": bits,
                "throughput": rate / node.block_size / arch.cycle_s if rate else "inf",
            }
            for action, rate in rates.items()
        ],
    }
    if node.shared_words_per_cycle is None:  # AccelForge adds actions up unless told that ports work side by side
        out["total_latency"] = "max(a.n_calls / a.throughput for a in actions)"
    return out


def _kept(given: Constraints) -> Spec:
    keep = " | ".join(tensor(name) for name in given.keep if name != "*")
    bypass = " | ".join(tensor(name) for name in given.bypass if name != "*")
    out: Spec = {"keep": "All" if "*" in given.keep else keep} if given.keep else {}
    if "*" not in given.bypass:
        out["may_keep"] = f"~({bypass})" if bypass else "All"
    return out
