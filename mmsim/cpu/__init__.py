"""How PyTorch on a CPU runs one layer: dispatch, arithmetic at its library's rate, or the memory behind it."""

from mmsim.cpu.model import LayerTime, Site, largest_block, layer_time, site

__all__ = ["LayerTime", "Site", "largest_block", "layer_time", "site"]
