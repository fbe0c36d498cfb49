"""What a loop nest cannot say of a CPU that runs PyTorch: dispatch of an op, and the rates its libraries reach.

Sizes and bandwidths of the caches and of DRAM stand in the architecture's levels. `mmsim measure
--calibrate` writes such a file for the machine at hand.
"""

from __future__ import annotations

import msgspec

from mmsim.errors import InputError

NEEDED = ("elementwise", "matmul", "conv")


class Cpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constants of PyTorch on a CPU, each a measurement.

    `dispatch_s` and `operations_per_s` are by op (``gelu``, ``max_pool2d``), and by family of the op
    table (``elementwise``, ``pool``) for ops that were not measured; operations are counted as the op
    table does, a multiply-accumulate as one. ``free`` is the dispatch of a view,
    ``gru step``
    that of a further step; ``relayout`` and ``pack`` are the words a second at which the weights of
    convolutions and products are brought into their library's order.
    """

    threads: int
    vector_words: int  # float32 words of a vector register: products and convolutions fill whole ones
    dispatch_s: dict[str, float]
    operations_per_s: dict[str, float]
    power_w: float  # of the cores that run it
    sources: dict[str, str]

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name != "sources" and not self.sources.get(name, "").strip():
                raise InputError(f"no source for {name}", field="sources")
        if self.threads < 1 or self.vector_words < 1:
            raise InputError("must be positive", field="threads" if self.threads < 1 else "vector_words")
        if self.power_w <= 0:
            raise InputError("must be positive", field="power_w")
        for name in ("dispatch_s", "operations_per_s"):
            table = getattr(self, name)
            own = ("free",) if name == "dispatch_s" else ("relayout", "pack")
            missing = [key for key in (*NEEDED, *own) if key not in table]
            if missing:
                raise InputError(f"needs {missing[0]}", field=name)
            for key, value in table.items():
                if not 0 < value < float("inf"):
                    raise InputError("must be positive", field=f"{name}.{key}")
