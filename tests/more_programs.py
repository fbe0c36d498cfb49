"""More networks as researchers write them: what PyTorch offers beyond modules, and idioms of particular fields."""

from __future__ import annotations

import copy
import math
from collections import deque
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn.utils import parametrizations, parametrize

from tests.programs import program, rows, tokens


def _leaky_sum(x: Tensor, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for i in range(steps):
        total = 0.9 * total + x.roll(i, 1)
    return total


@program(rows(12))
class ScriptedFunction(nn.Module):
    """A function of `torch.jit.script` with a loop, between layers of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.Linear(12, 12), nn.Linear(12, 3)
        self.leak = torch.jit.script(_leaky_sum)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.leak(self.inside(x), 3).tanh())


@program(rows(8))
class MomentumTeacher(nn.Module):
    """A copy of the student made in each pass, its weights moved."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        teacher = copy.deepcopy(self.student)
        for parameter in teacher.parameters():
            parameter.data.mul_(0.99)
        return {"student": self.student(x), "teacher": teacher(x).detach()}


class Boxes(Tensor):
    """A tensor subclass with methods of its own."""

    def area(self) -> Tensor:
        size = self[..., 2:] - self[..., :2]
        return size.clamp(min=0).prod(-1).as_subclass(Tensor)


@program(rows(5, 8))
class BoxHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.regress, self.score = nn.Linear(8, 4), nn.Linear(1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        boxes = self.regress(x).sigmoid().as_subclass(Boxes)
        return boxes.as_subclass(Tensor), self.score(boxes.area().unsqueeze(-1))


class Quantity:
    """Not a tensor, but functions of torch take it: a value with a unit."""

    def __init__(self, value: Tensor, unit: str) -> None:
        self.value, self.unit = value, unit

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = [arg.value if isinstance(arg, Quantity) else arg for arg in args]
        return cls(function(*plain, **(kwargs or {})), next(arg.unit for arg in args if isinstance(arg, Quantity)))


@program(rows(6))
class WithUnits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        speed = torch.mul(Quantity(x, "m/s"), 3.6)
        return self.fc(torch.abs(speed).value)


@program(rows(3, 16, 16))
class AutocastInside(nn.Module):
    """The convolution in bfloat16, the classifier not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.conv(x).relu()
            with torch.autocast("cpu", enabled=False):
                return self.fc(x.float().mean((2, 3)))


@program(rows(20, 8))
class SampledNegatives(nn.Module):
    """Random numbers from a generator of its own: permuted rows, drawn rows, noise, masks."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        x = self.fc(x[:, torch.randperm(x.shape[1], generator=generator)])
        drawn = torch.multinomial(x.norm(dim=-1).softmax(-1), 4, generator=generator)
        negatives = x.gather(1, drawn[..., None].expand(-1, -1, x.shape[-1]))
        kept = torch.bernoulli(torch.full_like(negatives, 0.8), generator=generator)
        return x @ (negatives * kept + torch.randn(negatives.shape, generator=generator)).mT


@program(rows(24, 3))
class EdgeConvolution(nn.Module):
    """Points, each with its nearest neighbours: messages along edges, the largest kept."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.head = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2)), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        near = torch.cdist(x, x).topk(4, largest=False).indices  # (B, N, 4)
        batch = torch.arange(x.shape[0])[:, None, None]
        others, own = x[batch, near], x.unsqueeze(2).expand(-1, -1, 4, -1)
        messages = self.edge(torch.cat([own, others - own], -1))  # (B, N, 4, 16)
        pooled = messages.new_zeros(x.shape[0], x.shape[1], 16)
        index = torch.arange(x.shape[1]).repeat_interleave(4)[None, :, None].expand(x.shape[0], -1, 16)
        pooled = pooled.scatter_reduce(1, index, messages.flatten(1, 2), "amax", include_self=False)
        return self.head(pooled.amax(1))


@program(rows(10))
class Hooked(nn.Module):
    """Hooks that change inputs and outputs, and one that collects features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(10, 10), nn.Linear(10, 4)
        self.seen: list[Tensor] = []
        self.first.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
        self.first.register_forward_hook(lambda module, args, out: out.clamp(min=0))
        self.second.register_forward_hook(lambda module, args, out: self.seen.append(args[0]))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.clear()
        out = self.second(self.first(x))
        return out + self.seen[0].mean(-1, keepdim=True)


@program(lambda b: {"x": torch.randn(b, 3, 12, 12), "style": torch.randn(b, 8)})
class HyperNetwork(nn.Module):
    """Kernels made for each image, applied to all at once as groups; norm by a parametrization."""

    def __init__(self) -> None:
        super().__init__()
        self.make = parametrizations.spectral_norm(nn.Linear(8, 4 * 3 * 9))
        self.out = parametrizations.weight_norm(nn.Conv2d(4, 2, 1))
        parametrize.register_parametrization(self.out, "bias", nn.Tanh())

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        batch = x.shape[0]
        kernels = self.make(style).view(batch * 4, 3, 3, 3)
        mixed = F.conv2d(x.reshape(1, batch * 3, *x.shape[2:]), kernels, padding=1, groups=batch)
        return self.out(mixed.view(batch, 4, *x.shape[2:]))


@program(rows(4))
class HamiltonianSteps(nn.Module):
    """Motion from the gradient of a learned energy, taken inside the pass; four Runge-Kutta steps."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))

    def slope(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(x).sum(), x)
        places, momenta = gradient.chunk(2, -1)
        return torch.cat([momenta, -places], -1)

    def forward(self, x: Tensor) -> Tensor:
        step = 0.1
        for _ in range(2):
            k1 = self.slope(x)
            k2 = self.slope(x + step / 2 * k1)
            x = x + step * (k1 + 2 * k2) / 3
        return x


@program(rows(6))
class Tangents(nn.Module):
    """Forward-mode derivatives of a network whose parameters are given as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights = dict(self.net.named_parameters())
        return jvp(lambda z: functional_call(self.net, weights, (z,)), (x,), (torch.ones_like(x),))


class Beam(NamedTuple):
    words: Tensor
    scores: Tensor
    state: Tensor


@program(tokens(5))
class BeamSearch(nn.Module):
    """Beams chosen by topk, states reordered by what was chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.out = nn.Embedding(50, 12), nn.GRUCell(12, 12), nn.Linear(12, 50)

    def forward(self, ids: Tensor) -> Beam:
        batch, width = ids.shape[0], 3
        state = self.embed(ids).mean(1).repeat_interleave(width, 0)
        beam = Beam(ids[:, -1:].repeat(1, width)[..., None], torch.zeros(batch, width), state)
        for _ in range(3):
            state = self.cell(self.embed(beam.words[..., -1].flatten()), beam.state)
            scores = self.out(state).log_softmax(-1).view(batch, width, 50) + beam.scores[..., None]
            best, chosen = scores.flatten(1).topk(width)
            origin = chosen // 50
            words = torch.cat(
                [beam.words.gather(1, origin[..., None].expand_as(beam.words)), (chosen % 50)[..., None]], -1
            )
            flat = (origin + torch.arange(batch)[:, None] * width).flatten()
            beam = Beam(words, best, state[flat])
        return beam


@program(lambda b: {"origins": torch.randn(b, 3), "directions": torch.randn(b, 3)})
class RadianceField(nn.Module):
    """Rays sampled coarsely, then where the density is; colours composed along each."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3 * 8, 32), nn.ReLU(), nn.Linear(32, 4))

    def render(self, points: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
        waves = points[..., None] * 2.0 ** torch.arange(4)
        out = self.net(torch.cat([waves.sin(), waves.cos()], -1).flatten(-2))
        alpha = 1 - torch.exp(-F.softplus(out[..., 3])[..., :-1] * depths.diff(dim=-1))
        seen = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], -1), -1)[..., :-1]
        weights = alpha * seen
        return torch.einsum("bn,bnc->bc", weights, out[..., :-1, :3].sigmoid()), weights

    def forward(self, origins: Tensor, directions: Tensor) -> Tensor:
        depths = torch.linspace(0.1, 4, 16).expand(origins.shape[0], 16)
        coarse, weights = self.render(origins[:, None] + depths[..., None] * directions[:, None], depths)
        cdf = torch.cumsum(F.normalize(weights + 1e-5, p=1, dim=-1), -1)
        found = torch.searchsorted(cdf, torch.linspace(0, 0.99, 8).expand(len(cdf), 8).contiguous(), right=True)
        fine = torch.sort(torch.cat([depths, depths.gather(1, found.clamp(max=15))], -1), -1).values
        return coarse + self.render(origins[:, None] + fine[..., None] * directions[:, None], fine)[0]


@program(rows(32, 4))
class StateSpace(nn.Module):
    """Complex poles, their powers as a convolution kernel, applied by FFT; in slices of a buffer that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.log_rate, self.angle = nn.Parameter(torch.zeros(4, 8)), nn.Parameter(torch.randn(4, 8))
        self.mix = nn.Parameter(torch.randn(4, 8, 2))
        self.taps: nn.ParameterList = nn.ParameterList(nn.Parameter(torch.randn(4)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        poles = torch.complex(-self.log_rate.exp(), self.angle)
        kernel = torch.einsum(
            "hn,hnl->hl", torch.view_as_complex(self.mix), (poles[..., None] * torch.arange(length)).exp()
        )
        spectrum = torch.fft.rfft(x.mT, 2 * length) * torch.fft.rfft(kernel.real, 2 * length)
        y = torch.fft.irfft(spectrum, 2 * length)[..., :length].mT
        past: deque[Tensor] = deque([y] * 3, maxlen=3)
        for tap in self.taps:
            past.append(past[-1] + tap * past[0].roll(1, 1) / math.sqrt(3))
        return past[-1]


@program(rows(8, 8))
class VectorQuantised(nn.Module):
    """The nearest entry of a codebook; how often each is used is kept in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(8, 6), nn.Linear(6, 8)
        self.register_buffer("codes", torch.randn(32, 6))
        self.register_buffer("used", torch.zeros(32))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = self.encode(x)
        distance = z.pow(2).sum(-1, keepdim=True) - 2 * z @ self.codes.t() + self.codes.pow(2).sum(-1)
        chosen = distance.argmin(-1)
        self.used.index_add_(0, chosen.flatten(), torch.ones(chosen.numel()))
        quantised = z + (F.embedding(chosen, self.codes) - z).detach()
        return {"out": self.decode(quantised), "codes": chosen, "loss": F.mse_loss(z, quantised)}


@program(lambda b: {"parts": [torch.randn(n, 8) for n in range(3, 3 + b)]})
class Ragged(nn.Module):
    """Sequences of unequal lengths as one nested tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 6)

    def forward(self, parts: list[Tensor]) -> Tensor:
        together = torch.nested.nested_tensor(parts)
        return torch.nested.to_padded_tensor(self.fc(together), 0.0).sum(1)


@program(lambda b: {"left": torch.randn(b, 2, 16, 16), "right": torch.randn(b, 2, 16, 16)})
class StereoVolume(nn.Module):
    """A volume of differences at each shift, its softmax weighing the shifts; one encoder for both views."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.cost = nn.Conv2d(2, 6, 3, padding=1), nn.Conv3d(12, 1, 3, padding=1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = self.features(left), self.features(right)
        volume = a.new_zeros(a.shape[0], 12, 4, 16, 16)
        for shift in range(4):
            volume[:, :6, shift, :, shift:] = a[..., shift:]
            volume[:, 6:, shift, :, shift:] = b[..., : 16 - shift]
        weights = self.cost(volume).squeeze(1).softmax(1)
        return (weights * torch.arange(4.0)[:, None, None]).sum(1)


@program(rows(2, 12, 12))
class AffineCoupling(nn.Module):
    """An invertible flow: masked couplings, an invertible product, the logarithm of the determinant."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)) for _ in "ab"
        )
        self.mix = nn.Parameter(torch.linalg.qr(torch.randn(2, 2))[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        change = x.new_zeros(x.shape[0])
        for net in self.nets:
            x = torch.einsum("ij,bjhw->bihw", self.mix, x)
            change = change + torch.linalg.slogdet(self.mix).logabsdet * x[0, 0].numel()
            kept, moved = x.chunk(2, 1)
            scale, shift = net(kept).chunk(2, 1)
            x = torch.cat([kept, moved * scale.tanh().exp() + shift], 1)
            change = change + scale.tanh().sum((1, 2, 3))
        return x, change


@program(rows(6, 8))
class SinkhornMatching(nn.Module):
    """Rows and columns normed in turn until they are a soft permutation; states kept in a dict of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.key = nn.utils.parametrizations.orthogonal(nn.Linear(8, 8, bias=False))

    def forward(self, x: Tensor) -> dict[str, list[Tensor] | Tensor]:
        scores = self.key(x) @ x.transpose(-1, -2) / 8**0.5
        history: list[Tensor] = []
        for _ in range(4):
            scores = scores - scores.logsumexp(-1, keepdim=True)
            scores = scores - scores.logsumexp(-2, keepdim=True)
            history.append(scores.exp().amax((-1, -2)))
        return {"plan": scores.exp() @ x, "history": history}


@program(rows(3, 20, 20))
class SlidingWindows(nn.Module):
    """Windows by unfold, attention inside each, back by fold; relative positions from a table."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.table = nn.Linear(3, 24), nn.Parameter(torch.randn(9, 9, 2))
        place = torch.stack(torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")).flatten(1)
        self.register_buffer("index", (place[:, :, None] - place[:, None]) + 4)

    def forward(self, x: Tensor) -> Tensor:
        windows = F.unfold(x, 5, stride=5).unflatten(1, (3, 25)).permute(0, 3, 2, 1)  # (B, windows, 25, 3)
        q, k, v = self.qkv(windows).unflatten(-1, (3, 2, 4)).permute(3, 0, 1, 4, 2, 5)
        bias = self.table[self.index[0], self.index[1]].permute(2, 0, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out = out.transpose(2, 3).flatten(-2)[..., :3].permute(0, 3, 2, 1).flatten(1, 2)
        return F.fold(out, (20, 20), 5, stride=5)


@program(lambda b: {"nodes": torch.randn(10, 6), "edges": torch.randint(0, 10, (2, 24)), "graph": torch.arange(10) % 2})
class GraphAttention(nn.Module):
    """Softmax over the edges that meet at a node; the nodes of each graph pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.score, self.head = nn.Linear(6, 8), nn.Linear(16, 1), nn.Linear(8, 2)

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
        source, target = edges
        h = self.value(nodes)
        score = F.leaky_relu(self.score(torch.cat([h[source], h[target]], -1))).squeeze(-1)
        most = torch.full((len(nodes),), -1e9).scatter_reduce(0, target, score, "amax")
        weight = (score - most[target]).exp()
        weight = weight / torch.zeros(len(nodes)).index_add(0, target, weight)[target]
        h = torch.zeros_like(h).index_add_(0, target, weight[:, None] * h[source])
        count = int(graph.max()) + 1
        pooled = torch.zeros(count, 8).index_add_(0, graph, h) / torch.bincount(graph, minlength=count)[:, None]
        return self.head(pooled)


@program(rows(1, 64))
class Wavelets(nn.Module):
    """A signal split by two filters again and again, shrunk, and put together."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor([[[0.5, 0.5]]]) * 2**0.5)
        self.register_buffer("high", torch.tensor([[[0.5, -0.5]]]) * 2**0.5)
        self.threshold = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        details = []
        for _ in range(3):
            details.append(F.softshrink(F.conv1d(x, self.high, stride=2), 0.1) * self.threshold)
            x = F.conv1d(x, self.low, stride=2)
        while details:
            x = F.conv_transpose1d(x, self.low, stride=2) + F.conv_transpose1d(details.pop(), self.high, stride=2)
        return x
