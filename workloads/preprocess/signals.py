"""Robot signals: standardised windows for MuJoCo Push, a squashed force history for Vision & Touch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Window(nn.Module):
    """The last `steps` of a trajectory, standardised by constants: [B, T, *shape] -> [B, steps, *shape]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, steps: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("mean", torch.full(shape, 0.5))
        self.register_buffer("deviation", torch.full(shape, 0.25))

    def forward(self, trajectory: Tensor) -> Tensor:
        return (trajectory[:, -self.steps :] - self.mean) / self.deviation


class ForceHistory(nn.Module):
    """The newest samples of force and torque, squashed: [B, T, 6] -> [B, 6, samples]."""

    def __init__(self, samples: int = 32) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, history: Tensor) -> Tensor:
        return history[:, -self.samples :].tanh().transpose(1, 2)
