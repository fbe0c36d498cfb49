"""A module with other tensors in the place of its own, for the time of one run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmsim.tracing import nested


def fake(fake_mode: FakeTensorMode, value: Tensor) -> Tensor:
    """A tensor like `value` without data, on the CPU: kernels for other devices need not be there."""
    shape = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    out = FakeTensor(fake_mode, shape, torch.device("cpu"))
    if isinstance(value, nn.Parameter):
        out._is_param = True  # isinstance(out, nn.Parameter) is true then
    return out


@contextmanager
def swapped(module: nn.Module, change: Callable[[str, Tensor], Any]) -> Iterator[None]:
    """The module with every parameter, buffer and tensor attribute changed; it is as before when left.

    What it set while it ran (caches of its own, flags that say so) goes too: the run's tensors are worth nothing later.
    """
    parts = [(path, part) for path, part in module.named_modules() if not isinstance(part, torch.jit.ScriptModule)]
    before = [(place, _kind(place)(place)) for _, part in parts for place in _places(part)]
    misses = {cache: cache.cache_info().misses for cache in _caches(part for _, part in parts)}
    try:
        for prefix, part in parts:
            for name, value in _tensor_attributes(part):
                path = f"{prefix}.{name}" if prefix else name
                table = part._parameters if name in part._parameters else part._buffers
                (table if name in table else vars(part))[name] = nested.replace(value, change, path)
        yield
    finally:
        for place, content in before:
            place.clear()
            (place.extend if isinstance(place, list) else place.update)(content)
        for cache, count in misses.items():
            if cache.cache_info().misses > count:
                cache.cache_clear()


def _places(part: nn.Module) -> list[Any]:
    """Where a module keeps what it has: its attributes, and the dicts, lists and sets among them."""
    return [vars(part), *(value for value in vars(part).values() if isinstance(value, (dict, list, set)))]


def _kind(place: Any) -> type:
    return next(kind for kind in (dict, list, set) if isinstance(place, kind))


def _caches(parts: Iterable[nn.Module]) -> set[Any]:
    """The `functools.lru_cache` functions in the classes of the modules and beside them, or wrapped by one there."""
    classes = {cls for part in parts for cls in type(part).__mro__ if not cls.__module__.startswith("torch.")}
    places = [*classes, *(sys.modules[name] for name in {cls.__module__ for cls in classes} & sys.modules.keys())]
    found = [getattr(value, "__func__", value) for place in places for value in vars(place).values() if callable(value)]
    for function in [value for value in found if isinstance(value, FunctionType)]:
        found += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return {value for value in found if isinstance(value, _lru_cache_wrapper)}


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _tensor_attributes(part: nn.Module) -> list[tuple[str, Any]]:
    """Parameters, buffers, and tensors (or lists and dicts of them) kept as plain attributes."""
    plain = [(name, value) for name, value in vars(part).items() if name not in _TABLES and _is_tensors(value)]
    registered = [*part._parameters.items(), *part._buffers.items()]
    return [(name, value) for name, value in registered if value is not None] + plain


def _is_tensors(value: Any) -> bool:
    """A tensor, or a list or dict of them, kept as a plain attribute."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(part, Tensor) for part in parts)


_TABLES = frozenset(nn.Module().__dict__)
