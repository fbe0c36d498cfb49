"""Medical Segmentation, MuJoCo Push, Vision & Touch and TransFuser: parameters and MACs of every variant, and runs."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmsim.errors import InputError
from mmsim.workloads.base import Network, get
from tests.workload_counts import agrees, parameters, unclaimed_operations

SCANS = ("flair", "t1ce", "t1", "t2")


@cache
def built(workload: str, variant: str) -> Network:
    """A variant without weights."""
    with torch.device("meta"):
        return get(workload).network(**get(workload).variants()[variant])


@cache
def traced(workload: str, variant: str) -> tuple[torch.Tensor, dict[str, int]]:
    """The output, and MACs by module path ("" for all), from shapes alone."""
    network = built(workload, variant)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = network.module(**{name: x.to("meta") for name, x in network.inputs.items()})
    root = type(network.module).__name__
    by_module = {path.removeprefix(root).lstrip("."): sum(c.values()) // 2 for path, c in counter.flop_counts.items()}
    return out, by_module | {"": counter.get_total_flops() // 2}


# workload, variant, parameters, MACs as the specification rounds them, shape of the output
TOTALS = [
    ("medical_seg", "transformer", 36_654_416, "128.13G", (1, 4, 128, 128, 128)),
    *(("medical_seg", f"uni_{scan}", 2_066_572, "43.69G", (1, 4, 128, 128, 128)) for scan in SCANS),
    ("mujoco_push", "concat", 1_904_986, "439.4M", (1, 16, 2)),
    ("mujoco_push", "early", 3_918_426, "471.6M", (1, 16, 2)),
    ("mujoco_push", "tensor", 23_472_890, "784.6M", (1, 16, 2)),
    ("mujoco_push", "transformer", 14_582_106, "644.1M", (1, 16, 2)),
    ("mujoco_push", "uni_position", 3_330_690, "53.15M", (1, 16, 2)),
    ("mujoco_push", "uni_sensors", 3_330_946, "53.16M", (1, 16, 2)),
    ("mujoco_push", "uni_image", 3_879_898, "471.0M", (1, 16, 2)),
    ("mujoco_push", "uni_control", 3_330_946, "53.16M", (1, 16, 2)),
    ("vision_touch", "concat", 1_198_514, "81.59M", (1, 2)),
    ("vision_touch", "tensor", 9_577_186, "89.98M", (1, 2)),
    ("vision_touch", "low_rank", 9_577_186, "89.98M", (1, 2)),
    ("vision_touch", "transformer", 1_062_960 + 27_443_586, "108.79M", (1, 2)),
    ("vision_touch", "uni_image", 1_001_506, "81.27M", (1, 2)),
    ("vision_touch", "uni_force", 126_194, "0.251M", (1, 2)),
    ("vision_touch", "uni_proprio", 82_210, "0.082M", (1, 2)),
    ("transfuser", "transformer", 66_293_634, "11.632G", (1, 4, 2)),
    ("transfuser", "sum", 32_644_098, "7.10G", (1, 4, 2)),
    ("transfuser", "uni_image", 21_470_722, "4.78G", (1, 4, 2)),
    ("transfuser", "uni_lidar", 11_173_376 + 186_050, "2.32G", (1, 4, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("workload", "variant", "weights", "macs", "shape"), TOTALS)
def test_parameters_macs_and_shape(
    workload: str, variant: str, weights: int, macs: str, shape: tuple[int, ...]
) -> None:
    network = built(workload, variant)
    out, counted = traced(workload, variant)
    assert parameters(network.module) == weights
    assert agrees(macs, counted[""])
    assert out.shape == shape


def test_every_variant_is_in_the_table() -> None:
    for workload in {row[0] for row in TOTALS}:
        assert set(get(workload).variants()) == {row[1] for row in TOTALS if row[0] == workload}


# workload, variant, module path, parameters, MACs worked by hand from the layer's sizes
PARTS = [
    ("medical_seg", "transformer", "encoders.flair.unet", 1_473_216, 16_194_207_744),
    ("medical_seg", "transformer", "encoders.t2.tokenise", 66_048, 512 * 128 * 512),
    # qkv and projection, the two products of attention, the four times 512 x 1024 wide feed-forward
    ("medical_seg", "transformer", "encoders.t1.transformer", 5_250_048,
     512 * (4 * 512**2 + 2 * 512 * 512 + 2 * 512 * 4096)),
    ("medical_seg", "transformer", "fusion.transformer", 5_250_048,
     2048 * (4 * 512**2 + 2 * 2048 * 512 + 2 * 512 * 4096)),
    ("medical_seg", "transformer", "fusion.join", 1_049_088, 512 * 2048 * 512),
    ("medical_seg", "transformer", "head.fused", 1_293_444, 35_841_638_400),
    ("medical_seg", "uni_t1", "head", 593_356, 27_497_857_024),
    ("mujoco_push", "concat", "encoders.position", 338_304, 16 * (3 * 64 + 2 * 64**2 + 4 * 256 * (64 + 256))),
    ("mujoco_push", "concat", "encoders.sensors", 338_560, 16 * (7 * 64 + 2 * 64**2 + 4 * 256 * (64 + 256))),
    ("mujoco_push", "concat", "encoders.control", 338_560, 16 * (7 * 64 + 2 * 64**2 + 4 * 256 * (64 + 256))),
    # 32 x 32 pixels: 5x5 1 to 32, 3x3 32 to 32 twice, to 16, to 8; then 8192 to 64, the residual pair, the LSTM
    ("mujoco_push", "concat", "encoders.image", 887_512,
     16 * (1024 * (25 * 32 + 2 * 9 * 32**2 + 9 * 32 * 16 + 9 * 16 * 8) + 8192 * 64 + 2 * 64**2 + 4 * 256 * (64 + 256))),
    ("mujoco_push", "concat", "fusion", 2_050, 32_768),
    ("mujoco_push", "early", "head", 3_317_954,
     16 * (4 * 512 * (64 + 512) + 4 * 512 * (512 + 512) + 512 * 64 + 64 * 2)),
    ("mujoco_push", "tensor", "head", 22_914_050, 16 * (89_505 * 256 + 256 * 2)),
    ("mujoco_push", "transformer", "fusion", 13_998_082, 225_738_752),
    ("vision_touch", "concat", "encoders.image", 456_160, 40_108_032),
    ("vision_touch", "concat", "encoders.depth", 474_112, 41_091_072),
    ("vision_touch", "concat", "encoders.force", 87_728, 213_184),
    ("vision_touch", "concat", "encoders.proprio", 43_744, 8 * 32 + 32 * 64 + 64 * 128 + 128 * 256),
    ("vision_touch", "concat", "encoders.action", 1_216, 4 * 32 + 32 * 32),
    ("vision_touch", "concat", "head", 135_554, 1056 * 128 + 128 * 2),
    ("vision_touch", "tensor", "fusion", 8_488_240, 40 * 200 * (4 * 257 + 33) + 40 * 200),
    ("vision_touch", "transformer", "fusion", 27_443_586, 27_328_384),
    ("transfuser", "sum", "encoders.image", 21_284_672, 4_784_652_288),
    ("transfuser", "sum", "encoders.lidar", 11_173_376, 2_317_352_960),
    *(("transfuser", "transformer", f"fusion.maps.{place}", weights, 8 * (128 * 12 * c**2 + 2 * 128**2 * c) + c)
      for place, (c, weights) in enumerate([(64, 408_320), (128, 1_603_072), (256, 6_351_872), (512, 25_286_656)])),
    ("transfuser", "transformer", "head", 185_666,
     512 * 256 + 256 * 128 + 128 * 64 + 4 * (3 * 64 * (2 + 64) + 64 * 2)),
]  # fmt: skip


@pytest.mark.parametrize(("workload", "variant", "path", "weights", "macs"), PARTS)
def test_parts(workload: str, variant: str, path: str, weights: int, macs: int) -> None:
    network = built(workload, variant)
    assert parameters(network.module.get_submodule(path)) == weights
    assert traced(workload, variant)[1][path] == macs


def test_parameters_that_inference_uses() -> None:
    """mmFormer registers a decoder for training, and four convolutions that nothing calls."""
    module = built("medical_seg", "transformer").module
    unused = parameters(module.head.separate) + sum(parameters(scan.uncalled) for scan in module.encoders.values())
    assert parameters(module) - unused == 35_798_404


# the networks of the four scans are one network
NAMES = [row[:2] for row in TOTALS if row[1] not in ("uni_t1ce", "uni_t1", "uni_t2")]


@pytest.mark.parametrize(("workload", "variant"), NAMES)
def test_runs(workload: str, variant: str) -> None:
    small = {"cube": 32} if workload == "medical_seg" else {}
    network = get(workload).network(**get(workload).variants()[variant], batch=2, **small)
    out = network()
    assert out.shape[0] == 2
    assert out.isfinite().all()
    assert out.std() > 0


@pytest.mark.slow
def test_segmentation_runs_at_full_size() -> None:
    out = get("medical_seg").network()()
    assert out.shape == (1, 4, 128, 128, 128)
    torch.testing.assert_close(out.sum(1), torch.ones(1, 128, 128, 128))


@pytest.mark.parametrize(("workload", "variant"), NAMES)
def test_every_operation_is_in_a_stage(workload: str, variant: str) -> None:
    assert unclaimed_operations(built(workload, variant)) == []


def test_masked_scan_does_not_count() -> None:
    """What an absent scan shows is of no consequence."""
    network = get("medical_seg").network(cube=32)
    scans, mask = network.inputs["scans"], torch.tensor([[True, False, True, True]])
    changed = scans.clone()
    changed[:, 1] += 100
    with torch.no_grad():
        before, after = network.module(scans, mask), network.module(changed, mask)
    torch.testing.assert_close(before, after)


def test_training_of_segmentation_gives_all_predictions() -> None:
    module = get("medical_seg").network(cube=32).module.train()
    out = module(torch.randn(1, 4, 32, 32, 32), torch.ones(1, 4, dtype=torch.bool))
    assert [tuple(p.shape) for p in out] == [(1, 4, 32, 32, 32)] * 9  # fused, four coarse, four of single scans


def test_waypoints_do_not_leap() -> None:
    """Each waypoint continues from the one before: with a step of (1, 0) the car drives straight ahead."""
    head = get("transfuser").network().module.head
    with torch.no_grad():
        head.step.weight.zero_()
        head.step.bias.copy_(torch.tensor([1.0, 0.0]))
        path = head(torch.zeros(1, 512), torch.tensor([[3.0, 4.0]]))
    assert path.tolist() == [[[1, 0], [2, 0], [3, 0], [4, 0]]]


@pytest.mark.parametrize(
    ("workload", "arguments", "message"),
    [
        ("medical_seg", {"cube": 40}, "cube=40: must be a multiple of 16, at least 32"),
        ("medical_seg", {"cube": 160, "end_to_end": True}, "cube=160: a raw volume has only 155 voxels along an axis"),
        ("transfuser", {"fusion": "concat"}, "transfuser has no fusion 'concat': it has transformer, sum"),
        ("vision_touch", {"modality": "depth"}, "vision_touch has no modality 'depth': it has image, force, proprio"),
    ],
)
def test_refusals(workload: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get(workload).network(**arguments)
