"""Fake kernels run once: what a kernel gave is given again for tensors of the same form and the same other arguments.

A network repeats its blocks, so most of its calls are equal. torch remembers fake results too, but asks much of every
argument first (0.1 ms a call); here a tensor's form is its sizes, strides, place in its storage, and dispatch keys
(device, layout, conjugation).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch

Key = tuple[Any, ...]
Given = tuple[FakeTensor, ...]
Recipe = Callable[[Given], Any]
"""The result of a kernel out of the tensors that it is given."""


class Memo:
    """Results of the fake kernels of one run."""

    def __init__(self, fake_mode: FakeTensorMode) -> None:
        self.fake_mode = fake_mode
        self._recipes: dict[Key, Recipe | None] = {}  # None: not to be repeated

    def call(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``op(*args, **kwargs)``, run only when it was not yet run on arguments like these."""
        given: list[FakeTensor] = []
        with torch._C.DisableTorchFunction():
            key = self._key(op, args, kwargs, given)
        if key is None:
            return op(*args, **kwargs)
        if key in self._recipes:
            recipe = self._recipes[key]
            return recipe(tuple(given)) if recipe else op(*args, **kwargs)
        out = op(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            unchanged = self._key(op, args, kwargs, []) == key
            self._recipes[key] = self._recipe(out, tuple(given)) if unchanged else None
        return out

    def _key(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[FakeTensor]) -> Key | None:
        """All that the result depends on; the tensors among the arguments are added to `given`."""
        if torch.Tag.inplace_view in op.tags or op.namespace != "aten":
            return None
        try:
            key = (
                op,
                torch.get_default_dtype(),
                torch.is_inference_mode_enabled(),
                self._forms(args, given),
                self._forms(kwargs.items(), given),
            )
            hash(key)
        except (_Unlike, TypeError):
            return None
        return key if given else None

    def _forms(self, values: Any, given: list[FakeTensor]) -> Key:
        """The values as they can be compared: an integer is not the equal float."""
        out: list[Any] = []
        for value in values:
            if type(value) is FakeTensor and value.constant is None and value.fake_mode is self.fake_mode:
                given.append(value)
                out.append(_form(value))
            elif isinstance(value, (tuple, list)):
                out.append(self._forms(value, given))
            elif isinstance(value, Tensor):
                out.append(_form_of_number(value))
            else:
                out.append((type(value), value))
        return tuple(out)

    def _recipe(self, out: Any, given: Given) -> Recipe | None:
        """How to make `out` again out of other tensors of the form of those `given`; None when that cannot be told."""
        if isinstance(out, (tuple, list)):
            parts = [self._recipe(part, given) for part in out]
            known = [part for part in parts if part]
            make = type(out)
            return (lambda tensors: make([part(tensors) for part in known])) if len(known) == len(parts) else None
        if out is None:
            return lambda _: None
        if type(out) is not FakeTensor or out.constant is not None or out.layout is not torch.strided:
            return None
        if same := [i for i, tensor in enumerate(given) if tensor is out]:
            return (lambda tensors: tensors[same[0]]) if len(same) == 1 else None
        recipe = self._made(out, given)
        return recipe if recipe and _form(recipe(given)) == _form(out) else None

    def _made(self, out: FakeTensor, given: Given) -> Recipe | None:
        """A new tensor: on the storage of one that is given, or on its own."""
        shape, stride, offset, dtype, device = (
            tuple(out.shape),
            out.stride(),
            out.storage_offset(),
            out.dtype,
            out.device,
        )
        shared = [i for i, tensor in enumerate(given) if _storage(tensor) == _storage(out)]
        state: dict[str, Any] = {}  # of a new fake: to construct one takes four times as long as all else here

        def make(tensors: Given) -> FakeTensor:
            with torch._C.DisableTorchFunction(), no_dispatch():
                meta = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
                if shared:
                    meta.set_(tensors[shared[0]].untyped_storage(), offset, shape, stride)
                if not state:
                    state.update(vars(FakeTensor(self.fake_mode, meta, device)))
                fake = Tensor._make_subclass(
                    FakeTensor, meta, False, dispatch_device=True, device_for_backend_keys=device
                )
                vars(fake).update(state)
                return fake

        if len(shared) > 1:
            return None
        return make if shared or (offset == 0 and _bytes(make(given)) == _bytes(out)) else None


class _Unlike(Exception):
    """An argument that cannot be compared."""


def _form(tensor: FakeTensor) -> Key:
    return (
        tuple(tensor.shape),
        tensor.stride(),
        tensor.storage_offset(),
        tensor.dtype,
        tensor.fake_device,
        torch._C._dispatch_keys(tensor).raw_repr(),
    )


def _form_of_number(tensor: Tensor) -> Key:
    """A Python number as torch passes it on, as in ``x + 0.5``: its value is of no consequence for a fake."""
    if type(tensor) is not Tensor or tensor.ndim or tensor.device.type != "cpu":
        raise _Unlike
    with no_dispatch():
        return tensor.dtype, *(torch.result_type(tensor, narrow) for narrow in _NARROW)


_NARROW = torch.zeros((), dtype=torch.int8), torch.zeros((), dtype=torch.float16)
"""Beside these a tensor widens the result, a number does not."""


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().nbytes())
