"""Networks as researchers write them by hand: loops, branches, shared weights, in-place writes, odd inputs and more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, rnn
from torch.utils.checkpoint import checkpoint

PROGRAMS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {}
"""Name -> (the network, its inputs at a batch size)."""


def program(inputs: Callable[[int], Any]) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Enter a network into the table, under its name."""

    def enter(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        PROGRAMS[build.__name__] = (build, inputs)
        return build

    return enter


def rows(*sizes: int) -> Callable[[int], dict[str, Tensor]]:
    """One input ``x`` of numbers."""
    return lambda batch: {"x": torch.randn(batch, *sizes)}


def tokens(length: int) -> Callable[[int], dict[str, Tensor]]:
    return lambda batch: {"ids": torch.randint(1, 50, (batch, length))}


@program(lambda b: {"x": torch.randn(b, 8), "steps": torch.tensor(3)})
class WhileOnData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(8, 8)

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        while steps > 0:
            x = torch.tanh(self.cell(x))
            steps = steps - 1
        return x


@program(rows(8))
class EarlyExit(nn.Module):
    """It goes on until it is sure: control flow on the values of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.exits = nn.ModuleList(nn.Linear(8, 3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for block, leave in zip(self.blocks, self.exits, strict=True):
            x = block(x).relu()
            out = leave(x).softmax(-1)
            if out.max(-1).values.min() > 2:
                break
        return out


@program(tokens(12))
class TiedLanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for _ in range(3):
            x = self.block(x, src_mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True)
        return self.head(x)


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: float) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(beta * x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


@program(rows(8))
class CustomFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return _Swish.apply(self.fc(x), 1.5)


@dataclass
class Sample:
    image: Tensor
    meta: dict[str, Any]


@program(lambda b: {"sample": Sample(torch.randn(b, 3, 8, 8), {"age": torch.randn(b, 1), "site": ["a"] * 2})})
class NestedInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(5, 2)

    def forward(self, sample: Sample, scale: float = 2.0, *, extra: Tensor | None = None) -> dict[str, Any]:
        x = torch.cat([self.conv(sample.image).amax((2, 3)), sample.meta["age"] * scale], 1)
        return {"logits": self.fc(x), "sample": Sample(sample.image.flatten(1), {}), "extra": extra}


@program(rows(3, 16))
class Generator(nn.Module):
    """Intermediate results from a generator, summed as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(3, 3, 3, padding=1) for _ in range(3))

    def scales(self, x: Tensor) -> Iterator[Tensor]:
        for layer in self.layers:
            x = F.avg_pool1d(layer(x), 2)
            yield x.mean(-1)

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.scales(x))  # type: ignore[return-value]


@program(rows(6, 8))
class InPlaceSlices(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, ::2] += self.fc(x[:, 1::2])
        y[..., 0] = 1
        y[:, 1:3, 2:].mul_(0.5)
        view = y.view(-1, 8)
        view[view > 1] = 0
        y.T.zero_() if y.ndim == 1 else y.transpose(1, 2)[:, 0].fill_(2)
        return y.clamp_(-1, 1)


@program(rows(8))
class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)))
        self.outer = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x) + x)


@program(rows(6, 8))
class Einsums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Parameter(torch.randn(8, 2, 4)), nn.Parameter(torch.randn(8, 2, 4))
        self.core = nn.Parameter(torch.randn(8, 5, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k = torch.einsum("btd,dhe->bhte", x, self.q), torch.einsum("btd,dhe->bhte", x, self.k)
        scores = torch.einsum("bhte,bhse->bhts", q, k).softmax(-1)
        return torch.einsum("bhts,bse->bhte", scores, x), torch.einsum("bti,ijk,btk->bj", x, self.core, x[..., :3])


@program(lambda b: {"x": torch.randn(10 * b, 8), "edges": torch.randint(0, 10, (2, 24))})
class MessagePassing(nn.Module):
    """A graph network: gather by edge, scatter by node."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.update = nn.Linear(16, 8), nn.GRUCell(8, 8)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges
        for _ in range(2):
            sent = self.message(torch.cat([x[source], x.index_select(0, target)], -1))
            summed = torch.zeros_like(x).index_add_(0, target, sent)
            most = torch.zeros_like(x).scatter_reduce(0, target[:, None].expand_as(sent), sent, "amax")
            x = self.update(summed + most, x)
        return x.gather(1, x.argsort(1)[:, :3])


@program(lambda b: {"q": torch.randn(b, 5, 16), "kv": torch.randn(b, 7, 12), "pad": torch.zeros(b, 7).bool()})
class CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(16, 4, kdim=12, vdim=12, batch_first=True, add_bias_kv=True)
        self.own = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, q: Tensor, kv: Tensor, pad: Tensor) -> tuple[Tensor, Tensor]:
        q = q + self.own(q, q, q, need_weights=False)[0]
        return self.attend(q, kv, kv, key_padding_mask=pad, average_attn_weights=False)


@program(lambda b: {"src": torch.randn(b, 6, 16), "tgt": torch.randn(b, 4, 16), "pad": torch.zeros(b, 6).bool()})
class WholeTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Transformer(16, 2, 2, 2, 32, batch_first=True, norm_first=True)

    def forward(self, src: Tensor, tgt: Tensor, pad: Tensor) -> Tensor:
        mask = self.net.generate_square_subsequent_mask(tgt.shape[1])
        return self.net(src, tgt, tgt_mask=mask, src_key_padding_mask=pad, memory_key_padding_mask=pad)


@program(lambda b: {"x": torch.randn(b, 6, 16), "pad": torch.arange(6).expand(b, 6) > 4})
class FastPathEncoder(nn.Module):
    """nn.TransformerEncoder in eval mode: a fused kernel on nested tensors, where torch takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def forward(self, x: Tensor, pad: Tensor) -> Tensor:
        return self.net(x, src_key_padding_mask=pad)


@program(rows(6, 16))
class GroupedQueries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).unflatten(-1, (4, 4)).transpose(1, 2)
        k, v = self.kv(x).unflatten(-1, (2, 2, 4)).permute(2, 0, 3, 1, 4)
        mask = torch.ones(6, 6, dtype=torch.bool).tril()
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        return y + F.scaled_dot_product_attention(q, q, q, is_causal=True, scale=0.3)


@program(lambda b: {"x": torch.randn(b, 7, 8), "lengths": torch.tensor([7, 3, 5, 2, 6])[torch.arange(b) % 5]})
class PackedGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 12, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(24, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, last = self.gru(packed)
        padded, _ = rnn.pad_packed_sequence(out, batch_first=True)
        return self.head(padded.mean(1) + torch.cat([last[-1], last[-2]], -1))


@program(rows(3, 16, 16))
class SpatialTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.locate, self.conv = nn.Linear(3 * 16 * 16, 6), nn.Conv2d(3, 4, 3, stride=2, padding="valid")

    def forward(self, x: Tensor) -> Tensor:
        grid = F.affine_grid(self.locate(x.flatten(1)).view(-1, 2, 3), list(x.size()), align_corners=False)
        return self.conv(F.grid_sample(x, grid, align_corners=False, padding_mode="border"))


@program(rows(4, 8, 8))
class DeformableGather(nn.Module):
    """Each place reads where its own offsets point: indices computed from activations."""

    def __init__(self) -> None:
        super().__init__()
        self.offset, self.mix = nn.Conv2d(4, 2, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y, z = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        at = (torch.stack([y, z]) + self.offset(x)).round().long()
        index = at[:, 0].clamp(0, h - 1) * w + at[:, 1].clamp(0, w - 1)
        return self.mix(x.flatten(2).gather(2, index.view(b, 1, -1).expand(-1, c, -1)).view(b, c, h, w))


@program(rows(4, 16, 16))
class FourierOperator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 5, 5, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.fft.rfft2(x)
        out = torch.zeros_like(waves)
        out[:, :, :5, :5] = torch.einsum("bixy,ioxy->boxy", waves[:, :, :5, :5], self.weight)
        return torch.fft.irfft2(out, s=x.shape[-2:]) + out.abs().mean() + torch.view_as_real(out).sum()


@program(rows(5, 8))
class Vmapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(lambda row: self.fc(row).softmax(-1) @ torch.ones(4, 3))(x)


@program(rows(8))
class Ensemble(nn.Module):
    """Several networks as one, by torch.func."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weights, buffers = torch.func.stack_module_state(list(self.members))

        def one(parameters: Any, state: Any) -> Any:
            return torch.func.functional_call(self.members[0], (parameters, state), (x,))

        return torch.vmap(one)(weights, buffers).mean(0)


@program(rows(3, 8, 8))
class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.fc = parametrizations.spectral_norm(nn.Linear(4, 4))
        self.turn = parametrizations.orthogonal(nn.Linear(4, 4, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.turn(self.fc(self.conv(x).mean((2, 3))))


@program(rows(3, 8, 8))
class QuantStubs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.dequant(torch.fake_quantize_per_tensor_affine(self.conv(self.quant(x)), 0.1, 0, -128, 127))


@program(rows(8))
class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Sequential(nn.Linear(8, 16), nn.ReLU()), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(self.a, x, use_reentrant=False)
        return checkpoint(self.b, x, use_reentrant=True)


@program(rows(6, 8))
class RoutedExperts(nn.Module):
    """Tokens are sent where the router says: how many each expert gets depends on activations."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, 8)
        weight, chosen = self.router(flat).softmax(-1).topk(2, -1)
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            row, slot = torch.where(chosen == index)
            out.index_add_(0, row, expert(flat[row]) * weight[row, slot, None])
        return out.view_as(x)


@program(lambda b: {"image": torch.randn(b, 12), "length": 4})
class GreedyDecoder(nn.Module):
    """Autoregressive: each step's token is the argument of the next, with a cache that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.out = nn.Embedding(20, 12), nn.LSTMCell(12, 12), nn.Linear(12, 20)

    def forward(self, image: Tensor, length: int) -> Tensor:
        token = torch.zeros(image.shape[0], dtype=torch.long)
        state = (image, torch.zeros_like(image))
        cache = image.new_zeros(image.shape[0], 0, 12)
        words = []
        for _ in range(length):
            state = self.cell(self.embed(token), state)
            cache = torch.cat([cache, state[0][:, None]], 1)
            seen = (cache @ state[0][:, :, None]).softmax(1)
            token = self.out((cache * seen).sum(1)).argmax(-1)
            words.append(token)
        return torch.stack(words, 1)


@program(lambda b: {"x": torch.randn(b, 8), "task": "b", "temperature": 0.5})
class ByName(nn.Module):
    """Inputs that are no tensors, and a hook that changes what a part sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = nn.ModuleDict({"a": nn.Linear(8, 2), "b": nn.Linear(8, 3)})
        self.tasks["b"].register_forward_pre_hook(lambda module, args: (args[0] * 2,))

    def forward(self, x: Tensor, task: str, temperature: float) -> Tensor:
        return self.tasks[task](x) / temperature if self.training is False else x


@program(rows(2, 400))
class Spectrogram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.fc = nn.Linear(33, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(0, 1)
        spectrum = torch.stft(flat, 64, 16, window=self.window, return_complex=True)
        back = torch.istft(spectrum, 64, 16, window=self.window)
        return self.fc(spectrum.abs().pow(2).clamp_min(1e-5).log().transpose(1, 2)), back


@program(lambda b: {"tree": ((torch.randn(b, 8), torch.randn(b, 8)), torch.randn(b, 8))})
class TreeNetwork(nn.Module):
    """Recursion over a nested input."""

    def __init__(self) -> None:
        super().__init__()
        self.join = nn.Linear(16, 8)

    def forward(self, tree: Any) -> Tensor:
        if isinstance(tree, Tensor):
            return tree
        return torch.tanh(self.join(torch.cat([self.forward(part) for part in tree], -1)))


@program(rows(4, 4))
class LinearAlgebra(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spd = x @ x.mT + 4 * torch.eye(4)
        whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(spd), self.fc(x), upper=False)
        return whitened, torch.linalg.eigvalsh(spd) + torch.linalg.det(spd)[..., None]


@program(rows(3, 8, 8))
class Mixed(nn.Module):
    """Half of it in bfloat16, by autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x = self.conv(x)
        return self.fc(x.float().mean((2, 3)))


@program(rows(4, 8, 8))
class Folded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(36, 36)
        self.up = nn.ConvTranspose2d(4, 2, 4, 2, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.fc(F.unfold(x, 3, padding=1).mT).mT
        x = F.fold(patches, x.shape[-2:], 3, padding=1)
        return F.pixel_unshuffle(F.interpolate(self.up(x), scale_factor=0.5, mode="bicubic"), 2)


@program(lambda b: {"ids": torch.randint(0, 50, (b * 4,)), "offsets": torch.arange(0, b * 4, 4)})
class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.fc = nn.EmbeddingBag(50, 8, mode="mean"), nn.Linear(8, 2)

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        return self.fc(self.bag(ids, offsets))


@program(rows(8))
class Compiled(nn.Module):
    """A part wrapped by torch.compile."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.compile(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
        self.outer = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))


@program(rows(8))
class OverNumpy(nn.Module):
    """Part of it is computed by numpy, which torch does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.from_numpy(self.a(x).detach().numpy() * 2))


@program(rows(8))
class SparseWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("graph", (torch.rand(8, 8) > 0.5).float().to_sparse())
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.sparse.mm(self.graph, x.mT).mT)


@program(rows(6, 16))
class Flexible(nn.Module):
    """Attention with a score function."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Tensor:
        from torch.nn.attention.flex_attention import flex_attention

        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        return flex_attention(q, k, v, score_mod=lambda score, b, h, i, j: score + (i - j))


@program(rows(6, 8))
class Conditional(nn.Module):
    """torch.cond, a higher-order operation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.shape[1] > 4, lambda y: self.a(y), lambda y: self.b(y), (x,))


@program(rows(1, 28, 28))
class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.classifier = nn.Sequential(
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


@program(rows(30, 16))
class WholeLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(16, 24, 2, batch_first=True, bidirectional=True, proj_size=12), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


@program(rows(10, 16))
class CellLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(16, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 24)
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


@program(rows(2, 16, 16, 16))
class VolumeUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv3d(2, 8, 3, padding=1), nn.InstanceNorm3d(8), nn.LeakyReLU())
        self.deep = nn.Sequential(nn.Conv3d(8, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.SiLU())
        self.up, self.out = nn.ConvTranspose3d(16, 8, 2, 2), nn.Conv3d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        return self.out(torch.cat([skip, self.up(self.deep(skip))], 1))


@program(lambda b: {"video": torch.randn(b, 3, 4, 16, 16), "audio": torch.randn(b, 1, 400)})
class AudioVisualFusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.video = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d((4, 2, 2)))
        self.audio = nn.Sequential(nn.Conv1d(1, 8, 16, 4), nn.ReLU(), nn.AdaptiveMaxPool1d(8))
        self.attend, self.fuse = nn.MultiheadAttention(8, 2, batch_first=True), nn.Bilinear(8, 8, 6)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        seen, heard = self.video(video).flatten(2).mT, self.audio(audio).mT
        met, _ = self.attend(seen, heard, heard)
        return self.fuse(met.mean(1), heard.mean(1))


@program(lambda b: {"x": torch.randn(b, 6, 8), "mask": torch.arange(6).expand(b, 6) < 4})
class DataDependent(nn.Module):
    """A branch and a selection by a mask that the caller gives."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.fc(x[mask]) if mask.sum() > 0 else self.fc(x.mean(1))
