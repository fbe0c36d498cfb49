"""MulT, the multi-modal transformer (Tsai et al. 2019): every modality attends to every modality, itself included.

The masks and positions are constants here. The reference builds the causal mask on the host and copies it
to the device in every layer, finds the positions from the data, which makes the host wait for the device,
and averages attention weights that nobody reads. ``host_costs`` keeps the three: the output is the same,
and they explain the reference's run time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MulT(nn.Module):
    """One sequence a modality, [B, T, features] each, to [B, out], or [B, T, out] with ``all_steps``.

    A 1x1 convolution brings each modality to ``width``; a transformer a pair of modalities lets the target
    attend to the source; what a target gathered, M*width wide, goes through a self-attention transformer of
    at least 3 layers; a residual MLP and a linear layer end it.
    """

    def __init__(
        self,
        features: Sequence[int],
        width: int,
        heads: int,
        layers: int,
        out: int,
        length: int,
        all_steps: bool = False,
        host_costs: bool = False,
    ) -> None:
        super().__init__()
        modalities, joint = len(features), len(features) ** 2 * width
        self.project = nn.ModuleList(nn.Conv1d(size, width, 1, bias=False) for size in features)
        self.cross = nn.ModuleList(
            nn.ModuleList(Transformer(width, heads, layers, length, True, host_costs) for _ in features)
            for _ in features
        )
        self.memory = nn.ModuleList(
            Transformer(modalities * width, heads, max(layers, 3), length, False, host_costs) for _ in features
        )
        self.proj1, self.proj2 = nn.Linear(joint, joint), nn.Linear(joint, joint)
        self.relu = nn.ReLU()
        self.out = nn.Linear(joint, out)
        self.all_steps = all_steps

    def forward(self, *sequences: Tensor) -> Tensor:
        projected = [
            project(x.transpose(1, 2)).permute(2, 0, 1)  # [T, B, width]
            for project, x in zip(self.project, sequences, strict=True)
        ]
        gathered = []
        for target, sources, memory in zip(projected, self.cross, self.memory, strict=True):
            seen = [cross(target, source) for cross, source in zip(sources, projected, strict=True)]
            gathered.append(memory(torch.cat(seen, 2)))
        joint = torch.cat(gathered, 2)  # [T, B, M*M*width]
        joint = joint.transpose(0, 1) if self.all_steps else joint[-1]
        return self.out(joint + self.proj2(self.relu(self.proj1(joint))))


class Transformer(nn.Module):
    """Pre-norm causal transformer, [T, B, width]; with ``cross`` the query attends to another sequence."""

    positions: Tensor

    def __init__(self, width: int, heads: int, layers: int, length: int, cross: bool, host_costs: bool) -> None:
        super().__init__()
        self.register_buffer("positions", sinusoid(length + 1, width), persistent=False)  # row 0 is for padding
        self.layers = nn.ModuleList(Layer(width, heads, length, cross, host_costs) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.scale = math.sqrt(width)
        self.host_costs = host_costs

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        # The reference embeds the source twice, once as key and once as value.
        memory = () if source is None else (self.embed(source), self.embed(source))
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x, *memory)
        return self.norm(x)

    def embed(self, x: Tensor) -> Tensor:
        return self.scale * x + (self.looked_up(x) if self.host_costs else self.positions[1:].unsqueeze(1))

    def looked_up(self, x: Tensor) -> Tensor:
        """Positions of the steps whose channel 0 is not zero; indexing by a mask makes the host wait."""
        present = x[..., 0].ne(0)
        steps = torch.arange(1, x.shape[0] + 1, device=x.device).unsqueeze(1).expand_as(present)
        return self.positions[torch.zeros_like(steps).masked_scatter(present, steps[present])]


class Layer(nn.Module):
    """Attention and a four times wider MLP, each behind a norm and around a residual."""

    mask: Tensor

    def __init__(self, width: int, heads: int, length: int, cross: bool, host_costs: bool) -> None:
        super().__init__()
        self.norm0, self.norm1 = nn.LayerNorm(width), nn.LayerNorm(width)  # norm0 serves query, key and value
        self.attention = (CrossAttention if cross else SelfAttention)(width, heads, host_costs)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.register_buffer("mask", causal_mask(length), persistent=False)
        self.host_costs = host_costs

    def forward(self, x: Tensor, *memory: Tensor) -> Tensor:
        mask = causal_mask(x.shape[0], "cpu").to(x.device) if self.host_costs else self.mask
        x = x + self.attention(self.norm0(x), *(self.norm0(source) for source in memory), mask=mask)
        return x + self.feed_forward(self.norm1(x))


class SelfAttention(nn.Module):
    """Multi-head attention with one packed projection to query, key and value: [T, B, width]."""

    def __init__(self, width: int, heads: int, host_costs: bool) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads = heads
        self.host_costs = host_costs

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attend(*self.project(x).chunk(3, -1), mask=mask)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        def by_head(x: Tensor) -> Tensor:  # [T, B, width] -> [B*heads, T, width/heads]
            return x.reshape(x.shape[0], -1, x.shape[-1] // self.heads).transpose(0, 1)

        q, k, v = by_head(query * (query.shape[-1] // self.heads) ** -0.5), by_head(key), by_head(value)
        weights = (torch.bmm(q, k.transpose(1, 2)) + mask).softmax(-1)  # [B*heads, T, T]
        if self.host_costs:
            weights.unflatten(0, (-1, self.heads)).sum(1).div(self.heads)
        return self.out(torch.bmm(weights, v).transpose(0, 1).reshape(query.shape))


class CrossAttention(SelfAttention):
    """The same parameters, with query, key and value projected apart as they come from two sequences."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        weights, biases = self.project.weight.chunk(3), self.project.bias.chunk(3)
        sources = zip((query, key, value), weights, biases, strict=True)
        return self.attend(*(nn.functional.linear(x, weight, bias) for x, weight, bias in sources), mask=mask)


def causal_mask(length: int, device: str | None = None) -> Tensor:
    """[length, length], minus infinity above the diagonal: no step sees a later one."""
    return torch.full((length, length), -math.inf, device=device).triu(1)


def sinusoid(length: int, width: int) -> Tensor:
    """[length, width] sines, then cosines, of geometrically falling frequency; row 0 is zero."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
    angles = torch.arange(length).unsqueeze(1) * frequencies
    table = torch.cat([angles.sin(), angles.cos()], 1)
    return torch.cat([torch.zeros(1, width), table[1:]])
