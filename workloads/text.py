"""Text encoders of `transformers`, built from a configuration with random weights: ALBERT, BERT, RoBERTa.

Attention runs as matmul, softmax, matmul ("eager"), as it did in the reference's day: every product is an
operation of its own in the graph. A checkpoint is never downloaded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmsim.errors import InputError
from mmsim.workloads.base import tokens

ALBERT_TOKENS, BERT_TOKENS, ROBERTA_TOKENS = 30_000, 30_522, 50_265
BASE = {"num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 768, "intermediate_size": 3072}


class Encoder(nn.Module):
    """Token ids, mask and types [B, L] to hidden states [B, L, 768], and what ``tail`` makes of them."""

    def __init__(self, model: nn.Module, *tail: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.tail = nn.Sequential(*tail)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        out = self.model(input_ids=ids, attention_mask=additive(mask, self.model.dtype), token_type_ids=types)
        return self.tail(out.last_hidden_state)


class Pick(nn.Module):
    """One step of a sequence, [B, L, C] -> [B, C]: 0 for the first, -1 for the last."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.step]


def albert(length: int, *tail: nn.Module) -> Encoder:
    """ALBERT-base-v2 (Lan et al. 2020) with its pooler: one shared layer applied 12 times; no ReLU, gelu_new."""
    from transformers import AlbertConfig, AlbertModel

    config = AlbertConfig(
        vocab_size=ALBERT_TOKENS, embedding_size=128, hidden_act="gelu_new", **BASE, **common(length, 512)
    )
    return Encoder(AlbertModel(config), *tail)


def bert(length: int, *tail: nn.Module, pooler: bool = False) -> Encoder:
    """BERT-base-uncased (Devlin et al. 2019)."""
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=BERT_TOKENS, **BASE, **common(length, 512))
    return Encoder(BertModel(config, add_pooling_layer=pooler), *tail)


def roberta(length: int, *tail: nn.Module) -> Encoder:
    """RoBERTa-base (Liu et al. 2019) without the pooler; positions start at 2."""
    from transformers import RobertaModel

    return Encoder(RobertaModel(roberta_config(length), add_pooling_layer=False), *tail)


def roberta_config(length: int, **further: Any) -> Any:
    """The configuration of RoBERTa-base for `transformers`."""
    from transformers import RobertaConfig

    sizes = common(length, 512) | {"max_position_embeddings": 514}
    return RobertaConfig(
        vocab_size=ROBERTA_TOKENS, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, **BASE, **sizes, **further
    )


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, L] of ones and zeros to what is added to the scores, [B, 1, 1, L], in the scores' format.

    Given a mask of four axes, `transformers` does not look at its values, so the graph does not depend on them.
    """
    scores = mask[:, None, None, :].to(dtype)
    return (1.0 - scores) * torch.finfo(scores.dtype).min


def causal(length: int) -> Tensor:
    """What is added to the scores of a decoder, [1, 1, L, L]: no token sees a later one."""
    scores = torch.ones(1, 1, length, length)
    return scores.triu(1) * torch.finfo(scores.dtype).min


def common(length: int, most: int) -> dict[str, Any]:
    if length > most:
        raise InputError(f"length={length}: this text encoder has positions for {most} tokens")
    return {"max_position_embeddings": most, "attn_implementation": "eager"}


def text_inputs(batch: int, length: int, vocabulary: int, types: bool = True) -> dict[str, Tensor]:
    """Random ids above the special ones, with a mask that hides nothing."""
    ids = tokens(batch, length, vocabulary=vocabulary, first=min(1000, vocabulary // 2))
    inputs = {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape)}
    return inputs | ({"token_type_ids": ids.new_zeros(ids.shape)} if types else {})
