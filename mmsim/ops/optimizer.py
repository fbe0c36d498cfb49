"""The optimizer's step as torch's fused kernels do it: one pass over all parameters, gradients and state.

Operations a parameter: SGD with momentum ``v = m v + g; w -= r v`` has 4, Adam 14 (3 for the first moment, 4 for
the second, 3 corrections and root, 4 for the update).
"""

from __future__ import annotations

from functools import partial

from mmsim.layer import Layer
from mmsim.ops.nests import Access, Problems, nest
from mmsim.ops.rule import Rule
from mmsim.size import total

STEPS = {"_fused_sgd": (1, 4), "_fused_adam": (2, 14), "_fused_adamw": (2, 16)}
"""kind -> state tensors of a parameter's size that are read and written, and operations of a parameter."""

GROUPS = {"self": "Weights", "grads": "Gradients", "momentum_buffer_list": "State", "exp_avgs": "State",
          "exp_avg_sqs": "State2"}  # fmt: skip


def step(layer: Layer, *, state: int, ops: int) -> Problems:
    """Weights and state are read and written, gradients read."""
    groups = {group: [t for name, t in layer.operands if name.partition(".")[0] == group] for group in GROUPS}
    elements = total(tensor.elements for tensor in groups["self"])
    accesses = [Access(GROUPS[g], tensors[0].bits, (elements,)) for g, tensors in groups.items() if tensors]
    written = [access for access in accesses if access.name != "Gradients"][: 1 + state]
    results = (
        Access(f"Outputs{i + 1}" if i else "Outputs", a.bits, a.own, is_output=True) for i, a in enumerate(written)
    )
    return nest("vector", "elementwise", (elements,), (*accesses, *results), ops=ops)


ROWS: dict[str, Rule] = {kind: partial(step, state=state, ops=ops) for kind, (state, ops) in STEPS.items()}
