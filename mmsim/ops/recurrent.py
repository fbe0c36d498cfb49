"""Recurrent layers whole: per layer and direction one product for all inputs, and one product a step.

The input product does not wait for the state, so it is a single product over all steps. The recurrent
product and the gates depend on the step before: they are `instances`, one a step. Both directions of a
bidirectional layer share nothing, and count as instances too.

The gates' operations, by the formulas of torch's documentation (sigmoid 4, tanh 5, see `vector`): an LSTM
has 4 additions, 3 sigmoids, 2 tanhs, 3 products and an addition for each unit, 30 over its 4 gates, rounded up;
a GRU 21 over 3; a simple layer one addition and its activation.
"""

from __future__ import annotations

from mmsim.errors import InputError
from mmsim.layer import Layer, Tensor
from mmsim.ops.nests import Access, Problems, first, matrix_product, nest, place
from mmsim.ops.rule import Rule
from mmsim.size import Size, concrete

GATES = {"lstm": (4, 8), "gru": (3, 7), "rnn_tanh": (1, 6), "rnn_relu": (1, 2)}
"""kind -> gates, and operations of one gate of one unit."""


def recurrent(layer: Layer) -> Problems:
    """lstm, gru, rnn_tanh, rnn_relu over a whole sequence: (T, B, I), (B, T, I), (T, I) or packed rows."""
    data = layer.operand("data") or first(layer)
    matrices = _matrices(layer)
    directions = 2 if layer.attr("bidirectional", False) else 1
    steps, batches = _steps(layer, data)
    found: Problems = ()
    per_run = len(matrices) // (_count(layer, "num_layers") * directions)
    for start in range(0, len(matrices), per_run * directions):
        found += _one_layer(layer, matrices[start : start + per_run], directions, steps, batches, data)
    return found


def _one_layer(
    layer: Layer,
    matrices: list[Tensor],
    directions: int,
    steps: Size,
    batches: tuple[tuple[Size, Size], ...],
    data: Tensor,
) -> Problems:
    """One layer: its input product, and recurrent product, gates and projection for each (batch, steps)."""
    gates, ops = GATES[layer.kind]
    w_ih, w_hh = matrices[:2]
    rows, bits = w_ih.shape[0], (data.bits, w_ih.bits, data.bits)
    found = matrix_product(steps, rows, w_ih.shape[1], bits=bits, instances=directions, name="input product")
    for position, (batch, times) in enumerate(batches):
        count = times * directions
        name = "later recurrent product" if position else "recurrent product"
        found += matrix_product(batch, rows, w_hh.shape[1], bits=bits, instances=count, name=name)
        found += gate_nest(batch, concrete(rows) // gates, gates, ops, data.bits, layer.kind == "lstm", instances=count)
        for projection in matrices[2:]:
            n, k = projection.shape
            found += matrix_product(batch, n, k, bits=bits, instances=count, name="projection")
    return found


def gate_nest(
    batch: Size, hidden: int, gates: int, ops: int, bits: int, has_cell: bool, *, instances: Size = 1
) -> Problems:
    """The gates of one step: both products in, the new state (and cell) out."""
    shape = (batch, gates, hidden)
    state = (batch, 1, hidden)
    accesses = [Access("Inputs", bits, shape), Access("Inputs2", bits, shape), Access("State", bits, state)]
    accesses += [Access("Outputs", bits, state, is_output=True)]
    accesses += [Access("Outputs2", bits, state, is_output=True)] if has_cell else []
    return nest("vector", "elementwise", shape, accesses, over=(1,), ops=ops, instances=instances, name="gates")


def cell(layer: Layer) -> Problems:
    """One step of lstm_cell, gru_cell, rnn_tanh_cell, rnn_relu_cell."""
    gates, ops = GATES[layer.kind.removesuffix("_cell")]
    x, matrices = first(layer), _matrices(layer)
    batch = x.shape[0] if len(x.shape) == 2 else 1
    found: Problems = ()
    for weight, name in zip(matrices, ("input product", "recurrent product"), strict=False):
        n, k = weight.shape
        found += matrix_product(batch, n, k, bits=(x.bits, weight.bits, layer.output.bits), name=name)
    hidden = concrete(matrices[0].shape[0]) // gates
    return found + gate_nest(batch, hidden, gates, ops, x.bits, "lstm" in layer.kind)


def _matrices(layer: Layer) -> list[Tensor]:
    """The weight matrices in call order: input, recurrent, and projection where there is one; biases left out."""
    found = [
        tensor
        for name, tensor in layer.operands
        if len(tensor.shape) == 2 and name.partition(".")[0] in ("params", "weights", "w_ih", "w_hh", "_flat_weights")
    ]
    if len(found) < 2:
        raise InputError(f"{layer.op} at {place(layer)} has no weight matrices")
    return found


def _steps(layer: Layer, data: Tensor) -> tuple[Size, tuple[tuple[Size, Size], ...]]:
    """Rows of the input product, and for the recurrence (batch, how many steps of that batch).

    How many sequences still run at each step of a packed sequence is data; the rows are spread evenly over the
    steps, which keeps the MACs exact. While their number is symbolic every row is a step.
    """
    sizes = layer.operand("batch_sizes")
    if sizes is not None:
        rows, steps = data.shape[0], sizes.shape[0]
        if not isinstance(rows, int) or not isinstance(steps, int):
            return rows, ((1, rows),)
        each, more = divmod(rows, steps)
        return rows, tuple(part for part in ((each + 1, more), (each, steps - more)) if all(part))
    if len(data.shape) == 2:
        return data.shape[0], ((1, data.shape[0]),)
    time, batch = (1, 0) if layer.attr("batch_first", False) else (0, 1)
    return data.shape[0] * data.shape[1], ((data.shape[batch], data.shape[time]),)


def _count(layer: Layer, name: str) -> int:
    value = layer.attr(name, 1)
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{layer.op} at {place(layer)}: {name} is {value!r}")
    return value


ROWS: dict[str, Rule] = {
    **dict.fromkeys(GATES, recurrent),
    **{f"{kind}_cell": cell for kind in GATES},
}
