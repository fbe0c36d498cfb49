"""Fusion operators: each takes one feature tensor a modality, [B, features], and gives [B, fused].

The formulas are those of MMBench's table 1; low-rank and multiplicative fusion come from MultiBench.
A network of your own can use them as they are: ``nn.Linear(OuterProduct.width([48, 192]), 10)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Concat(nn.Module):
    """[x, y]: features side by side, without weights (what the reference runs; table 1 adds ReLU([x, y] W + b))."""

    def forward(self, *features: Tensor) -> Tensor:
        return torch.cat([x.flatten(1) for x in features], 1)


class ConcatSteps(nn.Module):
    """Sequences side by side at every step: [B, T, x] and [B, T, y] -> [B, T, x + y]."""

    def forward(self, *features: Tensor) -> Tensor:
        return torch.cat(features, -1)


class ConcatLinear(nn.Module):
    """[x, y] W + b, with the features side by side on axis ``dim``."""

    def __init__(self, features: int, out: int, dim: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(features, out)
        self.dim = dim

    def forward(self, *features: Tensor) -> Tensor:
        return self.linear(torch.cat(features, self.dim))


class Zero(nn.Module):
    """F = 0: drops every feature; the shape is the first modality's."""

    def forward(self, *features: Tensor) -> Tensor:
        return torch.zeros_like(features[0])


class Sum(nn.Module):
    """x + y, for features of equal width."""

    def forward(self, *features: Tensor) -> Tensor:
        total = features[0]
        for x in features[1:]:
            total = total + x
        return total


class OuterProduct(nn.Module):
    """[1; x] outer [1; y] outer ..., flattened on the last axis: the tensor fusion of Zadeh et al. 2017.

    >>> OuterProduct.width([48, 192])
    9457
    """

    @staticmethod
    def width(sizes: Sequence[int]) -> int:
        """The fused width for modalities of these widths."""
        return math.prod(size + 1 for size in sizes)

    def forward(self, *features: Tensor) -> Tensor:
        fused = with_one(features[0])
        for x in features[1:]:
            fused = (fused.unsqueeze(-1) * with_one(x).unsqueeze(-2)).flatten(-2)
        return fused


class LowRank(nn.Module):
    """The outer product followed by a linear layer of rank r, without ever forming the product (Liu et al. 2018).

    Per modality [1; x] F gives [r, B, out]; these are multiplied, weighted over r and summed.
    """

    def __init__(self, sizes: Sequence[int], out: int, rank: int) -> None:
        super().__init__()
        self.factors = nn.ParameterList(
            nn.init.xavier_normal_(nn.Parameter(torch.empty(rank, size + 1, out))) for size in sizes
        )
        self.weights = nn.init.xavier_normal_(nn.Parameter(torch.empty(1, rank)))
        self.bias = nn.Parameter(torch.zeros(1, out))

    def forward(self, *features: Tensor) -> Tensor:
        product = torch.matmul(with_one(features[0]), self.factors[0])  # [r, B, out]
        for x, factor in zip(features[1:], list(self.factors)[1:], strict=True):
            product = product * torch.matmul(with_one(x), factor)
        return torch.matmul(self.weights, product.transpose(0, 1)).squeeze(1) + self.bias


class Multiplicative(nn.Module):
    """y (x W + V) + x U + b: the matrix form of multiplicative interaction (Jayakumar et al. 2020).

    The same function as the outer product of two modalities and a linear layer; x W is [B, size_y, out].
    """

    def __init__(self, sizes: Sequence[int], out: int) -> None:
        super().__init__()
        first, second = sizes
        self.W = nn.init.xavier_normal_(nn.Parameter(torch.empty(first, second, out)))
        self.U = nn.init.xavier_normal_(nn.Parameter(torch.empty(first, out)))
        self.V = nn.init.xavier_normal_(nn.Parameter(torch.empty(second, out)))
        self.b = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        per_second = torch.einsum("bn,nmo->bmo", x, self.W) + self.V
        return torch.einsum("bm,bmo->bo", y, per_second) + torch.matmul(x, self.U) + self.b


class Attention(nn.Module):
    """softmax(x y^T / sqrt(C)) y with column vectors x, y of C features each; further modalities in turn."""

    def forward(self, *features: Tensor) -> Tensor:
        fused = features[0]
        for y in features[1:]:
            scores = torch.matmul(fused.unsqueeze(-1), y.unsqueeze(-2)) / math.sqrt(y.shape[-1])  # [B, C, C]
            fused = torch.matmul(scores.softmax(-1), y.unsqueeze(-1)).squeeze(-1)
        return fused


class LinearGLU(nn.Module):
    """(x W1) * sigmoid(y W2): the second modality gates the first."""

    def __init__(self, sizes: Sequence[int], out: int) -> None:
        super().__init__()
        value, gate = sizes
        self.value = nn.Linear(value, out, bias=False)
        self.gate = nn.Linear(gate, out, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.value(x) * self.gate(y).sigmoid()


def with_one(x: Tensor) -> Tensor:
    """[1; x] on the last axis."""
    return torch.cat([torch.ones_like(x[..., :1]), x], -1)
