"""PyTorch networks whose latency others published, predicted: figures.csv and layer dumps in benchmarks/elsewhere.

    python benchmarks/elsewhere.py [NAME ...]      # write the dumps anew (needs torch and transformers)

Each row names its source; `validation.py` predicts all of them for docs/validation.md. The networks are those of
transformers with the sizes that the sources name; batch stays open. Rows of one sample wait for the host: the hosts'
plain op was set with them in view. No constant was set on the others.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
FOLDER = ROOT / "benchmarks" / "elsewhere"
FIGURES = FOLDER / "figures.csv"

from mmsim import gpu, layer_dump  # noqa: E402
from mmsim.arch import load  # noqa: E402
from mmsim.autocast import autocast  # noqa: E402
from mmsim.graph import Graph  # noqa: E402

if TYPE_CHECKING:
    from torch import nn


@cache
def graph(name: str) -> Graph:
    """The network of a dump, its batch open."""
    path = FOLDER / f"{name}.json.gz"
    return layer_dump.from_record(json.loads(gzip.decompress(path.read_bytes())), file=path.name)


def predict(row: dict[str, str]) -> float:
    """Seconds of one row: copies of inputs are not in the published figures."""
    found, precision = graph(row["network"]).at(B=int(row["batch"])), row["precision"]
    if precision.startswith("amp"):
        found = autocast(found)
    elif precision == "fp16":
        found = found.cast("float16")
    options = gpu.Options(
        tf32_product=precision == "tf32",
        tf32_convolution=not precision.endswith("without tf32"),
        channels_last=precision.endswith("channels last"),
    )
    return gpu.network(found, load(row["arch"]), "eager", options).wall_s


def figures() -> list[dict[str, Any]]:
    """Every row, measured and predicted."""
    rows = list(csv.DictReader(FIGURES.read_text().splitlines()))
    return [row | {"measured_s": 1e-3 * float(row["latency_ms"]), "predicted_s": predict(row)} for row in rows]


# --- the networks --------------------------------------------------------------------------------


def networks() -> dict[str, tuple[Callable[[], nn.Module], str]]:
    """Name -> how the network is made, and its input: ``picture HEIGHT [WIDTH]``, ``text LENGTH`` or ``pairs``."""
    import transformers as hf

    def eager(config: Any) -> Any:
        """The sources are older than fused attention in transformers."""
        config._attn_implementation = "eager"
        return config

    def bert(length: int) -> tuple[Callable[[], nn.Module], str]:
        return lambda: hf.BertModel(eager(hf.BertConfig()), add_pooling_layer=False), f"text {length}"

    def vit(edge: int) -> tuple[Callable[[], nn.Module], str]:
        return lambda: hf.ViTForImageClassification(eager(hf.ViTConfig(num_labels=1000, image_size=edge))), (
            f"picture {edge}"
        )

    def efficientnet(edge: int, width: float, depth: float, channels: int) -> tuple[Callable[[], nn.Module], str]:
        config = hf.EfficientNetConfig(
            num_labels=1000, image_size=edge, width_coefficient=width, depth_coefficient=depth, hidden_dim=channels
        )
        return lambda: padded(hf.EfficientNetForImageClassification(config)), f"picture {edge}"

    backbone = hf.ResNetConfig(out_features=["stage4"])
    detr = {"use_timm_backbone": False, "backbone_config": backbone}
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    beit = {"use_relative_position_bias": True, "use_absolute_position_embeddings": False, "use_mean_pooling": True}
    convnext = {"depths": [3, 3, 27, 3], "hidden_sizes": [192, 384, 768, 1536]}
    return {
        "resnet50": (lambda: hf.ResNetForImageClassification(hf.ResNetConfig(num_labels=1000)), "picture 224"),
        "resnext101_32x4d": (resnext101, "picture 224"),
        "vit_base_224": vit(224),
        "vit_base_384": vit(384),
        "beit_base_224": (
            lambda: hf.BeitForImageClassification(eager(hf.BeitConfig(num_labels=21841, **beit))), "picture 224"
        ),
        "convnext_large_224": (
            lambda: hf.ConvNextForImageClassification(hf.ConvNextConfig(num_labels=1000, **convnext)), "picture 224"
        ),
        "segformer_b0_512": (
            lambda: hf.SegformerForSemanticSegmentation(eager(hf.SegformerConfig(num_labels=150))), "picture 512"
        ),
        "conditional_detr_r50": (
            lambda: hf.ConditionalDetrForObjectDetection(eager(hf.ConditionalDetrConfig(**detr))), "picture 800 1066"
        ),
        "efficientnet_b0_224": efficientnet(224, 1.0, 1.0, 1280),
        "efficientnet_b4_380": efficientnet(380, 1.4, 1.8, 1792),
        "bert_base_128": bert(128),
        "bert_base_384": bert(384),
        "ncf": (ncf, "pairs"),
        "bert_large_384": (lambda: hf.BertForQuestionAnswering(eager(hf.BertConfig(**large))), "text 384"),
    }  # fmt: skip


def padded(network: Any) -> nn.Module:
    """EfficientNet that pads evenly within its convolutions, as DeepLearningExamples' does; transformers' follows
    TensorFlow's, whose strided ones need a padded copy of their input."""
    from torch import nn

    stem, blocks = network.efficientnet.embeddings, network.efficientnet.encoder.blocks
    stem.padding, stem.convolution.padding = nn.Identity(), (1, 1)
    for layer in (block.depthwise_conv for block in blocks):
        edge = layer.depthwise_conv.kernel_size[0]
        layer.depthwise_conv_pad, layer.depthwise_conv.padding = nn.Identity(), (edge // 2, edge // 2)
    return network


def resnext101() -> nn.Module:
    """ResNeXt-101 32x4d (Xie et al., arXiv:1611.05431): transformers' ResNet with grouped 3 x 3 convolutions of half
    the output's width."""
    import transformers as hf
    from torch import nn

    network = hf.ResNetForImageClassification(hf.ResNetConfig(num_labels=1000, depths=[3, 4, 23, 3]))
    for stage in network.resnet.encoder.stages:
        for block in stage.layers:
            first, middle, last = (layer.convolution for layer in block.layer)
            inner, width = first.in_channels, last.out_channels
            half = width // 2
            block.layer[0].convolution = nn.Conv2d(inner, half, 1, bias=False)
            block.layer[1].convolution = nn.Conv2d(half, half, 3, middle.stride, 1, groups=32, bias=False)
            block.layer[2].convolution = nn.Conv2d(half, width, 1, bias=False)
            for layer in block.layer[:2]:
                layer.normalization = nn.BatchNorm2d(half)
    return network


def ncf() -> nn.Module:
    """Neural collaborative filtering (He et al., arXiv:1708.05031), MovieLens 20M, sizes as in its source."""
    import torch
    from torch import nn

    class NeuMF(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factors = nn.ModuleList(nn.Embedding(rows, 64) for rows in (138493, 26744))
            self.features = nn.ModuleList(nn.Embedding(rows, 128) for rows in (138493, 26744))
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in ((256, 256), (256, 128), (128, 64)))
            self.last = nn.Linear(128, 1)

        def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
            product = self.factors[0](user) * self.factors[1](item)
            x = torch.cat((self.features[0](user), self.features[1](item)), -1)
            for layer in self.layers:
                x = torch.relu(layer(x))
            return torch.sigmoid(self.last(torch.cat((product, x), -1)))

    return NeuMF()


def write(name: str) -> int:
    """Trace one network on the meta device; returns the bytes written."""
    import torch

    import mmsim

    build, what = networks()[name]
    kind, *sizes = what.split()
    with torch.device("meta"):
        network = build().eval()
        ids = torch.zeros(2, *map(int, sizes[:1]), dtype=torch.long)
        inputs: Any = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if kind == "picture":
            inputs = (torch.empty(2, 3, int(sizes[0]), int(sizes[-1])),)
        if kind == "pairs":
            inputs = (ids, ids.clone())
    record = layer_dump.to_record(mmsim.trace(network, inputs, stages={"": "head"}))
    for layer in record["layers"]:
        layer.pop("source", None)
        layer.pop("module_path", None)
    data = gzip.compress(json.dumps(record, separators=(",", ":")).encode(), 9, mtime=0)
    return (FOLDER / f"{name}.json.gz").write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    for name in parser.parse_args().names or networks():
        print(name, write(name), flush=True)


if __name__ == "__main__":
    main()
