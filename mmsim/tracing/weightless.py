"""Building a network without memory for its weights, and with the true values of its small constants."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

SMALL = 2**14
"""Elements that are worth keeping: position ids, frequencies, drop-path schedules."""


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
