"""Any module, as an executable and annotated fx graph: the routes, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmsim.errors import InputError
from mmsim.tracing import nested
from mmsim.tracing.observe import observed
from mmsim.tracing.recorder import Recorder
from mmsim.tracing.shadow import Shadows, is_small

Route = str
ROUTES: tuple[Route, ...] = ("recorder", "recorder-real", "export")


def capture(
    module: nn.Module, inputs: Any, *, route: Route | None = None, whole: Callable[[str], bool] = lambda name: True
) -> fx.GraphModule:
    """Run `module` once on `inputs` and return what it did, as an executable `torch.fx.GraphModule`.

    `inputs` are keyword arguments (a dict), positional ones (a tuple) or a single tensor. On the primary route nothing
    is computed and no weight is read: tensors are fake, but integers keep their values, so that control flow on them
    goes its true way. Weights may be on the ``meta`` device. The routes are tried in turn, or only the one named:

    - ``recorder``: one run on fake tensors.
    - ``recorder-real``: one real run, for control flow that depends on the values of activations.
    - ``export``: `torch.export`, which sees aten operations only.

    Every node has in its ``meta``: ``op`` (qualified name), ``shape``, ``dtype``, ``module_path``, ``call_index``,
    ``source``, ``aten`` (the kernels it ran), ``sync`` (whether the host waited for a value). The route taken is
    ``graph_module.meta["route"]``. Run it with `run`. An op whose name is not `whole` is recorded as its kernels.
    """
    routes = ROUTES if route is None else (route,)
    failures: list[tuple[str, Exception]] = []
    for name in routes:
        try:
            graph_module = _ROUTES[name](module, inputs, whole)
        except Exception as error:
            failures.append((name, error))
        else:
            graph_module.meta["route"] = name
            return graph_module
    raise InputError("; ".join(f"{name}: {_line(error)}" for name, error in failures)) from failures[0][1]


def run(graph_module: fx.GraphModule, inputs: Any) -> Any:
    """Execute a captured graph on `inputs` of the form that it was captured with; results as dicts and tuples."""
    return graph_module(*(tensor for _, tensor in nested.tensors(inputs)))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _recorder(module: nn.Module) -> Recorder:
    recorder = Recorder(module)
    for prefix, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            for name, value in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
                recorder.weight(f"{prefix}.{name}" if prefix else name, value, value)
    return recorder


def _record_fake(module: nn.Module, inputs: Any, whole: Callable[[str], bool]) -> fx.GraphModule:
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    shadows = Shadows(fake_mode)
    recorder = _recorder(module)
    fakes: dict[int, Tensor] = {}

    def fake(path: str, value: Tensor) -> Tensor:
        if id(value) not in fakes:
            fakes[id(value)] = out = _fake(fake_mode, value)
            if not (isinstance(value, nn.Parameter) or value.is_meta) and is_small(value):
                shadows.learn(out, value.detach().cpu().clone())
            recorder.weight(path, out, value)
        return fakes[id(value)]

    def fake_input(path: str, value: Tensor) -> Tensor:
        out = _fake(fake_mode, value)
        if not (value.is_floating_point() or value.is_complex() or value.is_meta):
            shadows.learn(out, value.detach().cpu().clone())
        recorder.placeholder(path, out)
        return out

    given = nested.replace(inputs, fake_input)
    with swapped(module, fake), fake_mode, torch.no_grad(), observed(recorder, shadows, whole):
        out = _call(module, given)
    return recorder.finish(out)


def _record_real(module: nn.Module, inputs: Any, whole: Callable[[str], bool]) -> fx.GraphModule:
    recorder = _recorder(module)
    for path, tensor in nested.tensors(inputs):
        recorder.placeholder(path, tensor)
    known = swapped(module, lambda path, value: _known(recorder, path, value))
    with known, torch.no_grad(), observed(recorder, None, whole):
        out = _call(module, inputs)
    return recorder.finish(out)


def _known(recorder: Recorder, path: str, value: Tensor) -> Tensor:
    if value.is_meta:
        raise InputError(f"{path} has no values")
    recorder.weight(path, value, value)
    return value


def _export(module: nn.Module, inputs: Any, whole: Callable[[str], bool]) -> fx.GraphModule:
    raise NotImplementedError


_ROUTES = {"recorder": _record_fake, "recorder-real": _record_real, "export": _export}


def _call(module: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*inputs) if type(inputs) in (list, tuple) else module(inputs)


def _fake(fake_mode: FakeTensorMode, value: Tensor) -> Tensor:
    """A tensor like `value` without data, on the CPU: kernels for other devices need not be there."""
    with fake_mode:
        out = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cpu")
        return nn.Parameter(out, requires_grad=False) if isinstance(value, nn.Parameter) else out


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
