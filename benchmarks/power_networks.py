"""Write the layer dumps of the networks whose power was measured: benchmarks/networks/power/NAME.json.gz.

    python benchmarks/power_networks.py [NAME ...]

Sizes stay symbolic in the batch `B` and, where a language model decodes, in the context `L`. Needs transformers; the
dumps are committed. Weights are neither loaded nor computed.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
FOLDER = ROOT / "benchmarks" / "networks" / "power"

DECODERS = {  # layers, width, heads, heads of keys, head, inner width, vocabulary, norms of queries and keys
    "llama_3_1_8b": (32, 4096, 32, 8, 128, 14336, 128256, False),
    "qwen3_8b": (36, 4096, 32, 8, 128, 12288, 151936, True),
    "qwen3_14b": (40, 5120, 40, 8, 128, 17408, 151936, True),
    "qwen3_32b": (64, 5120, 64, 8, 128, 25600, 151936, True),
    "gemma_3_12b": (48, 3840, 16, 8, 256, 15360, 262208, True),
    "gemma_3_27b": (62, 5376, 32, 16, 128, 21504, 262208, True),
}
"""From the models' config.json. Gemma's two further norms a layer are left out."""


def decoder(name: str) -> Any:
    """One token of every sequence through a language model, products fused as servers fuse them; every layer reads keys
    and values of its own, which the dump's single pair stands for: they are as large, and too large to stay in L2."""
    import torch.nn.functional as F
    from torch import Tensor, nn

    layers, width, heads, kv, head, inner, vocabulary, normed = DECODERS[name]

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.RMSNorm(width), nn.RMSNorm(width)
            self.qkv = nn.Linear(width, (heads + 2 * kv) * head, bias=False)
            self.norm_q = nn.RMSNorm(head) if normed else nn.Identity()
            self.norm_k = nn.RMSNorm(head) if normed else nn.Identity()
            self.out = nn.Linear(heads * head, width, bias=False)
            self.gate_up = nn.Linear(width, 2 * inner, bias=False)
            self.down = nn.Linear(inner, width, bias=False)

        def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            batch = x.shape[0]
            q, _, _ = self.qkv(self.before(x)).split([heads * head, kv * head, kv * head], -1)
            q = self.norm_q(q.view(batch, 1, heads, head)).transpose(1, 2)
            attended = F.scaled_dot_product_attention(q, keys, values, enable_gqa=True)
            x = x + self.out(attended.transpose(1, 2).reshape(batch, 1, heads * head))
            gate, up = self.gate_up(self.after(x)).chunk(2, -1)
            return x + self.down(F.silu(gate) * up)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            x = self.embedding(tokens)
            for layer in self.layers:
                x = layer(x, keys, values)
            return self.head(self.norm(x))  # type: ignore[no-any-return]

    return Decoder().bfloat16()


def decoding(name: str) -> Any:
    """The graph of one decoding step."""
    import torch

    import mmsim

    _, _, _, kv, head, *_ = DECODERS[name]

    def inputs(B: int, L: int) -> tuple[Any, ...]:
        keys = torch.empty(B, kv, L, head, dtype=torch.bfloat16, device="meta")
        return torch.empty(B, 1, dtype=torch.long, device="meta"), keys, keys.clone()

    return mmsim.trace(decoder(name).eval(), inputs, symbols={"B": 8, "L": 1024}, stages={"": "head"})


def resnet(*depths: int) -> Any:
    import transformers

    config = transformers.ResNetConfig(
        embedding_size=64, hidden_sizes=[256, 512, 1024, 2048], depths=list(depths), num_labels=1000
    )
    return transformers.ResNetForImageClassification(config), (8, 3, 224, 224)


def bert() -> Any:
    import transformers

    return transformers.BertForQuestionAnswering(transformers.BertConfig(attn_implementation="eager")), (8, 384)


def depth_anything() -> Any:
    """Depth Anything V2 Base: DINOv2 on 518 x 518 pixels and a convolutional head."""
    import transformers

    backbone = transformers.Dinov2Config(
        image_size=518, patch_size=14, out_indices=[3, 6, 9, 12], reshape_hidden_states=False, apply_layernorm=True
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[96, 192, 384, 768],
        fusion_hidden_size=128,
        reassemble_hidden_size=768,
    )
    return transformers.DepthAnythingForDepthEstimation(config), (1, 3, 518, 518)


MODELS: dict[str, Callable[[], Any]] = {
    "resnet50": lambda: resnet(3, 4, 6, 3),
    "resnet152": lambda: resnet(3, 8, 36, 3),
    "bert_base_384": bert,
    "depth_anything_v2_base": depth_anything,
}


def graph(name: str) -> Any:
    """A network's graph by name."""
    import torch

    import mmsim

    with torch.device("meta"):
        if name in DECODERS:
            return decoding(name)
        module, shape = MODELS[name]()
        example = torch.zeros(shape, dtype=torch.long) if len(shape) == 2 else torch.empty(shape)
        return mmsim.trace(module.eval(), (example,), stages={"": "head"}, symbols=("B",) if shape[0] > 1 else ())


def read(name: str) -> Any:
    """The graph in a dump."""
    from mmsim import layer_dump

    path = FOLDER / f"{name}.json.gz"
    return layer_dump.from_record(json.loads(gzip.decompress(path.read_bytes())), file=path.name)


def main() -> None:
    from mmsim import layer_dump

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or (*MODELS, *DECODERS):
        record = layer_dump.to_record(graph(name))
        for layer in record["layers"]:
            layer.pop("source", None)
            layer.pop("module_path", None)
        data = gzip.compress(json.dumps(record, separators=(",", ":")).encode(), 9, mtime=0)
        (FOLDER / f"{name}.json.gz").write_bytes(data)
        print(name, len(data), flush=True)


if __name__ == "__main__":
    main()
