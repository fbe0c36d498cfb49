"""Architectures as values, and the files that they are read from."""

from __future__ import annotations

from mmsim.arch.load import builtin_names, catalogue, load
from mmsim.arch.model import Arch

__all__ = ["Arch", "builtin_names", "catalogue", "load"]
