"""Tensors inside nested arguments and results: lists, tuples, dicts, dataclasses and other plain objects."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

MAX_DEPTH = 16


def tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in `value` with its dotted path, in order; a tensor met twice is given twice.

    >>> import torch
    >>> [path for path, _ in tensors({"image": torch.ones(1), "text": [torch.ones(1), None]})]
    ['image', 'text.0']
    """
    if isinstance(value, Tensor):
        yield path, value
        return
    for key, part in _parts(value):
        yield from tensors(part, f"{path}.{key}" if path else str(key))


def replace(value: Any, change: Callable[[str, Tensor], Any], path: str = "") -> Any:
    """`value` with every tensor replaced by ``change(path, tensor)``; containers are copied, never written."""
    if isinstance(value, Tensor):
        return change(path, value)
    parts = [(key, replace(part, change, f"{path}.{key}" if path else str(key))) for key, part in _parts(value)]
    if isinstance(value, (list, tuple)):
        return _sequence(value, [part for _, part in parts])
    if isinstance(value, Mapping):
        out = copy.copy(value)
        for key, part in parts:
            out[key] = part  # type: ignore[index]
        return out
    if not parts:
        return value
    out = copy.copy(value)
    for key, part in parts:
        object.__setattr__(out, key, part)
    return out


def plain(value: Any, change: Callable[[Tensor], Any], depth: int = 0) -> Any:
    """`value` as dicts, tuples and scalars only, tensors replaced: what an fx graph can return."""
    if isinstance(value, Tensor):
        return change(value)
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    if depth > MAX_DEPTH:
        return None
    parts = {key: plain(part, change, depth + 1) for key, part in _parts(value)}
    return tuple(parts.values()) if isinstance(value, (list, tuple)) else parts


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """The named parts of a container; none for a leaf. Modules, types and functions are leaves."""
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, Mapping):
        return list(value.items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    if isinstance(value, (nn.Module, type)) or callable(value):
        return []
    attributes = getattr(value, "__dict__", {})
    return [(key, part) for key, part in attributes.items() if holds_tensor(part)]


def holds_tensor(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Tensor):
        return True
    if depth > 4 or isinstance(value, (str, int, float, type, nn.Module)):
        return False
    return any(holds_tensor(part, depth + 1) for _, part in _parts(value))


def _sequence(value: list[Any] | tuple[Any, ...], parts: list[Any]) -> Any:
    if type(value) is tuple or isinstance(value, list):
        return tuple(parts) if isinstance(value, tuple) else list(parts)
    return type(value)(*parts)  # a named tuple, PackedSequence included
