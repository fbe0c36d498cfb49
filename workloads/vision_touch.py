"""Vision & Touch: whether a robot's peg will touch at the next step (Lee et al. 2019, MultiBench).

Two classes from a picture and a depth map of 128x128, 32 samples of force and torque, proprioception and the
action, which is always fused as a fifth input. The outer product of five features would have 1.4e11 entries, so
``tensor`` is the reference's low-rank form of it, rank 40, also known as ``low_rank``; ``transformer``, MulT on
sequences of one step, is what the paper's text speaks of and no code has. The uni-modal counterpart ``image``
sees picture and depth, as in MultiBench; all three counterparts are given the action.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn

from mmsim.workloads.base import Choice, MultiModal, Workload, normal, uniform
from mmsim.workloads.blocks import MLP
from mmsim.workloads.end_to_end import Preprocess
from mmsim.workloads.fusion import Concat, LowRank
from mmsim.workloads.mult import MulT
from mmsim.workloads.preprocess.signals import ForceHistory

WIDTHS = {"image": 256, "force": 256, "proprio": 256, "depth": 256, "action": 32}
"""Width of each input's feature, in the order of fusion."""
ALONE = {"image": ("image", "depth", "action"), "force": ("force", "action"), "proprio": ("proprio", "action")}
"""What each uni-modal counterpart sees."""
SIDE = 128
SLOPE = 0.1


class ImageEncoder(nn.Module):
    """Six halving convolutions and a linear layer, from 0..255: [B, 128, 128, 3] -> [B, 256]."""

    def __init__(self) -> None:
        super().__init__()
        shapes = ((3, 16, 7), (16, 32, 5), (32, 64, 5), (64, 64, 3), (64, 128, 3), (128, 128, 3))
        self.layers = halving(shapes)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image.permute(0, 3, 1, 2) / 255)


class DepthEncoder(nn.Module):
    """The same for a depth map in metres, whose values from 2 m on count as missing: [B, 1, 128, 128] -> [B, 256]."""

    def __init__(self) -> None:
        super().__init__()
        shapes = ((1, 32, 3), (32, 64, 3), (64, 64, 4), (64, 64, 3), (64, 128, 3), (128, 128, 3))
        self.layers = halving(shapes)

    def forward(self, depth: Tensor) -> Tensor:
        return self.layers(depth.masked_fill((depth <= 1e-7) | (depth >= 2.0), 0.0))


def halving(shapes: tuple[tuple[int, int, int], ...]) -> nn.Sequential:
    """Convolutions of stride 2, (channels, out, kernel) each, down to [B, 128, 2, 2], and a linear layer to 256."""
    layers: list[nn.Module] = []
    for channels, out, kernel in shapes:
        layers += [nn.Conv2d(channels, out, kernel, 2, (kernel - 1) // 2), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 256))


class CausalConv(nn.Module):
    """Half the steps, none of which sees a later one: [B, channels, T] -> [B, out, T/2]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, out, 2, 2, padding=1)
        self.act = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.convolution(x)[:, :, :-1])


def force_encoder() -> nn.Sequential:
    """32 samples of force and torque, halved five times: [B, 6, 32] -> [B, 256]."""
    widths = (6, 16, 32, 64, 128, 256)
    return nn.Sequential(*(CausalConv(*pair) for pair in pairwise(widths)), nn.Flatten())


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with a LeakyReLU after each: [B, widths[0]] -> [B, widths[-1]]."""
    layers: list[nn.Module] = []
    for pair in pairwise(widths):
        layers += [nn.Linear(*pair), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


class OneStepMulT(nn.Module):
    """MulT on features as sequences of one step: [B, features] each -> [B, 2]."""

    def __init__(self, widths: list[int], host_costs: bool) -> None:
        super().__init__()
        self.mult = MulT(widths, 64, 4, 3, 2, length=1, host_costs=host_costs)

    def forward(self, *features: Tensor) -> Tensor:
        return self.mult(*(x.unsqueeze(1) for x in features))


ENCODERS = {
    "image": ImageEncoder,
    "force": force_encoder,
    "proprio": lambda: perceptron(8, 32, 64, 128, 256),
    "depth": DepthEncoder,
    "action": lambda: perceptron(4, 32, 32),
}


def seen(choice: Choice) -> tuple[str, ...]:
    """The inputs of the network."""
    return ALONE[choice.modality] if choice.modality else tuple(WIDTHS)


def build(choice: Choice) -> nn.Module:
    names = seen(choice)
    widths = [WIDTHS[name] for name in names]
    encoders = {name: ENCODERS[name]() for name in names}
    if choice.fusion == "transformer":
        return MultiModal(encoders, OneStepMulT(widths, choice.host_costs), nn.Identity())
    if choice.fusion in ("tensor", "low_rank"):
        return MultiModal(encoders, LowRank(widths, 200, rank=40), MLP(200, 128, 2))
    return MultiModal(encoders, Concat(), MLP(sum(widths), 128, 2))


def inputs(choice: Choice) -> dict[str, Tensor]:
    batch = choice.batch
    every = {
        "image": uniform(batch, SIDE, SIDE, 3, high=255.0),
        "force": normal(batch, 6, 32).tanh(),
        "proprio": normal(batch, 8),
        "depth": uniform(batch, 1, SIDE, SIDE, high=2.5),
        "action": normal(batch, 4),
    }
    return {name: every[name] for name in seen(choice)}


def preprocess(choice: Choice) -> Iterator[Preprocess]:
    """The newest 32 of 50 samples of force, squashed; the network takes everything else as it comes."""
    if "force" in seen(choice):
        yield Preprocess("force", ForceHistory(), {"force_history": normal(choice.batch, 50, 6)}, ("force",))


WORKLOAD = Workload(
    name="vision_touch",
    title="Vision & Touch",
    domain="robotics",
    task="classification, 2 classes",
    fusions=("concat", "tensor", "low_rank", "transformer"),
    modalities=tuple(ALONE),
    build=build,
    inputs=inputs,
    preprocess=preprocess,
)
