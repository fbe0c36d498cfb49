"""The energy and area tables of a whole architecture: its own figures first, the component models for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mmsim.arch.model import Arch, Compute, Fanout, Storage
from mmsim.energy.compound import Classes
from mmsim.energy.estimate import Estimate, Process
from mmsim.errors import InputError

Energy = dict[str, dict[str, float]]
Area = dict[str, float]


def tables(arch: Arch, classes: Classes | None = None) -> tuple[Energy, Area]:
    """(component -> action -> pJ, component -> um^2) of every memory and the compute of `arch`.

    What the architecture gives stays as it is; there an `update` costs a `write` unless it is given
    too, and area and energy are filled in separately. `classes` are compound components of the user.
    Raises `InputError` naming component and attribute where a model lacks something.
    """
    energy: Energy = {}
    area: Area = {}
    for node in arch.nodes:
        if isinstance(node, Fanout):
            continue
        own = arch.energy_pj.get(node.name)
        if own and node.name in arch.area_um2:
            energy[node.name], area[node.name] = _completed(own), arch.area_um2[node.name]
            continue
        found = _estimate(node, arch, classes or Classes())
        energy[node.name] = _completed(own) if own else dict(found.energy_pj)
        area[node.name] = arch.area_um2.get(node.name, found.area_um2)
    return energy, area


def filled(arch: Arch, classes: Classes | None = None) -> Arch:
    """`arch` with every energy and area given."""
    energy, area = tables(arch, classes)
    return replace(arch, energy_pj=energy, area_um2=area)


def attributes(node: Storage | Compute) -> dict[str, object]:
    """A node's attributes in Accelergy's names: a row of `width` bits, `depth` rows."""
    if isinstance(node, Compute):
        return {"datawidth": node.word_bits, **node.attributes}
    out: dict[str, object] = {**node.attributes, "width": node.word_bits * node.block_size * node.cluster_size}
    if node.capacity_words is not None:
        out["depth"] = -(-node.capacity_words // node.block_size)
    return out


def _estimate(node: Storage | Compute, arch: Arch, classes: Classes) -> Estimate:
    kind = str(node.attributes.get("subclass", node.kind))
    try:
        return classes.estimate(kind, attributes(node), Process(arch.technology_nm, arch.cycle_s))
    except InputError as error:
        field = ".".join(part for part in (node.name, error.field) if part)
        raise InputError(error.message, field=field) from None


def _completed(own: Mapping[str, float]) -> dict[str, float]:
    return {**own, **({"update": own["write"]} if "write" in own and "update" not in own else {})}
