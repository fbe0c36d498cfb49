"""MuJoCo Push: where a pushed object lies, from 16 steps of a robot arm's senses (Lee et al. 2020, MultiBench).

Two coordinates a step from the hand's position, force and contact sensors, a 32x32 camera and the control
signal (knob ``steps``: 16). Fusion ``concat`` is MultiBench's late fusion of four LSTMs ("LF"), the paper's
best; ``early`` fuses before one LSTM ("EF"), ``tensor`` takes the outer product of narrow features ("TF"),
``transformer`` is MulT. The paper lists the task as classification; its code and figures are a regression.
Batch comes first in every tensor here; the reference puts time first inside its encoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from mmsim.workloads.base import Choice, MultiModal, Workload, normal, uniform
from mmsim.workloads.blocks import MLP
from mmsim.workloads.end_to_end import Preprocess
from mmsim.workloads.fusion import ConcatLinear, OuterProduct
from mmsim.workloads.mult import MulT
from mmsim.workloads.preprocess.signals import Window

SIGNALS = {"position": 3, "sensors": 7, "control": 7}
"""Numbers a step: x, y, z; six of force and torque and one of contact; previous position, its change and contact."""
MODALITIES = ("position", "sensors", "image", "control")
SIDE = 32
SHAPES = {name: (size,) for name, size in SIGNALS.items()} | {"image": (SIDE, SIDE)}
UNITS = 64
"""Width of a feature, but for tensor fusion."""
TENSOR_UNITS = {"position": 8, "sensors": 8, "image": 64, "control": 16}


class ResidualLinear(nn.Module):
    """relu(x + W2 relu(W1 x)): [..., units]."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Linear(units, units))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.inner(x))


class ResidualConv(nn.Module):
    """relu(x + conv(relu(conv(x)))) with 3x3 convolutions: [B, channels, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.inner(x))


class SignalEncoder(nn.Sequential):
    """One signal, step by step: [B, T, size] -> [B, T, units]."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__(nn.Linear(size, units), nn.ReLU(), ResidualLinear(units))


class ImageEncoder(nn.Module):
    """The camera, frame by frame and without pooling: [B, T, 32, 32] -> [B, T, units]. 26.1 MMACs a frame."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), ResidualConv(32)),
            *(nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1), nn.Flatten()),
        )
        self.linear = nn.Sequential(nn.Linear(8 * SIDE * SIDE, units), nn.ReLU(), ResidualLinear(units))

    def forward(self, frames: Tensor) -> Tensor:
        x = self.convolutions(frames.flatten(0, 1).unsqueeze(1))  # [B*T, 8192]
        return self.linear(x).unflatten(0, frames.shape[:2])


class LSTM(nn.Module):
    """The hidden state of every step: [B, T, size] -> [B, T, hidden]."""

    def __init__(self, size: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, hidden, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class RecurrentHead(nn.Sequential):
    """Two LSTM layers of 512 and an MLP: [B, T, 64] -> [B, T, 2]."""

    def __init__(self) -> None:
        super().__init__(LSTM(UNITS, 512, layers=2), MLP(512, 64, 2))


def encoders(names: tuple[str, ...], units: Mapping[str, int]) -> dict[str, nn.Module]:
    return {
        name: ImageEncoder(units[name]) if name == "image" else SignalEncoder(SIGNALS[name], units[name])
        for name in names
    }


def build(choice: Choice) -> nn.Module:
    wide = dict.fromkeys(MODALITIES, UNITS)
    if choice.modality:
        head = nn.Sequential(nn.Linear(UNITS, UNITS), *RecurrentHead())
        return MultiModal(encoders((choice.modality,), wide), nn.Identity(), head)
    return FUSIONS[choice.fusion](choice, wide)


def late(choice: Choice, wide: Mapping[str, int]) -> nn.Module:
    branches = {name: nn.Sequential(encoder, LSTM(UNITS, 256)) for name, encoder in encoders(MODALITIES, wide).items()}
    return MultiModal(branches, ConcatLinear(256 * len(MODALITIES), 2, dim=2), nn.Identity())


def early(choice: Choice, wide: Mapping[str, int]) -> nn.Module:
    return MultiModal(encoders(MODALITIES, wide), ConcatLinear(UNITS * len(MODALITIES), UNITS, dim=2), RecurrentHead())


def tensor(choice: Choice, wide: Mapping[str, int]) -> nn.Module:
    fused = OuterProduct.width(list(TENSOR_UNITS.values()))  # 9 * 9 * 65 * 17 = 89,505 a step
    return MultiModal(encoders(MODALITIES, TENSOR_UNITS), OuterProduct(), MLP(fused, 256, 2))


def transformer(choice: Choice, wide: Mapping[str, int]) -> nn.Module:
    fusion = MulT(list(wide.values()), UNITS, 4, 3, 2, choice["steps"], all_steps=True, host_costs=choice.host_costs)
    return MultiModal(encoders(MODALITIES, wide), fusion, nn.Identity())


FUSIONS = {"concat": late, "early": early, "tensor": tensor, "transformer": transformer}


def inputs(choice: Choice) -> dict[str, Tensor]:
    return {name: normal(choice.batch, choice["steps"], *SHAPES[name]) for name in MODALITIES if choice.uses(name)}


def preprocess(choice: Choice) -> Iterator[Preprocess]:
    """Recordings twice as long as the window, cut to its steps and standardised."""
    for name in MODALITIES:
        if choice.uses(name):
            recorded = uniform(choice.batch, 2 * choice["steps"], *SHAPES[name])
            yield Preprocess(name, Window(choice["steps"], SHAPES[name]), {f"{name}_trajectory": recorded}, (name,))


WORKLOAD = Workload(
    name="mujoco_push",
    title="MuJoCo Push",
    domain="robotics",
    task="regression, two coordinates a step",
    fusions=tuple(FUSIONS),
    modalities=MODALITIES,
    build=build,
    inputs=inputs,
    knobs={"steps": 16},
    preprocess=preprocess,
)
