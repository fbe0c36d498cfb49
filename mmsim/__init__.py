"""mmsim: how a multi-modal PyTorch network runs on hardware, per stage, modality and layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsim.tracing import trace as trace

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``mmsim.trace``: found when it is asked for, since it imports torch."""
    if name == "trace":
        from mmsim.tracing import trace

        return trace
    raise AttributeError(f"module 'mmsim' has no attribute {name!r}")
