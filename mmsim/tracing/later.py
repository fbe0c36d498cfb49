"""Results of ops on known values that are computed when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

aten = torch.ops.aten

DEEPEST = 50
"""Results that may wait for one another: Python's stack holds no more than 1000 calls."""

_UNINITIALISED = {aten.empty.memory_format, aten.new_empty.default, aten.empty_like.default}


@dataclass(eq=False)
class Later:
    """The results of an op on known values, computed when they are asked for."""

    op: Any
    values: tuple[Any, Any]
    depth: int
    results: list[Tensor] | None = None

    def computed(self) -> list[Tensor]:
        if self.results is None:
            self.results = list(flat(evaluated(self.op, now(self.values))))
        return self.results


@dataclass(eq=False)
class Part:
    """One of the results of an op on known values."""

    later: Later
    index: int

    def now(self) -> Tensor:
        return self.later.computed()[self.index]


def evaluated(op: Any, values: tuple[Any, Any]) -> Any:
    """The op run for real on its arguments and keyword arguments."""
    with no_dispatch(), torch.no_grad():
        out = op(*values[0], **values[1])
        return out.zero_() if op in _UNINITIALISED else out  # any value is a true one; be the same each time


def now(value: Any) -> Any:
    """`value` with the results that are still to be computed."""
    if isinstance(value, Part):
        return value.now()
    if isinstance(value, (list, tuple)):
        return type(value)(now(part) for part in value)
    return {key: now(part) for key, part in value.items()} if isinstance(value, dict) else value


def depth(value: Any) -> int:
    """How many results in a row `value` waits for."""
    if isinstance(value, Part):
        return value.later.depth if value.later.results is None else 0
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return max(map(depth, parts), default=0)


def flat(value: Any) -> Iterator[Tensor]:
    """The tensors of a result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from flat(part)
