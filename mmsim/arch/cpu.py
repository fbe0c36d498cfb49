"""What a loop nest cannot say of a CPU that runs PyTorch: dispatch of an op, and the rates its libraries reach.

Sizes and bandwidths of the caches and of DRAM stand in the architecture's levels. `mmsim measure
--calibrate` writes such a file for the machine at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log

import msgspec

from mmsim.errors import InputError

_FAMILIES = ("elementwise", "matmul", "conv")
_NEEDED: dict[str, tuple[str, ...]] = {
    "dispatch_s": (*_FAMILIES, "free"),
    "operations_per_s": (*_FAMILIES, "linear", "relayout", "native", "pack", "fetch"),
    "pace_s": (),
}


KEPT, LONGEST_KEPT_S = "kept", 0.03
"""Among the paces: for how long the caches keep what is not used; as long as this, no other work counts."""


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of an op's code the caches have lost after `bytes` were moved: 0 none of it, 1 all of its own.

    `op` is the share after so many bytes since the op itself ran, while others ran; `any` that right behind a layer
    which moved so many, when what all ops share is gone as well.
    """

    bytes: tuple[float, ...]
    op: tuple[float, ...]
    any: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.bytes or not len(self.bytes) == len(self.op) == len(self.any):
            raise InputError("needs as many shares as sizes, and at least one", field="op")
        if self.bytes[0] <= 0 or any(low >= high for low, high in pairwise(self.bytes)):
            raise InputError("must be positive and rise", field="bytes")
        if not all(0 <= share < 1e3 for share in (*self.op, *self.any)):
            raise InputError("must not be negative", field="op")

    @property
    def half_bytes(self) -> float:
        """After how many bytes half of what an op can lose among others is lost."""
        half = (self.op[0] + self.op[-1]) / 2
        return next(size for size, share in zip(self.bytes, self.op, strict=True) if share >= half)

    def lost(self, since: float, before: float) -> float:
        """The share after `since` bytes since the op ran, `before` of which the layer just before moved.

        >>> Code((1e3, 1e5), (0.1, 0.5), (0.3, 0.9)).lost(1e4, 0.0)
        0.5
        """
        behind = self._at(self.any, before) - self._at(self.op, before)
        return self._at(self.op, since) + max(0.0, behind)

    def _at(self, shares: Sequence[float], size: float) -> float:
        """Straight lines over the logarithm of sizes."""
        points = list(zip(self.bytes, shares, strict=True))
        if size <= points[0][0]:
            return points[0][1]
        for (low, at_low), (high, at_high) in pairwise(points):
            if size <= high:
                return at_low + (at_high - at_low) * log(size / low) / log(high / low)
        return points[-1][1]


class Cpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constants of PyTorch on a CPU, each a measurement.

    `dispatch_s` and `operations_per_s` are by op (``gelu``, ``max_pool2d``), and by family of the op
    table (``elementwise``, ``pool``) for ops that were not measured; operations are counted as the op
    table does, a multiply-accumulate as one. ``free`` is the dispatch of a view,
    ``gru step`` that of a further step; ``relayout``, ``native`` and ``pack`` are the words a second at which the
    weights of convolutions (oneDNN's, PyTorch's own) and products are brought into their library's order, ``fetch``
    that of products whose weights come from DRAM.

    `dispatch_s` is of an op that just ran, `cold_s` of one whose code has left the caches, and `code` says how far
    between the two an op is in a network. `pace_s` is what a few programs took while all this was measured: they tell
    later how fast the machine then is; ``kept`` the time after which ops have lost half their code to other work.
    """

    threads: int
    vector_words: int  # float32 words of a vector register: products and convolutions fill whole ones
    dispatch_s: dict[str, float]
    operations_per_s: dict[str, float]
    power_w: float  # of the cores that run it
    sources: dict[str, str]
    cold_s: dict[str, float] = {}
    code: Code | None = None
    pace_s: dict[str, float] = {}

    @property
    def others_bytes_per_s(self) -> float:
        """What other work on the machine moves through our caches, a second of our own time."""
        kept = self.pace_s.get(KEPT, LONGEST_KEPT_S)
        return self.code.half_bytes / kept if self.code is not None and kept < LONGEST_KEPT_S else 0.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name != "sources" and getattr(self, name) and not self.sources.get(name, "").strip():
                raise InputError(f"no source for {name}", field="sources")
        if self.threads < 1 or self.vector_words < 1:
            raise InputError("must be positive", field="threads" if self.threads < 1 else "vector_words")
        if self.power_w <= 0:
            raise InputError("must be positive", field="power_w")
        for name, needed in {**_NEEDED, "cold_s": _NEEDED["dispatch_s"] if self.code is not None else ()}.items():
            missing = [key for key in needed if key not in getattr(self, name)]
            if missing:
                raise InputError(f"needs {missing[0]}", field=name)
            for key, value in getattr(self, name).items():
                if not 0 < value < float("inf"):
                    raise InputError("must be positive", field=f"{name}.{key}")
