"""Medical VQA: an answer to a question about a radiograph, with DenseNet, RoBERTa and a transformer.

The paper names the parts; their sizes are ViLMedic's: DenseNet-169, RoBERTa-base, 12 fusion layers of 8 heads
over the 49 image and ``length`` question tokens. Its task is generation, so the head is a RoBERTa decoder,
in one teacher-forced pass over ``answer`` tokens; true decoding is that many passes over growing prefixes.
``transformer_classification`` chooses among 330 answers instead, as ViLMedic's VQA does, and so do the
uni-modal networks: ``uni_image`` is that model exactly. ``repo_attention`` is the network that MMBench ships:
ResNet-152 at 448 pixels, an LSTM, attention with 2 glimpses, 5 answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from mmsim.workloads import text
from mmsim.workloads.base import Choice, MultiModal, Workload, tokens, uniform
from mmsim.workloads.blocks import MLP
from mmsim.workloads.end_to_end import HostStep, Preprocess
from mmsim.workloads.preprocess import tokenizer
from mmsim.workloads.preprocess.picture import Square, UnitRange, picture
from mmsim.workloads.trunks import DenseNet, ResNet

WIDTH, ANSWERS = 768, 330
REPO_SIDE, REPO_LENGTH, REPO_WORDS, REPO_ANSWERS = 448, 12, 61, 5


def build(choice: Choice) -> nn.Module:
    if choice.fusion == "repo_attention":
        encoders = {"image": MaskedImage(), "text": Question()}
        return MultiModal(encoders, RepoAttention(), MLP(2 * 2048 + 1024, 1024, REPO_ANSWERS), REPO_INPUTS)
    encoders = {}
    if choice.uses("image"):
        encoders["image"] = ImageTokens(choice["densenet"])
    if choice.uses("text"):
        encoders["text"] = text.roberta(choice["length"])
    operator = nn.Identity() if choice.modality == "text" else Fusion()
    head = Decoder(choice["answer"]) if choice.fusion == "transformer" else Classifier()
    further = {"head": ("answer_ids",)} if choice.fusion == "transformer" else {}
    return MultiModal(encoders, operator, head, INPUTS | further)


class ImageTokens(nn.Module):
    """A token for each place of the map of DenseNet: [B, 3, H, W] -> [B, HW/1024, 768]."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.trunk = DenseNet(depth)
        self.adapter = nn.Sequential(nn.Linear(self.trunk.features, WIDTH), nn.LayerNorm(WIDTH, eps=1e-12))

    def forward(self, image: Tensor) -> Tensor:
        return self.adapter(self.trunk(image).flatten(2).transpose(1, 2))


class Fusion(nn.Module):
    """12 post-norm transformer layers over the tokens of all modalities: [B, L, 768] each -> [B, sum of L, 768]."""

    def __init__(self) -> None:
        from transformers import BertConfig
        from transformers.models.bert.modeling_bert import BertEncoder

        super().__init__()
        sizes = text.BASE | {"num_attention_heads": 8, "intermediate_size": 2048}
        self.encoder = BertEncoder(BertConfig(**sizes, attn_implementation="eager"))

    def forward(self, *sequences: Tensor) -> Tensor:
        return self.encoder(torch.cat(sequences, 1)).last_hidden_state


class Classifier(nn.Sequential):
    """The pooled first token to one of the known answers: [B, L, 768] -> [B, 330]."""

    def __init__(self) -> None:
        super().__init__(text.Pick(0), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, ANSWERS))


class Decoder(nn.Module):
    """RoBERTa-base, causal, attending to the fused tokens: answer ids [B, A] -> [B, A, 50265]."""

    mask: Tensor

    def __init__(self, length: int) -> None:
        from transformers import RobertaForCausalLM

        super().__init__()
        config = text.roberta_config(length, is_decoder=True, add_cross_attention=True, use_cache=False)
        self.model = RobertaForCausalLM(config)
        self.register_buffer("mask", text.causal(length), persistent=False)

    def forward(self, fused: Tensor, answer_ids: Tensor) -> Tensor:
        return self.model(answer_ids, attention_mask=self.mask, encoder_hidden_states=fused).logits


class MaskedImage(nn.Module):
    """The asked region of an image through ResNet-152: [B, 3, 448, 448] -> [B, 2048, 14, 14]."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = ResNet(152)
        self.fc = nn.Linear(2048, 1000)  # the reference registers its 2,049,000 parameters and never uses them

    def forward(self, image: Tensor, region: Tensor) -> Tensor:
        return self.trunk(image * region)


class Question(nn.Module):
    """A question's words through an LSTM, whose cell state is the feature: [B, L] -> [B, 1024]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(REPO_WORDS, 300, padding_idx=0)
        self.lstm = nn.LSTM(300, 1024, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        _, (_, cell) = self.lstm(self.embedding(ids))
        return cell[-1]


class RepoAttention(nn.Module):
    """The question looks twice at the map: [B, 2048, H, W], [B, 1024] -> [B, 2*2048 + 1024]."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(2048, 512, 1, bias=False)
        self.question = nn.Linear(1024, 512)
        self.glimpses = nn.Conv2d(512, 2, 1)

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        joint = self.image(image) * self.question(question)[:, :, None, None]
        weights = self.glimpses(joint.relu()).flatten(2).softmax(-1)  # [B, 2, HW]
        seen = (weights.unsqueeze(2) * image.flatten(2).unsqueeze(1)).sum(-1)  # [B, 2, 2048]; no matmul, as there
        return torch.cat([seen.flatten(1), question], 1)


INPUTS = {"text": ("input_ids", "attention_mask")}
REPO_INPUTS = {"image": ("image", "region"), "text": ("input_ids",)}


def inputs(choice: Choice) -> dict[str, Tensor]:
    batch, side = choice.batch, choice.at_least("image", 32)
    if choice.fusion == "repo_attention":
        region = uniform(batch, 1, REPO_SIDE, REPO_SIDE).round()
        ids = tokens(batch, REPO_LENGTH, vocabulary=REPO_WORDS, first=1)
        return {"image": uniform(batch, 3, REPO_SIDE, REPO_SIDE), "region": region, "input_ids": ids}
    found: dict[str, Tensor] = {}
    if choice.uses("image"):
        found["image"] = uniform(batch, 3, side, side)
    if choice.uses("text"):
        found |= text.text_inputs(batch, choice["length"], text.ROBERTA_TOKENS, types=False)
    if choice.fusion == "transformer":
        found["answer_ids"] = tokens(batch, choice["answer"], vocabulary=text.ROBERTA_TOKENS, first=1000)
    return found


class Photograph(nn.Module):
    """An eye's photograph and the asked region of it, bytes, to 448 pixels: the region is 0 or 1."""

    def __init__(self) -> None:
        super().__init__()
        self.square, self.unit = Square(REPO_SIDE), UnitRange()

    def forward(self, photograph: Tensor, marked: Tensor) -> tuple[Tensor, Tensor]:
        return self.unit(self.square(photograph)), self.unit(self.square(marked)).round()


def preprocess(choice: Choice) -> Iterator[Preprocess | HostStep]:
    """A radiograph of 512x512 and a question of ten words; for the repository's network, a photograph of an eye."""
    batch = choice.batch
    if choice.fusion == "repo_attention":
        raw = {"photograph": picture(batch, 2848, 4288), "marked": picture(batch, 2848, 4288, channels=1)}
        yield Preprocess("image", Photograph(), raw, ("image", "region"))
        words = partial(tokenizer.whole_words, REPO_WORDS)
        yield tokenizer.tokenise("text", words, batch, REPO_LENGTH, REPO_LENGTH, ("input_ids",))
        return
    if choice.uses("image"):
        step = nn.Sequential(Square(choice["image"]), UnitRange())
        yield Preprocess("image", step, {"radiograph": picture(batch, 512, 512)}, ("image",))
    if choice.uses("text"):
        yield tokenizer.tokenise("text", tokenizer.roberta, batch, choice["length"], 10, tokenizer.NAMES[:2])


WORKLOAD = Workload(
    name="medical_vqa",
    title="Medical VQA",
    domain="medicine",
    task="generation of an answer, or its classification",
    fusions=("transformer", "transformer_classification", "repo_attention"),
    modalities=("image", "text"),
    build=build,
    inputs=inputs,
    preprocess=preprocess,
    knobs={"image": 224, "length": 20, "answer": 20, "densenet": 169},
)
