"""The part of a GPU's architecture that a loop nest cannot say: launch, dispatch, memory curve, formats, power."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Physical constants of a GPU, few and per device; each has its source in the architecture file."""

    compute_capability: float
