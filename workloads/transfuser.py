"""TransFuser: driving from a camera and a LiDAR (Prakash, Chitta and Geiger, CVPR 2021).

Four waypoints from a 256x256 picture and a bird's-eye view of a LiDAR sweep (knob ``side``). Fusion
``transformer`` is the paper's network; ``sum`` is its late-fusion baseline without attention; the
image alone is its baseline AIM. LiDAR alone is not in the paper: the same head on the LiDAR encoder.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmsim.workloads.base import Choice, MultiModal, Workload, normal, uniform
from mmsim.workloads.end_to_end import Preprocess
from mmsim.workloads.fusion import Sum
from mmsim.workloads.preprocess.lidar import BirdsEye, sweep
from mmsim.workloads.preprocess.picture import CentreCrop, ImageNet, picture
from mmsim.workloads.trunks import ResNet

MODALITIES = ("image", "lidar")
WIDTHS = (64, 128, 256, 512)
"""Channels of the maps that meet after the four residual layers."""
WAYPOINTS = 4
GRID = 8
"""Tokens along each side of a map: both maps are pooled to 8x8 before attention."""


class Encoder(nn.Module):
    """A ResNet in the parts between which TransFuser fuses: `stem`, four `layers`, `pool` to [B, 512]."""

    def __init__(self, trunk: ResNet, normalise: bool) -> None:
        super().__init__()
        stem, *layers = trunk
        # The published network normalises the raw values, whether they are 0..1 or 0..255.
        self.stem = nn.Sequential(ImageNet(), *stem) if normalise else stem
        self.layers = nn.ModuleList(layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.pool(x)


def encoder_of(modality: str) -> Encoder:
    """ResNet-34 for the picture, which it normalises itself; ResNet-18 for the two height bands of the LiDAR."""
    return Encoder(ResNet(34), normalise=True) if modality == "image" else Encoder(ResNet(18, 2), normalise=False)


class Attention(nn.Module):
    """Multi-head self-attention with separate projections and no mask."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, width/heads]
            for projected in (self.query(x), self.key(x), self.value(x))
        )
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)  # [B, heads, L, L]
        return self.proj((weights @ v).transpose(1, 2).flatten(2))  # [B, L, width]


class Block(nn.Module):
    """One pre-norm transformer block; the feed-forward part uses ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MapFusion(nn.Module):
    """Attention between an image map and a LiDAR map of `width` channels (the paper's "GPT").

    Both maps are pooled to 8x8; the 128 tokens get learned positions and the car's velocity, pass
    eight blocks, and are added back to the maps they came from. 96 width^2 + 236 width
    parameters: 408,320 for 64 channels, 25,286,656 for 512.
    """

    def __init__(self, width: int, blocks: int = 8) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.positions = nn.Parameter(torch.zeros(1, 2 * GRID * GRID, width))
        self.velocity = nn.Linear(1, width)
        self.dropout = nn.Dropout(0.1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor, lidar: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.stack((self.pool(image), self.pool(lidar)), 1)  # [B, 2, width, 8, 8]
        tokens = maps.transpose(1, 2).flatten(2).transpose(1, 2)  # [B, 128, width]
        tokens = self.dropout(tokens + self.positions + self.velocity(velocity[:, None])[:, None])
        tokens = self.norm(self.blocks(tokens))
        fused = tokens.transpose(1, 2).unflatten(2, (2, GRID, GRID))  # [B, width, 2, 8, 8]
        return image + resized(fused[:, :, 0], image), lidar + resized(fused[:, :, 1], lidar)


def resized(tokens: Tensor, like: Tensor) -> Tensor:
    """The 8x8 map at the size of `like`."""
    return nn.functional.interpolate(tokens, size=like.shape[2:], mode="bilinear", align_corners=False)


class Waypoints(nn.Module):
    """The head: a car's next four positions, each from the one before (a GRU cell that runs four times).

    Each step sees the last waypoint and the target point: their sum (the cell reads 2 numbers) in
    TransFuser, both side by side (4 numbers) in the baselines.
    """

    def __init__(self, add_target: bool) -> None:
        super().__init__()
        self.add_target = add_target
        self.join = nn.Sequential(
            nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()
        )
        self.cell = nn.GRUCell(2 if add_target else 4, 64)
        self.step = nn.Linear(64, 2)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        state = self.join(features)  # [B, 64]
        waypoint = torch.zeros_like(target)  # [B, 2], the car itself
        waypoints = []
        for _ in range(WAYPOINTS):
            seen = waypoint + target if self.add_target else torch.cat((waypoint, target), 1)
            state = self.cell(seen, state)
            waypoint = waypoint + self.step(state)
            waypoints.append(waypoint)
        return torch.stack(waypoints, 1)  # [B, 4, 2]


class TransFuser(nn.Module):
    """Two ResNets that attend to each other after each of their four layers.

    `image` [B, 3, 256, 256], `lidar` [B, 2, 256, 256], `velocity` [B] and `target` [B, 2] give four
    waypoints [B, 4, 2]. A layer belongs to who owns it: convolutions to the encoders, the four
    transformers and the final sum to fusion.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: encoder_of(name) for name in MODALITIES})
        self.fusion = nn.ModuleDict({"maps": nn.ModuleList(MapFusion(width) for width in WIDTHS), "join": Sum()})
        self.head = Waypoints(add_target=True)

    def forward(self, image: Tensor, lidar: Tensor, velocity: Tensor, target: Tensor) -> Tensor:
        camera, sweep = self.encoders["image"], self.encoders["lidar"]
        image, lidar = camera.stem(image), sweep.stem(lidar)  # [B, 64, 64, 64]
        for image_layer, lidar_layer, fuse in zip(camera.layers, sweep.layers, self.fusion["maps"], strict=True):
            image, lidar = fuse(image_layer(image), lidar_layer(lidar), velocity)
        return self.head(self.fusion["join"](camera.pool(image), sweep.pool(lidar)), target)


def build(choice: Choice) -> nn.Module:
    if choice.fusion == "transformer":
        return TransFuser()
    encoders = {name: encoder_of(name) for name in MODALITIES if choice.uses(name)}
    fusion = nn.Identity() if choice.modality else Sum()
    return MultiModal(encoders, fusion, Waypoints(add_target=False), inputs={"head": ("target",)})


def inputs(choice: Choice) -> dict[str, Tensor]:
    side = choice["side"]
    channels = {"image": 3, "lidar": 2}
    views = {name: uniform(choice.batch, channels[name], side, side) for name in MODALITIES if choice.uses(name)}
    car = {"velocity": uniform(choice.batch, high=10.0)} if choice.fusion == "transformer" else {}
    return {**views, **car, "target": normal(choice.batch, 2)}


def preprocess(choice: Choice) -> Iterator[Preprocess]:
    """The middle of the 400x300 camera picture, and 40,000 points as a picture from above."""
    side = choice["side"]
    if choice.uses("image"):
        camera = picture(choice.batch, max(300, side), max(400, side))
        yield Preprocess("image", CentreCrop(side), {"camera": camera}, ("image",))
    if choice.uses("lidar"):
        yield Preprocess("lidar", BirdsEye(side), {"points": sweep(choice.batch)}, ("lidar",))


WORKLOAD = Workload(
    name="transfuser",
    title="TransFuser",
    domain="driving",
    task="four waypoints",
    fusions=("transformer", "sum"),
    modalities=MODALITIES,
    build=build,
    inputs=inputs,
    knobs={"side": 256},
    preprocess=preprocess,
)
