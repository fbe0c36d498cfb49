"""Compound components: a user's class built of other classes, in Accelergy's v0.4 form.

::

    components:
      version: 0.4
      classes:
      - name: smart_glb
        attributes: {width: 64, depth: 1024, n_banks: 4}
        subcomponents:
        - {name: storage, class: SRAM, attributes: {width: width, depth: depth, n_banks: n_banks}}
        - {name: "counter[1..2]", class: intadder, attributes: {width: log2(depth)}}
        actions:
        - name: read
          subcomponents:
          - {name: storage, actions: [{name: read}]}
          - {name: "counter[1..2]", actions: [{name: compute}]}

Values are arithmetic over the component's own attributes, which may build on each other;
``must_specify`` marks those that have no default. A name with a range stands for that many equal
parts; an action acts on all of them, or on as many as its own range says (``counter[0]``: one).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mmsim import files
from mmsim.arch.arithmetic import number
from mmsim.arch.attributes import evaluated
from mmsim.energy.estimate import Estimate, Process, estimate
from mmsim.errors import InputError

MAX_DEPTH = 16  # of classes made of classes
MAX_WORK = 20_000  # attributes, parts and actions of one component, with those of its parts: a second's worth
MAX_NAME = 200
MUST_SPECIFY = "must_specify"
COMPUTE = ("read", "add", "multiply", "compare", "count")
"""What Accelergy's plug-ins call the operation of an arithmetic unit, which is ``compute`` here."""
_RANGE = re.compile(r"\[(\d{1,9})(?:\.\.([^\]]+))?\]$")


class ActionRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An action of a part; its energy counts `energy_scale` times."""

    name: str
    arguments: dict[str, Any] = {}
    energy_scale: float | int | str = 1


class PartActions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one action does to one part."""

    name: str
    actions: list[ActionRef]


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An action of the compound component."""

    name: str
    arguments: dict[str, Any] = {}
    subcomponents: list[PartActions] = []


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part: its class and what its attributes are; its figures count `area_scale` and `energy_scale` times."""

    name: str
    class_: str = msgspec.field(name="class")
    attributes: dict[str, Any] = {}
    area_scale: float | int | str = 1
    energy_scale: float | int | str = 1


class CompoundClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A class of the user."""

    name: str
    subcomponents: list[Part]
    actions: list[Action]
    attributes: dict[str, Any] = {}


class _Components(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    classes: list[CompoundClass] = []
    version: float | str = "0.4"


@dataclass(frozen=True)
class Classes:
    """The user's classes by name, over the built-in ones."""

    by_name: Mapping[str, CompoundClass] = field(default_factory=dict)

    def estimate(self, kind: str, attributes: Mapping[str, object], process: Process) -> Estimate:
        """The component of class `kind`; raises `InputError` naming class, part and attribute."""
        return _Assembly(self.by_name, process).estimate(kind, attributes, 0)


class _Assembly:
    """One component put together from the parts of its parts; `work` counts what was looked at."""

    def __init__(self, by_name: Mapping[str, CompoundClass], process: Process) -> None:
        self.by_name, self.process, self.work = by_name, process, 0

    def estimate(self, kind: str, attributes: Mapping[str, object], depth: int) -> Estimate:
        compound = self.by_name.get(kind)
        if compound is None:
            return estimate(kind, attributes, self.process)
        if depth > MAX_DEPTH:
            raise InputError(f"class {kind!r} is made of itself")
        self.work += _extent(compound)
        if self.work > MAX_WORK:
            raise InputError(f"too many parts: more than {MAX_WORK} attributes and actions in all")
        given = _attributes(compound, attributes, self.process)
        parts = {_base(part.name): self.part(part, given, depth) for part in compound.subcomponents}
        energy = {action.name: _action(action, parts, given, kind) for action in compound.actions}
        energy.setdefault("leak", sum(n * part.energy_pj.get("leak", 0.0) for n, part in parts.values()))
        area = sum(n * part.area_um2 for n, part in parts.values())
        return Estimate(energy, area, f"compound of {', '.join(part.class_ for part in compound.subcomponents)}")

    def part(self, part: Part, given: Mapping[str, object], depth: int) -> tuple[float, Estimate]:
        """How many, and one's estimate."""
        inherited = {key: given[key] for key in ("technology", "global_cycle_seconds")}
        own = evaluated(part.attributes, given, f"{part.name}.attributes")
        # a component's attribute by the same name is meant, not the part's own
        own |= {key: given[key] for key, value in part.attributes.items() if value == key and key in given}
        try:
            found = self.estimate(part.class_, {**inherited, **own}, depth + 1)
            energy_scale = _value(part.energy_scale, given, "energy_scale")
            area_scale = _value(part.area_scale, given, "area_scale")
            energy = {action: pj * energy_scale for action, pj in found.energy_pj.items()}
            return _count(part.name, given), Estimate(energy, found.area_um2 * area_scale, found.source)
        except InputError as error:
            raise InputError(error.message, field=".".join(x for x in (part.name, error.field) if x)) from None


def _extent(compound: CompoundClass) -> int:
    """How much there is to look at in one component of that class, its parts' own insides apart."""
    parts = sum(1 + len(part.attributes) for part in compound.subcomponents)
    called = sum(1 + len(used.actions) for action in compound.actions for used in action.subcomponents)
    return len(compound.attributes) + parts + called


def parse(value: object, *, file: str) -> Classes:
    """The classes of a file with ``components:`` or ``compound_components:``, from its plain values."""
    keys = [key for key in value if "components" in str(key)] if isinstance(value, dict) else []
    if not isinstance(value, dict) or not keys or value[keys[0]] is None:
        return Classes()
    try:
        found = files.check(value[keys[0]], _Components, file=file)
    except InputError as error:
        raise InputError(error.message, file=file, field=f"{keys[0]}.{error.field}") from None
    return Classes({compound.name: compound for compound in found.classes})


def _attributes(compound: CompoundClass, attributes: Mapping[str, object], process: Process) -> dict[str, object]:
    """The component's attributes, those of the class worked out over them."""
    chip = {"technology": process.technology_nm, "global_cycle_seconds": process.cycle_s}
    own = {key: value for key, value in attributes.items() if value is not None}
    given = {**compound.attributes, **own}
    for key, value in given.items():
        if value == MUST_SPECIFY and key not in chip:
            raise InputError("missing", field=key)
    specified = {key: value for key, value in given.items() if value != MUST_SPECIFY}
    return {**chip, **evaluated(specified, chip, f"{compound.name}.attributes")}


def _action(
    action: Action, parts: Mapping[str, tuple[float, Estimate]], given: Mapping[str, object], kind: str
) -> float:
    total = 0.0
    for reference in action.subcomponents:
        where = f"{kind}.actions.{action.name}.{reference.name}"
        if _base(reference.name) not in parts:
            raise InputError(f"no part {reference.name!r}", field=f"{kind}.actions.{action.name}")
        have, part = parts[_base(reference.name)]
        count = have if reference.name == _base(reference.name) else min(_count(reference.name, given), have)
        for called in reference.actions:
            total += count * _value(called.energy_scale, given, where) * _energy(part, called.name, where)
    return total


def _energy(part: Estimate, action: str, where: str) -> float:
    """pJ of one action of a part, under the name that it has here."""
    name = "compute" if action in COMPUTE and action not in part.energy_pj else action
    if name not in part.energy_pj:
        raise InputError(f"no action {action!r}: one of {', '.join(part.energy_pj)}", field=where)
    return part.energy_pj[name]


def _base(name: str) -> str:
    """A part's name without its range."""
    if len(name) > MAX_NAME:
        raise InputError(f"the part {name[:20]!r}... has a name of more than {MAX_NAME} characters")
    return _RANGE.sub("", name)


def _count(name: str, given: Mapping[str, object]) -> float:
    """How many parts ``counter[1..n_banks]`` stands for; ``counter[0]`` is one."""
    match = _RANGE.search(name)
    return max(_value(match[2], given, name) - int(match[1]) + 1, 0) if match and match[2] else 1


def _value(value: object, given: Mapping[str, object], where: str) -> float:
    numbers = {k: v for k, v in given.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    try:
        return number(value, numbers)
    except InputError as error:
        raise InputError(error.message, field=where) from None
