"""True values behind fake tensors: what integer inputs, masks and sizes really hold, carried through a fake run.

A fake tensor has a shape but no data, so ``if mask.any()`` or ``sizes.tolist()`` cannot run on it. The values that
steer control flow are nearly always integers that the caller gave, or constants made inside: they are small, and every
question about them has its true answer. Most are never asked about (the masks of attention, say), so they are computed
when one asks, or before something that they are computed from is overwritten.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._mode_utils import no_dispatch

from mmsim.tracing.later import DEEPEST, Later, Part, depth, evaluated, flat, now
from mmsim.tracing.memo import Memo
from mmsim.tracing.swap import fake

aten = torch.ops.aten
MAX_REAL = 2**20  # elements of a floating tensor that is worth computing
MAX_INTEGER = 2**24


class Shadows:
    """Values of the tensors of one fake run, by identity. Keeps every tensor it knows alive."""

    def __init__(self, fake_mode: FakeTensorMode) -> None:
        self.fake_mode = fake_mode
        self._memo = Memo(fake_mode)
        self._real: dict[int, Tensor | Part] = {}
        self._later: list[Later] = []
        self._lost: set[int] = set()  # storages written with values that are not known
        self._alive: list[Tensor] = []

    def learn(self, tensor: Tensor, real: Tensor | Part) -> None:
        """`tensor`, a fake, holds the values of `real`."""
        self._real[id(tensor)] = real
        self._alive.append(tensor)

    def of(self, tensor: Tensor) -> Tensor | None:
        """The values of `tensor`, or None when they are not known."""
        real = self._known(tensor)
        return real.now() if isinstance(real, Part) else real

    def knows(self, tensor: Tensor) -> bool:
        """Whether `of` gives the values of `tensor`."""
        return self._known(tensor) is not None

    def _known(self, tensor: Tensor) -> Tensor | Part | None:
        real = self._real.get(id(tensor))
        if real is None:
            known = type(tensor) is Tensor and tensor.device.type == "cpu" and is_small(tensor)
            return tensor if known else None
        if self._lost and now(real).untyped_storage()._cdata in self._lost:
            return None
        return real

    def call(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one aten op on fakes, and beside it on the values where all of them are known."""
        if op is aten.lift_fresh.default and type(args[0]) is Tensor and args[0].device.type == "cpu":
            return self.faked(args[0])  # of ``torch.tensor([1, 2])``
        real = None if torch.Tag.nondeterministic_seeded in op.tags else self._values_of(args, kwargs)
        try:
            out = self._memo.call(op, args, kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            if real is not None:
                return self.faked(evaluated(op, now(real)))
            return self._with_known_mask(op, args, kwargs)
        except RuntimeError:
            if op not in _BFLOAT16_ONLY:
                raise
            out = _in_bfloat16(op, args, kwargs)
        if real is not None and _all_small(out):
            self._learn_all(op, real, out)
        elif op._schema.is_mutable:
            self._forget(op, args, kwargs)
        return out

    def _values_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        try:
            return self._values(args), {key: self._values(value) for key, value in kwargs.items()}
        except KeyError:
            return None

    def _values(self, value: Any) -> Any:
        """`value` with tensors replaced by their true values; KeyError when one is not known."""
        if isinstance(value, Tensor):
            real = self._known(value)
            if real is None:
                raise KeyError
            return real
        if isinstance(value, (list, tuple)):
            return type(value)(self._values(part) for part in value)
        return value

    def faked(self, value: Any) -> Any:
        """Real tensors as fakes that know their values."""
        if isinstance(value, (list, tuple)):
            return type(value)(self.faked(part) for part in value)
        if not isinstance(value, Tensor):
            return value
        out = fake(self.fake_mode, value)
        self.learn(out, value)
        return out

    def _learn_all(self, op: Any, values: tuple[Any, Any], out: Any) -> None:
        """The results `out` are those of `op` on `values`."""
        later = Later(op, values, 1 + depth(values))
        if op._schema.is_mutable:
            self._settle()
        if op._schema.is_mutable or later.depth > DEEPEST:
            later.computed()
        else:
            self._later.append(later)
        for index, tensor in enumerate(flat(out)):
            self.learn(tensor, Part(later, index))

    def _settle(self) -> None:
        """Compute all that waits: something that it reads may be overwritten now."""
        for later in self._later:
            later.computed()
        self._later.clear()

    def _forget(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._settle()
        for position, argument in enumerate(op._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written = args[position] if position < len(args) else kwargs.get(argument.name)
                for tensor in flat(written):
                    real = self._real.get(id(tensor))
                    if real is not None:
                        self._lost.add(now(real).untyped_storage()._cdata)

    def _with_known_mask(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Selecting by a mask of known values, as in ``x[mask]``: the same as indexing by integers."""
        if op is aten.index.Tensor:
            return op(args[0], [part for index in args[1] for part in self._integer_indices(index)])
        if op is aten.masked_select.default and (mask := self.of(args[1])) is not None:
            shape = torch.broadcast_shapes(args[0].shape, mask.shape)  # type: ignore[no-untyped-call]
            source, mask = args[0].expand(shape), mask.expand(shape)
            return aten.index.Tensor(source, self._integer_indices(mask))
        return op(*args, **kwargs)  # raises again, with torch's own message

    def _integer_indices(self, index: Tensor | None) -> list[Any]:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            return [index]
        mask = self.of(index)
        if mask is None:
            return [index]
        with no_dispatch():
            chosen = torch.empty(int(mask.count_nonzero()), dtype=torch.int64, device="meta")
        return [fake(self.fake_mode, chosen) for _ in range(mask.ndim)]


_BFLOAT16_ONLY = {aten._grouped_mm.default}
"""Kernels that take every format, whose fakes take one: the shapes are the same."""


def _in_bfloat16(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    narrow = [a.bfloat16() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    return op(*narrow, **kwargs).to(args[0].dtype)


def is_small(tensor: Tensor) -> bool:
    return tensor.numel() <= (MAX_REAL if tensor.is_floating_point() or tensor.is_complex() else MAX_INTEGER)


def _all_small(out: Any) -> bool:
    return all(isinstance(tensor, FakeTensor) and is_small(tensor) for tensor in flat(out))
