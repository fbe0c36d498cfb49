"""Kernels that spend their time on places: joins, pools, repeated operands; batch norm and vectors."""

from __future__ import annotations

import pytest

from mmsim import gpu
from mmsim.arch import load
from mmsim.arch.model import Arch
from mmsim.gpu import convolution as conv
from mmsim.gpu import host
from mmsim.gpu.kernel import Kernel
from mmsim.gpu.machine import machine
from mmsim.gpu.products import gemm
from mmsim.graph import Graph
from mmsim.layer import Layer, Stage, Tensor


def tensor(name: str, *shape: int, role: str = "activation", dtype: str = "float32") -> Tensor:
    return Tensor(name, shape, dtype, role)  # type: ignore[arg-type]


def one(arch: Arch, op: str, operands: dict[str, Tensor], out: Tensor, **attrs: object) -> Kernel:
    layer = Layer(0, "l", op, Stage("head"), tuple(operands.items()), (out,), tuple(attrs.items()))  # type: ignore[arg-type]
    graph = Graph("one", "", (layer,), tuple(t for t in operands.values() if t.role == "activation"), (out,))
    (kernel,) = gpu.network(graph, arch).layers[0].kernels
    return kernel


def body(arch: Arch, kernel: Kernel) -> float:
    """Seconds beside launch and latency."""
    assert arch.device is not None
    return kernel.device_s - arch.device.launch_s - 2 * arch.device.memory_latency_s


def test_a_join_in_half_precision_waits_for_divisions_on_maxwell_alone() -> None:
    a, b = (tensor(name, 8, 64, 56, 56, dtype="float16") for name in "ab")
    out = tensor("y", 8, 128, 56, 56, dtype="float16")
    nano, turing = (
        one(load(name), "torch.cat", {"a": a, "b": b}, out, dim=1) for name in ("jetson_nano", "rtx_2080_ti")
    )
    elements = 8 * 128 * 56 * 56
    assert nano.bound == "compute" and turing.bound == "DRAM"
    assert body(load("jetson_nano"), nano) == pytest.approx(elements * 3 * 12 * 3 / (128 * 921.6e6))


def test_a_max_pool_writes_where_the_maxima_lay() -> None:
    x, out = tensor("x", 64, 64, 112, 112), tensor("y", 64, 64, 56, 56)
    kernel = one(load("v100_pcie"), "torch.nn.functional.max_pool2d", {"input": x}, out, kernel_size=2, stride=2)
    assert kernel.dram_bytes == pytest.approx(64 * 64 * (112 * 112 * 4 + 56 * 56 * (4 + 8)), rel=1e-3)
    average = one(load("v100_pcie"), "torch.nn.functional.avg_pool2d", {"input": x}, out, kernel_size=2, stride=2)
    assert average.dram_bytes == pytest.approx(64 * 64 * (112 * 112 * 4 + 56 * 56 * 4), rel=1e-3)


def test_a_repeated_operand_costs_eighty_instructions_an_element() -> None:
    nano = load("jetson_nano")
    x, scale, out = (tensor(n, 8, c, h, h, dtype="float16") for n, c, h in (("x", 64, 56), ("s", 64, 1), ("y", 64, 56)))
    plain = one(nano, "torch.mul", {"input": x, "other": tensor("z", 8, 64, 56, 56, dtype="float16")}, out)
    repeated = one(nano, "torch.mul", {"input": x, "other": scale}, out)
    assert plain.bound == "DRAM"
    assert body(nano, repeated) == pytest.approx(8 * 64 * 56 * 56 * 80 / (128 * 921.6e6))


def norm(arch: Arch, batch: int, channels: int, edge: int, dtype: str) -> Kernel:
    x, out = (tensor(name, batch, channels, edge, edge, dtype="float16") for name in "xy")
    names = ("running_mean", "running_var", "weight", "bias")
    weights = {name: tensor(name, channels, role="weight", dtype=dtype) for name in names}
    return one(arch, "torch.nn.functional.batch_norm", {"input": x, **weights}, out)


def test_batch_norm_is_pytorchs_where_its_weights_are_halves() -> None:
    """A block of 64 threads to each of 2048 planes of 7 x 7, 32 at once on the Nano's one SM, 2.5 latencies each."""
    nano = load("jetson_nano")
    kernel = norm(nano, 1, 2048, 7, "float16")
    assert kernel.blocks == 2048
    assert body(nano, kernel) == pytest.approx(2048 / 32 * 2.5 * 0.6e-6)


def test_cudnns_batch_norm_of_few_channels_leaves_sms_idle() -> None:
    few, many = norm(load("rtx_3090"), 1024, 16, 112, "float32"), norm(load("rtx_3090"), 1024, 128, 112, "float32")
    assert few.blocks == 16
    assert few.bound == "L2" and many.bound == "DRAM"
    assert few.device_s > 1.5 * many.device_s / 8


def test_a_vector_reads_each_weight_once() -> None:
    nano = machine(load("jetson_nano"))
    kernel = gemm(1, 4096, 9216, 1, "float16", nano)
    stream = 2 * 4096 * 9216 / nano.dram_bytes_per_s
    assert kernel.bound == "DRAM"
    assert stream < kernel.device_s < 1.2 * stream


def test_groups_before_ampere_stay_on_the_cuda_cores() -> None:
    import numpy as np

    sizes = (np.array(float(x)) for x in (12, 1024, 1024, 196, 14, 14))
    shape = conv.Shape(*sizes, taps=9.0, groups=32.0)
    old, new = (conv.convolution(machine(load(name)), shape, "float16") for name in ("rtx_2080_ti", "rtx_3090"))
    assert [k.work for k in old] == ["float16"]
    assert [k.name for k in new[:2]] == ["nchw_to_nhwc"] * 2 and new[2].work == "tensor.float16"
    last = conv.convolution(machine(load("rtx_2080_ti")), shape, "float16", channels_last=True)
    assert [k.work for k in last] == ["tensor.float16"]


def test_each_tensor_beyond_two_that_is_joined_takes_host_time() -> None:
    assert host.calls("cat", 2) == host.calls("add", 2) == 1.0
    assert host.calls("cat", 32) == pytest.approx(1 + 30 * 0.12)


def test_three_channels_are_padded_to_eight_on_turings_tensor_cores() -> None:
    import numpy as np

    def picture(channels: float, arch: str) -> float:
        sizes = (np.array(float(x)) for x in (32, channels, 64, 50176, 112, 112))
        return conv.convolution(machine(load(arch)), conv.Shape(*sizes, taps=49.0), "float16")[-1].device_s

    assert picture(3, "t4") == pytest.approx(picture(8, "t4"), rel=0.05)
    assert picture(3, "rtx_3090") < 0.7 * picture(8, "rtx_3090")
