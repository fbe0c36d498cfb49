"""Networks without memory for their weights, with the true values of their small constants; and random weights."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SMALL = 2**14
"""Elements that are worth keeping: position ids, frequencies, drop-path schedules."""

SCALE = 0.02  # standard deviation of random weights
DRAWN = 2**20 + 1  # values drawn for one weight; no power of two, so that its rows differ


class weightless(TorchFunctionMode):
    """Inside, large floating tensors are made on the ``meta`` device; integers and small ones are real.

    ``torch.device("meta")`` takes the values of all; but some networks read the small ones while they are built or run
    (``linspace(...).tolist()``, ``position_ids``).
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in _FACTORIES and kwargs.get("device") is None and _is_large(args, kwargs):
            kwargs = {**kwargs, "device": "meta"}
        return function(*args, **kwargs)


_FACTORIES = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})


def _is_large(args: Any, kwargs: Any) -> bool:
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    size = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else args)
    return bool(dtype.is_floating_point) and prod(int(n) for n in size) > SMALL


def random_like(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A real tensor in the place of one without values: zeros for integers, else random.

    The values of a large one repeat, since to draw 10^8 takes seconds.
    """
    count = weight.numel()
    if not (weight.is_floating_point() or weight.is_complex()):
        return torch.zeros(weight.shape, dtype=weight.dtype)
    drawn = torch.randn(min(count, DRAWN), dtype=weight.dtype, generator=generator) * SCALE
    real = drawn.repeat(-(-count // DRAWN))[:count].reshape(weight.shape) if count else drawn.reshape(weight.shape)
    return nn.Parameter(real, requires_grad=False) if isinstance(weight, nn.Parameter) else real
