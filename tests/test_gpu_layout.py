"""Memory orders: against torch's own strides, and the copies that PyTorch makes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsim import gpu
from mmsim.arch import load
from mmsim.gpu.layout import CHANNELS_LAST, Layouts
from mmsim.graph import Graph
from tests.test_gpu_network import layer, tensor


def order_of(value: torch.Tensor) -> tuple[int, ...]:
    return tuple(sorted(range(value.ndim), key=lambda dim: -value.stride(dim)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.permutations(range(4)), st.tuples(st.integers(-4, 3), st.integers(-4, 3))), max_size=4))
def test_orders_are_torchs_strides(moves: list[list[int] | tuple[int, int]]) -> None:
    """Any chain of permutes, transposes and pointwise operations on a tensor of four different sizes."""
    real, known = torch.zeros(2, 3, 5, 7), Layouts()
    here = tensor("x", *real.shape, role="input")
    for number, move in enumerate(moves):
        real = real.transpose(*move) if isinstance(move, tuple) else real.permute(*move)
        attrs = {"dim0": move[0], "dim1": move[1]} if isinstance(move, tuple) else {"dims": tuple(move)}
        after, active = (tensor(f"{name}{number}", *real.shape) for name in "yz")
        kind = "transpose" if isinstance(move, tuple) else "permute"
        known.see(layer(number, f"torch.Tensor.{kind}", {"self": here}, after, **attrs), pointwise=False)
        real = real.relu()
        known.see(layer(number, "torch.relu", {"input": after}, active), pointwise=True)
        here = active
        assert known.of(here) == order_of(real)
        assert known.in_order(here) == real.is_contiguous()


@settings(max_examples=80, deadline=None)
@given(st.permutations(range(3)), st.sampled_from([(6, 20), (2, 3, 20), (6, 4, 5), (2, 3, 4, 5), (120,), (6, 1, 20)]))
def test_views_lie_as_torchs_do(dims: list[int], shape: tuple[int, ...]) -> None:
    """A permuted (6, 4, 5) seen in other shapes: either torch's strides, or torch has to copy."""
    real, known = torch.zeros(6, 4, 5).permute(*dims), Layouts()
    start, here, seen = tensor("x", 6, 4, 5), tensor("y", *real.shape), tensor("z", *shape)
    known.see(layer(0, "torch.Tensor.permute", {"self": start}, here, dims=tuple(dims)), pointwise=False)
    try:
        strides = real.view(shape).stride()
    except RuntimeError:
        assert real.reshape(shape).is_contiguous()
        copied = True
    else:
        copied = False
    known.see(layer(1, "torch.Tensor.reshape", {"self": here}, seen, shape=shape), pointwise=False, copied=copied)
    if copied:
        assert known.in_order(seen)
    elif 1 not in shape:
        assert known.of(seen) == tuple(sorted(range(len(shape)), key=lambda dim: -strides[dim]))


def test_pictures_made_of_tokens_lie_channels_last() -> None:
    """(B, N, C) turned to (B, C, N) and seen as (B, C, H, W)."""
    known = Layouts()
    tokens, turned, picture = tensor("t", 2, 20, 7), tensor("u", 2, 7, 20), tensor("p", 2, 7, 4, 5)
    known.see(layer(0, "torch.Tensor.transpose", {"self": tokens}, turned, dim0=1, dim1=2), pointwise=False)
    known.see(layer(1, "torch.Tensor.view", {"self": turned}, picture, shape=(2, 7, 4, 5)), pointwise=False)
    assert known.of(picture) == CHANNELS_LAST


def test_an_index_takes_its_dimension_away() -> None:
    """Queries of a fused projection: (B, N, 3, H, d) permuted to (3, B, H, N, d), then the first."""
    known = Layouts()
    qkv, heads, q = tensor("qkv", 2, 5, 3, 4, 7), tensor("heads", 3, 2, 4, 5, 7), tensor("q", 2, 4, 5, 7)
    known.see(layer(0, "torch.Tensor.permute", {"self": qkv}, heads, dims=(2, 0, 3, 1, 4)), pointwise=False)
    known.see(layer(1, "torch.Tensor.__getitem__", {"self": heads}, q, indices=0), pointwise=False)
    assert known.of(q) == order_of(torch.zeros(2, 5, 3, 4, 7).permute(2, 0, 3, 1, 4)[0])


@pytest.mark.parametrize(
    ("op", "dims", "copied"),
    [("layer_norm", (0, 2, 3, 1), True), ("linear", (0, 2, 3, 1), True), ("layer_norm", (0, 1, 2, 3), False),
     ("matmul", (0, 1, 3, 2), False), ("matmul", (0, 2, 1, 3), True), ("relu", (0, 2, 3, 1), False)],
)  # fmt: skip
def test_who_copies(op: str, dims: tuple[int, ...], copied: bool) -> None:
    """Norms and linear layers want their input in order; a product only needs its batch in one piece."""
    known = Layouts()
    x, y = tensor("x", 2, 3, 5, 7), tensor("y", *((2, 3, 5, 7)[dim] for dim in dims))
    known.see(layer(0, "torch.Tensor.permute", {"self": x}, y, dims=dims), pointwise=False)
    assert known.copied(layer(1, f"torch.{op}", {"input": y}, tensor("z", 2, 3, 5, 7))) == ((y,) if copied else ())


def test_channels_last_travels_and_saves_the_rearranging() -> None:
    """(B, H, W, C) seen as (B, C, H, W): the convolution takes it as it is and leaves its output the same way."""
    known = Layouts()
    x, seen, out = tensor("x", 8, 28, 28, 64), tensor("seen", 8, 64, 28, 28), tensor("out", 8, 64, 28, 28)
    move = layer(0, "torch.Tensor.permute", {"self": x}, seen, dims=(0, 3, 1, 2))
    weight = tensor("w", 64, 64, 3, 3, role="weight", dtype="float16")
    conv = layer(1, "torch.nn.functional.conv2d", {"input": seen, "weight": weight}, out, stride=(1, 1), padding=(1, 1))
    known.see(move, pointwise=False)
    known.see(conv, pointwise=False)
    assert known.channels_last(conv) and known.of(out) == CHANNELS_LAST
    graph = Graph("g", "", (move, conv), (x,), (out,)).cast("float16")
    names = [kernel.name for one in gpu.network(graph, load("rtx_3090")).layers for kernel in one.kernels]
    assert len(names) == 1 and names[0].startswith("implicit_gemm")


def test_a_copy_is_a_kernel_of_its_own() -> None:
    x, y, z = tensor("x", 8, 64, 28, 28, role="input"), tensor("y", 8, 28, 28, 64), tensor("z", 8, 28, 28, 64)
    layers = (
        layer(0, "torch.Tensor.permute", {"self": x}, y, dims=(0, 2, 3, 1)),
        layer(1, "torch.nn.functional.layer_norm", {"input": y}, z, normalized_shape=(64,)),
    )
    found = gpu.network(Graph("g", "", layers, (x,), (z,)), load("rtx_3090"))
    assert [kernel.name for kernel in found.layers[1].kernels] == ["contiguous", "layer_norm"]
