"""A module with other tensors in the place of its own, for the time of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """The module with every parameter, buffer and tensor attribute changed; the tensors it had are back when left."""
    parts = [(path, part) for path, part in module.named_modules() if not isinstance(part, torch.jit.ScriptModule)]
    before = [[dict(table) for table in (part._parameters, part._buffers, vars(part))] for _, part in parts]
    try:
        for prefix, part in parts:
            for name, value in _tensor_attributes(part):
                path = f"{prefix}.{name}" if prefix else name
                table = part._parameters if name in part._parameters else part._buffers
                (table if name in table else vars(part))[name] = nested.replace(value, change, path)
        yield
    finally:
        for (_, part), (parameters, buffers, attributes) in zip(parts, before, strict=True):
            part._parameters.update(parameters)
            part._buffers.update(buffers)
            _restore(vars(part), attributes)


def _tensor_attributes(part: nn.Module) -> list[tuple[str, Any]]:
    """Parameters, buffers, and tensors (or lists and dicts of them) kept as plain attributes."""
    plain = [(name, value) for name, value in vars(part).items() if name not in _TABLES and _is_tensors(value)]
    registered = [*part._parameters.items(), *part._buffers.items()]
    return [(name, value) for name, value in registered if value is not None] + plain


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    """Undo what holds tensors: the run's tensors are worth nothing after it. Flags that the module set stay."""
    for name, value in list(now.items()):
        if name not in _TABLES and value is not before.get(name) and nested.holds_tensor(value):
            if name in before:
                now[name] = before[name]
            else:
                del now[name]


def _is_tensors(value: Any) -> bool:
    """A tensor, or a list or dict of them, kept as a plain attribute."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(part, Tensor) for part in parts)


_TABLES = frozenset(nn.Module().__dict__)
