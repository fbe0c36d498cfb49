"""A network behind the preprocessing of its modalities, from raw data to output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Preprocess:
    """One modality's way from raw data to inputs of the network.

    ``module`` takes the tensors of ``raw`` in order and returns the tensors named in ``gives``.
    """

    modality: str
    module: nn.Module
    raw: dict[str, Tensor]
    gives: tuple[str, ...]


@dataclass(frozen=True)
class HostStep:
    """Preprocessing that stays on the host, such as tokenisation: calling ``run`` gives inputs of the network."""

    modality: str
    name: str
    run: Callable[[], dict[str, Tensor]]


class EndToEnd(nn.Module):
    """Preprocessing of each modality, then the network on what it gives."""

    def __init__(self, steps: tuple[Preprocess, ...], network: nn.Module) -> None:
        super().__init__()
        self.preprocess = nn.ModuleDict({step.modality: Single(step.module) for step in steps})
        self.network = network
        self.steps = {step.modality: (tuple(step.raw), step.gives) for step in steps}

    def forward(self, **inputs: Tensor) -> Tensor:
        wanted = next(self.network.parameters()).dtype
        for modality, module in self.preprocess.items():
            raw, gives = self.steps[modality]
            made = module(wanted, *(inputs.pop(name) for name in raw))
            inputs |= zip(gives, made, strict=True)
        return self.network(**inputs)


class Single(nn.Module):
    """Preprocessing in single precision, whatever the network's format, to which its results are cast.

    Fourier transforms and picture coordinates do not bear half precision.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, wanted: torch.dtype, *raw: Tensor) -> tuple[Tensor, ...]:
        made = self.module(*(cast(x, torch.float32) for x in raw))
        return tuple(cast(x, wanted) for x in ((made,) if isinstance(made, Tensor) else made))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Single:
        """Constants move between devices with the network and keep their format."""
        return super()._apply(lambda x: fn(x).to(x.dtype), recurse)


def cast(x: Tensor, wanted: torch.dtype) -> Tensor:
    """A tensor of reals in the wanted format; one of integers as it is."""
    return x.to(wanted) if x.is_floating_point() and x.dtype != wanted else x


def behind(
    steps: tuple[Preprocess, ...], network: nn.Module, inputs: dict[str, Tensor]
) -> tuple[EndToEnd, dict[str, Tensor]]:
    """The network behind preprocessing, and its inputs with raw data in place of what preprocessing gives."""
    made = {name for step in steps for name in step.gives}
    kept = {name: tensor for name, tensor in inputs.items() if name not in made}
    return EndToEnd(steps, network), kept | {name: tensor for step in steps for name, tensor in step.raw.items()}
