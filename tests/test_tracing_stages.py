"""Inferred stages on small networks: what an input alone reaches, where inputs meet, what comes after."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmsim
from mmsim.layer import Tensor as Value
from mmsim.tracing.modalities import modality_of


def stages(module: nn.Module, inputs: Any, **options: Any) -> dict[str, list[str]]:
    """Stage -> the kinds of its layers, in order."""
    found: dict[str, list[str]] = {}
    for layer in mmsim.trace(module.eval(), inputs, symbols=(), **options).layers:
        found.setdefault(str(layer.stage), []).append(layer.kind)
    return found


class Late(nn.Module):
    """Two encoders, joined, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(8, 4), nn.Linear(6, 4), nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        return self.out(torch.cat([self.a(image), self.b(audio)], 1))


LATE = {"image": torch.ones(2, 8), "audio": torch.ones(2, 6)}


def test_late_fusion() -> None:
    assert stages(Late(), LATE) == {
        "encoder:image": ["linear"], "encoder:audio": ["linear"], "fusion": ["cat"], "head": ["linear", "linear"],
    }  # fmt: skip


def test_a_user_changes_what_was_inferred() -> None:
    assert stages(Late(), LATE, overrides={"out.0": "fusion"})["fusion"] == ["cat", "linear"]
    assert "encoder:depth" in stages(Late(), LATE, modalities={"image": "depth"})


def test_masks_have_no_modality_and_ids_have_where_they_are_looked_up() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(9, 4)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.words(input_ids) * attention_mask[..., None]

    ids = torch.ones(2, 3, dtype=torch.long)
    assert set(stages(Masked(), {"input_ids": ids, "attention_mask": ids})) == {"encoder:text"}


def test_constants_belong_to_what_reads_them() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(9, 8), nn.Linear(8, 2)

        def forward(self, image: Tensor, audio: Tensor) -> Tensor:
            return self.out(image + self.table(torch.arange(2))) + audio

    found = stages(Positions(), {"image": torch.ones(2, 8), "audio": torch.ones(2, 2)})
    assert found == {"encoder:image": ["arange", "embedding", "add", "linear"], "fusion": ["add"]}


def test_one_modality_has_an_encoder_and_a_head() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder, self.classifier = nn.TransformerEncoder(block, 3), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.encoder(x).mean(1))

    found = stages(Deep(), {"x": torch.ones(2, 5, 8)}, modalities={"x": "audio"})
    assert set(found) == {"encoder:audio", "head"}
    assert found["head"] == ["mean", "linear"]


@pytest.mark.parametrize(
    "name, shape, dtype, modality",
    [
        ("pixel_values", (2, 3, 8, 8), "float32", "image"),
        ("input_features", (2, 80, 300), "float32", "audio"),
        ("decoder_input_ids", (2, 5), "int64", "text"),
        ("visual_feats", (2, 36, 8), "float32", "image"),
        ("force", (2, 6, 32), "float32", "force"),
        ("inputs.label", (2, 7), "float32", "label"),
        ("x", (2, 3, 8, 8), "float32", "image"),
        ("args.0", (2, 5), "int64", "text"),
        ("batch.ids", (2, 5), "int64", "text"),
        ("lidar_points", (2, 1000, 4), "float32", "lidar"),
    ],
)
def test_modalities_by_name_and_form(name: str, shape: tuple[int, ...], dtype: str, modality: str) -> None:
    assert modality_of(Value(name, shape, dtype, "input")) == modality
