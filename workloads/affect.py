"""What the two affective workloads share: late fusion of GRUs, and MulT, over vision, audio and language sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from mmsim.workloads import fusion, text
from mmsim.workloads.base import Choice, MultiModal, normal
from mmsim.workloads.blocks import MLP, GRULast
from mmsim.workloads.end_to_end import HostStep, Preprocess
from mmsim.workloads.mult import MulT
from mmsim.workloads.preprocess import tokenizer
from mmsim.workloads.preprocess.audio import waveform
from mmsim.workloads.preprocess.face import FEATURES, FaceFeatures, video
from mmsim.workloads.preprocess.speech import RATE

MODALITIES = ("vision", "audio", "language")
TOKEN_INPUTS = {"language": ("input_ids", "attention_mask", "token_type_ids")}
BERT = 768  # width of a BERT state

Widths = Mapping[str, int]  # by modality


def encoders(choice: Choice, features: Widths, hidden: Widths, out: Widths | None = None) -> dict[str, nn.Module]:
    """A GRU a modality, and a linear layer behind it if ``out`` is given; BERT before language of width 768."""
    grus = {m: GRULast(features[m], hidden[m], out[m] if out else None) for m in MODALITIES if choice.uses(m)}
    return grus | with_bert(choice, features, grus.get("language"))


def with_bert(choice: Choice, features: Widths, after: nn.Module | None) -> dict[str, nn.Module]:
    """The language encoder that starts from tokens, where the language features are BERT's."""
    if after is None or features["language"] != BERT:
        return {}
    return {"language": text.bert(choice["length"], after)}


def concat(choice: Choice, features: Widths, hidden: Widths, head_hidden: int, out: int) -> nn.Module:
    """GRU states side by side, then an MLP."""
    head = MLP(sum(hidden.values()), head_hidden, out)
    return network(encoders(choice, features, hidden), fusion.Concat(), head, features)


def tensor(choice: Choice, features: Widths, hidden: Widths, out: int) -> nn.Module:
    """The outer product of narrow summaries, 5 x 20 x 80, then an MLP."""
    narrow = {"vision": 4, "audio": 19, "language": 79}
    head = MLP(fusion.OuterProduct.width(list(narrow.values())), 512, out)
    return network(encoders(choice, features, hidden, narrow), fusion.OuterProduct(), head, features)


def low_rank(choice: Choice, features: Widths, hidden: Widths, out: int) -> nn.Module:
    """Rank 32 to 128 features, then an MLP."""
    narrow = {"vision": 32, "audio": 32, "language": 128}
    operator = fusion.LowRank(list(narrow.values()), 128, rank=32)
    return network(encoders(choice, features, hidden, narrow), operator, MLP(128, 512, out), features)


def early(choice: Choice, features: Widths, out: int) -> nn.Module:
    """Features side by side at every step, then one GRU and an MLP."""
    head = nn.Sequential(GRULast(sum(features.values()), 512), MLP(512, 512, out))
    return network(untouched(choice, features), fusion.ConcatSteps(), head, features)


def transformer(choice: Choice, features: Widths, out: int) -> nn.Module:
    """MulT on the sequences: width 40, 8 heads, 4 layers; it gives the output, so nothing is left to the head."""
    operator = MulT([features[m] for m in MODALITIES], 40, 8, 4, out, choice["length"], host_costs=choice.host_costs)
    return network(untouched(choice, features), operator, nn.Identity(), features)


def alone(choice: Choice, features: Widths, hidden: Widths, out: int) -> nn.Module:
    """One modality: its GRU and an MLP."""
    assert choice.modality
    head = MLP(hidden[choice.modality], 512, out)
    return network(encoders(choice, features, hidden), nn.Identity(), head, features)


def untouched(choice: Choice, features: Widths) -> dict[str, nn.Module]:
    """The sequences as they are, but for BERT."""
    same: dict[str, nn.Module] = {m: nn.Identity() for m in MODALITIES}
    return same | with_bert(choice, features, nn.Identity())


def network(parts: dict[str, nn.Module], operator: nn.Module, head: nn.Module, features: Widths) -> nn.Module:
    return MultiModal(parts, operator, head, TOKEN_INPUTS if features["language"] == BERT else None)


def inputs(choice: Choice, features: Widths) -> dict[str, Tensor]:
    """Standardised feature sequences [B, T, features], and tokens where language goes through BERT."""
    sequences = {m: normal(choice.batch, choice["length"], features[m]) for m in MODALITIES if choice.uses(m)}
    if "language" in sequences and features["language"] == BERT:
        del sequences["language"]
        sequences |= text.text_inputs(choice.batch, choice["length"], text.BERT_TOKENS)
    return sequences


def preprocess(
    choice: Choice, features: Widths, hearing: nn.Module, seconds: float, frame: tuple[int, int], mean: bool = False
) -> Iterator[Preprocess | HostStep]:
    """A clip of a speaker: one frame a step through OpenFace, its sound through `hearing`, its words to tokens.

    Features that no step here makes stay inputs: vision that is not OpenFace's 713 columns, and GloVe's words.
    """
    batch, length = choice.batch, choice["length"]
    if choice.uses("vision") and features["vision"] == FEATURES:
        frames = {"frames": video(batch, length, *frame)}
        yield Preprocess("vision", FaceFeatures(mean), frames, ("vision",))
    if choice.uses("audio"):
        yield Preprocess("audio", hearing, {"sound": waveform(batch, RATE, seconds)}, ("audio",))
    if choice.uses("language") and features["language"] == BERT:
        yield tokenizer.tokenise("language", tokenizer.bert, batch, length, length)
