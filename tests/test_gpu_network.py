"""Networks on GPUs: lowering of layers to kernels, L2 between layers, host and device queues, counters."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from mmsim import gpu
from mmsim.arch import load
from mmsim.graph import Graph
from mmsim.layer import Layer, Stage, Tensor
from mmsim.ops import problems_of

ENCODER, HEAD = Stage("encoder", "image"), Stage("head")


def tensor(name: str, *shape: int, role: str = "activation", dtype: str = "float32") -> Tensor:
    return Tensor(name, shape, dtype, role)  # type: ignore[arg-type]


def layer(
    number: int, op: str, operands: dict[str, Tensor], out: Tensor, stage: Stage = HEAD, **attrs: object
) -> Layer:
    return Layer(number, f"l{number}", op, stage, tuple(operands.items()), (out,), tuple(attrs.items()))  # type: ignore[arg-type]


def convolution(number: int, x: Tensor, out: Tensor, *, bias: bool = False) -> Layer:
    operands = {"input": x, "weight": tensor(f"w{number}", out.shape[1], x.shape[1], 3, 3, role="weight")}
    if bias:
        operands["bias"] = tensor(f"b{number}", out.shape[1], role="weight")
    return layer(number, "torch.nn.functional.conv2d", operands, out, ENCODER, stride=(1, 1), padding=(1, 1), groups=1)


def chain(batch: int, dtype: str = "float32") -> Graph:
    """conv - relu - conv - relu - linear."""
    x = tensor("x", batch, 64, 28, 28, role="input")
    a, b = (tensor(name, batch, 64, 28, 28) for name in "ab")
    c, d = (tensor(name, batch, 128, 28, 28) for name in "cd")
    y = tensor("y", batch, 128, 28, 10, role="output")
    w = tensor("w", 10, 28, role="weight")
    layers = (
        convolution(0, x, a),
        layer(1, "torch.relu", {"input": a}, b, ENCODER),
        convolution(2, b, c, bias=True),
        layer(3, "torch.relu", {"input": c}, d, ENCODER),
        layer(4, "torch.nn.functional.linear", {"input": d, "weight": w}, y),
    )
    return Graph("chain", "", layers, (x,), (y,)).cast(dtype)


def test_layers_become_the_kernels_that_pytorch_launches() -> None:
    times = gpu.network(chain(8), load("rtx_2080_ti")).layers
    assert [[k.kind for k in t.kernels] for t in times] == [["Conv"], ["Relu"], ["Conv", "Elewise"], ["Relu"], ["Gemm"]]
    assert times[0].kernels[0].name.startswith("winograd")
    assert times[2].kernels[1].name == "bias"
    assert times[0].kernels[0].flops == 2 * 8 * 64 * 64 * 9 * 28 * 28


def test_half_precision_without_tensor_cores_is_no_faster_in_arithmetic() -> None:
    """cuDNN's pseudo-half: float16 in memory, float32 in the units, and no Winograd."""
    first = gpu.network(chain(8, "float16"), load("jetson_nano")).layers[0].kernels[0]
    assert first.name.startswith("implicit_gemm") and first.work == "float16"
    assert first.flops / first.device_s < 236e9


def test_small_batches_wait_for_the_host_and_large_ones_do_not() -> None:
    arch = load("rtx_2080_ti")
    small, large = (gpu.network(chain(batch), arch) for batch in (1, 256))
    assert small.wall_s == pytest.approx(small.host_s + arch.device.host.sync_s, rel=0.3)  # type: ignore[union-attr]
    assert large.wall_s == pytest.approx(large.kernel_s, rel=0.05)
    assert small.host_s == large.host_s


def test_a_graph_pays_no_dispatch_and_fusion_no_pointwise_kernels() -> None:
    arch = load("rtx_2080_ti")
    eager, graph, fused = (gpu.network(chain(8), arch, mode) for mode in ("eager", "graph", "fused"))
    assert fused.wall_s < graph.wall_s < eager.wall_s
    assert graph.host_s == arch.device.host.launch_s  # type: ignore[union-attr]
    assert sum(len(t.kernels) for t in fused.layers) == sum(len(t.kernels) for t in eager.layers) - 2


def test_what_a_layer_just_wrote_is_read_from_l2() -> None:
    """64 x 28 x 28 floats are 0.2 MB an image: one image stays in the 5.5 MB of L2, 256 do not."""
    arch = load("rtx_2080_ti")
    relu = {batch: gpu.network(chain(batch), arch).layers[1].kernels[0] for batch in (1, 256)}
    assert relu[1].dram_bytes == 0
    assert relu[256].dram_bytes == 2 * 256 * 64 * 28 * 28 * 4


def test_wall_times_of_layers_add_up() -> None:
    arch = load("a100_pcie_40gb")
    time = gpu.network(chain(64), arch)
    assert sum(t.wall_s for t in time.layers) == pytest.approx(time.wall_s - arch.device.host.sync_s, rel=1e-6)  # type: ignore[union-attr]
    assert time.kernel_s == pytest.approx(sum(t.kernel_s for t in time.layers))


def test_input_copies_cross_pcie_but_not_a_jetson() -> None:
    size = 8 * 64 * 28 * 28 * 4
    server, jetson = load("rtx_2080_ti"), load("jetson_nano")
    host = server.device.host  # type: ignore[union-attr]
    assert gpu.network(chain(8), server).copy_s == pytest.approx(host.copy_latency_s + size / host.copy_bytes_per_s)
    assert gpu.network(chain(8), jetson).copy_s < gpu.network(chain(8), server).copy_s


def test_tf32_is_for_convolutions_by_default() -> None:
    graph = chain(64)
    arch = load("a100_sxm_80gb")
    work = {t.layer.id: {kernel.name[:8]: kernel.work for kernel in t.kernels} for t in gpu.network(graph, arch).layers}
    assert work[0]["implicit"] == "tensor.tfloat32" and set(work[4].values()) == {"float32"}
    strict = gpu.network(graph, arch, "eager", gpu.Options(tf32_convolution=False))
    assert strict.layers[0].kernels[0].work == "float32"


def test_fused_attention_is_one_kernel() -> None:
    q, k, v = (tensor(name, 8, 12, 197, 64, dtype="float16") for name in "qkv")
    out = tensor("o", 8, 12, 197, 64, dtype="float16")
    one = layer(0, "torch.nn.functional.scaled_dot_product_attention", {"query": q, "key": k, "value": v}, out)
    (kernel,) = gpu.kernels(one, problems_of(one), load("a100_sxm_80gb"))
    assert kernel.name == "flash_attention"
    assert kernel.flops == 4 * 8 * 12 * 197 * 197 * 64


def test_attention_of_five_dimensions_is_taken_apart() -> None:
    """Windows beside the batch: PyTorch's fused kernels take four dimensions alone."""
    q, k, v = (tensor(name, 8, 64, 4, 49, 32, dtype="float16") for name in "qkv")
    out = tensor("o", 8, 64, 4, 49, 32, dtype="float16")
    one = layer(0, "torch.nn.functional.scaled_dot_product_attention", {"query": q, "key": k, "value": v}, out)
    names = [kernel.name.split("_")[0] for kernel in gpu.kernels(one, problems_of(one), load("a100_sxm_80gb"))]
    assert names == ["scale", "scale", "gemm", "softmax", "gemm"]


def test_counters_by_hand() -> None:
    """One streaming kernel of 2 GiB: DRAM at what a stream reaches, all time bound by memory."""
    where = gpu.machine(load("v100_pcie"))
    size = 2**28
    x, y = tensor("x", size, role="input"), tensor("y", size, role="output")
    graph = Graph("g", "", (layer(0, "torch.relu", {"input": x}, y),), (x,), (y,))
    found = gpu.by_stage(gpu.network(graph, load("v100_pcie")), where)
    assert set(found) == {"head", "total"}
    total = found["total"]
    assert total.dram_utilization == pytest.approx(where.device.dram_share, rel=0.01)
    assert 0.98 < total.stalls["Mem"] < 1 and total.classes == {"Relu": pytest.approx(1)}
    assert total.size_bins == (0, 0, 0, 1) and total.kernels == 1
    assert total.gld_efficiency == 1 and 0.9 < total.achieved_occupancy <= 1


def test_recurrent_steps_are_launches_of_one_kernel() -> None:
    x = tensor("x", 20, 4, 32, role="input")
    weights = {f"params.{i}": tensor(f"w{i}", 256, n, role="weight") for i, n in enumerate((32, 64))}
    out = tensor("y", 20, 4, 64, role="output")
    lstm = layer(0, "torch.lstm", {"input": x, **weights}, out, num_layers=1, batch_first=False, bidirectional=False)
    found = gpu.kernels(lstm, problems_of(lstm), load("rtx_2080_ti"))
    assert [kernel.count for kernel in found] == [1, 20, 20]
    assert replace(found[1], count=1).total_s * 20 == pytest.approx(found[1].total_s)


def test_equal_layers_are_lowered_once_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of equal convolutions: every layer after the second finds its neighbours' kernels."""
    network = sys.modules["mmsim.gpu.network"]  # the package has a function of that name
    maps = [tensor(f"x{i}", 8, 64, 28, 28, role="input" if i == 0 else "activation") for i in range(7)]
    layers = tuple(convolution(i, maps[i], maps[i + 1]) for i in range(6))
    graph = Graph("g", "", layers, (maps[0],), (maps[-1],))
    seen = []
    plain = network.lower

    def counted(*arguments: object) -> object:
        seen.append(arguments[0])
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "lower", counted)
    once = gpu.network(graph, load("v100_pcie"))
    assert len(seen) == 2 and once.layers[2].kernels == once.layers[5].kernels
    monkeypatch.setattr(network, "_signature", lambda layer, cold: layer.id)
    assert gpu.network(graph, load("v100_pcie")).wall_s == once.wall_s
