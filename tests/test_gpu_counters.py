"""Counters of a GPU: occupancy by hand, and against what Nsight Compute read (benchmarks/counters.csv)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import counters as compared
from mmsim import gpu
from mmsim.arch import load
from mmsim.gpu import counters
from mmsim.gpu.machine import Machine
from mmsim.gpu.occupancy import Block, product_block, product_instructions, resident
from mmsim.gpu.products import gemm
from mmsim.gpu.vector import Traffic, elementwise


@pytest.mark.parametrize(
    ("arch", "block", "blocks"),
    [
        ("a100_sxm_80gb", Block(128, 122, 12800), 4),  # ampere_sgemm_128x64_tn: theoretical occupancy 25 % of 64 warps
        ("a100_sxm_80gb", Block(256, 118, 16896), 2),  # ampere_sgemm_128x128_tn: 25 %
        ("a100_sxm_80gb", Block(256, 57, 16384), 4),  # ampere_sgemm_32x128_tn: 50 %
        ("a100_sxm_80gb", Block(128, 86, 32768), 4),  # ampere_sgemm_32x32_sliced1x4_tn: 25 %
        ("t4", Block(128, 122, 12800), 4),  # volta_sgemm_128x64_nn: 50 % of 32 warps
        ("t4", Block(128, 32), 8),  # a pointwise kernel: all 32 warps
    ],
)
def test_resident_blocks_are_nsight_computes(arch: str, block: Block, blocks: int) -> None:
    assert resident(block, _machine(arch)) == blocks


@pytest.mark.parametrize("tile", [(128, 128), (128, 64), (32, 128), (64, 32), (32, 32)])
def test_the_blocks_of_products_fill_as_many_warps(tile: tuple[int, int]) -> None:
    """As the listed kernels of the same tile: 16 warps of an A100's SM, 32 of the narrow one's."""
    block = product_block(*tile, tensor=False)
    warps = resident(block, _machine("a100_sxm_80gb")) * block.warps
    assert warps == (32 if tile == (32, 128) else 16)


def test_a_lone_block_shows_its_own_warps_alone() -> None:
    """Idle SMs are not in the average: 16 blocks of 8 warps on 108 SMs are 8 of 64 warps (12.48 % was read)."""
    where = _machine("a100_sxm_80gb")
    kernel = gemm(20, 20, 32, 16, "float32", where)
    assert kernel.blocks == 16 and kernel.warps == 8
    assert counters.achieved_occupancy(kernel, where) == pytest.approx(0.125)


def test_instructions_of_a_product_by_hand() -> None:
    """128 x 128 x 8 at one a lane are 4096; feeding the tile takes 850 (2 / 128)^2 = 0.21 of that."""
    found = product_instructions(128, 128, 128 * 128 * 8, tensor=False)
    assert found == pytest.approx(4096 * (1 + 850 / 4096))


def test_misaligned_rows_waste_nearly_half_of_each_sector() -> None:
    """Rows of 257 words start anywhere: a step of 32 bytes touches 60 on average (52.66 % was read)."""
    where = _machine("rtx_2080_ti")
    assert gemm(8000, 64, 257, 1, "float32", where).load_efficiency == pytest.approx(32 / 60)
    assert gemm(8000, 64, 256, 1, "float32", where).load_efficiency == 1


def test_stalls_are_shares_of_one() -> None:
    """A stream waits for memory; on Maxwell, whose instructions take 6 clocks, a product waits more for itself."""
    volta, maxwell = _machine("v100_pcie"), _machine("jetson_nano")
    stream = elementwise(volta, 2.0**28, Traffic(2.0**30, 2.0**30))
    assert counters.stalls(stream, volta)["Mem"] > 0.98
    shares = [counters.stalls(gemm(2048, 2048, 2048, 1, "float32", m), m) for m in (volta, maxwell)]
    assert all(sum(found.values()) == pytest.approx(1) for found in shares)
    assert shares[1]["Exec"] > shares[0]["Exec"]


def test_the_committed_rows_are_predicted_as_the_page_says() -> None:
    """MMBench's kernels on the RTX 2080 Ti and PyTorch's on the A100: mean absolute differences, shares of 1."""
    off = {(r["source"].split(",")[0], r["counter"]): r["off"] for r in compared.errors(compared.rows())}
    assert off["MMBench", "occupancy"] < 0.1 and off["operators", "occupancy"] < 0.06
    assert off["MMBench", "ipc"] < 0.07 and off["MMBench", "dram"] < 0.07 and off["operators", "dram"] < 0.07
    assert off["T4", "occupancy"] < 0.02


def test_the_rows_name_what_they_are() -> None:
    table = list(csv.DictReader((Path(compared.__file__).parent / "counters.csv").read_text().splitlines()))
    assert len(table) == 288 and sum(bool(row["stage"]) for row in table) == 146
    assert {row["op"].split()[-1] for row in table if row["op"]} <= set(compared.PREDICT)


def _machine(arch: str) -> Machine:
    return gpu.machine(load(arch))


@pytest.mark.parametrize(
    ("sizes", "us"), [("64 16 64 64 32 5 5 2", 638), ("64 32 32 32 64 5 5 2", 321), ("64 64 8 8 128 3 3 2", 117)]
)
def test_channels_last_pays_for_128_channels(sizes: str, us: float) -> None:
    """Layers of MMBench's Vision & Touch on an RTX 2080 Ti, as its trace has them: cuDNN's one tile of 128 x 128."""
    row = {"op": "nhwc convolution", "sizes": sizes, "dtype": "float32"}
    kernel = compared.predicted(row, _machine("rtx_2080_ti"))
    assert kernel.name == "implicit_gemm_128x128"
    assert kernel.device_s * 1e6 == pytest.approx(us, rel=0.2)
