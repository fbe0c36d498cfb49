"""How a GPU's kernel library runs a layer: tiles, waves, memory curve, algorithm choice, launch."""

from mmsim.gpu.counters import Counters, by_stage
from mmsim.gpu.kernel import Kernel
from mmsim.gpu.lowering import Mode, Options, kernels
from mmsim.gpu.machine import Machine, machine
from mmsim.gpu.network import LayerTime, NetworkTime, network

__all__ = [
    "Counters",
    "Kernel",
    "LayerTime",
    "Machine",
    "Mode",
    "NetworkTime",
    "Options",
    "by_stage",
    "kernels",
    "machine",
    "network",
]
