"""Peak memory of one pass on a device: weights, inputs, and the most that intermediates take at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from mmsim.measure.marks import Keeping
from mmsim.measurement import Peak


def peak(
    captured: fx.GraphModule, inputs: tuple[torch.Tensor, ...], device: torch.device, wanted: Iterable[fx.Node] = ()
) -> tuple[Peak, dict[fx.Node, Any]]:
    """Run once and see. On CUDA the allocator says; on the CPU the storages alive between operations are added up.

    There the same pass keeps what the `wanted` nodes gave; on CUDA to keep it would count, and so would what libraries
    keep for good from their first call on (cuBLAS a workspace of 32 MiB on Hopper): a pass before it allocates that.
    """
    weights = sum(_unique(_weights(captured)).values())
    given = sum(_unique(inputs).values())
    if device.type == "cuda":
        with torch.no_grad():
            captured.forward(*inputs)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            captured.forward(*inputs)
        torch.cuda.synchronize()
        return Peak(weights, given, torch.cuda.max_memory_allocated() - before, "torch.cuda.max_memory_allocated"), {}
    follower = _Follower(captured, wanted, _unique((*_weights(captured), *inputs)))
    with torch.no_grad():
        follower.run(*inputs)
    return Peak(weights, given, follower.peak, "storages alive between operations"), follower.found


class _Follower(Keeping):
    """Keeps the most bytes that new storages took between two operations."""

    def __init__(self, captured: fx.GraphModule, wanted: Iterable[fx.Node], fixed: dict[int, int]) -> None:
        super().__init__(captured, wanted)
        self.fixed, self.peak = fixed, 0

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        alive = _unique(_tensors([*self.env.values(), out]))
        self.peak = max(self.peak, sum(size for key, size in alive.items() if key not in self.fixed))
        return out


def _weights(captured: fx.GraphModule) -> tuple[torch.Tensor, ...]:
    return (*captured.parameters(), *captured.buffers(), *_tensors(vars(captured).values()))


def _unique(tensors: Any) -> dict[int, int]:
    """Storage -> bytes: a tensor and its views count once."""
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def _tensors(values: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found
