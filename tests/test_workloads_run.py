"""Each network runs: finite outputs of the stated shape, every operation in a stage, the same on every build."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmsim.tracing.capture import capture
from mmsim.workloads import get
from mmsim.workloads.mult import MulT
from tests.workload_counts import parameters, unclaimed_operations

OUTPUTS = {"av_mnist": (10,), "mm_imdb": (23,), "cmu_mosei": (1,), "mustard": (2,), "medical_vqa": (330,)}
FURTHER = {("medical_vqa", "transformer"): (20, 50265), ("medical_vqa", "repo_attention"): (5,)}
SMALL = {"mustard": {"frames": 2}}  # 96 frames are a teraMAC
HEAVY = 3 * 10**7  # parameters

VARIANTS = [(workload, variant) for workload in OUTPUTS for variant in get(workload).variants()]


def arguments(workload: str, variant: str) -> dict[str, Any]:
    return {**get(workload).variants()[variant], **SMALL.get(workload, {})}


def is_light(workload: str, variant: str) -> bool:
    return workload == "av_mnist" or variant.startswith(("multibench", "repo_concat_", "uni_audio"))


@pytest.mark.parametrize(
    ("workload", "variant"),
    [pytest.param(*name, marks=[] if is_light(*name) else pytest.mark.slow) for name in VARIANTS],
)
def test_outputs_are_finite(workload: str, variant: str) -> None:
    network = get(workload).network(batch=2, **arguments(workload, variant))
    output = network()
    assert output.shape == (2, *FURTHER.get((workload, variant), OUTPUTS[workload]))
    assert output.isfinite().all()
    assert output.std() > 0 or output.numel() <= 2 or variant == "zero"


@pytest.mark.parametrize(("workload", "variant"), VARIANTS)
def test_every_operation_is_in_a_stage(workload: str, variant: str) -> None:
    with torch.device("meta"):
        network = get(workload).network(**arguments(workload, variant))
    assert network.variant == variant
    assert unclaimed_operations(network) == []
    assert all(tensor.device.type == "cpu" for tensor in network.inputs.values())
    assert all(p.is_meta for p in network.module.parameters())


def test_same_network_every_time() -> None:
    first, second = (get("av_mnist").network() for _ in range(2))
    assert torch.equal(first(), second())
    state = torch.get_rng_state()
    get("av_mnist").network()
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator is left alone"


def test_meta_and_real_networks_have_the_same_parameters() -> None:
    with torch.device("meta"):
        meta = get("cmu_mosei").network("multibench_transformer")
    real = get("cmu_mosei").network("multibench_transformer")
    assert {n: p.shape for n, p in meta.module.state_dict().items()} == {
        n: p.shape for n, p in real.module.state_dict().items()
    }
    assert parameters(meta.module) == parameters(real.module)


def test_samples_of_a_batch_do_not_mix() -> None:
    """In eval mode a sample's result does not depend on its neighbours."""
    network = get("av_mnist").network("tensor", batch=3)
    alone = [network.module(**{k: x[i : i + 1] for k, x in network.inputs.items()}) for i in range(3)]
    torch.testing.assert_close(network(), torch.cat(alone).detach())


@pytest.mark.parametrize("variant", ["concat", "low_rank", "uni_image"])
def test_spare_means_of_lenet_change_nothing(variant: str) -> None:
    workload = get("av_mnist")
    plain, spare = (workload.network(**workload.variants()[variant], host_costs=on) for on in (False, True))
    assert torch.equal(plain(), spare())


def test_host_costs_of_mult_are_counted_in_its_capture() -> None:
    """The sizes of MuJoCo Push: 16 cross nets and 4 self nets of 3 layers, a mask copied in each of the 60 layers;
    positions looked up three times a cross net and once a self net, 52 times the host waits."""
    model = MulT((64,) * 4, width=64, heads=4, layers=3, out=2, length=16, all_steps=True, host_costs=True).eval()
    captured = capture(model, tuple(torch.randn(2, 16, 64) for _ in range(4)))
    assert captured.meta["route"] == "recorder-real", "where the host waits for an activation, a real run is needed"
    nodes = list(captured.graph.nodes)
    assert sum(bool(node.meta.get("sync")) for node in nodes) == 16 * 3 + 4
    assert sum(node.meta.get("op") == "torch.Tensor.to" for node in nodes) == 60


@pytest.mark.parametrize(
    ("workload", "variant"),
    [("av_mnist", "low_rank"), ("av_mnist", "multiplicative"), ("cmu_mosei", "multibench_tensor")],
)
def test_every_parameter_learns(workload: str, variant: str) -> None:
    network = get(workload).network(variant, batch=4)
    network.module.train()(**network.inputs).square().sum().backward()
    still = [name for name, p in network.module.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert still == []
