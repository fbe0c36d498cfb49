"""What PyTorch's kernels spend on finding out where an element lies: divisions, offsets, and indices written.

`CatArrayBatchedCopy` and the max pools divide by each inner size in turn, element by element. A 32-bit division has no
instruction: its two conversions and its reciprocal pass units of 16 lanes a clock and SM, as long as 12 multiplications
on the 64 lanes of integers. Before Volta one takes three of 16 bits on the lanes of float32 (CUDA C++ programming
guide, arithmetic throughput). A pointwise kernel that repeats an operand along some axes divides by multiplying
(`IntDivider.cuh`): of two axes four products, and two for each of three addresses, beside sums.
"""

from __future__ import annotations

from math import prod

from mmsim.gpu.machine import Machine
from mmsim.layer import Layer
from mmsim.problem import Problem
from mmsim.size import concrete

JOINS = frozenset({"cat", "concat", "concatenate"})
MAX_POOLS = frozenset({"max_pool1d", "max_pool2d", "max_pool3d"})
DIVISION, TAP, BROADCAST = 12.0, 6.0, 12.0  # integer multiplications' worth: a division, a tap of a window, an element
LANES, PIECES = 64.0, 3.0
INDEX_BYTES = 8
"""CUDA's max pools always write where each maximum lay, in int64 (`Pooling.cpp`: `max_pool2d` calls
`max_pool2d_with_indices`), although without gradients nobody reads it."""


def ops(layer: Layer, problem: Problem, machine: Machine) -> float:
    """How long finding the place of a point takes, in float32 operations of an SM."""
    divisions = (len(layer.output.shape) - 1) * DIVISION
    if layer.kind in JOINS:
        return divisions * integer(machine)
    if layer.kind in MAX_POOLS:  # the divisions of an output, an address and a bound of each tap
        return (divisions / prod(problem.shape.get(dim, 1) for dim in "RST") + TAP) * integer(machine)
    if problem.family == "elementwise" and repeats(layer):
        return BROADCAST * integer(machine)
    return 0.0


def integer(machine: Machine) -> float:
    """How long a 32-bit integer multiplication takes, in float32 operations of an SM."""
    lanes = machine.fma_per_clock("float32", tensor=False)
    return lanes / LANES if machine.device.compute_capability >= 7 else PIECES


def written_bytes(layer: Layer) -> float:
    """Indices beside the layer's outputs."""
    return INDEX_BYTES * float(concrete(layer.output.elements)) if layer.kind in MAX_POOLS else 0.0


def repeats(layer: Layer) -> bool:
    """Whether an operand of more than one element is repeated along some axes."""
    sizes = {concrete(tensor.elements) for tensor in layer.tensors}
    return len(sizes - {1, concrete(layer.output.elements)}) > 0
