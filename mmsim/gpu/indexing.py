"""What PyTorch's joins and max pools spend on finding out where an element lies, and the indices that pools write.

`CatArrayBatchedCopy` and the max pools divide by each inner size in turn, element by element. A 32-bit division has no
instruction: its two conversions and its reciprocal pass units of 16 lanes a clock and SM, as long as 12 multiplications
on the 64 lanes of integers. Before Volta one takes three of 16 bits on the lanes of float32 (CUDA C++ programming
guide, arithmetic throughput).
"""

from __future__ import annotations

from math import prod

from mmsim.gpu.machine import Machine
from mmsim.layer import Layer
from mmsim.problem import Problem
from mmsim.size import concrete

JOINS = frozenset({"cat", "concat", "concatenate"})
MAX_POOLS = frozenset({"max_pool1d", "max_pool2d", "max_pool3d"})
DIVISION, TAP = 12.0, 6.0  # integer multiplications' worth: a division, a tap of a window
LANES, PIECES = 64.0, 3.0
INDEX_BYTES = 8
"""CUDA's max pools always write where each maximum lay, in int64 (`Pooling.cpp`: `max_pool2d` calls
`max_pool2d_with_indices`), although without gradients nobody reads it."""


def clocks(layer: Layer, problem: Problem, machine: Machine) -> float:
    """Clocks of an SM that the place of one point takes."""
    divisions = (len(layer.output.shape) - 1) * DIVISION
    if layer.kind in JOINS:
        return divisions / _lanes(machine)
    if layer.kind in MAX_POOLS:  # the divisions of an output, an address and a bound of each tap
        return (divisions / prod(problem.shape.get(dim, 1) for dim in "RST") + TAP) / _lanes(machine)
    return 0.0


def _lanes(machine: Machine) -> float:
    """32-bit integer multiplications a clock and SM."""
    return LANES if machine.device.compute_capability >= 7 else machine.device.cuda_fma["float32"] / PIECES


def written_bytes(layer: Layer) -> float:
    """Indices beside the layer's outputs."""
    return INDEX_BYTES * float(concrete(layer.output.elements)) if layer.kind in MAX_POOLS else 0.0


def repeats(layer: Layer) -> bool:
    """Whether an operand of more than one element is repeated along some axes."""
    sizes = {concrete(tensor.elements) for tensor in layer.tensors}
    return len(sizes - {1, concrete(layer.output.elements)}) > 0
