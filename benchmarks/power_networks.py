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


DENOISER = "stable_diffusion_2_1_unet"
LATENT, TEXT, WIDTHS = 96, (77, 1024), (320, 640, 1280, 1280)


def denoiser() -> Any:
    """The U-Net of Stable Diffusion 2.1 at 768 x 768: one step. Its config.json on Hugging Face has these sizes."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    class Residual(nn.Module):
        def __init__(self, given: int, width: int) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.GroupNorm(32, given), nn.GroupNorm(32, width)])
            self.first, self.second = nn.Conv2d(given, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
            self.time = nn.Linear(1280, width)
            self.skip = nn.Conv2d(given, width, 1) if given != width else nn.Identity()

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            y = self.first(F.silu(self.norms[0](x))) + self.time(F.silu(time))[:, :, None, None]
            return self.skip(x) + self.second(F.silu(self.norms[1](y)))  # type: ignore[no-any-return]

    class Attention(nn.Module):
        def __init__(self, width: int, given: int) -> None:
            super().__init__()
            self.q = nn.Linear(width, width, bias=False)
            self.k, self.v = nn.Linear(given, width, bias=False), nn.Linear(given, width, bias=False)
            self.out = nn.Linear(width, width)

        def forward(self, x: Tensor, context: Tensor) -> Tensor:
            batch, _, width = x.shape
            q, k, v = (y.view(batch, -1, width // 64, 64).transpose(1, 2)
                       for y in (self.q(x), self.k(context), self.v(context)))  # fmt: skip
            done = F.scaled_dot_product_attention(q, k, v)
            return self.out(done.transpose(1, 2).reshape(batch, -1, width))  # type: ignore[no-any-return]

    class Transformer(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm, self.into, self.out = nn.GroupNorm(32, width), nn.Linear(width, width), nn.Linear(width, width)
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
            self.own, self.cross = Attention(width, width), Attention(width, TEXT[1])
            self.gated, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

        def forward(self, x: Tensor, text: Tensor) -> Tensor:
            batch, width, height, _ = x.shape
            y = self.into(self.norm(x).permute(0, 2, 3, 1).reshape(batch, -1, width))
            own = self.norms[0](y)
            y = y + self.own(own, own)
            y = y + self.cross(self.norms[1](y), text)
            value, gate = self.gated(self.norms[2](y)).chunk(2, -1)
            y = self.out(y + self.down(value * F.gelu(gate)))
            return x + y.reshape(batch, height, -1, width).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time = nn.Sequential(nn.Linear(320, 1280), nn.SiLU(), nn.Linear(1280, 1280))
            self.first, self.norm = nn.Conv2d(4, 320, 3, padding=1), nn.GroupNorm(32, 320)
            self.last = nn.Conv2d(320, 4, 3, padding=1)
            self.down, self.up = nn.ModuleList(), nn.ModuleList()
            widths, skips = (320, *WIDTHS), [320]
            for level, width in enumerate(WIDTHS):
                for layer in range(2):
                    self.down.append(self.block(widths[level] if layer == 0 else width, width, attends=level < 3))
                    skips.append(width)
                if level < 3:
                    self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                    skips.append(width)
            self.middle = nn.ModuleList([Residual(1280, 1280), Transformer(1280), Residual(1280, 1280)])
            given = 1280
            for level, width in reversed(list(enumerate(WIDTHS))):
                for _ in range(3):
                    self.up.append(self.block(given + skips.pop(), width, attends=level < 3))
                    given = width
                if level > 0:
                    self.up.append(nn.Conv2d(width, width, 3, padding=1))

        @staticmethod
        def block(given: int, width: int, *, attends: bool) -> nn.ModuleList:
            return nn.ModuleList([Residual(given, width), *([Transformer(width)] if attends else [])])

        def forward(self, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
            time, x = self.time(time), self.first(x)
            skips = [x]
            for part in self.down:
                x = self.run(part, x, time, text)
                skips.append(x)
            x = self.run(self.middle, x, time, text)
            for part in self.up:
                if isinstance(part, nn.Conv2d):
                    x = part(F.interpolate(x, scale_factor=2.0))
                else:
                    x = self.run(part, torch.cat([x, skips.pop()], 1), time, text)
            return self.last(F.silu(self.norm(x)))  # type: ignore[no-any-return]

        @staticmethod
        def run(part: nn.Module, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
            if isinstance(part, nn.Conv2d):
                return part(x)  # type: ignore[no-any-return]
            for module in part:  # type: ignore[attr-defined]
                x = module(x, time if isinstance(module, Residual) else text)
            return x

    return UNet().half()


def denoising() -> Any:
    """The graph of one step; guidance takes two latents for each picture."""
    import torch

    import mmsim

    def inputs(B: int) -> tuple[Any, ...]:
        sizes = ((B, 4, LATENT, LATENT), (B, 320), (B, *TEXT))
        return tuple(torch.empty(size, dtype=torch.float16, device="meta") for size in sizes)

    return mmsim.trace(denoiser().eval(), inputs, symbols={"B": 8}, stages={"": "head"})


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
        if name == DENOISER:
            return denoising()
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
    for name in sys.argv[1:] or (*MODELS, *DECODERS, DENOISER):
        record = layer_dump.to_record(graph(name))
        for layer in record["layers"]:
            layer.pop("source", None)
            layer.pop("module_path", None)
        data = gzip.compress(json.dumps(record, separators=(",", ":")).encode(), 9, mtime=0)
        (FOLDER / f"{name}.json.gz").write_bytes(data)
        print(name, len(data), flush=True)


if __name__ == "__main__":
    main()
