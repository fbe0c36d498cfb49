"""Board power: between idling and the limit, joules that add up, and each kernel's by hand."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsim import gpu
from mmsim.arch import builtin_names, load
from mmsim.gpu.power import energy
from mmsim.gpu.vector import Traffic, elementwise
from mmsim.run import record, run
from tests.test_gpu_network import chain

GPUS = [name for name in builtin_names() if load(name).device is not None]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(GPUS),
    st.sampled_from([1, 2, 7, 64, 500]),
    st.sampled_from(["float32", "float16"]),
    st.sampled_from(["eager", "graph", "fused"]),
)
def test_a_network_draws_between_idling_and_the_limit(name: str, batch: int, dtype: str, mode: gpu.Mode) -> None:
    arch = load(name)
    assert arch.device is not None
    power = arch.device.power
    time = gpu.network(chain(batch, dtype), arch, mode)
    assert power.idle_w * (1 - 1e-9) <= time.energy_j / time.wall_s <= power.limit_w * (1 + 1e-9)
    for layer in time.layers:
        assert power.idle_w * layer.wall_s <= layer.energy_j * (1 + 1e-9)
        assert layer.energy_j <= power.limit_w * max(layer.wall_s, layer.kernel_s) * (1 + 1e-9)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(GPUS), st.sampled_from([1, 40]), st.sampled_from(["eager", "graph"]))
def test_joules_of_stages_and_overhead_are_the_whole(name: str, batch: int, mode: gpu.Mode) -> None:
    done = run(chain(batch), load(name), mode=mode)
    parts = sum(cost.energy_j for cost in done.by_stage().values())
    assert parts + done.overhead_j == pytest.approx(done.energy_j)
    assert sum(cost.energy_j for cost in done.by_modality().values()) == pytest.approx(parts)
    said = record(done)
    assert said["energy_j"] == pytest.approx(said["average_power_w"] * said["latency_s"])


def test_a_stream_by_hand() -> None:
    """2 GiB read and written on an H100: bytes through DRAM and L2, an operation each, all SMs busy."""
    where = gpu.machine(load("h100_sxm"))
    size = 2.0**31
    kernel = elementwise(where, size / 4, Traffic(size, size))
    by_hand = 2 * size * (113 + 3) + size / 4 * where.op_pj
    assert energy(kernel, where) == pytest.approx(by_hand * 1e-12 + 69 * kernel.device_s)


def test_a_product_by_hand() -> None:
    """128 square tiles' worth of products on an A100: the tile fetches as many operands as the constant stands for."""
    where = gpu.machine(load("a100_sxm_80gb"))
    kernel = gpu.products.gemm(8192, 8192, 8192, 1, "float16", where)
    assert kernel.name == "gemm_128x256"  # fetches three quarters of a square tile's operands for each product
    assert kernel.tile_macs == pytest.approx((0.5 + 0.5 * 0.75) * 8192**3)
    one_row = gpu.products.gemm(1, 4096, 4096, 1, "float16", where)
    assert one_row.tile_macs == 4096**2


def test_a_part_filled_gpu_draws_part_of_the_active_power() -> None:
    where = gpu.machine(load("h100_sxm"))
    kernel = replace(elementwise(where, 512.0, Traffic(0.0, 0.0)), flops=0.0)
    assert kernel.blocks == 1
    assert energy(kernel, where) == pytest.approx(69 / 132 * kernel.device_s)


@pytest.mark.parametrize("name", ["t4", "l4", "a100_sxm_80gb", "h100_sxm", "h200"])
def test_a_large_half_precision_product_draws_the_limit(name: str) -> None:
    """As measured: an A100 runs one at 400 W (thonking.ai), T4 and L4 throttle."""
    where = gpu.machine(load(name))
    kernel = gpu.products.gemm(8192, 8192, 8192, 1, "float16", where)
    power = where.device.power
    assert power.idle_w + energy(kernel, where) / kernel.device_s == pytest.approx(power.limit_w, rel=0.01)


@pytest.mark.parametrize("name", ["v100_pcie", "h200", "jetson_nano"])
def test_waiting_for_the_host_costs_idle_power(name: str) -> None:
    """The same kernels fed ten times as slowly: what is added is idling."""
    arch = load(name)
    assert arch.device is not None
    host = msgspec.structs.replace(arch.device.host, pipelined_dispatch_s=10 * arch.device.host.pipelined_dispatch_s)
    slow = replace(arch, device=msgspec.structs.replace(arch.device, host=host))
    fast_time, slow_time = gpu.network(chain(1), arch), gpu.network(chain(1), slow)
    added = slow_time.wall_s - fast_time.wall_s
    assert added > 0 and slow_time.energy_j - fast_time.energy_j == pytest.approx(arch.device.power.idle_w * added)


def test_the_constants_keep_the_rule() -> None:
    """What SMs draw for being busy is 12 % of what the limit leaves above idling."""
    for name in GPUS:
        device = load(name).device
        assert device is not None
        power = device.power
        assert power.active_w == pytest.approx(0.12 * (power.limit_w - power.idle_w), abs=0.6)
