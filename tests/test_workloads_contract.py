"""What a person asks of a workload by name, and what is refused with a list of what there is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmsim import workloads
from mmsim.errors import InputError
from mmsim.workloads.base import EndToEnd, Preprocess, Workload, stages_of, uniform


def test_names_are_the_files_that_define_a_workload() -> None:
    assert {"av_mnist", "mm_imdb", "cmu_mosei", "mustard", "medical_vqa"} <= set(workloads.names())
    assert not {"base", "blocks", "fusion", "mult", "trunks", "text", "affect"} & set(workloads.names())
    assert all(workloads.get(name).name == name for name in workloads.names())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("av_mnist", {"fusion": "concta"}, "av_mnist has no fusion 'concta': it has concat, tensor, low_rank"),
        ("av_mnist", {"modality": "text"}, "av_mnist has no modality 'text': it has image, audio"),
        ("av_mnist", {"length": 3}, "av_mnist has no knob 'length': it has batch, channels, uni_image_channels"),
        ("medical_seg", {"cube": 10**6}, "medical_seg: cube=1000000 must be from 1 to 65536"),
        ("av_mnist", {"batch": 0}, "av_mnist: batch=0 must be positive"),
        ("av_mnist", {"fusion": "concat", "modality": "image"}, "give a fusion or a modality, not both"),
        ("mm_imdb", {"length": 513}, "length=513: this text encoder has positions for 512 tokens"),
        ("mm_imdb", {"image": 31}, "image=31: this network needs at least 32"),
        ("mm_imdb", {"vgg": 12}, "no VGG-12: there are 11, 13, 16, 19"),
    ],
)
def test_refusals(name: str, arguments: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(InputError) as error:
        workloads.get(name).network(**arguments)
    assert message in str(error.value)


def test_unknown_workload_names_near_ones() -> None:
    with pytest.raises(InputError, match="no workload 'avmnist': did you mean av_mnist"):
        workloads.get("avmnist")


def test_default_is_the_papers() -> None:
    network = workloads.get("av_mnist").network()
    assert (network.workload, network.variant) == ("av_mnist", "concat")
    assert network.stages == {
        "encoders.image": "encoder:image",
        "encoders.audio": "encoder:audio",
        "fusion": "fusion",
        "head": "head",
    }
    assert not network.module.training


def test_a_modality_alone_takes_its_own_inputs() -> None:
    network = workloads.get("av_mnist").network(modality="audio", batch=3)
    assert {name: tuple(x.shape) for name, x in network.inputs.items()} == {"audio": (3, 1, 112, 112)}


def test_extra_variants_are_named_by_their_knobs() -> None:
    network = workloads.get("av_mnist").network(modality="image", uni_image_channels=6)
    assert network.variant == "uni_image_6"


def test_end_to_end_starts_from_raw_data() -> None:
    """A step's outputs replace the network's inputs of those names."""

    def halve(choice: Any) -> list[Preprocess]:
        pool = torch.nn.AvgPool2d(2)
        return [Preprocess("image", pool, {"photograph": uniform(choice.batch, 1, 56, 56)}, ("image",))]

    plain = workloads.get("av_mnist")
    workload = Workload(**{**vars(plain), "preprocess": halve})
    network = workload.network(end_to_end=True, batch=2)
    assert isinstance(network.module, EndToEnd)
    assert set(network.inputs) == {"photograph", "audio"}
    assert network.stages["preprocess.image"] == "preprocess:image"
    assert network.stages["network.encoders.image"] == "encoder:image"
    assert stages_of(network.module) == network.stages
    expected = network.module.network(
        image=torch.nn.functional.avg_pool2d(network.inputs["photograph"], 2), audio=network.inputs["audio"]
    )
    assert torch.equal(network(), expected.detach())
    with pytest.raises(InputError, match="no preprocess stage"):
        Workload(**{**vars(plain), "preprocess": None}).network(end_to_end=True)
