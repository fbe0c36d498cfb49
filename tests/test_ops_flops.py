"""Against torch itself: it has no core operation without a verdict, and MAC totals equal its flop counter's.

The counter does not see recurrent kernels or fused attention on the CPU, so both are taken apart for it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmsim.ops import is_known, problems_of
from mmsim.size import total
from mmsim.tracing import capture, lower


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 3, dilation=2, groups=4)
        self.up = nn.ConvTranspose2d(12, 6, 4, stride=2, groups=2)
        self.line = nn.Conv1d(6, 4, 5)
        self.volume = nn.Conv3d(1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.grouped(self.depthwise(self.stem(x))))
        return self.line(y.flatten(2)).sum() + self.volume(y[:, None]).sum()


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        z = torch.einsum("bld,bmd->blm", y, y) + torch.baddbmm(x @ x.mT, x, x.mT)
        return torch.addmm(z[0], z[0], z[1]) + torch.bmm(z, z).sum(0) + torch.einsum("ij,jk,kl->il", z[0], z[1], z[0])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(32, 12)
        self.rnn = nn.RNN(12, 4)
        self.cell = nn.GRUCell(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(self.gru(self.lstm(x)[0])[0])[0]
        return self.cell(y[0], y[1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mine = nn.MultiheadAttention(16, 4, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.encoder(self.mine(x, x[:, :3], x[:, :3])[0])
        q = y.view(2, 5, 4, 4).transpose(1, 2)
        return functional.scaled_dot_product_attention(q, q[:, :2], q[:, :2], is_causal=True, enable_gqa=True)


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "convolutions": lambda: (Convolutions(), torch.randn(2, 3, 24, 24)),
    "products": lambda: (Products(), torch.randn(2, 5, 8)),
    "recurrent": lambda: (Recurrent(), torch.randn(3, 5, 8)),
    "attention": lambda: (Attention(), torch.randn(2, 5, 16)),
}


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # from switching oneDNN off
@pytest.mark.parametrize("name", CASES)
def test_macs_equal_torch(name: str) -> None:
    module, x = CASES[name]()
    graph = lower(capture(module, x))
    counter = FlopCounterMode(display=False)
    with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), counter:  # type: ignore[no-untyped-call]
        module(x)
    macs = total(p.macs for layer in graph.layers for p in problems_of(layer))
    assert macs == counter.get_total_flops() // 2 > 0


def test_every_core_operation_has_a_verdict() -> None:
    """PyTorch's core ATen opset, to which any exported model reduces."""
    packets = (getattr(torch.ops.aten, name) for name in dir(torch.ops.aten))
    ops = (
        getattr(packet, overload)
        for packet in packets
        if hasattr(packet, "overloads")
        for overload in packet.overloads()
    )
    core = [str(op) for op in ops if torch.Tag.core in op.tags]
    assert len(core) > 150
    assert [op for op in core if not is_known(op)] == []
