"""The executable fx graph of one run, as it grows: a node for each call, with where it came from.

`mmsim.tracing.observe` watches a module run and tells the recorder about each call. Tensors are known by identity:
the recorder remembers which node gave each one, and makes that node the argument of the calls that read it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias

import numpy
import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx._lazy_graph_module import _LazyGraphModule

from mmsim.errors import InputError
from mmsim.layer import op_kind
from mmsim.tracing import nested
from mmsim.tracing.call_site import call_site
from mmsim.tracing.replay import getitem, target_of

Kernel: TypeAlias = tuple[Any, tuple[Any, ...], dict[str, Any], Any]
"""One aten operation: the op, its arguments, keyword arguments and result."""

SYNCHRONISING = ("_local_scalar_dense", "nonzero", "unique", "_unique", "masked_select", "is_nonzero", "equal")
"""Kernels whose result the host must wait for before it goes on."""

_PLAIN = frozenset({
    bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None), type(...),
})  # fmt: skip


class Recorder:
    """Calls in, fx graph out. `root` gives the paths of modules."""

    def __init__(self, root: nn.Module) -> None:
        self.graph = fx.Graph()
        self.attributes: dict[str, Any] = {}  # what the graph's get_attr nodes read, by path
        self._weights: dict[int, tuple[str, Tensor]] = {}
        self._nodes: dict[int, fx.Node] = {}
        self._forms: dict[tuple[Any, ...], fx.Node] = {}
        self._alive: list[Any] = []  # tensors are found by id, so no id may be used again
        self._paths = _paths(root)
        self._stack: list[tuple[str, int]] = [("", 0)]
        self._calls: Counter[str] = Counter()
        self._source = ""

    def placeholder(self, path: str, tensor: Tensor) -> None:
        """`tensor` is the input at `path` of the arguments, such as ``image`` or ``batch.0``."""
        name = "".join(c if c.isalnum() else "_" for c in path)
        node = self.graph.placeholder(name if name[:1].isalpha() else f"input_{name}")
        node.meta["path"] = path or "input"
        self._bind(tensor, self._annotated(node, "input"))

    def weight(self, path: str, tensor: Tensor, value: Tensor) -> None:
        """`tensor` stands for `value`, the parameter or buffer at `path`; it gets a node when it is read."""
        self._alive.append(tensor)
        self._weights[id(tensor)] = (path, value)

    def enter(self, module: nn.Module, _: Any = None) -> None:
        """A module begins to run; of several paths it has the one below the module that calls it."""
        parent = self._stack[-1][0]
        paths = self._paths.get(id(module), (parent,))
        path = next((path for path in paths if path.startswith(parent + ".")), paths[0])
        self._stack.append((path, self._calls[path]))
        self._calls[path] += 1

    def leave(self, *_: Any) -> None:
        """The module that began last has returned or raised."""
        if len(self._stack) > 1:
            self._stack.pop()

    def place(self, path: str, call_index: int, source: str) -> None:
        """Say where the calls that follow come from, when no module runs that would."""
        self._stack = [(path, call_index)]
        self._source = source

    def call(
        self, function: Any, name: str, args: Any, kwargs: Any, out: Any, kernels: list[Kernel], sync: bool = False
    ) -> None:
        """Add a call, and bind the tensors that it gave to its node."""
        target, args = target_of(function, args)
        if out is None and target is not function:
            out = args[0]  # x[i] = y
        arguments = self._arguments(args), self._arguments(kwargs)
        node = self.graph.create_node("call_function", target, name=op_kind(name).split(".")[0].strip("_"))
        node.args, node.kwargs = arguments  # given above, they are searched for symbols that cannot be here
        self._annotated(node, name)
        node.meta["aten"] = tuple(str(op) for op, *_ in kernels)
        node.meta["sync"] = sync or any(map(_waits, kernels))
        node.meta["random"] = any(torch.Tag.nondeterministic_seeded in getattr(op, "tags", ()) for op, *_ in kernels)
        self._bind(out, node)

    def finish(self, out: Any) -> fx.GraphModule:
        """Close the graph with what the module returned, as dicts and tuples."""
        self.graph.output(nested.plain(out, self._node))
        graph_module = _LazyGraphModule(self.attributes, self.graph)  # writes its Python code when it is first run
        graph_module.meta["unread"] = {
            path: value
            for path, value in self._weights.values()
            if isinstance(value, nn.Parameter) and _target(path) not in self.attributes
        }
        return graph_module

    def _annotated(self, node: fx.Node, op: str) -> fx.Node:
        path, call_index = self._stack[-1]
        node.meta.update(op=op, module_path=path, call_index=call_index, source=self._source or call_site())
        return node

    def _bind(self, out: Any, node: fx.Node) -> None:
        node.meta["shape"], node.meta["dtype"] = _shape(out), _dtype(out)
        if isinstance(out, Tensor):
            self._nodes[id(out)] = node
            self._alive.append(out)
            if out.layout is torch.strided:
                self._forms[_place(out)] = node
        elif isinstance(out, (list, tuple)):
            for index, part in enumerate(out):
                if isinstance(part, (Tensor, list, tuple)):
                    item = self.graph.call_function(getitem, (node, index))
                    item.meta.update(node.meta, op="getitem", aten=(), sync=False, random=False)
                    self._bind(part, item)

    def _arguments(self, value: Any) -> Any:
        """`value` as arguments of an fx node."""
        if type(value) in _PLAIN:
            return value
        if isinstance(value, Tensor):
            return self._node(value)
        if isinstance(value, numpy.generic):  # numpy's own float is a float
            return value.item()
        if isinstance(value, tuple(_PLAIN)):
            return value
        if isinstance(value, (tuple, list)):
            parts = (self._arguments(part) for part in value)
            return list(parts) if isinstance(value, list) else tuple(parts)
        if isinstance(value, dict):
            return {key: self._arguments(part) for key, part in value.items()}
        if isinstance(value, slice):
            return slice(*(self._arguments(part) for part in (value.start, value.stop, value.step)))
        if any(isinstance(tensor, FakeTensor) for _, tensor in nested.tensors(value)):
            raise InputError(f"{type(value).__name__} hides a tensor at {call_site()}")
        return self._attribute(f"_constant_{len(self.attributes)}", value, "constant")

    def _node(self, tensor: Tensor) -> fx.Node:
        """The node that gave `tensor`: a call, an input, a weight, or a constant found on the way."""
        node = self._nodes.get(id(tensor))
        if node is None and id(tensor) not in self._weights and tensor.layout is torch.strided:
            node = self._forms.get(_place(tensor))  # autograd keeps tensors, and gives them back as new objects
        if node is None and isinstance(tensor, FakeTensor) and id(tensor) not in self._weights:
            raise InputError(f"a tensor {list(tensor.shape)} of unknown origin at {call_site()}")
        if node is None:
            path, value = self._weights.get(id(tensor), (None, tensor))
            op = "weight" if isinstance(value, nn.Parameter) else "buffer" if path else "constant"
            node = self._attribute(path or f"_constant_{len(self.attributes)}", value, op)
            self._bind(tensor, node)
        return node

    def _attribute(self, path: str, value: Any, op: str) -> fx.Node:
        target = _target(path)
        self.attributes[target] = value
        node = self._annotated(self.graph.create_node("get_attr", target), op)
        node.meta["path"] = path
        return node


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor's values lie, and how they are read."""
    shape, stride = tuple(tensor.shape), tensor.stride()
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), shape, stride, tensor.dtype


def _target(path: str) -> str:
    """`path` as a graph module can hold it: a tensor in a user's dict may be called ``cpu``, which modules have."""
    return ".".join(f"{part}_" if hasattr(nn.Module, part) else part for part in path.split("."))


def _waits(kernel: Kernel) -> bool:
    """Whether the host needs the result before it can go on: a value, or a size that depends on values."""
    op, args, *_ = kernel
    if not isinstance(op, torch._ops.OpOverload):
        return False
    if op._opname in ("index", "index_put", "index_put_"):
        return any(isinstance(index, Tensor) and index.dtype is torch.bool for index in args[1])
    return str(op._opname).startswith(SYNCHRONISING)


def _paths(root: nn.Module) -> dict[int, tuple[str, ...]]:
    """Every path at which each module is registered."""
    paths: dict[int, tuple[str, ...]] = {}
    for path, module in root.named_modules(remove_duplicate=False):
        paths[id(module)] = (*paths.get(id(module), ()), path)
    return paths


def _shape(out: Any) -> Any:
    """The shape of a tensor, the shapes of the tensors of a list."""
    if isinstance(out, Tensor):
        return tuple(out.shape)
    return tuple(_shape(part) for part in out if part is not None) if isinstance(out, (list, tuple)) else None


def _dtype(out: Any) -> Any:
    if isinstance(out, Tensor):
        return str(out.dtype).removeprefix("torch.")
    return tuple(_dtype(part) for part in out if part is not None) if isinstance(out, (list, tuple)) else None
