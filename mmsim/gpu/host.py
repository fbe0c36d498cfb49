"""What the host does for one op: Python, dispatcher, allocator and driver, in units of one plain op.

The unit is a binary elementwise op; the device's `Host` says how long that takes. The multiples are
PyTorch's own and the same on every host: NeuSight's event-bracketed single ops give them within 3 %
on three machines (its shortest rows over the shortest `add`); `bmm` alone differs, 1.2 on one and 1.5 on another.
"""

from __future__ import annotations

from mmsim.arch.device import Host

CONVOLUTION, ALONE = 2.5, 4.7
"""A convolution in a network, and alone between two events. PyTorch looks its algorithm or plan up, sets descriptors,
asks for a workspace and allocates it on every call; why that takes longer alone is not known. 2.5 is where networks
that one host ran agree best on its plain op (`benchmarks/elsewhere/figures.csv`: residual networks and transformers);
4.7 and `UNFUSED` are fitted on 30 % of the 3x3 rows of the V100 and the T4."""

UNFUSED = 4.8
"""What cuDNN's non-fused Winograd (three transforms, batched product) takes beyond any other convolution, alone."""

JOINED = 0.12
"""Each tensor beyond the second that `cat` joins: checked, unpacked and its sizes noted one by one. Measured on a CPU
(PyTorch 2.13, 8 to 64 tiny tensors over one `add`): 0.09 without gradients, 0.14 where they are recorded."""

VIEW, LAUNCH, ADDED_BIAS = 0.5, 0.25, 1.0
"""A view; a further kernel launched within one op; a convolution's bias, which PyTorch adds in an op of its own."""

CALLS = {
    "tanh": 0.985, "div": 1.005, "pow": 1.012, "relu": 1.2, "gelu": 1.16, "softmax": 1.25, "log_softmax": 1.25,
    "layer_norm": 1.8, "group_norm": 1.8, "batch_norm": 1.6, "linear": 2.05, "addmm": 1.5, "bmm": 1.4, "matmul": 1.4,
    "scaled_dot_product_attention": 2.0, "lstm": 6.0, "gru": 6.0, "multi_head_attention_forward": 12.0,
} | {f"conv{form}{rank}d": CONVOLUTION for form in ("", "_transpose") for rank in (1, 2, 3)}  # fmt: skip
"""Module call, outputs to allocate, library handles and plans to look up: op -> plain ops' worth."""


IN_REGISTERS = 0.02
"""What a softmax of up to 1024 columns takes beyond a longer one: it chooses a kernel by the power of two."""

SCATTER = 0.25
"""By how much of a plain op a kernel's end, against its op's return, comes earlier or later from one time to the next,
evenly: what rows that take the host as long as the GPU take beyond both."""


def calls(kind: str, inputs: int = 0) -> float:
    """How many plain ops' host time an op of this kind takes that is given so many tensors."""
    return CALLS.get(kind, 1.0) + (JOINED * max(0, inputs - 2) if kind == "cat" else 0.0)


def alone(host: Host, units: float, device_s: float) -> float:
    """An op between two recorded events on an idle GPU: the kernel starts when the host has launched it, and
    the second event is not recorded before the op has returned. Near a tie now the one, now the other ends last."""
    returned = units * host.dispatch_s
    finished = returned - host.dispatch_s + host.launch_s + device_s
    scatter = SCATTER * host.dispatch_s
    near = max(0.0, scatter - abs(finished - returned))
    return max(returned, finished) + near**2 / (4 * scatter)
