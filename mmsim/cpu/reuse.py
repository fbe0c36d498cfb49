"""How long ago, in bytes moved since, a layer's tensors and the code of its op were last used.

A cache of some size still holds what was used less than that many bytes ago: its least recently used lines go first.
What a host runs to dispatch an op lies in the same caches as the data. A layer that moves more than the last cache but
one sweeps all of it out; the op's own part is gone when more than the last cache holds has moved since the op ran,
and is no longer at hand when many others ran since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mmsim.layer import Layer

Code: TypeAlias = Literal["hot", "others", "swept", "own gone", "all gone"]
"""Just run; many others ran since; swept out of the near caches; its own part out of the last one; all of it."""
MANY = 8
"""Other layers between two of an op, from which on calibration, where all ops take their turn, is the likeness."""


@dataclass(frozen=True)
class Reuse:
    """How a layer finds its code, and for each tensor that it reads the bytes moved since it was last used."""

    code: Code = "hot"
    ages: tuple[tuple[str, float], ...] = ()

    def age(self, tensor: str) -> float:
        """Bytes moved since this tensor was used; none for one that is not known."""
        return dict(self.ages).get(tensor, 0.0)


def reuses(layers: Sequence[Layer], moved: Sequence[float], near: float, last: float) -> Iterator[Reuse]:
    """Each layer's `Reuse` in a network that runs again and again; `moved` are the bytes that each layer moves.

    `near` and `last` are the bytes of the last cache but one and of the last.
    """
    storage = _storages(layers)
    total, used, ran = 0.0, dict[str, float](), dict[str, tuple[int, float]]()
    for step in range(2 * len(layers)):
        index = step % len(layers)
        layer, before = layers[index], moved[index - 1]
        if step >= len(layers):
            when, at = ran[layer.kind]
            found = _code(step - when, total - at, before, near, last)
            yield Reuse(found, tuple((t.name, total - used[storage[t.name]]) for t in layer.tensors))
        total += moved[index]
        ran[layer.kind] = step, total
        used.update((storage[tensor.name], total) for tensor in (*layer.tensors, *layer.outputs))


def _code(layers: int, since: float, before: float, near: float, last: float) -> Code:
    if before > last:
        return "all gone"
    if since > last:
        return "own gone"
    if before > near:
        return "swept"
    return "others" if layers > MANY else "hot"


def _storages(layers: Sequence[Layer]) -> dict[str, str]:
    """Tensor -> the one whose memory it looks at: itself, unless a view or a write in place made it."""
    found: dict[str, str] = {}
    for layer in layers:
        for tensor in layer.tensors:
            found.setdefault(tensor.name, tensor.name)
        views = layer.kind in VIEWS or layer.writes_in_place
        for tensor in layer.outputs:
            found[tensor.name] = found[layer.tensors[0].name] if views and layer.tensors else tensor.name
    return found


VIEWS = frozenset(
    [
        "view",
        "reshape",
        "flatten",
        "unflatten",
        "transpose",
        "permute",
        "expand",
        "squeeze",
        "unsqueeze",
        "getitem",
        "__getitem__",
        "dropout",
        "chunk",
        "split",
        "unbind",
        "select",
        "narrow",
        "t",
        "identity",
        "detach",
    ]
)
"""Ops whose result usually is its first operand looked at in another way."""
