"""The built-in mapper and model: always there."""

from __future__ import annotations

from mmsim.nest.solve import solve

__all__ = ["INSTALL", "missing", "solve"]

INSTALL = ""


def missing() -> str | None:
    """Nothing."""
    return None
