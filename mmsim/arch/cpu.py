"""What a loop nest cannot say of a CPU that runs PyTorch: dispatch of an op, and the rates its libraries reach.

Sizes and bandwidths of the caches and of DRAM stand in the architecture's levels. `mmsim measure
--calibrate` writes such a file for the machine at hand.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mmsim.errors import InputError

_FAMILIES = ("elementwise", "matmul", "conv")
_NEEDED: dict[str, tuple[str, ...]] = {
    "dispatch_s": (*_FAMILIES, "free"),
    "operations_per_s": (*_FAMILIES, "linear", "relayout", "native", "pack"),
    "code": (),
    "pace_s": (),
}


class Cpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constants of PyTorch on a CPU, each a measurement.

    `dispatch_s` and `operations_per_s` are by op (``gelu``, ``max_pool2d``), and by family of the op
    table (``elementwise``, ``pool``) for ops that were not measured; operations are counted as the op
    table does, a multiply-accumulate as one. ``free`` is the dispatch of a view,
    ``gru step`` that of a further step; ``relayout``, ``native`` and ``pack`` are the words a second at which the
    weights of convolutions (oneDNN's, PyTorch's own) and products are brought into their library's order.

    `code` says how many times longer dispatch takes where its code has left the caches (see `mmsim.cpu.reuse`), and
    `pace_s` what a few programs took while all this was measured: they tell later how fast the machine then is.
    """

    threads: int
    vector_words: int  # float32 words of a vector register: products and convolutions fill whole ones
    dispatch_s: dict[str, float]
    operations_per_s: dict[str, float]
    power_w: float  # of the cores that run it
    sources: dict[str, str]
    code: dict[Literal["others", "swept", "own gone", "all gone"], float] = {}
    pace_s: dict[str, float] = {}

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name != "sources" and getattr(self, name) and not self.sources.get(name, "").strip():
                raise InputError(f"no source for {name}", field="sources")
        if self.threads < 1 or self.vector_words < 1:
            raise InputError("must be positive", field="threads" if self.threads < 1 else "vector_words")
        if self.power_w <= 0:
            raise InputError("must be positive", field="power_w")
        for name, needed in _NEEDED.items():
            missing = [key for key in needed if key not in getattr(self, name)]
            if missing:
                raise InputError(f"needs {missing[0]}", field=name)
            for key, value in getattr(self, name).items():
                if not 0 < value < float("inf"):
                    raise InputError("must be positive", field=f"{name}.{key}")
