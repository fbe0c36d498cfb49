"""Kernels mapped to layers: on the CPU's own profiler, and on a small trace in the form of a GPU's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mmsim.errors import InputError
from mmsim.measure import kernels, marks, streams
from mmsim.measure.kernels import Launch, annotated, kernel_class, mapped, record, summed
from mmsim.measure.rule import Rule
from mmsim.measure.subject import Subject, prepare

CPU = torch.device("cpu")


def two_layers() -> Subject:
    module = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    return prepare(module, {"input": torch.randn(4, 64)}, {"": "head"}, "float32", CPU)


def test_every_op_of_a_real_profile_finds_its_layer() -> None:
    subject = two_layers()
    program = annotated(subject.captured)
    launches = mapped(record(lambda: program(*subject.inputs), 2, cuda=False), device=False)
    names = [node.name for node in marks.operations(subject.captured)]
    per_layer = {name: [la.name for la in launches if la.layer == name] for name in names}
    assert per_layer == {"linear": ["aten::linear"] * 2, "relu": ["aten::relu"] * 2, "linear_1": ["aten::linear"] * 2}
    assert all(la.layer is not None for la in launches)


def test_an_annotated_program_computes_the_same() -> None:
    subject = two_layers()
    with torch.no_grad():
        expected, found = (program(*subject.inputs) for program in (subject.captured, annotated(subject.captured)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def event(cat: str, name: str, ts: float, dur: float, tid: int = 1, correlation: int | None = None) -> dict[str, Any]:
    args = {} if correlation is None else {"correlation": correlation}
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": tid, "args": args}


TRACE = [
    event("user_annotation", kernels.PREFIX + "conv2d", 100, 50),
    event("user_annotation", kernels.PREFIX + "relu", 151, 20),
    event("user_annotation", "someone else's range", 90, 500),
    event("cuda_runtime", "cudaLaunchKernel", 110, 5, correlation=1),
    event("cuda_runtime", "cudaLaunchKernel", 120, 5, correlation=2),
    event("cuda_driver", "cuLaunchKernel", 155, 5, correlation=3),
    event("cuda_runtime", "cudaMemcpyAsync", 80, 5, correlation=4),
    event("cuda_runtime", "cudaLaunchKernel", 155, 5, tid=2, correlation=5),
    event("kernel", "implicit_convolve_sgemm", 400, 60, tid=7, correlation=1),  # runs long after it was launched
    event("kernel", "void splitKreduce_kernel", 460, 5, tid=7, correlation=2),
    event("kernel", "vectorized_elementwise_kernel", 465, 20, tid=7, correlation=3),
    event("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", 300, 30, tid=7, correlation=4),
    event("cuda_runtime", "cudaStreamSynchronize", 156, 9),
    event("cuda_runtime", "cudaStreamSynchronize", 166, 3),
    event("cuda_runtime", "cudaDeviceSynchronize", 900, 50),  # the profiler's own, in no layer
    event("kernel", "another thread's kernel", 500, 15, tid=7, correlation=5),
    event("kernel", "launched before the profile", 10, 100, tid=7, correlation=99),
    {"ph": "i", "cat": "kernel", "name": "an instant", "ts": 1},
]


def test_a_gpu_trace_is_mapped_by_the_calls_that_launched() -> None:
    found = {launch.name: launch.layer for launch in mapped(TRACE, device=True)}
    assert found == {
        "implicit_convolve_sgemm": "conv2d", "void splitKreduce_kernel": "conv2d",
        "vectorized_elementwise_kernel": "relu", "Memcpy HtoD (Pageable -> Device)": None,
        "another thread's kernel": None, "launched before the profile": None, "cudaStreamSynchronize": "relu",
    }  # fmt: skip


def test_threads_that_cupti_names_otherwise_are_those_of_the_ranges() -> None:
    renamed = [event | {"tid": 12345} if event.get("cat") == "cuda_runtime" else event for event in TRACE]
    found = {
        launch.name: launch.layer
        for launch in mapped([e for e in renamed if e.get("cat") != "cuda_driver"], device=True)
    }
    assert found["implicit_convolve_sgemm"] == found["void splitKreduce_kernel"] == "conv2d"


def test_a_copy_on_the_device_is_a_kernel() -> None:
    moved = event("gpu_memcpy", "Memcpy DtoD (Device -> Device)", 470, 8, tid=7, correlation=1)
    assert [launch.kind for launch in mapped([*TRACE[:4], moved], device=True)] == ["kernel"]


def test_sums_by_hand() -> None:
    """200 us in five kernels over two passes; 115 us of them belong to no layer."""
    found = summed(mapped(TRACE, device=True), {"conv2d": "torch.conv2d", "relu": "torch.relu"}, passes=2)
    assert found.device_s == pytest.approx(100e-6)
    assert found.unmapped_share == pytest.approx(115 / 200)
    assert found.layers_s == pytest.approx({"conv2d": 32.5e-6, "relu": 10e-6})
    assert found.by_operator == pytest.approx({"unmapped": 57.5e-6, "torch.conv2d": 32.5e-6, "torch.relu": 10e-6})
    assert found.by_class == pytest.approx({"Conv": 30e-6, "Reduce": 2.5e-6, "Elewise": 10e-6, "Other": 57.5e-6})
    assert found.by_size == pytest.approx(
        {"<10 us": 5 / 200, "10-50 us": 35 / 200, "50-100 us": 60 / 200, ">=100 us": 0.5}
    )
    assert (found.copies, found.launches, found.synchronisations) == ({}, {"conv2d": 1, "": 1}, {"relu": 1})
    assert found.copy_s == pytest.approx(15e-6)


def test_nothing_launched_sums_to_nothing() -> None:
    found = summed([], {}, passes=3)
    assert (found.count, found.device_s, found.unmapped_share, found.by_size) == (0, 0.0, 0.0, {})
    copied = summed([Launch("Memcpy HtoD", 1e-6, "to", "copy", 4096)], {}, 1)
    assert (copied.copies, copied.copy_bytes, copied.count) == ({"to": 1}, 4096, 0)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("scudnn_128x64_relu_medium_nn_v1", "Relu"), ("cudnn::bn_fw_inf_1C11_kernel", "Other"),
        ("implicit_convolve_sgemm", "Conv"), ("vectorized_layer_norm_kernel", "BNorm"),
        ("unrolled_elementwise_kernel", "Elewise"), ("max_pool_forward_nchw", "Pooling"),
        ("sm80_xmma_gemm_f32", "Gemm"), ("nvjet_tst_128x64_64x12_2x1_v_bz_TNN", "Gemm"),
        ("gemv2T_kernel_val", "Gemm"), ("splitKreduce_kernel", "Reduce"), ("softmax_warp_forward", "Other"),
        ("RELU", "Other"),
    ],
)  # fmt: skip
def test_classes_follow_mmbenchs_rule(name: str, expected: str) -> None:
    assert kernel_class(name) == expected


# --- streams, as far as they go without a GPU ----------------------------------------


def test_straggler_and_idle_share_by_hand() -> None:
    """4 ms, 1 ms, 1 ms: the two short encoders' streams wait 3 ms of 4; half of the three streams' time."""
    apart = [{"encoder:image": 4e-3, "encoder:force": 1e-3, "encoder:text": 1e-3}] * 3
    found = streams.summary([4.5e-3] * 3, apart)
    assert (found.straggler, found.straggler_ratio) == ("encoder:image", pytest.approx(4.0))
    assert found.idle_share == pytest.approx(0.5)
    assert found.serial_s.median == pytest.approx(6e-3)


def test_streams_need_cuda() -> None:
    with pytest.raises(InputError, match="needs --device cuda"):
        streams.concurrent(two_layers(), Rule(), "eager")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_every_kernel_has_a_layer() -> None:
    subject = two_layers()
    moved = Subject(
        subject.captured.cuda(), subject.graph, tuple(t.cuda() for t in subject.inputs), torch.device("cuda")
    )
    found = kernels.profile(moved)
    assert found.count >= 3 and found.unmapped_share == 0.0
