"""A design space: architectures with fields of their files varied, each candidate a checked machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any

from mmsim.arch.arithmetic import number
from mmsim.arch.load import load_all, parse, values
from mmsim.arch.model import Arch
from mmsim.arch.spec import is_spec
from mmsim.arch.tables import area_um2
from mmsim.energy import filled, rescaled
from mmsim.errors import InputError

MAX_CANDIDATES = 1000


@dataclass(frozen=True)
class Candidate:
    """A machine with every energy and area, and how it came to be.

    `varied` maps the fields that differ from the file's to their values as written; `rescaled` names
    the components whose stated energy or area followed them (see `mmsim.energy.rescaled`).
    """

    name: str
    arch: Arch
    base: str = ""
    varied: Mapping[str, str] = field(default_factory=dict)
    rescaled: tuple[str, ...] = ()

    @property
    def area_mm2(self) -> float:
        """Of all memories on the chip and the arithmetic."""
        return area_um2(self.arch) * 1e-6


def design_space(architectures: Sequence[str], vary: Mapping[str, Sequence[str]] | None = None) -> list[Candidate]:
    """Every architecture (a built-in name or a file) with every combination of the values of `vary`.

    A field is a path in the file, levels by their names: ``glb.size_bytes``, ``PE.meshX``, ``clock_hz``,
    in a Timeloop file ``glb.attributes.depth``. A value is a number, arithmetic such as ``64*2**10``,
    or text such as a DRAM's type. An architecture without that level stays as it is. Raises `InputError`
    naming file and field for what the architecture's own check refuses, and for a field that none has.

    >>> [one.name for one in design_space(["eyeriss_like"], {"PE.meshX": ["7", "14"]})]
    ['eyeriss_like PE.meshX=7', 'eyeriss_like PE.meshX=14']
    """
    vary = vary or {}
    found = [(*values(name), base) for name, base in zip(architectures, load_all(architectures), strict=True)]
    varied = [{path: given for path, given in vary.items() if _start(value, path)} for value, _, _ in found]
    for path in vary:
        if not any(path in fields for fields in varied):
            known = ", ".join(dict.fromkeys(name for value, _, _ in found for name in _levels(value)))
            raise InputError(f"no architecture has {path.split('.')[0]!r}; levels are {known}", field=f"--vary {path}")
    if (count := sum(prod(map(len, fields.values())) for fields in varied)) > MAX_CANDIDATES:
        raise InputError(f"{count} accelerators, more than {MAX_CANDIDATES}", field="--vary")
    return [
        _candidate(value, file, base, dict(zip(fields, point, strict=True)))
        for (value, file, base), fields in zip(found, varied, strict=True)
        for point in product(*fields.values())
    ]


def _candidate(value: Any, file: str, base: Arch, varied: dict[str, str]) -> Candidate:
    for path, text in varied.items():
        value = _put(value, path, text, file)
    try:
        arch, followed = rescaled(parse(value, file), base)
        arch = filled(arch)
    except InputError as error:
        told = f" (with {', '.join(f'{path}={text}' for path, text in varied.items())})" if varied else ""
        raise InputError(error.message + told, file=file, field=error.field) from None
    name = " ".join([base.name, *(f"{path}={text}" for path, text in varied.items())])
    return Candidate(name, replace(arch, name=name), base.name, varied, followed)


def _put(value: Any, path: str, text: str, file: str) -> Any:
    """The file's values with one field set. A level may get a field that it lacks: the schema knows which there are."""
    keys = [*_start(value, path), *path.split(".")[1:]]
    inside = _at(value, keys[:-1])
    in_level = is_spec(value) and keys[0] == "levels" and len(keys) == 3
    if not isinstance(inside, dict) or (keys[-1] not in inside and not in_level):
        has = f"; it has {', '.join(map(str, inside))}" if isinstance(inside, dict) else ""
        raise InputError(f"no such field{has}", file=file, field=path)
    return _with(_unsourced(value, keys) if is_spec(value) else value, keys, _figure(text))


def _unsourced(value: Any, keys: Sequence[Any]) -> Any:
    """Where the figure came from says so no more."""
    level = list(keys[:2]) if keys[0] == "levels" and len(keys) > 2 else []
    key, name = "source" if level else "sources", keys[len(level)]
    source = _at(value, level).get(key)
    return _with(value, [*level, key], {**source, name: "varied"} if isinstance(source, dict) else f"{name} varied")


def _start(value: Any, path: str) -> list[Any]:
    """Keys that lead to what the first part of a path names, a level or a field of the file; none: it has neither."""
    head = path.split(".")[0]
    return _levels(value).get(head) or ([head] if head in value else [])


def _levels(value: Any) -> dict[str, list[Any]]:
    """The keys that lead to every level, component and container of an architecture's file, by its name."""
    top = "levels" if is_spec(value) else "architecture"
    return {name: [top, *keys] for name, keys in _named(value[top])}


def _named(value: Any) -> Iterator[tuple[str, list[Any]]]:
    if isinstance(value, dict) and "name" in value:
        yield str(value["name"]), []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from ((name, [key, *keys]) for name, keys in _named(part))


def _at(value: Any, keys: Sequence[Any]) -> Any:
    """The part of plain values that keys and indices lead to; None where they lead nowhere."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        else:
            value = value[key] if isinstance(value, list) and isinstance(key, int) else None
    return value


def _with(value: Any, keys: Sequence[Any], new: Any) -> Any:
    """A copy of plain values with one part changed; what YAML aliases share elsewhere stays."""
    if not keys:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[keys[0]] = _with(copy[keys[0]] if len(keys) > 1 else None, keys[1:], new)
    return copy


def _figure(text: str) -> Any:
    """A number where the text is one, else the text: the schema says what it may be."""
    try:
        return number(text)
    except InputError:
        return text
