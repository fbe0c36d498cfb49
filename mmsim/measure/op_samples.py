"""The ops that calibration times: each on next to nothing, and on a size at which its arithmetic dominates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsim.cpu.model import NATIVE, PACK, RELAYOUT, ROWS_OF_STEP, STEP

Make: TypeAlias = Callable[[], tuple[nn.Module, Any]]
"""Builds a module and its inputs."""


class _Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def _call(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Make:
    return lambda: (_Call(function), tuple(torch.rand(shape) + 0.5 for shape in shapes))


def _pooled(window: tuple[int, int, int], shape: tuple[int, ...]) -> Make:
    """Of what a ReLU leaves, half of it zeros: comparisons that come out alike are quicker."""
    return lambda: (_Call(lambda x: F.max_pool2d(x, *window)), (torch.relu(torch.randn(shape)),))


def _module(module: Callable[[], nn.Module], *shape: int) -> Make:
    return lambda: (module().eval(), (torch.randn(shape),))


MANY_ROWS, FEW_ROWS, STEPS = 256, 16, 33
MAPS, ROWS = (1, 64, 32, 32), (64, 768)  # operands and result lie in the second cache
SMALL_MAPS, SMALL_ROWS = (1, 1, 4, 4), (1, 16)
POINTWISE: dict[str, tuple[Callable[..., Any], int]] = {
    "relu": (torch.relu, 1), "leaky_relu": (F.leaky_relu, 1), "gelu": (F.gelu, 1), "tanh": (torch.tanh, 1),
    "sigmoid": (torch.sigmoid, 1), "silu": (F.silu, 1), "exp": (torch.exp, 1), "sqrt": (torch.sqrt, 1),
    "pow": (lambda x: x.pow(3.0), 1), "hardtanh": (F.hardtanh, 1), "neg": (torch.neg, 1), "sub": (torch.sub, 2),
    "hardswish": (F.hardswish, 1), "clamp": (lambda x: x.clamp(0.0, 6.0), 1),
    "add": (torch.add, 2), "mul": (torch.mul, 2), "div": (torch.div, 2),
    "masked_fill": (lambda x, m: x.masked_fill(m > 1, 0.0), 2), "where": (lambda x, y: torch.where(x > y, x, y), 2),
}  # fmt: skip


def samples() -> dict[str, tuple[Make, Make]]:
    """op -> (on next to nothing, on a size that its arithmetic fills)."""
    found = {
        name: (_call(function, *[SMALL_ROWS] * arity), _call(function, *[MAPS] * arity))
        for name, (function, arity) in POINTWISE.items()
    }

    def pair(name: str, function: Callable[..., Any], small: tuple[int, ...], large: tuple[int, ...]) -> None:
        found[name] = (_call(function, small), _call(function, large))

    for name, window in (("max_pool2d", (2, 2, 0)), ("max_pool2d 3x3", (3, 2, 1))):
        found[name] = tuple(_pooled(window, shape) for shape in (SMALL_MAPS, MAPS))  # type: ignore[assignment]
    pair("avg_pool2d", partial(F.avg_pool2d, kernel_size=2), SMALL_MAPS, MAPS)
    pair("adaptive_avg_pool2d", partial(F.adaptive_avg_pool2d, output_size=1), SMALL_MAPS, MAPS)
    pair("softmax", partial(F.softmax, dim=-1), SMALL_ROWS, (1536, 128))
    pair("sum", partial(torch.sum, dim=-1), SMALL_ROWS, ROWS)
    pair("mean", partial(torch.mean, dim=-1), SMALL_ROWS, ROWS)
    pair("amax", partial(torch.amax, dim=-1), SMALL_ROWS, ROWS)
    pair("contiguous", lambda x: x.transpose(0, 1).contiguous(), (2, 4), ROWS)
    pair("cat", lambda x: torch.cat([x, x], 1), SMALL_ROWS, ROWS)
    pair("interpolate", partial(F.interpolate, scale_factor=2, mode="bilinear"), SMALL_MAPS, (1, 64, 24, 24))
    modules: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
        "layer_norm": (lambda n: nn.LayerNorm(n), SMALL_ROWS, ROWS),
        "batch_norm": (lambda n: nn.BatchNorm2d(n), SMALL_MAPS, MAPS),
        "group_norm": (lambda n: nn.GroupNorm(1, n), SMALL_MAPS, MAPS),
        "instance_norm": (lambda n: nn.InstanceNorm2d(n), SMALL_MAPS, MAPS),
        "linear": (lambda n: nn.Linear(n, n), SMALL_ROWS, (MANY_ROWS, 1024)),
        PACK: (lambda n: nn.Linear(n, n), SMALL_ROWS, (FEW_ROWS, 1024)),
        # two small images, as PyTorch computes one itself (see `mmsim.cpu.model.is_native`)
        "conv1d": (lambda n: nn.Conv1d(n, n, 3, padding=1), (2, 1, 8), (1, 128, 512)),
        "conv2d": (lambda n: nn.Conv2d(n, n, 3, padding=1), (2, 1, 4, 4), (1, 512, 14, 14)),
        "conv3d": (lambda n: nn.Conv3d(n, n, 3, padding=1), (2, 1, 4, 4, 4), (1, 16, 48, 48, 48)),
        "conv_transpose3d": (lambda n: nn.ConvTranspose3d(n, n, 2, 2), (1, 1, 4, 4, 4), (1, 16, 16, 16, 16)),
        "lstm": (lambda n: nn.LSTM(n, n, batch_first=True), (1, 1, 16), (1, STEPS, 16)),
        "gru": (lambda n: nn.GRU(n, n, batch_first=True), (1, 1, 16), (1, STEPS, 16)),
    }
    for name, (build, small, large) in modules.items():
        channels = -1 if len(small) in (2,) or name in ("lstm", "gru") else 1
        found[name] = (
            _module(partial(build, small[channels]), *small),
            _module(partial(build, large[channels]), *large),
        )
    for kind, module in (("lstm", nn.LSTM), ("gru", nn.GRU)):
        for name, batch in ((f"{kind}{STEP}", 1), (f"{kind}{ROWS_OF_STEP}", 8)):
            narrow, wide = (partial(module, 16, width, batch_first=True) for width in (16, 192))
            found[name] = _module(narrow, batch, STEPS, 16), _module(wide, batch, STEPS, 16)
    conv = partial(nn.Conv2d, kernel_size=3, padding=1)
    found[RELAYOUT] = found["conv2d"][0], _module(partial(conv, 512, 512), 1, 512, 8, 8)
    found[NATIVE] = _module(partial(conv, 1, 1), *SMALL_MAPS), _module(partial(conv, 256, 256), 1, 256, 7, 7)
    found["matmul"] = (_call(torch.matmul, (1, 4, 4), (1, 4, 4)), _call(torch.matmul, (12, 128, 64), (12, 64, 128)))
    heads = [(1, 12, 128, 64)] * 3
    found["scaled_dot_product_attention"] = (
        _call(F.scaled_dot_product_attention, *[(1, 1, 2, 8)] * 3), _call(F.scaled_dot_product_attention, *heads),
    )  # fmt: skip
    found["embedding"] = (
        lambda: (nn.Embedding(8, 8), (torch.zeros(1, 1, dtype=torch.long),)),
        lambda: (nn.Embedding(30000, 768), (torch.randint(30000, (1, 256)),)),
    )
    return found


FREE: dict[str, Callable[[Tensor], Any]] = {
    "view": lambda x: x.view(-1), "transpose": lambda x: x.transpose(0, 1), "flatten": lambda x: x.flatten(),
    "unflatten": lambda x: torch.unflatten(x, 1, (4, 4)), "dropout": lambda x: F.dropout(x, training=False),
    "__getitem__": lambda x: x[:, 0], "unbind": lambda x: x.unbind(0)[0], "reshape": lambda x: x.reshape(-1),
    "unsqueeze": lambda x: x.unsqueeze(0), "permute": lambda x: x.permute(1, 0),
    "expand": lambda x: x.expand(1, 16),
}  # fmt: skip
"""Ops that only look at a tensor in another way: dispatch is all that they take."""


def free_samples() -> dict[str, Make]:
    """op -> on next to nothing."""
    return {name: _call(function, SMALL_ROWS) for name, function in FREE.items()}


AMONG = (
    "add", "linear", "softmax", "layer_norm", "matmul", "gelu", "relu", "cat", "batch_norm", "conv2d", "max_pool2d",
    "mean", "embedding", "sigmoid",
)  # fmt: skip
"""Ops of whose code we ask how much the caches keep while data moves, or other work runs."""
