"""The 38 networks on which recording was first measured against other ways: 25 of transformers, 7 by hand, 6 of timm.

Those of transformers are built from the configurations and input sizes of then: their FLOPs are the same. Of the seven
written by hand only what they were and their FLOPs are known, so these are stand-ins of that kind and size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.programs import LeNet
from tests.zoo import ZOO, ids, ones, pixels

Built = tuple[nn.Module, dict[str, Any]]


class Recurrent(nn.Module):
    """Two bidirectional layers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(128, 256, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class UnrolledGRU(nn.Module):
    """A cell in a Python loop, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(64, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 128)
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.head(state)


class Packed(nn.Module):
    """A packed sequence through a bidirectional LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(256, 256, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, each with its norm."""
    parts: list[nn.Module] = []
    for width in (inputs, outputs):
        parts += [nn.Conv3d(width, outputs, 3, padding=1), nn.InstanceNorm3d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


class UNet3d(nn.Module):
    """Three scales, joined by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([_twice(1, 16), _twice(16, 32), _twice(32, 64)])
        self.up = nn.ModuleList([nn.ConvTranspose3d(64, 32, 2, 2), nn.ConvTranspose3d(32, 16, 2, 2)])
        self.join = nn.ModuleList([_twice(64, 32), _twice(32, 16)])
        self.head = nn.Conv3d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool3d(x, 2) if i else x)
            kept.append(x)
        for up, join, skipped in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = join(torch.cat([up(x), skipped], 1))
        return self.head(x)


class AudioVisual(nn.Module):
    """A convolutional and a recurrent encoder, attention between them, a bilinear product and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.audio = nn.LSTM(40, 32, batch_first=True)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.join, self.head = nn.Bilinear(32, 32, 64), nn.Linear(64, 10)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        seen = self.image(image).flatten(2).transpose(1, 2)
        heard, _ = self.audio(audio)
        mixed, _ = self.attention(heard, seen, seen)
        return self.head(F.relu(self.join(mixed.mean(1), seen.mean(1))))


class DataDependent(nn.Module):
    """A branch on a mask that the caller gives, and a selection by it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(32, 16)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.fc(x[mask]) if mask.sum() > 0 else self.fc(x.mean(1))


def _llava_small() -> Built:
    import transformers as t

    vision = t.CLIPVisionConfig(
        hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, image_size=112,
        patch_size=14,
    )  # fmt: skip
    text = t.LlamaConfig(
        hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=4, vocab_size=2000,
    )  # fmt: skip
    module = t.LlavaForConditionalGeneration(t.LlavaConfig(text_config=text, vision_config=vision, image_token_index=4))
    tokens = ids(2, 80)
    tokens[:, 2:66] = 4
    return module, {"input_ids": tokens, "pixel_values": pixels(2, 112), "attention_mask": ones(2, 80)}


def _perceiver_mm() -> Built:
    """Video, sound and a label through one set of latents, as published; as many points are asked for as give the FLOPs
    of then."""
    import transformers as t

    config = t.PerceiverConfig(
        num_latents=784, d_latents=512, d_model=704, num_blocks=1, num_self_attends_per_block=8,
        num_self_attention_heads=8, num_cross_attention_heads=1, image_size=56, num_labels=700,
        num_frames=16, audio_samples_per_frame=1920, samples_per_patch=16, output_shape=[1, 16, 224, 224],
    )  # fmt: skip
    points = {"image": torch.arange(1246), "audio": torch.arange(15), "label": None}
    given = {"image": torch.randn(2, 16, 3, 224, 224), "audio": torch.randn(2, 30720, 1), "label": torch.zeros(2, 700)}
    return t.PerceiverForMultimodalAutoencoding(config), {"inputs": given, "subsampled_output_points": points}


def _of_zoo(name: str) -> Built:
    return ZOO[name].build(False), ZOO[name].inputs(False, 2)


def _of_timm(name: str) -> Built:
    import timm

    module: nn.Module = timm.create_model(name)
    return module, {"x": pixels(2, module.default_cfg["input_size"][-1])}


BY_HAND: dict[str, Callable[[], Built]] = {
    "lenet": lambda: (LeNet(), {"x": torch.randn(2, 1, 28, 28)}),
    "lstm": lambda: (Recurrent(), {"x": torch.randn(2, 50, 128)}),
    "gru_loop": lambda: (UnrolledGRU(), {"x": torch.randn(2, 24, 64)}),
    "packed_lstm": lambda: (Packed(), {"x": torch.randn(2, 18, 256), "lengths": torch.tensor([18, 12])}),
    "unet3d": lambda: (UNet3d(), {"x": torch.randn(2, 1, 32, 64, 64)}),
    "av_fusion": lambda: (AudioVisual(), {"image": torch.randn(2, 3, 64, 64), "audio": torch.randn(2, 50, 40)}),
    "data_dep": lambda: (DataDependent(), {"x": torch.randn(2, 16, 32), "mask": torch.arange(16).expand(2, 16) < 8}),
}
TIMM = (
    "resnet18", "densenet121", "vit_base_patch16_224", "efficientnet_b0", "convnext_tiny",
    "swin_tiny_patch4_window7_224",
)  # fmt: skip

NETWORKS: dict[str, Callable[[], Built]] = {
    **BY_HAND,
    **{name: partial(_of_zoo, name) for name in ZOO},
    "llava_small": _llava_small,
    "perceiver_mm": _perceiver_mm,
    **{f"timm/{name}": partial(_of_timm, name) for name in TIMM},
}
"""Name -> the network and its inputs at batch 2."""

STAND_INS = frozenset(BY_HAND) | {"llava_small"}
