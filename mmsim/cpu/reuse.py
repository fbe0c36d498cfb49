"""How long ago, in bytes, a layer's tensors and the code of its op were last used.

A cache of some size still holds what was used less than that many bytes ago: its least recently used lines go first.
Every weight has a place of its own, but results take the place of others that nobody needs any more: together they
never count for more than are alive at a time. What a host runs to dispatch an op lies in the same caches as the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmsim.layer import Layer
from mmsim.size import concrete


@dataclass(frozen=True)
class Moved:
    """Bytes that a layer moves, or several: of weights, and of everything else."""

    weights: float = 0.0
    others: float = 0.0

    def __add__(self, more: Moved) -> Moved:
        return Moved(self.weights + more.weights, self.others + more.others)


@dataclass(frozen=True)
class Reuse:
    """How a layer finds its code and its operands, in bytes.

    `since` lie between it and the last run of its op, `before` in the layer just before it, and `ages` for each
    tensor that it reads between it and the last use of that.
    """

    since: float = 0.0
    before: float = 0.0
    ages: tuple[tuple[str, float], ...] = ()

    def age(self, tensor: str) -> float:
        """Bytes since this tensor was used; none for one that is not known."""
        return dict(self.ages).get(tensor, 0.0)


def reuses(layers: Sequence[Layer], moved: Sequence[Moved]) -> Iterator[Reuse]:
    """Each layer's `Reuse` in a network that runs again and again; `moved` is what each layer moves."""
    storage, alive = _storages(layers), most_alive(layers)
    total, used, ran = Moved(), dict[str, Moved](), dict[str, Moved]()

    def between(then: Moved) -> float:
        return total.weights - then.weights + min(alive, total.others - then.others)

    for step in range(2 * len(layers)):
        index = step % len(layers)
        layer, before = layers[index], moved[index - 1]
        if step >= len(layers):
            ages = tuple((tensor.name, between(used[storage[tensor.name]])) for tensor in layer.tensors)
            yield Reuse(between(ran[layer.kind]), before.weights + min(alive, before.others), ages)
        ran[layer.kind] = total  # its code runs before its data moves
        total += moved[index]
        used.update((storage[tensor.name], total) for tensor in (*layer.tensors, *layer.outputs))


def most_alive(layers: Sequence[Layer]) -> float:
    """The most bytes of results that are alive at a time: from the layer that makes them to the last that reads them.

    A layer's inputs and its results are alive together.
    """
    storage = _storages(layers)
    last = {storage[tensor.name]: index for index, layer in enumerate(layers) for tensor in layer.tensors}
    sizes = {storage[tensor.name]: concrete(tensor.bytes) for layer in reversed(layers) for tensor in layer.outputs}
    ending: dict[int, int] = {}
    alive, most = 0, 0
    for index, layer in enumerate(layers):
        for made in {storage[tensor.name] for tensor in layer.outputs} & {tensor.name for tensor in layer.outputs}:
            alive += sizes[made]
            ending[last.get(made, index)] = ending.get(last.get(made, index), 0) + sizes[made]
        most = max(most, alive)
        alive -= ending.pop(index, 0)
    return float(most)


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
