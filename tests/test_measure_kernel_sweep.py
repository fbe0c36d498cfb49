"""Tables of single kernels: shapes that stay the same, files that `mmsim validate kernels` reads, rows that fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmsim import cli, validate
from mmsim.arch import load
from mmsim.errors import InputError
from mmsim.kernel_table import ROTATION
from mmsim.measure import kernel_sweep
from mmsim.measure.kernel_sweep import KINDS, Kernel, kernels, sweep
from tests import fake_cuda

CPU = torch.device("cpu")


def test_shapes_are_the_same_each_time_and_take_no_device_long() -> None:
    for op in kernel_sweep.OPS:
        first, again = (kernels(op, 10, "cpu") for _ in range(2))
        assert [k.row for k in first] == [k.row for k in again]
        assert len({tuple(k.row.values()) for k in first}) == 10
        assert all(k.macs <= kernel_sweep.MOST_MACS["cpu"] for k in first)


@pytest.mark.parametrize("op", kernel_sweep.OPS)
def test_a_row_says_what_runs(op: str) -> None:
    """The words and MACs of a row are those of the operands that are made and of the result."""
    for kernel in kernels(op, 4, "cpu"):
        operands = kernel.make(CPU, torch.float32)
        result = kernel.call(*operands)
        bias = kernel.row["n"] if op == "linear" else 0
        assert sum(t.numel() for t in (*operands, result)) == kernel.words + bias
        expected = {
            "gemm": lambda r: r["m"] * r["n"] * r["k"],
            "linear": lambda r: r["m"] * r["n"] * r["k_reduction"],
            "bmm": lambda r: r["batch"] * r["m"] * r["n"] * r["k_reduction"],
            "conv": lambda r, y=result: y.numel() * r["in_channels"] * r["kernel"] ** 2,
            "attention": lambda r: 2 * r["batch"] * r["num_heads"] * r["seq_len"] ** 2 * r["head_dim"],
            "vector": lambda r: 0,
        }[op]
        assert kernel.macs == expected(kernel.row)


def test_tables_are_read_by_validate_and_not_measured_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernel_sweep, "TIMES", 5)
    first = sweep(tmp_path, CPU, ["fp32"], ["eager"], rows=3)
    assert len(first.measured) == len(kernel_sweep.OPS) and not first.failed
    monkeypatch.setattr(validate, "IMPLAUSIBLE", float("inf"))  # a CPU's times stand for a GPU's here
    for op in kernel_sweep.OPS:
        pairs = validate.kernels(tmp_path / f"{op}_fp32_eager.csv", op, "fp32", load("h200"))
        assert len(pairs) == 3 and all(pair.measured_s > 0 for pair in pairs)
    assert sweep(tmp_path, CPU, ["fp32"], ["eager"], rows=3).stood == first.measured
    monkeypatch.setattr(sys, "argv", ["mmsim", "measure", "--kernels", "-o", str(tmp_path)])
    assert cli._run() == 0
    assert capsys.readouterr().out == "0 measured, 6 stood already, 0 failed, 0 left\n"


def test_in_a_graph_a_row_is_one_of_many_calls_on_their_own_operands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cuda.install(monkeypatch)
    monkeypatch.setattr(kernel_sweep, "TIMES", 3)
    made: list[int] = []
    real = KINDS["gemm"]

    def counting(draw: Any) -> Kernel:
        kernel = real(draw)

        def make(device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
            made.append(1)
            return kernel.make(device, dtype)

        return Kernel({"m": 8, "n": 8, "k": 8}, 512, 192, make, lambda x, w: torch.nn.functional.linear(x[:8], w[:8]))

    monkeypatch.setitem(KINDS, "gemm", counting)
    monkeypatch.setattr(kernel_sweep, "OPS", ("gemm",))
    monkeypatch.setitem(kernel_sweep.MOST_MACS, "cuda", 1e6)
    found = sweep(tmp_path, torch.device("cuda"), ["bf16"], ["graph"], rows=1)
    assert not found.failed and len(made) == ROTATION
    assert (tmp_path / "gemm_bf16_graph.csv").read_text().startswith("m,n,k,latency_ms\n8,8,8,")


def test_a_row_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = torch.bmm
    calls: list[int] = []

    def second_fails(*operands: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if operands[0].shape[0] == rows[1].row["batch"]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*operands)

    rows = kernels("bmm", 3, "cpu")
    monkeypatch.setattr(torch, "bmm", second_fails)
    monkeypatch.setattr(kernel_sweep, "OPS", ("bmm",))
    found = sweep(tmp_path, CPU, ["fp32"], ["eager"], rows=3)
    assert len((tmp_path / "bmm_fp32_eager.csv").read_text().splitlines()) == 3  # names, and two rows
    assert list(found.failed.values()) == ["OutOfMemoryError: CUDA out of memory."]


def test_a_table_without_a_row_is_not_written_and_measured_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_sweep, "OPS", ("bmm",))
    monkeypatch.setattr(kernel_sweep, "TIMES", 5)
    with monkeypatch.context() as patch:

        def fails(*_: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        patch.setattr(torch, "bmm", fails)
        found = sweep(tmp_path, CPU, ["fp32"], ["eager"], rows=2)
        assert len(found.failed) == 2 and found.measured == [] and list(tmp_path.iterdir()) == []
    assert sweep(tmp_path, CPU, ["fp32"], ["eager"], rows=2).measured == ["bmm_fp32_eager.csv"]


def test_a_gpu_that_fails_for_good_ends_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)

    def lost(*_: Any) -> Any:
        monkeypatch.setattr(torch.cuda, "synchronize", lost)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "bmm", lost)
    monkeypatch.setattr(kernel_sweep, "OPS", ("bmm",))
    monkeypatch.setitem(kernel_sweep.MOST_MACS, "cuda", 1e6)
    with pytest.raises(InputError, match=r"the GPU fails since bmm_fp32_eager\.csv \d+ .*: RuntimeError: CUDA error"):
        sweep(tmp_path, torch.device("cuda"), ["fp32"], ["eager"], rows=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "-o: --kernels needs a folder"),
        (("av_mnist", "-o", "x"), "--kernels measures the machine"),
        (("--dtype", "float64", "-o", "x"), "--dtype: unknown 'float64': float32, bfloat16, float16"),
        (("--mode", "graph", "-o", "x"), "--mode: single kernels run in eager mode"),
    ],
)
def test_bad_requests_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["mmsim", "measure", "--kernels", *arguments])
    assert cli._run() == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
