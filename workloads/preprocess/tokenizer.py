"""Tokenisation, on the host: the tokenizers of BERT, ALBERT and RoBERTa on a made-up language.

The algorithms are those of the `tokenizers` library that `transformers` brings; only the vocabularies, of the
true sizes, and the sentences are synthetic, because a trained vocabulary would be a download.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice, product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmsim.workloads.end_to_end import HostStep
from mmsim.workloads.text import ALBERT_TOKENS, BERT_TOKENS, ROBERTA_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAMES = ("input_ids", "attention_mask", "token_type_ids")
Kind = Callable[[], "Tokenizer"]
"""What makes a tokenizer, once."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYLLABLES = tuple(map("".join, product("bcdfghklmnprstvw", "aeiou")))


def words() -> Iterator[str]:
    """All words of the made-up language, short ones first: ba, be, ..., baba, babe, ..."""
    for syllables in range(1, 5):
        yield from map("".join, product(SYLLABLES, repeat=syllables))


def sentences(count: int, length: int) -> list[str]:
    """Random text of `length` words each; a word of rank r is drawn about as often as 1/r, as in real text."""
    chance = random.Random(0)
    vocabulary = list(islice(words(), 100_000))
    return [
        " ".join(vocabulary[int(len(vocabulary) ** chance.random()) - 1] for _ in range(length)) for _ in range(count)
    ]


def tokenise(
    modality: str, kind: Kind, batch: int, length: int, word_count: int, gives: tuple[str, ...] = NAMES
) -> HostStep:
    """The step from sentences of `word_count` words to ids, mask and types [B, length], cut or padded.

    `gives` names the inputs of the network that take them, in this order; a network may lack the last ones.
    """
    text = sentences(batch, word_count)

    def run() -> dict[str, Tensor]:
        tokenizer = kind()
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")
        found = tokenizer.encode_batch(text)
        tokenizer.no_truncation()  # it is kept for others: leave it as it was
        tokenizer.no_padding()
        columns = zip(*((one.ids, one.attention_mask, one.type_ids) for one in found), strict=True)
        return {name: torch.tensor(rows, device="cpu") for name, rows in zip(gives, columns, strict=False)}

    return HostStep(modality, "tokenise", run)


@cache
def bert() -> Tokenizer:
    """WordPiece: the longest known piece first. 30,522 tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{piece}" for piece in (*LETTERS, *SYLLABLES))]
    vocabulary = dict.fromkeys((*pieces, *words_up_to(BERT_TOKENS - len(pieces))))
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return framed(tokenizer)


@cache
def albert() -> Tokenizer:
    """SentencePiece's unigram model: the likeliest segmentation. 30,000 tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = ["▁", *LETTERS, *SYLLABLES]
    known = (*pieces, *(f"▁{word}" for word in words_up_to(ALBERT_TOKENS - len(special) - len(pieces))))
    scores = [(piece, 0.0) for piece in special] + [(piece, -8.0 - rank / 3000) for rank, piece in enumerate(known)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=1))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return framed(tokenizer)


@cache
def roberta() -> Tokenizer:
    """Byte-level BPE: the earliest learnt merge first. 50,265 tokens, the padding at 1."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = ["[CLS]", "[PAD]", "[SEP]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    starts = [f"Ġ{syllable}" for syllable in SYLLABLES]  # Ġ stands for the space before a word
    pairs = [*map(tuple, SYLLABLES), *product("Ġ", SYLLABLES), *product(SYLLABLES, SYLLABLES)]
    pairs += [*product(starts, SYLLABLES), *product(map("".join, product(starts, SYLLABLES)), SYLLABLES)]
    merges = pairs[: ROBERTA_TOKENS - len(pieces)]
    vocabulary = {piece: place for place, piece in enumerate((*pieces, *map("".join, merges)))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return framed(tokenizer)


def whole_words(size: int) -> Tokenizer:
    """One token a known word, as networks before subwords had it; padding is 0 and unknown words 1."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = {word: place for place, word in enumerate(("[PAD]", "[UNK]", *words_up_to(size - 2)))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def framed(tokenizer: Tokenizer) -> Tokenizer:
    """With the classification token before and the separator after the text."""
    from tokenizers import processors

    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def words_up_to(count: int) -> list[str]:
    """The first `count` words."""
    return list(islice(words(), count))
