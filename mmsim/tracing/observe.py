"""Watching a module run: whole layers as the user wrote them, and the aten kernels below.

Three observers work together. A function mode sees the functions that Python calls (``linear``, ``lstm``,
``scaled_dot_product_attention``). A dispatch mode below it sees the kernels of each, and whatever never was a Python
function (script modules, custom C++ calls, the backward pass), recorded as aten nodes. Hooks on modules keep the path.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from mmsim.tracing.eager import as_eager
from mmsim.tracing.packed import PACKED
from mmsim.tracing.recorder import Kernel, Recorder
from mmsim.tracing.shadow import Shadows

_DEVICE = torch.ops.prim.device.default
_NO_KERNELS = ("prim", "profiler")
"""Namespaces of questions about a tensor, and of the ranges that a network marks for a profiler."""

COMPOSITES = frozenset({functional.multi_head_attention_forward})
"""Functions recorded as their parts: their own name hides the products inside."""

GRADIENTS = frozenset({torch.autograd.grad, torch.autograd.backward, Tensor.backward})
"""Functions recorded as their kernels: a captured graph runs without the history that they follow."""


@contextmanager
def observed(recorder: Recorder, shadows: Shadows | None, whole: Callable[[str], bool]) -> Iterator[None]:
    """Record all that runs inside. An op whose name is not `whole` is recorded as its kernels."""
    functions = _Functions(recorder, shadows, whole)
    with ExitStack() as stack:
        stack.enter_context(as_eager(shadows))
        stack.callback(register_module_forward_pre_hook(recorder.enter).remove)
        stack.callback(register_module_forward_hook(recorder.leave, always_call=True).remove)
        stack.enter_context(_Kernels(functions))
        stack.enter_context(functions)
        yield


class _Functions(TorchFunctionMode):
    """Sees each torch function that Python calls, the outermost only."""

    def __init__(self, recorder: Recorder, shadows: Shadows | None, whole: Callable[[str], bool]) -> None:
        super().__init__()
        self.recorder, self.shadows, self.whole = recorder, shadows, whole
        self.kernels: list[Kernel] | None = None  # of the function that runs now
        self.silent = False  # a kernel that no Python function called is run: its call in Python is not the user's

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.silent or torch._C._functorch.peek_interpreter_stack() is not None:
            return function(*args, **kwargs)  # inside vmap only the kernels are real operations
        if function in COMPOSITES:
            with self:
                return _opened(function)(*args, **kwargs)
        if wrapper := next((cls for cls in types if not issubclass(cls, Tensor)), None):
            with self:  # a class that takes torch's functions: what it calls in turn is what happens
                return wrapper.__torch_function__(function, types, args, kwargs)
        kernels: list[Kernel] = []
        self.kernels = kernels
        try:
            args, kwargs, out, sync = self._run(function, args, kwargs)
        finally:
            self.kernels = None
        if kernels or sync or _holds_tensor(out):
            self._record(function, args, kwargs, out, kernels, sync)
        return out

    def kernel(self, *kernel: Any) -> None:
        """A kernel ran: part of the function that runs now, or a call of its own."""
        if self.kernels is not None:
            self.kernels.append(kernel)
        else:
            op, args, kwargs, out = kernel
            self.recorder.call(op, str(op), args, kwargs, out, [kernel])

    def _record(self, function: Any, args: Any, kwargs: Any, out: Any, kernels: list[Kernel], sync: bool) -> None:
        name = op_name(function)
        derived = torch.is_grad_enabled() or function in GRADIENTS  # autograd keeps what each kernel gave
        if not kernels or (self.whole(name) and not derived and not torch.is_autocast_enabled("cpu")):
            self.recorder.call(function, name, args, kwargs, out, kernels, sync)
            return
        for op, kernel_args, kernel_kwargs, kernel_out in kernels:
            self.recorder.call(op, str(op), kernel_args, kernel_kwargs, kernel_out, [])

    def _run(self, function: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any, bool]:
        """Arguments as they were used, the result, and whether the host waited for a value."""
        if self.shadows is None:
            return args, kwargs, function(*args, **kwargs), False
        name = getattr(function, "__name__", "")
        if name in _HOST_VALUES and (real := self.shadows.of(args[0])) is not None:
            return args, kwargs, _HOST_VALUES[name](real), True
        if name in PACKED and (out := PACKED[name](self.shadows, *args, **kwargs)) is not None:
            return args, kwargs, out, False
        if name in ("tensor", "as_tensor"):
            args = (_host(self.shadows, args[0]), *args[1:]) if args else args
        try:
            return args, kwargs, function(*args, **kwargs), False
        except (TypeError, RuntimeError):
            host = _host(self.shadows, args), _host(self.shadows, kwargs)
            if self.kernels is None or _same(host, (args, kwargs)):
                raise
        self.kernels.clear()
        return *host, function(*host[0], **host[1]), True


class _Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each aten kernel, and runs it: on fakes with their shadows, or for real."""

    supports_higher_order_operators = True  # flex_attention and its kin come here too, as one kernel each

    def __init__(self, functions: _Functions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.functions = functions

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; otherwise torch wraps each call, and imports its compiler (1 s) for that."""
        return False

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if op is _DEVICE and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # torch asks it of every argument of every kernel
        if op.namespace in _NO_KERNELS:
            return op(*args, **kwargs)
        shadows = self.functions.shadows
        before, self.functions.silent = self.functions.silent, True
        try:
            known = shadows if isinstance(op, torch._ops.OpOverload) else None
            out = known.call(op, args, kwargs) if known else op(*args, **kwargs)
        finally:
            self.functions.silent = before
        self.functions.kernel(op, args, kwargs, out)
        return out


@lru_cache(maxsize=4096)
def op_name(function: Any) -> str:
    """torch's own qualified name, such as ``torch.nn.functional.linear`` or ``torch.Tensor.add_``."""
    if isinstance(function, types.MethodWrapperType):  # of an attribute: torch.Tensor.T.__get__
        return f"torch.Tensor.{function.__self__.__name__}.{function.__name__}"  # type: ignore[attr-defined]
    name = resolve_name(function)
    if name is None:
        module = (getattr(function, "__module__", None) or "torch").replace("torch._C._VariableFunctions", "torch")
        name = f"{module}.{getattr(function, '__name__', type(function).__name__)}"
    return str(name).replace("torch._VF.", "torch.")


@lru_cache
def _opened(function: types.FunctionType) -> types.FunctionType:
    """A copy of a torch function that does not report itself to modes, so that they see its parts."""
    silent = {name: lambda *_: False for name in function.__globals__ if name.startswith("has_torch_function")}
    copy = types.FunctionType(function.__code__, {**function.__globals__, **silent}, function.__name__)
    copy.__defaults__, copy.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return copy


_HOST_VALUES: dict[str, Callable[[Tensor], Any]] = {
    "tolist": Tensor.tolist,
    "item": Tensor.item,
    "numpy": Tensor.numpy,
    "__array__": Tensor.numpy,
}


def _host(shadows: Shadows, value: Any) -> Any:
    """`value` with single integers of known value as Python numbers, where torch insists on those."""
    if isinstance(value, Tensor):
        real = shadows.of(value) if value.ndim == 0 else None
        return value if real is None or real.is_floating_point() else real.item()
    if type(value) in (list, tuple):
        return type(value)(_host(shadows, part) for part in value)
    if isinstance(value, dict):
        return {key: _host(shadows, part) for key, part in value.items()}
    return value


def _same(a: Any, b: Any) -> bool:
    """Whether two nested values hold the same objects."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return all(map(_same, a, b))
    if isinstance(a, dict):
        return all(_same(a[key], b[key]) for key in a)
    return a is b or not isinstance(a, Tensor)


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensor(part) for part in value)
    return isinstance(value, Tensor)
