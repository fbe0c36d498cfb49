"""Inputs of a user's own model, as they are written on the command line: ``image=Bx3x224x224:float32``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmsim.errors import InputError
from mmsim.tracing.symbolic import Sizes

MOST_ELEMENTS = 2**31
SMALLEST_VOCABULARY = 2  # integers that are ids of anything are drawn from 0 and 1: valid in every table


@dataclass(frozen=True)
class InputSpec:
    """One input: its name, its sizes (numbers or letters) and its format."""

    name: str
    sizes: tuple[int | str, ...]
    dtype: torch.dtype

    @property
    def symbols(self) -> tuple[str, ...]:
        """The sizes given as letters."""
        return tuple(size for size in self.sizes if isinstance(size, str))

    def example(self, sizes: Sizes) -> Tensor:
        """A tensor of this form: integers are valid small ones, numbers are never computed with (fake)."""
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in self.sizes)
        generator = torch.Generator().manual_seed(0)
        if self.dtype is torch.bool:
            return torch.ones(shape, dtype=self.dtype)
        if self.dtype.is_floating_point or self.dtype.is_complex:
            return torch.empty(shape, dtype=self.dtype, device="meta")
        if "mask" in self.name:
            return torch.ones(shape, dtype=self.dtype)
        return torch.randint(SMALLEST_VOCABULARY, shape, generator=generator, dtype=self.dtype)


def parse_inputs(texts: Mapping[str, str], module: nn.Module) -> tuple[InputSpec, ...]:
    """Each ``name -> SHAPE:DTYPE``, in the order given; names are those of the module's ``forward``.

    >>> spec, = parse_inputs({"input": "Bx16:float16"}, nn.Linear(16, 4))
    >>> spec.sizes, spec.dtype
    (('B', 16), torch.float16)
    """
    _check_names(texts, module)
    return tuple(parse_input(name, text) for name, text in texts.items())


def parse_input(name: str, text: str) -> InputSpec:
    """One input; the format is float32 unless given. Raises `InputError` naming it."""
    shape, _, dtype_name = text.partition(":")
    field = f"--input {name}"
    parts = shape.split("x") if shape else []
    sizes = tuple(int(part) if part.isdecimal() else part for part in parts)
    for size in sizes:
        if isinstance(size, str) and not re.fullmatch(r"[A-Z][A-Za-z0-9_]{0,15}", size):
            raise InputError(f"{text!r} is not SHAPE:DTYPE, as in Bx3x224x224:float32", field=field)
        if size == 0:
            raise InputError(f"size 0 in {text!r}", field=field)
    if torch.Size([size for size in sizes if isinstance(size, int)]).numel() > MOST_ELEMENTS:
        raise InputError(f"{text!r} is larger than {MOST_ELEMENTS} elements", field=field)
    dtype = getattr(torch, dtype_name or "float32", None)
    if not isinstance(dtype, torch.dtype):
        raise InputError(f"unknown format {dtype_name!r}: float32, float16, bfloat16, int64, bool, ...", field=field)
    return InputSpec(name, sizes, dtype)


def _check_names(texts: Mapping[str, str], module: nn.Module) -> None:
    parameters = inspect.signature(module.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    unknown = [name for name in texts if name not in parameters]
    missing = [
        n for n, p in parameters.items() if n not in texts and p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    ]
    if unknown or missing:
        problem = f"no argument {unknown[0]!r}" if unknown else f"argument {missing[0]!r} is not given"
        raise InputError(f"{problem}; forward takes {', '.join(parameters)}", field="--input")
