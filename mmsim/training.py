"""One training step of a traced network: forward, loss, backward and the optimizer, as layers of one graph.

Reverse-mode differentiation on the layer graph: for each layer, last first, whose operands lead to a parameter, one
backward layer (see `mmsim.ops.backward`); where a tensor is read by several layers its gradients are
added up. The loss is the sum of the outputs, so its gradient is ones; a network that ends in its own loss is
trained through it. Sizes stay symbolic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer, Stage, Tensor
from mmsim.ops import problems_of
from mmsim.ops.backward import attributes, kept

Optimizer = Literal["sgd", "adam", "adamw"]
STATE = {"sgd": ("momentum_buffer_list",), "adam": ("exp_avgs", "exp_avg_sqs"), "adamw": ("exp_avgs", "exp_avg_sqs")}
"""The optimizer's state, by the argument names of torch's fused kernels: each as large as the parameters."""

CONSTANT = frozenset(
    {
        "detach", "eq", "ne", "lt", "le", "gt", "ge", "argmax", "argmin", "argsort", "sign", "floor", "ceil", "round",
        "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones",
        "new_full",
        "isnan", "isinf", "isfinite", "one_hot", "bucketize", "searchsorted", "nonzero", "any", "all", "bernoulli",
        "data.__get__",
    }
)  # fmt: skip
"""Operations through which no gradient flows."""


def training_graph(graph: Graph, *, optimizer: Optimizer = "sgd", frozen: tuple[str, ...] = ()) -> Graph:
    """The layers of one step: `graph`'s own, then backward, then the update of every parameter with a gradient.

    Parameters whose path is or begins with one of `frozen` are not trained,
     and no gradient goes further back than needed.

    Dropout and batch normalisation, traced in evaluation, run as in training. Raises `InputError` for a graph that is a
    training step already, an optimizer other than ``sgd`` (with momentum), ``adam`` and ``adamw``, and a network
    without parameters.
    """
    if graph.phase == "training":
        raise InputError(f"{graph.workload}: is a training step already")
    if optimizer not in STATE:
        raise InputError(f"unknown optimizer {optimizer!r}: one of {', '.join(STATE)}")
    forward = tuple(_in_training(layer) for layer in graph.layers)
    backward = _Backward(forward, frozen)
    for out in graph.outputs:
        if out.name in backward.active:
            backward.seed(out)
    for layer in reversed(forward):
        backward.differentiate(layer)
    if not backward.of_weights:
        raise InputError(f"{graph.workload}: no parameter has a gradient")
    step = _step(backward.of_weights, optimizer)
    layers = (*forward, *backward.layers, step)
    return replace(
        graph,
        layers=tuple(replace(layer, id=i) for i, layer in enumerate(layers)),
        outputs=(*graph.outputs, *step.outputs),
        phase="training",
    )


class _Backward:
    """Backward layers as they are found, last forward layer first, and the gradients known so far."""

    def __init__(self, forward: tuple[Layer, ...], frozen: tuple[str, ...]) -> None:
        self.active = _active(forward, frozen)
        self.layers: list[Layer] = []
        self.of_weights: dict[str, tuple[Tensor, Tensor]] = {}  # name -> parameter, gradient
        self.count: Counter[str] = Counter()
        self._gradients: dict[str, list[Tensor]] = {}  # tensor -> the gradients of its readers

    def add(self, layer: Layer) -> None:
        """A layer whose outputs are gradients, called ``<tensor>.grad``, perhaps with a number."""
        self.layers.append(layer)
        for gradient in layer.outputs:
            self._gradients.setdefault(gradient.name.rpartition(".grad")[0], []).append(gradient)

    def seed(self, out: Tensor) -> None:
        """The gradient of an output of the network, as the loss gives it: ones."""
        ones = tuple(self._new_gradients([out]))
        self.add(
            Layer(id=0, name=f"{out.name}.loss", op="aten.ones_like", stage=Stage("loss"), operands=(), outputs=ones)
        )

    def differentiate(self, layer: Layer) -> None:
        """Add the backward layer of a forward layer, if a gradient reaches it and it leads to a parameter."""
        if layer.kind in CONSTANT:
            return
        given = [gradient for out in layer.outputs for gradient in self._total(out, layer)]
        pairs = [(name, tensor) for name, tensor in layer.operands if tensor.name in self.active]
        if not any(problem.kind == "mac" for problem in problems_of(layer)):  # x * x reads x once
            pairs = list({tensor.name: (name, tensor) for name, tensor in reversed(pairs)}.values())[::-1]
        if not given or not pairs:
            return
        names = tuple(name for name, _ in pairs)
        own = tuple((f"grad.{i}", gradient) for i, gradient in enumerate(given))
        self.add(
            replace(
                layer,
                name=f"{layer.name}.backward",
                op=f"aten.{layer.kind.removesuffix('.__get__').strip('_')}_backward",
                operands=(*own, *kept(layer, names)),
                outputs=tuple(self._new_gradients([tensor for _, tensor in pairs])),
                attrs=attributes(layer, names),
            )
        )
        for _, tensor in pairs:
            if tensor.role == "weight":
                self._total(tensor, layer)

    def _new_gradients(self, tensors: list[Tensor]) -> Iterator[Tensor]:
        """The next gradient of each tensor; a tensor given twice gets two."""
        for tensor in tensors:
            self.count[tensor.name] += 1
            count = self.count[tensor.name]
            yield replace(tensor, name=f"{tensor.name}.grad{count if count > 1 else ''}", role="activation")

    def _total(self, tensor: Tensor, reader: Layer) -> list[Tensor]:
        """The one gradient of a tensor, its parts added; empty when none reached it."""
        parts = self._gradients.get(tensor.name, [])
        while len(parts) > 1:
            a, b = parts.pop(0), parts.pop(0)
            total = replace(a, name=f"{a.name}+{b.name.rpartition('.grad')[2]}")
            self.layers.append(
                Layer(
                    id=0,
                    name=f"{tensor.name}.grad.add",
                    op="aten.add.Tensor",
                    stage=reader.stage,
                    operands=(("self", a), ("other", b)),
                    outputs=(total,),
                    module_path=reader.module_path,
                    call_index=reader.call_index,
                    source=reader.source,
                )
            )
            parts.insert(0, total)
        if parts and tensor.role == "weight":
            self.of_weights[tensor.name] = (tensor, parts[0])
        return list(parts)


def _active(layers: tuple[Layer, ...], frozen: tuple[str, ...]) -> frozenset[str]:
    """The tensors that lead back to a parameter: those whose gradients are worked out."""
    parameters = (t for layer in layers for t in layer.tensors if t.role == "weight" and t.has_gradient)
    active = {t.name for t in parameters if not any(t.name == f or t.name.startswith(f"{f}.") for f in frozen)}
    for layer in layers:
        if layer.kind not in CONSTANT and any(t.name in active for t in layer.tensors):
            active |= {out.name for out in layer.outputs if out.has_gradient}
    return frozenset(active)


def _in_training(layer: Layer) -> Layer:
    """Dropout and batch normalisation with ``training`` set."""
    if layer.kind in ("batch_norm", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
        attrs = tuple((name, value) for name, value in layer.attrs if name not in ("training", "train"))
        return replace(layer, attrs=(*attrs, ("training", True)))
    return layer


def _step(of_weights: dict[str, tuple[Tensor, Tensor]], optimizer: Optimizer) -> Layer:
    """The update of all parameters as one layer, like torch's fused optimizers."""
    operands: list[tuple[str, Tensor]] = []
    outputs: list[Tensor] = []
    for i, (weight, gradient) in enumerate(of_weights.values()):
        state = [replace(weight, name=f"{weight.name}.{name}", role="constant") for name in STATE[optimizer]]
        operands += [(f"self.{i}", weight), (f"grads.{i}", gradient)]
        operands += [(f"{name}.{i}", tensor) for name, tensor in zip(STATE[optimizer], state, strict=True)]
        outputs += [replace(t, name=f"{t.name}.next", role="output") for t in (weight, *state)]
    return Layer(
        id=0,
        name="optimizer",
        op=f"aten._fused_{optimizer}_",
        stage=Stage("optimizer"),
        operands=tuple(operands),
        outputs=tuple(outputs),
    )
