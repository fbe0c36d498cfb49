"""AV-MNIST: a digit seen and heard (Vielzeuf et al. 2018), two LeNets and a small classifier.

Ten classes from a 28x28 image of a digit and a 112x112 spectrogram of its spoken name. The concat
network is MultiBench's "slfs". Widths: ``channels`` of the first convolution; the image network alone
uses 3, as MultiBench does. Zero, sum, attention and linear_glu are MMBench's table 1 on two features
of equal width, the audio one brought to the image's by a linear layer as in the reference's cca network.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from mmsim.workloads import fusion
from mmsim.workloads.base import Choice, MultiModal, Workload, uniform
from mmsim.workloads.blocks import MLP, LeNet
from mmsim.workloads.end_to_end import Preprocess
from mmsim.workloads.preprocess.audio import SpectrogramPicture, waveform
from mmsim.workloads.preprocess.picture import UnitRange, picture

CLASSES, HIDDEN = 10, 100


def build(choice: Choice) -> nn.Module:
    if choice.modality == "image":
        return alone("image", LeNet(1, choice["uni_image_channels"], 3, choice.host_costs))
    if choice.modality == "audio":
        return alone("audio", LeNet(1, choice["channels"], 5, choice.host_costs))
    channels = choice["channels"]
    if choice.fusion == "repo_tensor_matrix":
        channels = choice.at_least("channels", 2) // 2
    image, audio = LeNet(1, channels, 3, choice.host_costs), LeNet(1, channels, 5, choice.host_costs)
    encoders: dict[str, nn.Module] = {"image": image, "audio": audio}
    sizes = image.features, audio.features
    if choice.fusion in EQUAL_WIDTHS:
        encoders["audio"] = nn.Sequential(audio, nn.Linear(audio.features, image.features))
    operator, fused = FUSIONS[choice.fusion](*sizes)
    head = nn.Linear(fused, CLASSES) if choice.fusion == "repo_cca" else MLP(fused, HIDDEN, CLASSES)
    return MultiModal(encoders, operator, head)


def alone(modality: str, encoder: LeNet) -> nn.Module:
    return MultiModal({modality: encoder}, nn.Identity(), MLP(encoder.features, HIDDEN, CLASSES))


def inputs(choice: Choice) -> dict[str, Tensor]:
    sides = {"image": 28, "audio": 112}
    return {name: uniform(choice.batch, 1, side, side) for name, side in sides.items() if choice.uses(name)}


def preprocess(choice: Choice) -> Iterator[Preprocess]:
    """A digit of bytes, and 0.45 s of speech at 8 kHz as a spectrogram."""
    if choice.uses("image"):
        digit = picture(choice.batch, 28, 28, channels=1).permute(0, 3, 1, 2)
        yield Preprocess("image", UnitRange(), {"digit": digit}, ("image",))
    if choice.uses("audio"):
        yield Preprocess("audio", SpectrogramPicture(), {"speech": waveform(choice.batch, 8000, 0.45)}, ("audio",))


# name -> (image width, audio width) -> the operator and its fused width
FUSIONS = {
    "concat": lambda image, audio: (fusion.Concat(), image + audio),
    "tensor": lambda image, audio: (fusion.OuterProduct(), fusion.OuterProduct.width([image, audio])),
    "low_rank": lambda image, audio: (fusion.LowRank([image, audio], 120, rank=40), 120),
    "multiplicative": lambda image, audio: (fusion.Multiplicative([image, audio], image + audio), image + audio),
    "repo_tensor_matrix": lambda image, audio: (fusion.Multiplicative([image, audio], audio), audio),
    "repo_cca": lambda image, audio: (fusion.Concat(), 2 * image),
    "zero": lambda image, audio: (fusion.Zero(), image),
    "sum": lambda image, audio: (fusion.Sum(), image),
    "attention": lambda image, audio: (fusion.Attention(), image),
    "linear_glu": lambda image, audio: (fusion.LinearGLU([image, image], image), image),
}
EQUAL_WIDTHS = {"repo_cca", "zero", "sum", "attention", "linear_glu"}

WORKLOAD = Workload(
    name="av_mnist",
    title="AV-MNIST",
    domain="multimedia",
    task="classification, 10 classes",
    fusions=tuple(FUSIONS),
    modalities=("image", "audio"),
    build=build,
    inputs=inputs,
    preprocess=preprocess,
    knobs={"channels": 6, "uni_image_channels": 3},
    extra={"uni_image_6": {"modality": "image", "uni_image_channels": 6}},
)
