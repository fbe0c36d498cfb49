"""Parameters and MACs of a network by torch's own counter, per stage: what the workload tests compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from mmsim.workloads import Network, get


@dataclass(frozen=True)
class Count:
    parameters: int
    macs: int

    def __str__(self) -> str:
        return f"{self.parameters:,} p / {self.macs:,}"


@dataclass(frozen=True)
class Counts:
    total: Count
    stages: dict[str, Count]
    output: tuple[int, ...]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def count(workload: str, **arguments: Any) -> Counts:
    """Build on meta and run once: no weights, no arithmetic; on meta, LSTM and GRU are products that are counted."""
    with torch.device("meta"):
        network = get(workload).network(**arguments)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = network.module(**{name: tensor.to("meta") for name, tensor in network.inputs.items()})
    by_module = counter.get_flop_counts()
    root = type(network.module).__name__
    stages: dict[str, Count] = {}
    for path, stage in network.stages.items():
        own = Count(
            parameters(network.module.get_submodule(path)), sum(by_module.get(f"{root}.{path}", {}).values()) // 2
        )
        assert stage not in stages, f"{stage} twice: add them up"
        stages[stage] = own
    return Counts(Count(parameters(network.module), counter.get_total_flops() // 2), stages, tuple(output.shape))


def agrees(figure: str, value: int) -> bool:
    """Whether a value rounds to a figure of the specification, to its last digit.

    >>> agrees("11.993M", 11_993_032), agrees("11.993M", 11_993_532), agrees("25,000", 25_000)
    (True, False, True)
    """
    number = figure.replace(",", "").rstrip("MG")
    decimals = len(number.partition(".")[2])
    scale = {"M": 10**6, "G": 10**9}.get(figure[-1], 1)
    return abs(value / scale - float(number)) <= 0.5 * 10**-decimals + 1e-12


def unclaimed_operations(network: Network) -> list[str]:
    """Operations of a run that happen outside every module that a stage claims, or a part of it."""
    root, found, tracker = type(network.module).__name__, [], ModuleTracker()
    claimed = tuple(f"{root}.{path}" for path in network.stages)

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not any(f"{path}.".startswith(f"{stage}.") for path in tracker.parents for stage in claimed):
                found.append(str(op))
            return op(*args, **(kwargs or {}))

    inputs = {name: tensor.to("meta") for name, tensor in network.inputs.items()}
    with torch.no_grad(), Watch(), tracker:
        network.module(**inputs)
    return found
