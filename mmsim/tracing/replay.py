"""The few Python statements on tensors that are no functions, as functions that a captured graph can call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import Tensor


def getitem(values: Any, index: int) -> Any:
    """One result of several; no operation on tensors."""
    return values[index]


def setitem(tensor: Tensor, index: Any, value: Any) -> Tensor:
    """``tensor[index] = value``; returns the tensor written."""
    tensor[index] = value
    return tensor


def set_attribute(tensor: Tensor, name: str, value: Any) -> Tensor:
    """``tensor.data = value`` and the like; returns the tensor written."""
    setattr(tensor, name, value)
    return tensor


def target_of(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What an fx node calls, and with which arguments, to repeat ``function(*args)``."""
    name = getattr(function, "__name__", "")
    if name in ("__get__", "__set__"):
        attribute = function.__self__.__name__  # type: ignore[attr-defined]
        return (getattr, (args[0], attribute)) if name == "__get__" else (set_attribute, (args[0], attribute, args[1]))
    if name == "__setitem__":
        return setitem, args
    if name == "__deepcopy__":
        return Tensor.clone, args[:1]  # the other argument is what else was copied along
    return _by_name(function), args


@lru_cache(maxsize=4096)
def _by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as its name leads to it: ``Tensor.__pow__`` is a wrapper that calls itself ``torch._tensor.pow``."""
    inner: Callable[..., Any] | None = getattr(function, "__wrapped__", None)
    if inner is None or not str(getattr(function, "__module__", "")).startswith("torch"):
        return function
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return function if found is function else inner
