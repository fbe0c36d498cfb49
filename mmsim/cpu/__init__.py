"""How PyTorch on a CPU runs a network: dispatch, arithmetic at its library's rate, or the memory behind it."""

from mmsim.cpu.model import LayerTime, network

__all__ = ["LayerTime", "network"]
