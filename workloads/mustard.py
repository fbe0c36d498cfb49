"""MUStARD: whether a line of a television show is sarcastic (Castro et al. 2019), seen, heard and read.

The paper's networks take tokens through BERT, and per step the 713 outputs of OpenFace and 283 of librosa.
``concat_simple`` joins one vector a modality instead. The reference's own network, ``repo_concat``, takes
``frames`` video frames through ResNet-152 and averages them, BERT's first token, and one librosa vector;
its sample clip has 96 frames. ``length`` is both tokens and time steps.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from mmsim.workloads import affect, fusion, text
from mmsim.workloads.base import Choice, MultiModal, Workload, normal
from mmsim.workloads.blocks import MLP
from mmsim.workloads.end_to_end import HostStep, Preprocess
from mmsim.workloads.preprocess.face import video
from mmsim.workloads.preprocess.picture import Frames
from mmsim.workloads.preprocess.speech import MustardFeatures
from mmsim.workloads.trunks import ResNet

FEATURES = {"vision": 713, "audio": 283, "language": affect.BERT}
STATES = {"vision": 512, "audio": 256, "language": 600}

NETWORKS = {
    "concat": lambda choice: affect.concat(choice, FEATURES, STATES, 512, 2),
    "tensor": lambda choice: affect.tensor(choice, FEATURES, STATES, 2),
    "transformer": lambda choice: affect.transformer(choice, FEATURES, 2),
    "concat_simple": lambda choice: vectors(choice, nn.Identity(), FEATURES["vision"]),
    "repo_concat": lambda choice: vectors(choice, MeanFrame(ResNet(152)), 2048),
    "": lambda choice: affect.alone(choice, FEATURES, STATES, 2),
}


class MeanFrame(nn.Module):
    """The mean feature of a video: [B, N, 3, H, W] through a trunk and its global pooling -> [B, features]."""

    def __init__(self, trunk: ResNet) -> None:
        super().__init__()
        self.trunk = trunk
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, frames: Tensor) -> Tensor:
        features = self.pool(self.trunk(frames.flatten(0, 1))).flatten(1)
        return features.unflatten(0, frames.shape[:2]).mean(1)


def vectors(choice: Choice, vision: nn.Module, width: int) -> nn.Module:
    """One vector a modality, side by side, and an MLP with 10 hidden units; BERT keeps its unused pooler."""
    encoders = {
        "vision": vision,
        "audio": nn.Identity(),
        "language": text.bert(choice["length"], text.Pick(0), pooler=True),
    }
    head = MLP(width + FEATURES["audio"] + affect.BERT, 10, 2)
    return MultiModal(encoders, fusion.Concat(), head, affect.TOKEN_INPUTS)


def build(choice: Choice) -> nn.Module:
    return NETWORKS[choice.fusion](choice)


def inputs(choice: Choice) -> dict[str, Tensor]:
    found = affect.inputs(choice, FEATURES)
    if choice.fusion in ("concat_simple", "repo_concat"):
        found |= {m: normal(choice.batch, FEATURES[m]) for m in ("vision", "audio")}
    if choice.fusion == "repo_concat":
        found["vision"] = normal(choice.batch, choice["frames"], 3, 224, 224)
    return found


def preprocess(choice: Choice) -> Iterator[Preprocess | HostStep]:
    """A line of the mean length, 5.2 s, in frames of 624x352."""
    whole = choice.fusion in ("concat_simple", "repo_concat")
    frame = (352, 624)
    features = FEATURES
    if choice.fusion == "repo_concat":
        yield Preprocess("vision", Frames(), {"frames": video(choice.batch, choice["frames"], *frame)}, ("vision",))
        features = FEATURES | {"vision": 2048}
    hearing = MustardFeatures(None if whole else choice["length"])
    yield from affect.preprocess(choice, features, hearing, seconds=5.2, frame=frame, mean=whole)


WORKLOAD = Workload(
    name="mustard",
    title="MUStARD",
    domain="affective computing",
    task="classification, sarcastic or not",
    fusions=tuple(name for name in NETWORKS if name),
    modalities=affect.MODALITIES,
    build=build,
    inputs=inputs,
    preprocess=preprocess,
    knobs={"length": 50, "frames": 96},
)
