"""Programs of `torch.export`: made from a module, and run operation by operation so that each keeps its module path."""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn

from mmsim.tracing import nested
from mmsim.tracing.call_site import short
from mmsim.tracing.recorder import Recorder
from mmsim.tracing.swap import swapped


def call(module: nn.Module, inputs: Any) -> Any:
    """The module on keyword inputs (a dict), positional ones (a tuple) or a single one."""
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*inputs) if type(inputs) in (list, tuple) else module(inputs)


class _Plain(nn.Module):
    """A module whose results are dicts and tuples: the only ones that every exporter takes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return nested.plain(self.module(*args, **kwargs), lambda tensor: tensor)


def exported(module: nn.Module, inputs: Any) -> fx.GraphModule:
    """The module as an exported program; all of it on ``meta`` when a weight is there."""
    if any(parameter.is_meta for parameter in module.parameters()):
        with swapped(module, lambda _, value: _on_meta(value)):
            return _program(module, nested.replace(inputs, lambda _, tensor: tensor.to("meta")))
    return _program(module, inputs)


def _program(module: nn.Module, inputs: Any) -> fx.GraphModule:
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (_positional(inputs), {})
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its words on attributes that networks set while they run
        program = torch.export.export(_Plain(module), args, kwargs, strict=False).module()
    assert isinstance(program, fx.GraphModule)
    return program


def _on_meta(value: Tensor) -> Tensor:
    out = torch.empty_like(value, device="meta")
    return nn.Parameter(out, requires_grad=False) if isinstance(value, nn.Parameter) else out


def _positional(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if type(inputs) in (list, tuple) else (inputs,)


def is_program(module: nn.Module) -> bool:
    """Whether the module is an exported program: its operations know the module that they came from."""
    return isinstance(module, fx.GraphModule) and any("nn_module_stack" in node.meta for node in module.graph.nodes)


def replayed(program: nn.Module, inputs: Any, recorder: Recorder) -> Any:
    """Run an exported program, each operation under the path of its module."""
    assert isinstance(program, fx.GraphModule)
    tensors = [tensor for _, tensor in nested.tensors(inputs)]
    return _Placed(program, recorder).run(*tensors, enable_io_processing=False)


class _Placed(fx.Interpreter):
    def __init__(self, program: fx.GraphModule, recorder: Recorder) -> None:
        super().__init__(program)
        self.recorder = recorder

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_module":
            return None  # checks of the inputs' sizes, no part of the network
        stack = list((n.meta.get("nn_module_stack") or {}).items())
        if stack:
            key, (path, *_) = stack[-1]
            path = re.sub(r"^(L\[.self.\]\.?)?(module(\.|$))?", "", path)
            index = re.search(r"@(\d+)$", key)
            self.recorder.place(path.split("@")[0], int(index[1]) if index else 0, _source(n.meta.get("stack_trace")))
        return super().run_node(n)


def _source(trace: str | None) -> str:
    """The innermost line outside torch of a stack trace as text."""
    lines = re.findall(r'File "([^"]+)", line (\d+)', trace or "")
    own = [(file, line) for file, line in lines if "/torch/" not in file and "/mmsim/tracing/" not in file] or lines
    return f"{short(own[-1][0])}:{own[-1][1]}" if own else ""
