"""Medical Segmentation: brain tumours in four MRI scans with mmFormer (Zhang et al., MICCAI 2022).

Four classes for each voxel of a 128^3 cube (knob ``cube``) of four co-registered scans of a brain.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmsim.errors import InputError
from mmsim.workloads.base import Choice, Workload, normal
from mmsim.workloads.end_to_end import Preprocess
from mmsim.workloads.preprocess.mri import VOLUME, BrainCube, heads

SCANS = ("flair", "t1ce", "t1", "t2")
WIDTH = 8
"""Channels of the finest level; each of the four coarser levels has twice as many."""
TOKEN = 512
"""Width of a token of the transformers."""
CLASSES = 4
"""Background, necrotic core, oedema, enhancing tumour."""


class PreNormConv(nn.Sequential):
    """Instance norm, LeakyReLU, then a 3-d convolution that pads by reflection."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.InstanceNorm3d(channels),
            nn.LeakyReLU(0.2),
            nn.Conv3d(channels, out, kernel, stride, kernel // 2, padding_mode="reflect"),
        )


class Level(nn.Module):
    """One resolution of the encoder: a first convolution, then a residual pair."""

    def __init__(self, first: nn.Module, channels: int) -> None:
        super().__init__()
        self.first = first
        self.pair = nn.Sequential(PreNormConv(channels, channels), PreNormConv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x + self.pair(x)


class Encoder(nn.Module):
    """The U-Net encoder of one scan: five maps, 8 channels at full to 128 at a sixteenth of the resolution.

    `channel` is the scan's place in the stacked input (B, scans, D, H, W). 1,473,216 parameters and
    16.19 GMACs for a 128^3 cube.
    """

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel
        finest = nn.Conv3d(1, WIDTH, 3, 1, 1, padding_mode="reflect")
        widths = [WIDTH << level for level in range(5)]
        coarser = [Level(PreNormConv(c // 2, c, stride=2), c) for c in widths[1:]]
        self.levels = nn.ModuleList([Level(finest, WIDTH), *coarser])

    def forward(self, scans: Tensor) -> list[Tensor]:
        x = scans[:, self.channel : self.channel + 1]  # [B, 1, D, H, W]
        maps = []
        for level in self.levels:
            x = level(x)  # [B, 8 * 2^level, D / 2^level, ...]
            maps.append(x)
        return maps


class Attention(nn.Module):
    """Multi-head self-attention with one unbiased projection for query, key and value."""

    def __init__(self, width: int = TOKEN, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # each (B, heads, L, width/heads)
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5  # [B, heads, L, L]
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))  # [B, L, width]


class TransformerLayer(nn.Module):
    """One pre-norm layer that adds the learned positions to the tokens first. 5,250,048 parameters."""

    def __init__(self, width: int = TOKEN, hidden: int = 4096) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, width), nn.Dropout(0.1)
        )
        self.dropout = nn.Dropout(0.1)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = tokens + positions
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.mlp(self.norm2(x))  # [B, L, width]


class ScanEncoder(nn.Module):
    """One scan's U-Net encoder, and a transformer layer over the tokens of its coarsest map.

    Gives the five maps and the tokens [B, L, 512], L = (cube / 16)^3. Fusion reads the positions again.
    """

    def __init__(self, channel: int, tokens: int) -> None:
        super().__init__()
        self.unet = Encoder(channel)
        self.tokenise = nn.Conv3d(16 * WIDTH, TOKEN, 1)
        self.positions = nn.Parameter(torch.zeros(1, tokens, TOKEN))
        self.transformer = TransformerLayer()
        self.uncalled = nn.Conv3d(TOKEN, 16 * WIDTH, 1)  # the published code registers it and never calls it

    def forward(self, scans: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = self.unet(scans)
        tokens = self.tokenise(maps[-1]).flatten(2).transpose(1, 2)  # [B, L, 512]
        return maps, self.transformer(tokens, self.positions)


class InterModal(nn.Module):
    """Fusion: scans that are absent become zero, then attention among the tokens of all scans.

    Gives the maps of the four fine levels with the scans stacked along the channels, and the fused
    coarsest map. Like the published code it reads the fused tokens (B, 4 L, 512) as (B, L, 2048)
    without transposing, so that the channels of a voxel are four neighbouring tokens of one scan.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.transformer = TransformerLayer()
        self.join = nn.Conv3d(len(SCANS) * TOKEN, TOKEN, 1)

    def forward(
        self,
        maps: list[list[Tensor]],
        tokens: list[Tensor],
        positions: list[Tensor],
        mask: Tensor,
    ) -> tuple[list[Tensor], Tensor]:
        present = mask.to(tokens[0].dtype)  # [B, scans]
        stacked = [torch.stack(level, 1) for level in zip(*maps, strict=True)]  # [B, scans, C, D, H, W] each
        skips = [(level * present[:, :, None, None, None, None]).flatten(1, 2) for level in stacked]
        every = (torch.stack(tokens, 1) * present[:, :, None, None]).flatten(1, 2)  # [B, scans * L, 512]
        fused = self.transformer(every, torch.cat(positions, 1))
        volume = fused.unflatten(1, (self.side, self.side, self.side, -1)).flatten(4)  # [B, D', H', W', scans * 512]
        return skips, self.join(volume.permute(0, 4, 1, 2, 3))  # [B, 512, D/16, H/16, W/16]


class RegionFusion(nn.Sequential):
    """Four scans' maps become one: pre-norm convolutions 1x1 (4c to c), 3x3x3 and 1x1."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            PreNormConv(len(SCANS) * channels, channels, kernel=1),
            PreNormConv(channels, channels),
            PreNormConv(channels, channels, kernel=1),
        )


class UpLevel(nn.Module):
    """One resolution of the decoder: twice the size, half the channels, joined with the encoder's map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
        self.narrow = PreNormConv(2 * channels, channels)
        self.join = nn.Sequential(PreNormConv(2 * channels, channels), PreNormConv(channels, channels, kernel=1))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.narrow(self.up(x))
        return self.join(torch.cat((x, skip), 1))  # [B, channels, 2D, 2H, 2W]


class Prediction(nn.Sequential):
    """Class probabilities at full resolution from a map that is `scale` times coarser."""

    def __init__(self, channels: int, scale: int = 1) -> None:
        up = [nn.Upsample(scale_factor=scale, mode="trilinear", align_corners=True)] if scale > 1 else []
        super().__init__(nn.Conv3d(channels, CLASSES, 1), nn.Softmax(1), *up)


class Decoder(nn.Module):
    """The U-Net decoder of one scan alone. 593,356 parameters and 27.50 GMACs for a 128^3 cube."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(UpLevel(WIDTH << level) for level in (3, 2, 1, 0))
        self.predict = Prediction(WIDTH)

    def forward(self, maps: list[Tensor]) -> Tensor:
        *skips, x = maps
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            x = level(x, skip)
        return self.predict(x)  # [B, 4, D, H, W]


class FusedDecoder(nn.Module):
    """The U-Net decoder over all scans.

    The four coarse predictions serve training only; the published network computes them at inference
    too, so they are part of the workload. 1,293,444 parameters and 35.84 GMACs for a 128^3 cube.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = [WIDTH << level for level in (4, 3, 2, 1, 0)]
        self.regions = nn.ModuleList(RegionFusion(c) for c in widths)
        self.levels = nn.ModuleList(UpLevel(c) for c in widths[1:])
        self.coarse = nn.ModuleList(Prediction(c, scale=c // WIDTH) for c in widths[:-1])
        self.predict = Prediction(WIDTH)

    def forward(self, skips: list[Tensor], fused: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.regions[0](fused)  # [B, 128, D/16, H/16, W/16]
        coarse = []
        for level, region, predict, skip in zip(
            self.levels, self.regions[1:], self.coarse, reversed(skips), strict=True
        ):
            coarse.append(predict(x))
            x = level(x, region(skip))
        return self.predict(x), coarse  # [B, 4, D, H, W] each


class Head(nn.Module):
    """The fused prediction; in training also the coarse ones and, per scan, that of one shared decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = FusedDecoder()
        self.separate = Decoder()

    def forward(self, skips: list[Tensor], fused: Tensor, maps: list[list[Tensor]]) -> Tensor | tuple[Tensor, ...]:
        prediction, coarse = self.fused(skips, fused)
        if not self.training:
            return prediction
        return prediction, *coarse, *(self.separate(levels) for levels in maps)


class MMFormer(nn.Module):
    """mmFormer: a U-Net encoder and a transformer per scan, a transformer across scans, one decoder.

    `scans` [B, 4, D, H, W] and `mask` [B, 4], true where a scan was taken, give the class
    probabilities [B, 4, D, H, W]. Of the 36,654,416 parameters 35,798,404 take part in inference. The
    others are the separate decoder (593,356) and four convolutions that the published code registers
    but never calls (262,656).
    """

    def __init__(self, cube: int = 128) -> None:
        super().__init__()
        side = cube // 16
        self.encoders = nn.ModuleDict({name: ScanEncoder(place, side**3) for place, name in enumerate(SCANS)})
        self.fusion = InterModal(side)
        self.head = Head()

    def forward(self, scans: Tensor, mask: Tensor) -> Tensor | tuple[Tensor, ...]:
        maps, tokens = zip(*(encoder(scans) for encoder in self.encoders.values()), strict=True)
        positions = [encoder.positions for encoder in self.encoders.values()]
        skips, fused = self.fusion([levels[:-1] for levels in maps], tokens, positions, mask)
        return self.head(skips, fused, maps)


class OneScan(nn.Module):
    """The uni-modal counterpart: one encoder and the separate decoder, on `scans` [B, 1, D, H, W]."""

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({modality: Encoder(0)})
        self.head = Decoder()

    def forward(self, scans: Tensor) -> Tensor:
        (encoder,) = self.encoders.values()
        return self.head(encoder(scans))


def build(choice: Choice) -> nn.Module:
    cube = choice["cube"]
    if cube % 16 or cube < 32:
        raise InputError(f"cube={cube}: must be a multiple of 16, at least 32")
    return OneScan(choice.modality) if choice.modality else MMFormer(cube)


def inputs(choice: Choice) -> dict[str, Tensor]:
    size = (choice["cube"],) * 3
    if choice.modality:
        return {"scans": normal(choice.batch, 1, *size)}
    return {
        "scans": normal(choice.batch, len(SCANS), *size),
        "mask": torch.ones(choice.batch, len(SCANS), dtype=torch.bool, device="cpu"),
    }


def preprocess(choice: Choice) -> Iterator[Preprocess]:
    """All scans are cut by one box, so they are one step."""
    if choice["cube"] > min(VOLUME):
        raise InputError(f"cube={choice['cube']}: a raw volume has only {min(VOLUME)} voxels along an axis")
    volumes = heads(choice.batch, 1 if choice.modality else len(SCANS))
    yield Preprocess("mri", BrainCube(choice["cube"]), {"volumes": volumes}, ("scans",))


WORKLOAD = Workload(
    name="medical_seg",
    title="Medical Segmentation",
    domain="medicine",
    task="segmentation, 4 classes a voxel",
    fusions=("transformer",),
    modalities=SCANS,
    build=build,
    inputs=inputs,
    knobs={"cube": 128},
    preprocess=preprocess,
)
