"""The arguments of a torch call under torch's own argument names.

Python functions have signatures. Builtins have none, but nearly all carry the name of an aten operator, whose schema
names the arguments; the overload that takes the given values is chosen as torch's own parser does: the first that fits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import fx
from torch._jit_internal import boolean_dispatched

from mmsim.tracing import replay

_FIXED: dict[Any, tuple[str, ...]] = {
    getattr: ("self", "name"),
    replay.setitem: ("self", "indices", "value"),
    replay.set_attribute: ("self", "name", "value"),
    torch.Tensor.__getitem__: ("self", "indices"),
    torch.ops.higher_order.flex_attention: ("query", "key", "value", "score_mod", "block_mask", "scale"),
}
_DUNDER = {"invert": "bitwise_not", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}


def bind(node: fx.Node) -> dict[str, Any]:
    """Argument name -> value, as far as the caller gave them; nodes stand for tensors."""
    function, args, kwargs = node.target, node.args, dict(node.kwargs)
    if function in _FIXED:
        return dict(zip(_FIXED[function], args, strict=False))
    if isinstance(function, torch._ops.OpOverload):
        return {**dict(zip((a.name for a in function._schema.arguments), args, strict=False)), **kwargs}
    signature = _signature(function)
    if signature is not None and not _only_variadic(signature):
        return _from_signature(signature, args, kwargs)
    for schema in _schemas(function):
        if (bound := _fit(schema.arguments, args, kwargs)) is not None:
            return _python_names(node.meta["op"], bound)
    positional = {("self" if i == 0 else f"args.{i}"): value for i, value in enumerate(args)}
    return _python_names(node.meta["op"], {**positional, **kwargs})


def _python_names(op: str, bound: dict[str, Any]) -> dict[str, Any]:
    """A function's first argument is called ``input`` in Python, a method's ``self``."""
    if op.startswith("torch.Tensor.") or "self" not in bound:
        return bound
    return {("input" if name == "self" else name): value for name, value in bound.items()}


@lru_cache(maxsize=4096)
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    if not inspect.isfunction(function):
        return None
    if function in boolean_dispatched:  # max_pool2d and its kin: (*args, **kwargs) at the front
        function = boolean_dispatched[function]["if_false"]
    try:
        return inspect.signature(function)
    except ValueError:  # a wrapper around a builtin, such as Tensor.__pow__
        return None


def _only_variadic(signature: inspect.Signature) -> bool:
    """``einsum(*args)``: the schema knows more."""
    return all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values())


def _from_signature(signature: inspect.Signature, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return {**{f"args.{i}": value for i, value in enumerate(args)}, **kwargs}
    out: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            out.update(value)
        elif kind is inspect.Parameter.VAR_POSITIONAL and len(value) == 1 and isinstance(value[0], (list, tuple)):
            out[name] = value[0]
        else:
            out[name] = value
    return out


@lru_cache(maxsize=4096)
def _schemas(function: Callable[..., Any]) -> tuple[Any, ...]:
    """The aten overloads of the same name."""
    name = getattr(function, "__name__", "")
    plain = name.strip("_")
    for candidate in (name, plain, _DUNDER.get(plain, ""), plain.removeprefix("i") + "_"):
        found = torch._C._jit_get_schemas_for_operator(f"aten::{candidate}") if candidate else []
        if found:
            return tuple(found)
    return ()


def _fit(arguments: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """`args` and `kwargs` bound to the arguments of one schema, or None when it does not take them."""
    declared = {argument.name: argument for argument in arguments}
    named = {("self" if key == "input" and "self" in declared else key): value for key, value in kwargs.items()}
    if not set(named) <= set(declared) | _TENSOR_OPTIONS:
        return None
    positional = [argument for argument in arguments if argument.name not in named and not argument.kwarg_only]
    values = _gathered(positional, list(args))
    if len(values) > len(positional):
        return None
    bound = {argument.name: value for argument, value in zip(positional, values, strict=False)} | named
    fits = all(_takes(declared[name], value) for name, value in bound.items() if name in declared)
    missing = [a for a in arguments if a.name not in bound and not a.has_default_value()]
    return bound if fits and not missing else None


def _gathered(arguments: list[Any], values: list[Any]) -> list[Any]:
    """A list given loosely as a list: ``x.view(2, -1)``, ``torch.zeros(2, 3)``, ``einsum(text, a, b)``."""
    if arguments and len(values) >= len(arguments) and (declared := _declared(arguments[-1])).startswith("List["):
        part = fx.Node if "Tensor" in declared else int
        rest = values[len(arguments) - 1 :]
        loose = len(rest) > 1 or part is fx.Node or arguments[-1].N is None  # int[1] takes a single number as it is
        if loose and all(isinstance(item, part) for item in rest):
            return [*values[: len(arguments) - 1], tuple(rest)]
    return values


_TENSOR_OPTIONS = {"dtype", "layout", "device", "pin_memory", "requires_grad", "memory_format"}


def _declared(argument: Any) -> str:
    """The argument's type, as ``Tensor`` or ``List[int]``, without Optional."""
    declared = str(argument.type)
    return declared.removeprefix("Optional[").removesuffix("]") if declared.startswith("Optional[") else declared


_NOT_NUMBERS = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}  # int in schemas


def _takes(argument: Any, value: Any) -> bool:
    """Whether the argument's declared type admits the value, as far as overloads differ in it."""
    declared = _declared(argument)
    if value is None:
        return str(argument.type).startswith("Optional")
    if argument.name in _NOT_NUMBERS:
        return isinstance(value, _NOT_NUMBERS[argument.name])
    if declared == "Tensor":
        return isinstance(value, fx.Node)
    if declared.startswith(("List[Tensor", "List[Optional[Tensor")):
        return isinstance(value, (list, tuple)) and all(part is None or isinstance(part, fx.Node) for part in value)
    if declared.startswith("List["):
        return isinstance(value, (list, tuple, int))
    if declared in ("int", "number", "Scalar"):
        return isinstance(value, (int, float, complex))
    if declared == "float":
        return isinstance(value, (int, float))
    if declared == "bool":
        return isinstance(value, bool)
    if declared == "str":
        return isinstance(value, str)
    return not isinstance(value, fx.Node)
