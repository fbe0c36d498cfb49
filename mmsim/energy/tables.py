"""The energy and area tables of a whole architecture: its own figures first, the component models for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mmsim.arch.model import Arch, Compute, Fanout, Storage, VectorUnit
from mmsim.energy.arithmetic import logic_energy_scale
from mmsim.energy.compound import Classes
from mmsim.energy.estimate import Estimate, Process
from mmsim.errors import InputError

Energy = dict[str, dict[str, float]]
Area = dict[str, float]

AREA = "area"  # beside the actions of a component


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


def rescaled(arch: Arch, base: Arch) -> tuple[Arch, tuple[str, ...]]:
    """`arch`, a variation of `base`, with the figures that both state made to follow what was varied.

    A figure stated for one size is stale at another. It is multiplied by what the component models say
    of the component as varied over what they say of it as it was: a buffer stated at 10 pJ, made so
    large that the model's energy doubles, costs 20 pJ. A figure that was varied itself stays. Also gives
    the components that followed. Raises `InputError` naming component and attribute where a model lacks
    something.
    """
    before = {node.name: node for node in base.nodes if not isinstance(node, Fanout)}
    energy, area, followed = dict(arch.energy_pj), dict(arch.area_um2), []
    for node in arch.nodes:
        if isinstance(node, Fanout) or node.name not in before:
            continue
        stated, old = _stated(arch, node.name), _stated(base, node.name)
        if not stated or _inputs(node, arch) == _inputs(before[node.name], base):
            continue
        now, then = (_modelled(n, of) for n, of in ((node, arch), (before[node.name], base)))
        ratio = {key: now[key] / then[key] for key in stated.keys() & now.keys() if then.get(key)}
        new = {key: own * (ratio.get(key, 1.0) if own == old.get(key) else 1.0) for key, own in stated.items()}
        if new != stated:
            followed.append(node.name)
            energy[node.name] = {key: own for key, own in new.items() if key != AREA}
            area |= {node.name: new[AREA]} if AREA in new else {}
    return replace(arch, energy_pj=energy, area_um2=area, vector=_vector(arch, base)), tuple(followed)


def _stated(arch: Arch, name: str) -> dict[str, float]:
    """What an architecture says itself of a component: energies by action, and area."""
    return {**arch.energy_pj.get(name, {}), **({AREA: arch.area_um2[name]} if name in arch.area_um2 else {})}


def _modelled(node: Storage | Compute, arch: Arch) -> dict[str, float]:
    """The same by the component models."""
    found = _estimate(node, arch, Classes())
    return {**found.energy_pj, AREA: found.area_um2}


def _inputs(node: Storage | Compute, arch: Arch) -> tuple[object, ...]:
    """All that the models see of a component; the clock matters to leakage alone, which is per cycle."""
    cycle_s = arch.cycle_s if "leak" in arch.energy_pj.get(node.name, {}) else 0.0
    return node.kind, attributes(node), arch.technology_nm, cycle_s


def _vector(arch: Arch, base: Arch) -> VectorUnit | None:
    """The vector unit, its stated energy at the varied technology."""
    own, old = arch.vector, base.vector
    if own is None or old is None or own.energy_pj_per_op is None or own.energy_pj_per_op != old.energy_pj_per_op:
        return own
    ratio = logic_energy_scale(base.technology_nm, arch.technology_nm)
    return replace(own, energy_pj_per_op=own.energy_pj_per_op * ratio)


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
