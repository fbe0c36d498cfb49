"""What a module is told that asks while it is recorded: that it runs eagerly, on real tensors."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from mmsim.tracing.shadow import Shadows

_QUESTIONS = (("transformers.utils.import_utils", "is_fake_tensor"),)
"""Module, and a function in it that is asked whether a tensor is fake before its values are asked for: an eager run
leaves out masks that hide nothing. A fake whose values are known passes for a real tensor."""


@contextmanager
def as_eager(shadows: Shadows | None) -> Iterator[None]:
    """Parts compiled by `torch.compile` run as they are written, and fakes of known values pass for real tensors."""

    def is_fake(value: Any) -> bool:
        return isinstance(value, FakeTensor) and not (shadows and shadows.knows(value))

    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(warnings.catch_warnings())  # and the hooks that see modules run are no news to the user
        warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks")
        stack.enter_context(_replaced(FakeTensor, "tolist", Tensor.tolist))  # its own asks for element by element
        for module, question in _QUESTIONS:
            if hasattr(sys.modules.get(module), question):
                stack.enter_context(_replaced(sys.modules[module], question, is_fake))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, own)
