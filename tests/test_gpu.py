"""Kernel models: limits that physics sets, directions that must hold, and shapes worked by hand."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsim.arch import load
from mmsim.arch.load import builtin_names
from mmsim.errors import InputError
from mmsim.gpu import Machine, machine
from mmsim.gpu import attention as flash
from mmsim.gpu import convolution as conv
from mmsim.gpu.host import SCATTER, alone
from mmsim.gpu.library import AMPERE_BATCHED, CUDA, CUDA_BATCHED
from mmsim.gpu.products import gemm, products
from mmsim.gpu.vector import BLOCK_SOFTMAX, GROUP_NORM, LAYER_NORM, WARP_SOFTMAX, Row, Traffic, elementwise, rows

GPUS = [name for name in builtin_names() if load(name).device is not None]
SIZES = st.integers(1, 4096)


def fma_peak(where: Machine, dtype: str) -> float:
    tensor = where.has_tensor(dtype)
    return where.sms * where.clock_hz * where.fma_per_clock(dtype, tensor=tensor)


@pytest.mark.parametrize("name", GPUS)
def test_peaks_are_the_data_sheets(name: str) -> None:
    """FP32 TFLOPS at boost, from the data sheets."""
    teraflops = {
        "rtx_2080_ti": 13.45, "jetson_nano": 0.236, "jetson_orin": 5.3, "jetson_orin_32gb": 3.33, "h100_sxm": 66.9,
        "h200": 66.9, "a100_sxm_80gb": 19.5, "a100_pcie_40gb": 19.5, "v100_pcie": 14.1, "t4": 8.1, "p100_pcie": 9.3,
        "l4": 30.3, "l40s": 91.6, "rtx_3090": 35.6, "rtx_4090": 82.6,
    }  # fmt: skip
    where = machine(load(name))
    assert 2e-12 * fma_peak(where, "float32") == pytest.approx(teraflops[name], rel=0.01)


@pytest.mark.parametrize("name", ["rtx_2080_ti", "jetson_nano", "h100_sxm"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES)
def test_a_product_is_never_faster_than_the_machine(name: str, dtype: str, m: int, n: int, k: int) -> None:
    where = machine(load(name))
    kernel = gemm(m, n, k, 1, dtype, where, cold=(1.0, 1.0, 1.0))
    share = where.device.tensor_share if where.has_tensor(dtype) else where.device.cuda_share
    boost = max(1.0, share)  # a GeForce board runs beyond the data sheet's clock, and its share says so
    assert kernel.device_s > m * n * k / (boost * fma_peak(where, dtype))
    assert kernel.device_s > kernel.dram_bytes / where.dram_peak_bytes_per_s
    assert kernel.flops == 2 * m * n * k


def test_many_products_at_once_equal_one_by_one() -> None:
    where = machine(load("a100_sxm_80gb"))
    m, n, k = np.array([64.0, 1000.0, 4096.0]), np.array([64.0, 333.0, 4096.0]), np.array([4096.0, 8.0, 512.0])
    zero, one = np.zeros(3), np.ones(3)
    together = products(where, m, n, k, one, "float16", cold=(zero, one, zero)).seconds
    alone = [gemm(int(a), int(b), int(c), 1, "float16", where).device_s for a, b, c in zip(m, n, k, strict=True)]
    assert together == pytest.approx(alone)


def test_a_faster_memory_never_slows() -> None:
    slow = machine(load("v100_pcie"))
    fast = replace(slow, dram_bytes_per_s=2 * slow.dram_bytes_per_s)
    for m, n, k in ((8, 4096, 4096), (512, 512, 512), (4096, 4096, 64)):
        times = [gemm(m, n, k, 1, "float32", where, cold=(1.0, 1.0, 1.0)).device_s for where in (slow, fast)]
        assert times[1] <= times[0]


def test_waves_of_one_tile_by_hand() -> None:
    """109 tiles of 128 x 128 on 108 SMs: the busiest SM has two, so twice the time of 108."""
    where = machine(load("a100_pcie_40gb"))
    cold = tuple(np.zeros(2) for _ in range(3))
    batch = np.array([108.0, 109.0])
    found = products(
        where, *(np.full(2, 128.0),) * 2, np.full(2, 4096.0), batch, "float32", cold=cold, kernels=AMPERE_BATCHED
    )
    assert found.blocks.tolist() == [108, 109]
    assert found.compute_s[1] / found.compute_s[0] == pytest.approx(2, rel=0.01)
    share = where.device.cuda_share * AMPERE_BATCHED.efficiency  # of this very tile
    assert found.compute_s[0] == pytest.approx(128 * 128 * 4096 / (64 * share) / 1.41e9, rel=0.01)


def test_batched_products_on_a_small_l2_fetch_a_twice() -> None:
    """1000 products of 64 x 64 x 512, far beyond the V100's L2: A twice, B and C once; the A100 fetches each once."""
    size = 4.0 * 1000 * 64
    for name, a in (("v100_pcie", CUDA_BATCHED.fetch), ("a100_pcie_40gb", 1.0)):
        kernel = gemm(64, 64, 512, 1000, "float32", machine(load(name)), cold=(1.0, 1.0, 1.0))
        assert kernel.dram_bytes == size * (a * 512 + 512 + 64)


def test_deep_products_slow_down_by_the_span_of_their_rows() -> None:
    """An A100's tile of 128 x 128 reaches into 2 MiB at k = 2048, into 8 at k = 8192: four times as far."""
    where = machine(load("a100_pcie_40gb"))
    shallow, deep = (gemm(8192, 8192, k, 1, "float32", where) for k in (2048, 8192))
    assert shallow.name == deep.name == "gemm_128x128"
    per_k = deep.device_s / 8192 / (shallow.device_s / 2048)
    assert 1.04 < per_k < 4**CUDA.stride < 1.07  # less what the first waves and the output take


def layer_norm(columns: int, row: Row = LAYER_NORM) -> float:
    """DRAM bytes over the tensor's, on a V100."""
    size = 4.0 * 16384 * columns
    where = machine(load("v100_pcie"))
    return rows(where, 16384, columns, Traffic(size, size), row, name="ln", kind="BNorm").dram_bytes / size


def test_a_second_operand_along_n_spans_less() -> None:
    """A step of a block reads few rows of B where they lie along n, each in order: A's rows alone are far apart."""
    where = machine(load("a100_pcie_40gb"))
    along_k, along_n = (gemm(4096, 4096, 8192, 1, "float32", where, b_along_k=b).device_s for b in (True, False))
    assert 1.02 < along_k / along_n < 2**CUDA.stride < 1.04  # half as far


def test_an_op_alone_ends_with_its_host_or_its_kernel_or_near_a_tie_after_both() -> None:
    """A plain op of 20 us, launched after 10: a kernel of 10 ends as it returns. The scatter of 5 us makes the mean
    later by a quarter of it; 5 us off the tie nothing is left of that."""
    host = msgspec.structs.replace(load("t4").device.host, dispatch_s=20e-6, launch_s=10e-6)  # type: ignore[union-attr]
    assert SCATTER == 0.25
    for kernel, end in ((1.0, 20.0), (5.0, 20.0), (10.0, 21.25), (15.0, 25.0), (90.0, 100.0)):
        assert 1e6 * alone(host, 1.0, 1e-6 * kernel) == pytest.approx(end)
    assert 1e6 * alone(host, 2.0, 1e-6) == pytest.approx(40.0)  # twice the work on the host: the launch 20 us later
    assert 1e6 * alone(host, 2.0, 50e-6) == pytest.approx(80.0)


def test_rows_off_a_16_byte_boundary_waste_sectors() -> None:
    """A softmax in registers over 320 or 321 columns; a block's wide loads begin on a boundary of their own."""
    where = machine(load("v100_pcie"))

    def sectors(columns: int, row: Row) -> float:
        size = 4.0 * 16384 * columns
        return rows(where, 16384, columns, Traffic(size, size), row, name="softmax", kind="Other").dram_bytes / size

    assert sectors(320, WARP_SOFTMAX) == 2
    assert sectors(321, WARP_SOFTMAX) == pytest.approx(2 / 0.85)
    assert sectors(2049, BLOCK_SOFTMAX) == 2


def test_half_the_warps_slow_down_what_waits() -> None:
    """Clocks of 1e6 elements on one SM of 32 warps, over those on one of 64: twice as many where all are waited for."""
    large = machine(load("v100_pcie"))
    small = replace(large, device=msgspec.structs.replace(large.device, warps_per_sm=32))

    def clocks(where: Machine, waiting: float) -> float:
        kernel = rows(where, 80, 1e6, Traffic(1280, 1280), Row(0.0, 1.5, waiting=waiting), name="x", kind="Other")
        overhead = where.device.launch_s + 2 * where.device.memory_latency_s
        return (kernel.device_s - overhead) * where.clock_hz / 1e6

    assert clocks(large, 1.0) == clocks(large, 0.0) == pytest.approx(1.5)
    assert clocks(small, 1.0) == pytest.approx(3.0)
    assert clocks(small, 0.54) == pytest.approx(1.5 * 1.54)
    assert clocks(small, 0.0) == pytest.approx(1.5)


def test_a_second_pass_hits_l1_l2_or_dram() -> None:
    """Sixteen rows of 1536 float32 fill the V100's 96 KiB of L1; half as much again, and all SMs' rows pass its L2."""
    assert layer_norm(1000) == layer_norm(1536) == 2
    assert layer_norm(2304) == 3
    assert layer_norm(1000, GROUP_NORM) == 3  # another kernel reads it again


def test_pytorchs_own_depthwise_kernel_is_bound_by_its_loads() -> None:
    """A 7 x 7 over 64 x 384 x 32 x 32 on 68 SMs of 16 load lanes: 2.24 loads a tap, indices worth 18 taps a point."""
    where = machine(load("rtx_2080_ti"))
    n, channels, edge = np.array(64.0), np.array(384.0), np.array(32.0)
    shape = conv.Shape(n, channels, channels, edge * edge, edge, edge, taps=49.0, groups=384.0)
    (kernel,) = conv.convolution(where, shape, "float32")
    loads = 64 * 384 * 32 * 32 * 2.24 * (49 + 18)
    fixed = where.device.launch_s + 2 * where.device.memory_latency_s
    assert kernel.device_s == pytest.approx(loads / (68 * 16 * 1.545e9) + fixed)
    (library,) = conv.convolution(where, replace(shape, taps=9.0), "float16")
    assert (kernel.name, library.name) == ("native_depthwise", "depthwise")


def test_large_depthwise_kernels_channels_last_are_grouped_products() -> None:
    """7 x 7 has a kernel of its own; 9 x 9 of 192 channels is three products of 64 x 64 channels, full of zeros."""
    where = machine(load("rtx_3090"))
    sizes = (np.array(float(size)) for size in (64, 192, 192, 96 * 96, 96, 96))
    shape = conv.Shape(*sizes, groups=192.0)
    own, grouped = (
        conv.convolution(where, replace(shape, taps=taps), "float16", channels_last=True)[0] for taps in (49.0, 81.0)
    )
    assert own.name == "depthwise" and grouped.name.startswith("implicit_gemm")
    assert grouped.flops == 2 * 64 * 192 * 96 * 96 * 81
    peak = where.device.tensor_share * fma_peak(where, "float16")
    assert grouped.device_s > 64 * grouped.flops / 2 / peak


REPLKNET = {
    16: (5.6, 11.0, 14.4, 17.6, 36.0, 57.2, 83.4, 133.5, 150.7, 171.4),
    32: (21.9, 34.1, 54.8, 76.1, 141.2, 230.5, 342.3, 557.8, 638.6, 734.8),
    64: (69.6, 141.2, 228.6, 319.8, 600.0, 977.7, 1454.4, 2371.1, 2698.4, 3090.4),
}
"""Ding et al., arXiv:2203.06717, table 1: ms of 24 depthwise layers, float32, PyTorch 1.9 on an RTX 2080 Ti, input
64 x 384 x R x R, R -> kernels of 3, 5, 7, 9, 13, 17, 21, 27, 29, 31."""


def test_depthwise_layers_of_a_published_table() -> None:
    where = machine(load("rtx_2080_ti"))
    errors = []
    for edge, row in REPLKNET.items():
        sizes = (np.array(float(size)) for size in (64, 384, 384, edge * edge, edge, edge))
        shape = conv.Shape(*sizes, groups=384.0)
        for side, measured_ms in zip((3, 5, 7, 9, 13, 17, 21, 27, 29, 31), row, strict=True):
            (kernel,) = conv.convolution(where, replace(shape, taps=float(side**2)), "float32", cold=(1.0, 1.0, 1.0))
            errors.append(abs(24e3 * kernel.device_s / measured_ms - 1))
    assert np.mean(errors) < 0.08 and max(errors) < 0.30


def test_misaligned_tensor_products_pay() -> None:
    where = machine(load("rtx_2080_ti"))
    assert (
        gemm(4096, 4096, 4097, 1, "float16", where).device_s
        > 1.5 * gemm(4096, 4096, 4096, 1, "float16", where).device_s
    )


def test_tf32_convolution_is_faster_than_float32() -> None:
    where = machine(load("a100_sxm_80gb"))
    n, c, k, x, p = (np.array(v) for v in (32.0, 256.0, 256.0, 784.0, 28.0))
    shape = conv.Shape(n, c, k, x, p, p, taps=1.0)
    tf32, fp32 = (conv.convolution(where, shape, dtype) for dtype in ("tfloat32", "float32"))
    assert [kernel.name.split("_")[0] for kernel in tf32] == ["nchw", "nchw", "implicit"] and len(fp32) == 1
    assert tf32[-1].device_s < fp32[0].device_s / 2


def test_winograd_is_taken_where_it_wins() -> None:
    where = machine(load("v100_pcie"))
    n, c, k, x, p = (np.array(v) for v in (32.0, 256.0, 256.0, 784.0, 28.0))
    shape = conv.Shape(n, c, k, x, p, p)
    (with_it,) = conv.convolution(where, shape, "float32", three_by_three=True)
    (without,) = conv.convolution(where, shape, "float32")
    assert with_it.name.startswith("winograd") and with_it.device_s < without.device_s


def test_fused_winograd_takes_whole_patches_by_hand() -> None:
    """8 x 16 outputs are one block of 32 tiles; a ninth row takes a second, half of it empty. 32 channels a block."""
    where = machine(load("v100_pcie"))
    cold = tuple(np.zeros(2) for _ in range(3))
    n, c, k, x = (np.full(2, v) for v in (1.0, 64.0, 64.0, 144.0))
    shape = conv.Shape(n, c, k, x, np.array([8.0, 9.0]), np.array([16.0, 16.0]))
    assert conv.fused_winograd(where, shape, "float32", cold).blocks.tolist() == [2, 4]


def test_fused_winograd_transforms_its_weights_beforehand() -> None:
    """Weights far beyond L2: 9 words read and 16 written for each pair of channels, in strides."""
    where = machine(load("v100_pcie"))
    one, edge = np.array(1.0), np.array(4.0)
    shape = conv.Shape(one, np.array(1024.0), np.array(2048.0), edge * edge, edge, edge)
    zero = np.array(0.0)
    took = conv.fused_winograd(where, shape, "float32", (zero, zero, zero)).seconds
    transform = conv.FILTER_TRANSFORM * 4 * 1024 * 2048 * (9 + 16) / where.dram_bytes_per_s
    assert took > transform
    wide = conv.fused_winograd(
        where, replace(shape, out_channels=np.array(4096.0)), "float32", (zero, zero, zero)
    ).seconds
    assert wide - took > transform


def test_several_kernels_count_the_hosts_work_where_nothing_hides_it() -> None:
    """The non-fused Winograd is the fastest on the device here; a second of host work takes it out of the choice."""
    where = machine(load("v100_pcie"))
    n, c, k, x, p = (np.array(v) for v in (32.0, 512.0, 512.0, 784.0, 28.0))
    shape = conv.Shape(n, c, k, x, p, p)
    (hidden,) = conv.convolution(where, shape, "float32", three_by_three=True)
    (seen,) = conv.convolution(where, shape, "float32", three_by_three=True, unfused_host_s=1.0)
    assert hidden.name.startswith(conv.UNFUSED_NAME) and not seen.name.startswith(conv.UNFUSED_NAME)


def test_channels_first_half_precision_is_rearranged() -> None:
    where = machine(load("rtx_2080_ti"))
    n, c, k, x, p = (np.array(v) for v in (8.0, 64.0, 64.0, 3136.0, 56.0))
    shape = conv.Shape(n, c, k, x, p, p)
    found = conv.convolution(where, shape, "float16")
    assert [kernel.name.split("_")[0] for kernel in found] == ["nchw", "nchw", "implicit"]  # input, weights
    assert [kernel.l2_bytes for kernel in found[:2]] == [2 * 2 * 8 * 64 * 3136, 2 * 2 * 64 * 64 * 9]
    assert len(conv.convolution(where, shape, "float16", channels_last=True)) == 1


def test_streaming_reaches_the_memorys_bandwidth() -> None:
    where = machine(load("v100_pcie"))
    size = 2.0**30
    kernel = elementwise(where, size / 4, Traffic(size, size))
    assert kernel.bound == "DRAM"
    assert 2 * size / kernel.device_s == pytest.approx(where.dram_bytes_per_s, rel=0.01)


def test_causal_attention_is_about_half() -> None:
    where = machine(load("h100_sxm"))
    full, causal = (flash.attention(where, 8, 16, 4096, 4096, 64, "bfloat16", causal=c).device_s for c in (False, True))
    assert 0.45 < causal / full < 0.65


def test_the_power_limit_bites_on_long_kernels_only() -> None:
    where = machine(load("t4"))
    small, large = gemm(512, 512, 512, 1, "float32", where), gemm(8192, 8192, 8192, 1, "float32", where)
    assert small.flops / small.device_s > 0.9 * large.flops / large.device_s
    assert large.flops / large.device_s < 0.5 * 2 * fma_peak(where, "float32")


def test_an_accelerator_is_no_gpu() -> None:
    with pytest.raises(InputError, match="eyeriss_like: is not a GPU"):
        machine(load("eyeriss_like"))
