"""The nine multi-modal networks of MMBench as plain PyTorch, one file each.

>>> from mmsim import workloads
>>> network = workloads.get("av_mnist").network("concat", batch=2)
>>> network().shape
torch.Size([2, 10])
"""

from mmsim.workloads.base import MultiModal, Network, Workload, get, names

__all__ = ["MultiModal", "Network", "Workload", "get", "names"]
