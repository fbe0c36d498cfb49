"""mmsim: how a multi-modal PyTorch network runs on hardware, per stage, modality and layer."""

from __future__ import annotations

__version__ = "0.1.0"
