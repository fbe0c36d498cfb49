"""One operation of a traced network as a value: tensors, the stage it belongs to, and its attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias, cast, get_args

from mmsim.errors import InputError
from mmsim.size import Polynomial, Size, at, product, symbols

Role: TypeAlias = Literal["input", "weight", "buffer", "constant", "activation", "output"]
Attr: TypeAlias = "bool | int | float | str | Polynomial | tuple[Attr, ...] | None"

BITS: dict[str, int] = {
    "float64": 64, "float32": 32, "tfloat32": 32, "bfloat16": 16, "float16": 16,
    "float8_e4m3fn": 8, "float8_e5m2": 8, "complex64": 64, "complex128": 128, "complex32": 32,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "uint8": 8, "int4": 4, "bool": 8,
    "uint16": 16, "uint32": 32, "uint64": 64,
}  # fmt: skip
"""Bits that one element takes in memory, by torch's name of the format."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph: a unique name, a shape that may depend on the batch, a format and a role.

    A tensor that an operation writes is a new tensor, in-place operations included, so that producer
    and consumers meet by name. `role` is ``input`` (given by the caller), ``weight`` (a parameter),
    ``buffer`` (stored with the weights but not learned), ``constant`` (made inside, of known value),
    ``activation`` or ``output``.

    >>> Tensor("x", (2, 3), "float16", "input").bytes
    12
    """

    name: str
    shape: tuple[Size, ...]
    dtype: str
    role: Role

    def __post_init__(self) -> None:
        if self.dtype not in BITS:
            raise InputError(f"unknown format {self.dtype!r} of tensor {self.name!r}", field="dtype")
        if self.role not in get_args(Role):
            raise InputError(f"unknown role {self.role!r} of tensor {self.name!r}", field="role")
        if any(isinstance(size, int) and size < 0 for size in self.shape):
            raise InputError(f"negative size in {self.shape} of tensor {self.name!r}", field="shape")

    @property
    def elements(self) -> Size:
        """How many elements; a polynomial when the shape is symbolic."""
        return product(self.shape)

    @property
    def bits(self) -> int:
        """Bits of one element."""
        return BITS[self.dtype]

    @property
    def has_gradient(self) -> bool:
        """Whether its elements are numbers that gradients exist for: real or complex, not integers."""
        return self.dtype.startswith(("float", "bfloat", "complex"))

    @property
    def bytes(self) -> Size:
        """Bytes of the whole tensor."""
        return self.elements * (self.bits // 8) if self.bits >= 8 else _whole_bytes(self.elements, self.bits)

    def at(self, **sizes: Size) -> Tensor:
        """The tensor with some symbols given."""
        return replace(self, shape=tuple(at(size, **sizes) for size in self.shape))


StageKind: TypeAlias = Literal["preprocess", "encoder", "fusion", "head", "loss", "optimizer"]


@dataclass(frozen=True, slots=True, order=True)
class Stage:
    """Where a layer belongs: an encoder (or preprocessing) of one modality, fusion, or head.

    >>> str(Stage("encoder", "image")), Stage.parse("fusion")
    ('encoder:image', Stage(kind='fusion', modality=None))
    """

    kind: StageKind
    modality: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.modality}" if self.modality else self.kind

    @classmethod
    def parse(cls, text: str) -> Stage:
        """Read ``encoder:image``, ``fusion``, ...; raises `InputError` for anything else."""
        kind, _, modality = text.partition(":")
        if kind not in get_args(StageKind):
            raise InputError(f"unknown stage {text!r}: one of {', '.join(get_args(StageKind))}", field="stage")
        if kind in ("encoder", "preprocess") and not modality:
            raise InputError(f"stage {text!r} needs a modality, as in {kind}:image", field="stage")
        if any(not (c.isalnum() or c in "_-.") for c in modality):
            raise InputError(f"not a modality: {modality!r}", field="stage")
        return cls(cast(StageKind, kind), modality or None)


@dataclass(frozen=True)
class Layer:
    """One torch operation of the graph, in one call.

    `op` is torch's own qualified name (``torch.nn.functional.linear``, ``torch.Tensor.add_``,
    ``aten.addmm.default``). `operands` are its tensor arguments in call order, each under its
    argument's name (``weight``; ``tensors.0`` for lists); all other arguments are plain values in
    `attrs`, by argument name. A module that is called twelve times is twelve layers with one
    `module_path`, `call_index` 0 to 11, and one set of weights. `source` is ``file.py:line`` of the
    call.
    """

    id: int
    name: str
    op: str
    stage: Stage
    operands: tuple[tuple[str, Tensor], ...]
    outputs: tuple[Tensor, ...]
    attrs: tuple[tuple[str, Attr], ...] = ()
    module_path: str = ""
    call_index: int = 0
    source: str = ""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors read, in call order."""
        return tuple(tensor for _, tensor in self.operands)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors read that are neither parameters nor buffers."""
        return tuple(tensor for tensor in self.tensors if tensor.role not in ("weight", "buffer"))

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The parameters and buffers read."""
        return tuple(tensor for tensor in self.tensors if tensor.role in ("weight", "buffer"))

    @property
    def output(self) -> Tensor:
        """The first (usually the only) output."""
        return self.outputs[0]

    @property
    def kind(self) -> str:
        """The op's last name without the in-place underscore, the same for every spelling.

        >>> [op_kind(o) for o in ("torch.nn.functional.linear", "torch.Tensor.add_", "aten.addmm.default")]
        ['linear', 'add', 'addmm']
        """
        return op_kind(self.op)

    @property
    def writes_in_place(self) -> bool:
        """Whether the op writes into its first operand, as torch's trailing underscore says."""
        name = self.op.split(".")[1] if self.op.startswith("aten.") else self.op
        return name.endswith("_") and not name.endswith("__")

    def operand(self, argument: str) -> Tensor | None:
        """The tensor given as `argument`, or None."""
        return next((tensor for name, tensor in self.operands if name == argument), None)

    def attr(self, argument: str, default: Attr = None) -> Attr:
        """The plain value given as `argument`, or `default`."""
        return next((value for name, value in self.attrs if name == argument), default)

    @property
    def symbols(self) -> frozenset[str]:
        """The open sizes of the tensors it touches."""
        return symbols(size for tensor in (*self.tensors, *self.outputs) for size in tensor.shape)

    def at(self, **sizes: Size) -> Layer:
        """The layer with some symbols given."""
        return replace(
            self,
            operands=tuple((name, tensor.at(**sizes)) for name, tensor in self.operands),
            outputs=tuple(tensor.at(**sizes) for tensor in self.outputs),
            attrs=tuple((name, _attr_at(value, sizes)) for name, value in self.attrs),
        )


def _attr_at(value: Attr, sizes: dict[str, Size]) -> Attr:
    if isinstance(value, tuple):
        return tuple(_attr_at(part, sizes) for part in value)
    return value.at(**sizes) if isinstance(value, Polynomial) else value


@lru_cache(maxsize=4096)
def op_kind(op: str) -> str:
    """The op's last name without overload and in-place underscore; dunder names stay whole."""
    parts = op.split(".")
    name = parts[1] if parts[0] in ("aten", "prims") and len(parts) > 1 else parts[-1]
    if name.startswith("__") and name.endswith("__"):
        return f"{parts[-2]}.{name}" if name == "__get__" else name
    return name.rstrip("_") or name


def _whole_bytes(elements: Size, bits: int) -> Size:
    if isinstance(elements, int):
        return -(-elements * bits // 8)
    raise InputError(f"bytes of {elements} elements of {bits} bits need a concrete size")
