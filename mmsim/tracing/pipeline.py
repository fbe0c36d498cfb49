"""One call from a network to its layer graph: capture, stages, symbolic sizes."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import fx, nn

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.ops import check, free_reason, is_known, problems_of, unknown_ops
from mmsim.size import Polynomial
from mmsim.tracing import nested
from mmsim.tracing.capture import Route, capture, uncollected
from mmsim.tracing.infer import inferred
from mmsim.tracing.lowering import lower
from mmsim.tracing.stages import check_paths, declared, overridden
from mmsim.tracing.symbolic import NotPolynomial, Sizes, symbolic

Inputs: TypeAlias = Any
Given: TypeAlias = tuple[nn.Module, Inputs]

BATCHES = (2, 3, 5, 7)
"""Batch sizes traced: not 1, where broadcasting and squeezing take other ways."""


def trace(
    module: nn.Module,
    inputs: Inputs | Callable[..., Inputs],
    *,
    stages: Mapping[str, str] | None = None,
    symbols: Sequence[str] | Mapping[str, int] = ("B",),
    overrides: Mapping[str, str] | None = None,
    modalities: Mapping[str, str] | None = None,
    workload: str = "",
    variant: str = "",
    allow_unknown: bool = False,
    route: Route | None = None,
) -> Graph:
    """The layer graph of a module: stage-annotated, with sizes as polynomials in the batch ``B``.

    `inputs` are keyword arguments, positional ones (a tuple) or a single tensor; their first dimension is the batch.
    For other symbolic sizes give a function of them, and each size's value: ``lambda B, L: {"text": ids(B, L)}`` with
    ``symbols={"B": 2, "L": 128}``. ``symbols=()`` keeps every size concrete.

    `stages` maps module paths to stages, the longest prefix wins, and must claim every operation that costs
    something; without it stages are inferred from what each input reaches. `overrides` changes some of them;
    `modalities` says what inputs are (``{"x": "audio"}``) where their names don't.

    >>> from torch import ones
    >>> graph = trace(nn.Linear(16, 4), {"input": ones(2, 16)}, stages={"": "head"})
    >>> graph.layers[0].output.shape, graph.macs
    ((Polynomial('B'), 4), Polynomial('64*B'))

    Raises `InputError` for operations that the op table does not know (unless `allow_unknown`), for operations
    outside the declared stages, and for a module that cannot be captured.
    """
    _check_module(module)
    values = dict(symbols) if isinstance(symbols, Mapping) else dict.fromkeys(symbols, 0)
    given: dict[str, int] = {}
    if callable(inputs):
        make = inputs

        def given_at(sizes: Sizes) -> Given:
            return module, make(**sizes)

    else:
        if set(values) - {"B"}:
            raise InputError(f"give inputs as a function of {', '.join(values)}, so that their sizes can change")
        inputs = by_name(module, inputs)
        batch = batch_of(inputs)
        given, values = {"B": batch}, values if batch else {}

        def given_at(sizes: Sizes) -> Given:
            return module, rebatched(inputs, batch, sizes.get("B", batch))

    graph_at = concrete(
        given_at, paths=(*(stages or ()), *(overrides or ())), workload=workload, variant=variant, route=route
    )
    return finished(
        graph_at, values, stages, overrides=overrides, modalities=modalities, allow_unknown=allow_unknown, given=given
    )


def _check_module(module: Any) -> None:
    if not isinstance(module, nn.Module):
        raise InputError(f"{type(module).__name__} is not an nn.Module")
    quantized = [path or "it" for path, part in module.named_modules() if "nn.quantized" in type(part).__module__]
    if quantized:
        raise InputError(f"{quantized[0]} is quantized, in kernels without a count: trace the network of floats")


def by_name(module: nn.Module, inputs: Inputs) -> Inputs:
    """Positional inputs under the names of forward's arguments, which say what they are; as given where that fails."""
    if isinstance(inputs, dict):
        return inputs
    try:
        signature = inspect.signature(module.forward)
        bound = signature.bind(*(inputs if type(inputs) in (list, tuple) else (inputs,)))
    except (TypeError, ValueError):
        return inputs
    kinds = {signature.parameters[name].kind for name in bound.arguments}
    return dict(bound.arguments) if kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD} else inputs


def concrete(
    given_at: Callable[[Sizes], Given],
    *,
    paths: Iterable[str] = (),
    workload: str = "",
    variant: str = "",
    route: Route | None = None,
) -> Callable[[Sizes], Graph]:
    """The graphs, at any sizes, of a module and inputs that are built for them; all by the route of the first.

    Raises `InputError` there when the module has none of the `paths`.
    """
    taken = route

    def graph_at(sizes: Sizes) -> Graph:
        nonlocal taken
        module, inputs = given_at(sizes)
        check_paths(paths, {path for path, _ in module.named_modules()})
        captured = capture(module, inputs, route=taken, whole=is_known)
        taken = captured.meta["route"]
        return lower(captured, workload=workload, variant=variant)

    return graph_at


def finished(
    graph_at: Callable[[Sizes], Graph],
    symbols: Mapping[str, int],
    stages: Mapping[str, str] | None = None,
    *,
    overrides: Mapping[str, str] | None = None,
    modalities: Mapping[str, str] | None = None,
    allow_unknown: bool = False,
    given: Sizes | None = None,
) -> Graph:
    """Concrete graphs made into one: operations checked, sizes symbolic, stages in place.

    `symbols` are the symbolic sizes with the value to trace them at, `given` those of the caller's own inputs. Where a
    size is no polynomial, the graph is true at these; a batch of 0 leaves it to us.
    """

    def checked_at(sizes: Sizes) -> Graph:
        return _checked(graph_at(sizes), allow_unknown=allow_unknown)

    with uncollected():
        values = {name: points(name, value) for name, value in symbols.items()}
        wanted = {name: value for name, value in symbols.items() if value} | dict(given or {})
        graph = _with_symbols(checked_at, values, wanted)
        sizes = {name: value or BATCHES[0] for name, value in symbols.items()}
        graph = inferred(graph, sizes, modalities) if stages is None else declared(graph, stages, is_free=is_free)
        return overridden(graph, overrides) if overrides else graph


def _with_symbols(graph_at: Callable[[Sizes], Graph], symbols: Mapping[str, Sequence[int]], given: Sizes) -> Graph:
    """The graph with as many of the symbols as its sizes are polynomials in; the last ones are given up first."""
    traced: dict[frozenset[tuple[str, int]], Graph] = {}

    def once_at(sizes: Sizes) -> Graph:
        key = frozenset(sizes.items())
        if key not in traced:
            traced[key] = _sized(graph_at(sizes), sizes)
        return traced[key]

    base = {name: given.get(name, values[0]) for name, values in symbols.items()}
    refused: dict[str, str] = {}
    kept = dict(symbols)
    while kept:
        fixed = {name: base[name] for name in refused}
        try:
            graph = symbolic(lambda sizes, fixed=fixed: once_at({**fixed, **sizes}), kept)  # type: ignore[misc]
            _check_arguments(graph)
        except NotPolynomial as reason:
            name = list(kept)[-1]
            refused[name] = f"only at {base[name]}: {reason}"
            del kept[name]
        else:
            break
    else:
        graph = once_at(base)
    used = {name: sorted({dict(key)[name] for key in traced}) for name in kept}
    notes = {name: f"polynomial, traced at {', '.join(map(str, values))}" for name, values in used.items()}
    graph = _sized(graph, {name: value for name, value in {**given, **base}.items() if name not in kept})
    return replace(graph, provenance=replace(graph.provenance, symbols=tuple((notes | refused).items())))


def _check_arguments(graph: Graph) -> None:
    """Raise `NotPolynomial` when an argument that an op needs as a number has become a symbol."""
    for layer in graph.layers:
        if any(_is_open(value) for _, value in layer.attrs) and is_known(layer.op):
            try:
                problems_of(layer)
            except InputError as error:
                raise NotPolynomial(str(error)) from None


def _is_open(value: Any) -> bool:
    return isinstance(value, Polynomial) or (isinstance(value, tuple) and any(map(_is_open, value)))


def _sized(graph: Graph, sizes: Sizes) -> Graph:
    """The graph, with a record of the values of those sizes that are concrete in it."""
    return replace(graph, provenance=replace(graph.provenance, sizes=tuple(sorted(sizes.items()))))


def points(name: str, value: int) -> tuple[int, ...]:
    """Four values of a size to trace at: batches are small; others step down from `value`, which may be a maximum.

    >>> points("B", 0), points("L", 128), points("S", 224), points("T", 3)
    ((2, 3, 5, 7), (128, 96, 64, 32), (224, 192, 160, 128), (3, 4, 5, 6))
    """
    if name == "B":
        return BATCHES
    if value < 1:
        raise InputError(f"size {name} needs a value to trace at, as in symbols={{{name!r}: 64}}")
    step = min(32, value & -value)  # sizes are often cut into parts of 16 or 32: keep them divisible
    while step > 1 and value <= 3 * step:
        step //= 2
    return tuple(value + i * (-step if value > 3 * step else step) for i in range(4))


def _checked(graph: Graph, *, allow_unknown: bool) -> Graph:
    if not allow_unknown:
        check(graph.layers)
        return graph
    unknown = tuple((op, len(places)) for op, places in unknown_ops(graph.layers).items())
    return replace(graph, provenance=replace(graph.provenance, unknown_ops=unknown))


def is_free(layer: Layer) -> bool:
    """Whether a layer costs nothing, so that no stage need claim it."""
    return is_known(layer.op) and free_reason(layer) is not None


def batch_of(inputs: Inputs) -> int:
    """The size that most tensors have as their first dimension, of several the smallest; 0 when there is none."""
    for path, tensor in nested.tensors(inputs):
        if tensor.is_nested:
            raise InputError("is a nested tensor, which has no sizes", field=path or "inputs")
    sizes = Counter(tensor.shape[0] for _, tensor in nested.tensors(inputs) if tensor.ndim)
    return min(sizes, key=lambda size: (-sizes[size], size), default=0)


def rebatched(inputs: Inputs, batch: int, wanted: int) -> Inputs:
    """`inputs` with the rows of those that have the batch repeated or cut to another size; values stay valid ones."""
    if batch == wanted:
        return inputs

    def change(_: str, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.ndim or tensor.shape[0] != batch:
            return tensor
        if tensor.is_meta:
            return torch.empty((wanted, *tensor.shape[1:]), dtype=tensor.dtype, device="meta")
        return tensor.index_select(0, torch.arange(wanted, device=tensor.device) % batch)

    return nested.replace(inputs, change)


def staged(graph_module: fx.GraphModule, stages: Mapping[str, str] | None) -> Graph:
    """The concrete graph of a captured module, its stages also written to each node's ``meta["stage"]``."""
    graph = lower(graph_module)
    graph = inferred(graph) if stages is None else declared(graph, stages, is_free=is_free)
    by_name = {layer.name: str(layer.stage) for layer in graph.layers}
    for node in graph_module.graph.nodes:
        source = node.args[0] if node.name not in by_name and node.args else node
        node.meta["stage"] = by_name.get(getattr(source, "name", ""), "")
    return graph
