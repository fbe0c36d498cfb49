"""What the host does for one op: Python, dispatcher, allocator and driver, in units of one plain op.

The unit is a binary elementwise op; the device's `Host` says how long that takes. The multiples are
PyTorch's own and the same on every host: NeuSight's event-bracketed single ops give them within 3 %
on three machines (its shortest rows over the shortest `add`); `bmm` alone differs, 1.2 on one and 1.5 on another.
"""

from __future__ import annotations

from mmsim.arch.device import Host

CALLS = {
    "relu": 1.2, "gelu": 1.16, "softmax": 1.27, "log_softmax": 1.27, "layer_norm": 1.79, "group_norm": 1.79,
    "batch_norm": 1.6, "linear": 2.05, "addmm": 1.5, "bmm": 1.4, "matmul": 1.4, "conv1d": 4.7, "conv2d": 4.7,
    "conv3d": 4.7, "scaled_dot_product_attention": 2.0, "lstm": 6.0, "gru": 6.0,
    "multi_head_attention_forward": 12.0,
}  # fmt: skip
"""Module call, outputs to allocate, library handles and plans to look up: op -> plain ops' worth."""

UNFUSED = 4.8
"""What cuDNN's non-fused Winograd (three transforms, batched product) takes beyond any other convolution, alone between
two events. Fitted, with the multiple of convolutions in `CALLS`, on 30 % of the rows of the V100 and the T4;
the same multiple holds within the networks of the RTX 2080 Ti and the Jetson Nano. PyTorch looks its algorithm or plan
up, sets descriptors, asks for a workspace and allocates it on every call; which of these takes it, is not known."""


def calls(kind: str) -> float:
    """How many plain ops' host time an op of this kind takes."""
    return CALLS.get(kind, 1.0)


def alone(host: Host, units: float, device_s: float) -> float:
    """An op between two recorded events on an idle GPU: the kernel starts when the host has launched it, and
    the second event is not recorded before the op has returned."""
    return max(units * host.dispatch_s, (units - 1) * host.dispatch_s + host.launch_s + device_s)
