"""Any module, as an executable and annotated fx graph: the routes, in the order in which they are tried."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmsim.errors import InputError
from mmsim.tracing import nested
from mmsim.tracing.call_site import raised_at
from mmsim.tracing.export import call, exported, is_program, replayed
from mmsim.tracing.observe import observed
from mmsim.tracing.recorder import Recorder
from mmsim.tracing.shadow import Shadows, is_small
from mmsim.tracing.swap import fake, swapped
from mmsim.tracing.weightless import random_like

Route = str
MAX_REAL_BYTES = 8 * 2**30
ROUTES: tuple[Route, ...] = ("recorder", "recorder-real", "export")


def capture(
    module: nn.Module, inputs: Any, *, route: Route | None = None, whole: Callable[[str], bool] = lambda name: True
) -> fx.GraphModule:
    """Run `module` once on `inputs` and return what it did, as an executable `torch.fx.GraphModule`.

    `inputs` are keyword arguments (a dict), positional ones (a tuple) or a single tensor. On the primary route nothing
    is computed and no weight is read: tensors are fake, but integers keep their values, so that control flow on them
    goes its true way. Weights may be on the ``meta`` device. The routes are tried in turn, or only the one named:

    - ``recorder``: one run on fake tensors.
    - ``recorder-real``: one real run, for control flow that depends on the values of activations; tensors on ``meta``
      get random ones.
    - ``export``: `torch.export`, which sees aten operations only.

    Every node has in its ``meta``: ``op`` (qualified name), ``shape``, ``dtype``, ``module_path``, ``call_index``,
    ``source``, ``aten`` (the kernels it ran), ``sync`` (whether the host waited for a value). The route taken is
    ``graph_module.meta["route"]``. Run it with `run`. An op whose name is not `whole` is recorded as its kernels.
    """
    routes = ROUTES if route is None else (route,)
    failures: list[tuple[str, Exception]] = []
    for name in routes:
        try:
            with uncollected(), _quiet():
                graph_module = _ROUTES[name](module, inputs, whole)
        except Exception as error:
            failures.append((name, error))
        else:
            graph_module.meta["route"] = name
            return graph_module
    raise InputError(_refusal(failures)) from failures[0][1]


def run(graph_module: fx.GraphModule, inputs: Any) -> Any:
    """Execute a captured graph on `inputs` of the form that it was captured with; results as dicts and tuples."""
    return graph_module(*(tensor for _, tensor in nested.tensors(inputs)))


def _refusal(failures: list[tuple[Route, Exception]]) -> str:
    """What the module itself raises, where all routes end in the same line of it; else what each route says."""
    places = {(type(error), raised_at(error)) for _, error in failures}
    if len(failures) == len(ROUTES) and len(places) == 1:
        error = dict(failures)["recorder-real"]
        return " at ".join(filter(None, (_line(error), raised_at(error))))
    return "; ".join(f"{name}: {_line(error)}" for name, error in failures)


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
    world = _Fakes(module)
    given = nested.replace(inputs, world.input)
    watched = observed(world.recorder, world.shadows, whole)
    with _two_threads(), swapped(module, world.weight), world.mode, torch.no_grad(), watched:
        out = replayed(module, given, world.recorder) if is_program(module) else call(module, given)
    return world.recorder.finish(out)


def _record_real(module: nn.Module, inputs: Any, whole: Callable[[str], bool]) -> fx.GraphModule:
    recorder = _recorder(module)
    values = _Values()

    def known(path: str, value: Tensor) -> Tensor:
        recorder.weight(path, values.of(path, value), value)
        return values.of(path, value)

    def given(path: str, value: Tensor) -> Tensor:
        recorder.placeholder(path, values.of(path, value))
        return values.of(path, value)

    inputs = nested.replace(inputs, given)
    with swapped(module, known), torch.no_grad(), observed(recorder, None, whole):
        out = replayed(module, inputs, recorder) if is_program(module) else call(module, inputs)
    return recorder.finish(out)


class _Values:
    """Tensors with values: those on ``meta`` have none, and get random ones of a fixed seed."""

    def __init__(self) -> None:
        self._made: dict[int, Tensor] = {}
        self._bytes = 0
        self._generator = torch.Generator().manual_seed(0)

    def of(self, path: str, value: Tensor) -> Tensor:
        """`value`, or a random tensor in its place; one for each."""
        if not value.is_meta:
            return value
        if id(value) not in self._made:
            self._bytes += value.numel() * value.element_size()
            if self._bytes > MAX_REAL_BYTES:
                raise InputError(f"{path}: a real run would take more than {MAX_REAL_BYTES >> 30} GiB for weights")
            self._made[id(value)] = random_like(value, self._generator)
        return self._made[id(value)]


def _export(module: nn.Module, inputs: Any, whole: Callable[[str], bool]) -> fx.GraphModule:
    """`torch.export`, and then its program recorded as it runs on fake tensors."""
    return _record_fake(exported(module, inputs), inputs, whole)


_ROUTES = {"recorder": _record_fake, "recorder-real": _record_real, "export": _export}


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's search for cyclic garbage: a trace makes many objects that stay, and each search through them
    and through all that torch has loaded takes up to a second."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def _two_threads() -> Iterator[None]:
    """torch picks a convolution's kernel, and with it its result's layout, by the number of threads: a graph must not
    depend on the machine that it was captured on."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's tracebacks on standard error for each fake kernel that refuses: the error itself says why."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class _FakeMode(FakeTensorMode):  # type: ignore[no-untyped-call]
    """torch's fake mode without the wrapper around each kernel that keeps its compiler away: none runs here."""

    __torch_dispatch__ = getattr(FakeTensorMode.__torch_dispatch__, "__wrapped__", FakeTensorMode.__torch_dispatch__)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Fakes:
    """The tensors of a fake run: inputs and weights without data, integers and small constants with their values."""

    def __init__(self, module: nn.Module) -> None:
        self.mode = _FakeMode(allow_non_fake_inputs=True)
        self.shadows = Shadows(self.mode)
        self.recorder = _recorder(module)
        self._weights: dict[int, Tensor] = {}

    def input(self, path: str, value: Tensor) -> Tensor:
        """The fake of an input."""
        out = fake(self.mode, value)
        if not (value.is_floating_point() or value.is_complex() or value.is_meta):
            self.shadows.learn(out, value.detach().cpu().clone())
        self.recorder.placeholder(path, out)
        return out

    def weight(self, path: str, value: Tensor) -> Tensor:
        """The fake of a parameter, buffer or constant; one for each, however often it is registered."""
        if id(value) not in self._weights:
            self._weights[id(value)] = out = fake(self.mode, value)
            if not (isinstance(value, nn.Parameter) or value.is_meta) and is_small(value):
                self.shadows.learn(out, value.detach().cpu().clone())
            self.recorder.weight(path, out, value)
        return self._weights[id(value)]
