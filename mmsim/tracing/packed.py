"""Packed sequences on fake tensors: their sizes are data, so fake kernels cannot give them.

Each function returns the fake result, or None for arguments that need no help.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

from mmsim.tracing.shadow import Shadows


def pack(shadows: Shadows, data: Tensor, lengths: Tensor, batch_first: bool) -> Any:
    """``_pack_padded_sequence``: (data [sum of lengths, ...], batch sizes [longest])."""
    known = shadows.of(lengths)
    if known is None:
        return None
    longest = int(known[0])
    with no_dispatch():
        sizes = (known[None, :] > torch.arange(longest)[:, None]).sum(1)  # (T,)
    return data.new_empty((int(known.sum()), *data.shape[2:])), shadows.faked(sizes)


def unpack(shadows: Shadows, data: Tensor, sizes: Tensor, batch_first: bool, value: float, length: int) -> Any:
    """``_pad_packed_sequence``: (data [T, B, ...] or [B, T, ...], lengths [B])."""
    known = shadows.of(sizes)
    if known is None:
        return None
    time, batch = max(len(known), length), int(known[0])
    with no_dispatch():
        lengths = (known[None, :] > torch.arange(batch)[:, None]).sum(1)  # (B,)
    order = (batch, time) if batch_first else (time, batch)
    return data.new_empty((*order, *data.shape[1:])), shadows.faked(lengths)


def recurrent(shadows: Shadows, data: Any, sizes: Any, state: Any, *rest: Any) -> Any:
    """``lstm(data, batch_sizes, (h, c), ...)`` and its kin: outputs [rows, directions x hidden] and last states."""
    if not isinstance(sizes, Tensor) or sizes.device.type != "cpu" or sizes.dtype != torch.int64:
        return None  # not packed: (input, state, weights, ...)
    bidirectional = rest[-1]
    states = state if isinstance(state, (list, tuple)) else (state,)
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    return data.new_empty((data.shape[0], width)), *(part.new_empty(part.shape) for part in states)


PACKED: dict[str, Callable[..., Any]] = {
    "_pack_padded_sequence": pack,
    "_pad_packed_sequence": unpack,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
}
