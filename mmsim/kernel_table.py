"""Tables of single kernels with their measured latency: the columns that are measured and validated."""

from __future__ import annotations

from typing import Literal, TypeAlias

KernelMode: TypeAlias = Literal["eager", "graph"]
"""One op between two events, host included; or one kernel inside a CUDA graph."""

COLUMNS = {
    "gemm": ("m", "n", "k"),
    "linear": ("batch", "m", "k_reduction", "n"),
    "bmm": ("batch", "m", "k_reduction", "n"),
    "conv": ("batch", "in_channels", "out_channels", "kernel", "input_size", "stride", "padding"),
    "attention": ("batch", "seq_len", "num_heads", "head_dim"),
    "vector": ("op", "rows", "cols"),
}
MEASURED = "latency_ms"
ROTATION = 12
"""Products that a benchmark inside a CUDA graph runs before it meets its weights and outputs again: several in a graph,
each with its own. The activations are those of all, so that only one product's operands lie between (the sources:
weights beyond some 8 MB are cold in L2, all activations warm)."""
