"""Attributes of Timeloop v0.4 files: arithmetic worked out, figures checked, errors that name the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmsim.arch.arithmetic import Number, number
from mmsim.arch.model import Fanout, Node
from mmsim.errors import InputError

MAX_INSTANCES = (
    2**31
)  # of one level: a thousand times the largest machine, and whole numbers of 64 bits hold its square

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


def evaluated(attributes: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with arithmetic worked out; they may use `names` and each other, whatever their order.

    Other text stays.

    >>> evaluated({"width": "2 * bits", "bits": "word", "type": "LPDDR4"}, {"word": 8})
    {'bits': 8, 'width': 16, 'type': 'LPDDR4'}
    """
    done: dict[str, Any] = {}
    pending = dict(attributes)
    while pending:
        known = {**names, **done}
        solved = {key: result for key, value in pending.items() if (result := _try(value, known)) is not None}
        if not solved:  # what is left is text such as "45nm", or a cycle that its reader will refuse
            return {**done, **pending}
        done |= solved
        pending = {key: value for key, value in pending.items() if key not in solved}
    return done


def _try(value: object, known: Mapping[str, Any]) -> object:
    """The value, its arithmetic worked out; None for text that is not (yet) arithmetic."""
    if not isinstance(value, str):
        return value if value is not None else ""
    if isinstance(known.get(value), str):
        return known[value]
    try:
        return number(value, {name: one for name, one in known.items() if _is_number(one)})
    except InputError:
        return None


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
