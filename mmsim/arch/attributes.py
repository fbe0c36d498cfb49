"""Attributes of Timeloop v0.4 files: arithmetic worked out, figures checked, errors that name the field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmsim.arch.arithmetic import MAX_TEXT, Number, number
from mmsim.arch.model import Fanout, Node
from mmsim.errors import InputError

MAX_INSTANCES = (
    2**31
)  # of one level: a thousand times the largest machine, and whole numbers of 64 bits hold its square

MAX_ATTRIBUTES = 256
_NAME = re.compile(r"[A-Za-z_]\w*")

UNSUPPORTED = {
    "sparse_optimizations": "sparse optimisations",
    "networks": "networks of their own",
    "metadata_datawidth": "metadata storage",
    "metadata_word_bits": "metadata storage",
    "metadata_storage_width": "metadata storage",
    "metadata_storage_depth": "metadata storage",
    "metadata_block_size": "metadata storage",
    "allow_overbooking": "overbooking",
    "energy_per_hop": "network energy",
    "router_energy": "network energy",
    "wire_energy": "network energy",
    "addr_gen_energy": "address-generation energy",
    "network_read": "named networks",
    "network_fill": "named networks",
    "network_drain": "named networks",
    "network_update": "named networks",
    "network_operand": "named networks",
    "network_result": "named networks",
}


def evaluated(attributes: Mapping[str, Any], names: Mapping[str, Any], field: str | None = None) -> dict[str, Any]:
    """Attributes with arithmetic worked out; they may use `names` and each other, whatever their order.

    Other text stays, as does arithmetic that goes in a circle; its reader will refuse it. Raises
    `InputError`, naming `field`, for more than `MAX_ATTRIBUTES`.

    >>> evaluated({"width": "2 * bits", "bits": "word", "type": "LPDDR4"}, {"word": 8})
    {'width': 16, 'bits': 8, 'type': 'LPDDR4'}
    """
    if len(attributes) > MAX_ATTRIBUTES:
        raise InputError(f"more than {MAX_ATTRIBUTES}", field=field)
    done: dict[str, Any] = {}
    begun: set[str] = set()

    def work_out(key: str) -> None:
        begun.add(key)
        value = attributes[key]
        used = _NAME.findall(value) if isinstance(value, str) and len(value) <= MAX_TEXT else []
        for name in used:
            if name in attributes and name not in begun:
                work_out(name)
        known = {name: done.get(name, names.get(name)) for name in used}
        done[key] = _worked_out(value, known)

    for key in attributes:
        if key not in begun:
            work_out(key)
    return {key: done[key] for key in attributes}


def _worked_out(value: object, known: Mapping[str, Any]) -> object:
    """The value, its arithmetic worked out; text that is none stays."""
    if not isinstance(value, str):
        return value if value is not None else ""
    if isinstance(known.get(value), str):
        return known[value]
    try:
        return number(value, {name: one for name, one in known.items() if _is_number(one)})
    except InputError:
        return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def rate(attributes: Mapping[str, Any], key: str, where: str) -> float | None:
    return positive(attributes, key, where) if key in attributes else None


def positive(
    attributes: Mapping[str, Any], key: str, where: str, *, default: float | None = None, or_zero: bool = False
) -> float:
    value = _number(attributes, key, where, default)
    if value < 0 or (value == 0 and not or_zero):
        raise InputError(f"must be positive, is {value:g}", field=f"{where}.{key}")
    return float(value)


def whole(attributes: Mapping[str, Any], key: str, where: str, *, default: int | None = None, minimum: int) -> int:
    value = _number(attributes, key, where, default)
    if value != int(value) or value < minimum:
        raise InputError(f"must be a whole number of at least {minimum}, is {value:g}", field=f"{where}.{key}")
    return int(value)


def _number(attributes: Mapping[str, Any], key: str, where: str, default: float | None) -> Number:
    if key not in attributes:
        if default is None:
            raise InputError("missing", field=f"{where}.{key}")
        return default
    try:
        return number(attributes[key])
    except InputError as error:
        raise InputError(error.message, field=f"{where}.{key}") from None


def mapping_of(value: object, field: str, known: set[str] | None) -> dict[str, Any]:
    """A mapping with known keys; nothing counts as an empty one."""
    if value is None:
        if field in ("", "architecture"):
            raise InputError("missing", field=field or "architecture")
        return {}
    if not isinstance(value, dict):
        raise InputError(f"expected a mapping, got {type(value).__name__}", field=field or None)
    for key in value:
        if not isinstance(key, str):
            raise InputError(f"expected a name as key, got {key!r}", field=field or None)
        if known is not None and key not in known:
            what = UNSUPPORTED.get(key)
            raise InputError(
                f"not supported ({what})" if what else "not supported", field=f"{field}.{key}" if field else key
            )
    return value


def check_instances(nodes: Iterable[Node]) -> None:
    """Raise `InputError` for fan-outs that make more than `MAX_INSTANCES` of what is below."""
    count = 1
    for node in nodes:
        count *= node.instances if isinstance(node, Fanout) else 1
        if count > MAX_INSTANCES:
            raise InputError(f"more than {MAX_INSTANCES} instances", field=f"{node.name}.meshX x meshY")
