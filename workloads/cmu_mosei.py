"""CMU-MOSEI: the sentiment, -3 to 3, of an utterance seen, heard and read (Zadeh et al. 2018).

The paper's networks take tokens through BERT, and per step the 713 outputs of OpenFace and 74 audio
features: COVAREP's width, kept although librosa's stock configuration gives 70. The reference's concat
starts from features alone, with GloVe words of width 300; ``multibench_*`` are MultiBench's, whose vision
features are 35 wide. Early, and low_rank on BERT, are theirs too, with the paper's inputs.
``length`` is both tokens and time steps.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from mmsim.workloads import affect
from mmsim.workloads.base import Choice, Workload
from mmsim.workloads.end_to_end import HostStep, Preprocess
from mmsim.workloads.preprocess.speech import MoseiFeatures

PAPER = {"vision": 713, "audio": 74, "language": affect.BERT}
REPO = {"vision": 713, "audio": 74, "language": 300}
MULTIBENCH = {"vision": 35, "audio": 74, "language": 300}
STATES = {"vision": 70, "audio": 200, "language": 600}
NARROW_STATES = {"vision": 64, "audio": 128, "language": 512}

NETWORKS = {
    "concat": (PAPER, lambda c, f: affect.concat(c, f, STATES, 870, 1)),
    "tensor": (PAPER, lambda c, f: affect.tensor(c, f, NARROW_STATES, 1)),
    "transformer": (PAPER, lambda c, f: affect.transformer(c, f, 1)),
    "low_rank": (PAPER, lambda c, f: affect.low_rank(c, f, NARROW_STATES, 1)),
    "early": (PAPER, lambda c, f: affect.early(c, f, 1)),
    "repo_concat": (REPO, lambda c, f: affect.concat(c, f, STATES, 870, 1)),
    "multibench_tensor": (MULTIBENCH, lambda c, f: affect.tensor(c, f, NARROW_STATES, 1)),
    "multibench_low_rank": (MULTIBENCH, lambda c, f: affect.low_rank(c, f, NARROW_STATES, 1)),
    "multibench_transformer": (MULTIBENCH, lambda c, f: affect.transformer(c, f, 1)),
}
ALONE = (PAPER, lambda c, f: affect.alone(c, f, STATES, 1))


def build(choice: Choice) -> nn.Module:
    features, make = NETWORKS.get(choice.fusion, ALONE)
    return make(choice, features)


def inputs(choice: Choice) -> dict[str, Tensor]:
    features, _ = NETWORKS.get(choice.fusion, ALONE)
    return affect.inputs(choice, features)


def preprocess(choice: Choice) -> Iterator[Preprocess | HostStep]:
    """An utterance of the mean length, 7.3 s, in frames of 1280x720."""
    features, _ = NETWORKS.get(choice.fusion, ALONE)
    return affect.preprocess(choice, features, MoseiFeatures(choice["length"]), seconds=7.3, frame=(720, 1280))


WORKLOAD = Workload(
    name="cmu_mosei",
    title="CMU-MOSEI",
    domain="affective computing",
    task="regression to one sentiment",
    fusions=tuple(NETWORKS),
    modalities=affect.MODALITIES,
    build=build,
    inputs=inputs,
    preprocess=preprocess,
    knobs={"length": 50},
)
