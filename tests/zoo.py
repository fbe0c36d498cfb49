# ruff: noqa: E501 - a table: one network's configuration a line
"""Networks of transformers, built from configurations without weights: the published sizes, or small ones that run.

`small` keeps every mechanism (each kind of layer, each modality) and cuts depth and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Entry:
    """A network's class, its configuration (small or published) and example inputs at a batch size."""

    build: Callable[[bool], nn.Module]
    inputs: Callable[[bool, int], dict[str, Any]]


def ids(batch: int, length: int, vocabulary: int = 100) -> Tensor:
    return torch.randint(5, vocabulary, (batch, length))


def ones(batch: int, length: int) -> Tensor:
    return torch.ones(batch, length, dtype=torch.long)


def pixels(batch: int, size: int) -> Tensor:
    return torch.randn(batch, 3, size, size)


TEXT = {"vocab_size": 200, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**{k: v for k, v in TEXT.items() if k != "vocab_size"}, "image_size": 32, "patch_size": 8}


BASE = {"Albert": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}}
"""The base size, where a configuration's defaults are another's."""


def _bert(name: str) -> Entry:
    def build(small: bool) -> nn.Module:
        import transformers as t

        config = getattr(t, f"{name}Config")(
            **({**TEXT, "embedding_size": 16} if name == "Albert" else TEXT) if small else BASE.get(name, {})
        )
        return getattr(t, f"{name}Model")(config)

    return Entry(
        build,
        lambda small, b: {"input_ids": ids(b, 16 if small else 128), "attention_mask": ones(b, 16 if small else 128)},
    )


def _clip(small: bool) -> nn.Module:
    import transformers as t

    return t.CLIPModel(
        t.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16) if small else t.CLIPConfig()
    )


def _siglip(small: bool) -> nn.Module:
    import transformers as t

    return t.SiglipModel(t.SiglipConfig(text_config=TEXT, vision_config=VISION) if small else t.SiglipConfig())


def _image_text(small: bool, b: int, size: int = 224, length: int = 77) -> dict[str, Any]:
    length = 16 if small else length
    return {
        "pixel_values": pixels(b, 32 if small else size),
        "input_ids": ids(b, length),
        "attention_mask": ones(b, length),
    }


def _blip(small: bool) -> nn.Module:
    import transformers as t

    config = (
        t.BlipConfig(text_config={**TEXT, "encoder_hidden_size": 32}, vision_config=VISION) if small else t.BlipConfig()
    )
    return t.BlipModel(config)


def _blip_caption(small: bool) -> nn.Module:
    import transformers as t

    config = (
        t.BlipConfig(text_config={**TEXT, "encoder_hidden_size": 32}, vision_config=VISION) if small else t.BlipConfig()
    )
    return t.BlipForConditionalGeneration(config)


def _vilt(small: bool) -> nn.Module:
    import transformers as t

    return t.ViltModel(t.ViltConfig(**VISION) if small else t.ViltConfig())


def _flava(small: bool) -> nn.Module:
    import transformers as t

    parts = {
        "text_config": TEXT,
        "image_config": VISION,
        "multimodal_config": TEXT,
        "hidden_size": 32,
        "projection_dim": 16,
    }
    return t.FlavaModel(t.FlavaConfig(**parts) if small else t.FlavaConfig())


def _lxmert(small: bool) -> nn.Module:
    import transformers as t

    sizes = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "l_layers": 2,
        "x_layers": 2,
        "r_layers": 1,
    }
    return t.LxmertModel(t.LxmertConfig(**sizes, visual_feat_dim=24) if small else t.LxmertConfig())


def _lxmert_inputs(small: bool, b: int) -> dict[str, Any]:
    return {
        "input_ids": ids(b, 20),
        "visual_feats": torch.randn(b, 36, 24 if small else 2048),
        "visual_pos": torch.rand(b, 36, 4),
    }


def _visualbert(small: bool) -> nn.Module:
    import transformers as t

    return t.VisualBertModel(t.VisualBertConfig(**TEXT, visual_embedding_dim=24) if small else t.VisualBertConfig())


def _visualbert_inputs(small: bool, b: int) -> dict[str, Any]:
    visual = torch.randn(b, 36, 24 if small else 512)
    return {
        "input_ids": ids(b, 20), "visual_embeds": visual, "visual_attention_mask": ones(b, 36),
        "visual_token_type_ids": ones(b, 36), "attention_mask": ones(b, 20),
    }  # fmt: skip


def _whisper(small: bool) -> nn.Module:
    import transformers as t

    sizes = {
        "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 8, "max_source_positions": 50, "vocab_size": 200,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3,
    }  # fmt: skip
    return t.WhisperModel(t.WhisperConfig(**sizes) if small else t.WhisperConfig())


def _whisper_inputs(small: bool, b: int) -> dict[str, Any]:
    return {
        "input_features": torch.randn(b, 8 if small else 80, 100 if small else 3000),
        "decoder_input_ids": ids(b, 8 if small else 16),
    }


def _llava(small: bool) -> nn.Module:
    import transformers as t

    text = {**TEXT, "num_key_value_heads": 2, "vocab_size": 200, "max_position_embeddings": 1024}
    config = t.LlavaConfig(
        text_config=t.LlamaConfig(**text) if small else t.LlamaConfig(),
        vision_config=t.CLIPVisionConfig(**VISION)
        if small
        else t.CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
        ),
        image_token_index=4 if small else 32000,
        **({} if not small else {"vision_feature_layer": -1}),
    )
    return t.LlavaForConditionalGeneration(config)


def _llava_inputs(small: bool, b: int) -> dict[str, Any]:
    count, token, words = (16, 4, 16) if small else (576, 32000, 32)
    text = ids(b, count + words)
    text[:, 2 : 2 + count] = token
    return {
        "input_ids": text,
        "pixel_values": pixels(b, 32 if small else 336),
        "attention_mask": ones(b, count + words),
    }


def _qwen2vl(small: bool) -> nn.Module:
    import transformers as t

    text = {
        **TEXT, "num_key_value_heads": 1, "vocab_size": 200, "bos_token_id": 1, "eos_token_id": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2}
    tokens = {"image_token_id": 4, "video_token_id": 3, "vision_start_token_id": 2, "vision_end_token_id": 1}
    big = {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151936, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    return t.Qwen2VLForConditionalGeneration(
        t.Qwen2VLConfig(text_config=text, vision_config=vision, **tokens)
        if small
        else t.Qwen2VLConfig(text_config=big, vision_config={"hidden_size": 1536}, **tokens)
    )


def _qwen2vl_inputs(small: bool, b: int) -> dict[str, Any]:
    side = 8 if small else 16  # patches of one image, 224 pixels; 2 x 2 of them are one token
    count = side * side // 4
    length = count + 20
    text = ids(b, length)
    text[:, 2] = 2
    text[:, 3 : 3 + count] = 4
    return {
        "input_ids": text, "pixel_values": torch.randn(b * side * side, 3 * 2 * 14 * 14),
        "image_grid_thw": torch.tensor([[1, side, side]] * b), "attention_mask": ones(b, length),
        "mm_token_type_ids": (text == 4).long(),
    }  # fmt: skip


def _qwen25vl(small: bool) -> nn.Module:
    import transformers as t

    tokens = {"image_token_id": 4, "video_token_id": 3, "vision_start_token_id": 2, "vision_end_token_id": 1}
    text = {
        **TEXT, "num_key_value_heads": 1, "vocab_size": 200, "bos_token_id": 1, "eos_token_id": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
        "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    big = {
        "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
        "num_key_value_heads": 2, "vocab_size": 151936, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    return t.Qwen2_5_VLForConditionalGeneration(
        t.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        if small
        else t.Qwen2_5_VLConfig(
            text_config=big, vision_config={"hidden_size": 1280, "out_hidden_size": 2048, "intermediate_size": 3420},
            **tokens,
        )
    )  # fmt: skip


def _clap(small: bool) -> nn.Module:
    import transformers as t

    audio = {
        "hidden_size": 32, "patch_embeds_hidden_size": 16, "depths": [1, 1, 1, 1], "num_attention_heads": [2, 2, 2, 2],
        "num_mel_bins": 64, "spec_size": 256, "window_size": 8,
    }  # fmt: skip
    config = (
        t.ClapConfig(text_config=TEXT, audio_config={**audio, "hidden_size": 128}, projection_dim=16)
        if small
        else t.ClapConfig()
    )
    return t.ClapModel(config)


def _clap_inputs(small: bool, b: int) -> dict[str, Any]:
    length = 16 if small else 32
    return {
        "input_ids": ids(b, length), "attention_mask": ones(b, length),
        "input_features": torch.randn(b, 1, 1001, 64), "is_longer": torch.zeros(b, 1, dtype=torch.bool),
    }  # fmt: skip


def _bridgetower(small: bool) -> nn.Module:
    import transformers as t

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 64}
    vision = {"hidden_size": 64, "num_hidden_layers": 3, "patch_size": 8, "image_size": 32}
    text = {**sizes, "num_hidden_layers": 3}
    config = t.BridgeTowerConfig(**sizes, text_config=text, vision_config=vision) if small else t.BridgeTowerConfig()
    return t.BridgeTowerModel(config)


def _blip2(small: bool) -> nn.Module:
    import transformers as t

    if not small:
        return t.Blip2ForConditionalGeneration(
            t.Blip2Config(
                image_token_index=50265,
                text_config=t.OPTConfig(
                    hidden_size=2560,
                    num_hidden_layers=32,
                    ffn_dim=10240,
                    num_attention_heads=32,
                    word_embed_proj_dim=2560,
                ).to_dict(),
            )
        )
    text = {
        "model_type": "opt",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "ffn_dim": 64,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 32,
        "vocab_size": 200,
    }
    query = {**TEXT, "encoder_hidden_size": 32}
    return t.Blip2ForConditionalGeneration(
        t.Blip2Config(
            vision_config={**VISION}, qformer_config=query, text_config=text, num_query_tokens=4, image_token_index=4
        )
    )


def _blip2_inputs(small: bool, b: int) -> dict[str, Any]:
    count, token, words = (4, 4, 8) if small else (32, 50265, 16)
    text = ids(b, count + words)
    text[:, :count] = token
    return {
        "pixel_values": pixels(b, 32 if small else 224),
        "input_ids": text,
        "attention_mask": ones(b, count + words),
    }


def _perceiver_text(small: bool) -> nn.Module:
    import transformers as t

    sizes = {
        "num_latents": 8,
        "d_latents": 32,
        "d_model": 16,
        "num_self_attends_per_block": 2,
        "max_position_embeddings": 64,
        "num_self_attention_heads": 2,
        "num_cross_attention_heads": 2,
        "qk_channels": 16,
        "v_channels": 32,
    }
    return t.PerceiverForMaskedLM(t.PerceiverConfig(**sizes) if small else t.PerceiverConfig())


def _audio(name: str) -> Entry:
    def build(small: bool) -> nn.Module:
        import transformers as t

        sizes = {
            **TEXT,
            "conv_dim": (16, 16),
            "conv_kernel": (10, 3),
            "conv_stride": (5, 2),
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
        }
        return getattr(t, f"{name}Model")(getattr(t, f"{name}Config")(**(sizes if small else {})))

    return Entry(build, lambda small, b: {"input_values": torch.randn(b, 400 if small else 16000)})


def _data2vec_vision(small: bool) -> nn.Module:
    import transformers as t

    return t.Data2VecVisionModel(t.Data2VecVisionConfig(**(VISION if small else {})))


def _llama(small: bool) -> nn.Module:
    import transformers as t

    return t.LlamaForCausalLM(t.LlamaConfig(**({**TEXT, "vocab_size": 200} if small else {})))


ZOO: dict[str, Entry] = {
    "clip": Entry(_clip, _image_text),
    "siglip": Entry(
        _siglip, lambda s, b: {k: v for k, v in _image_text(s, b, 224, 64).items() if k != "attention_mask"}
    ),
    "blip": Entry(_blip, lambda s, b: _image_text(s, b, 384, 32)),
    "blip_caption": Entry(_blip_caption, lambda s, b: _image_text(s, b, 384, 32)),
    "vilt": Entry(_vilt, lambda s, b: _image_text(s, b, 384, 40)),
    "flava": Entry(_flava, lambda s, b: _image_text(s, b, 224, 77)),
    "lxmert": Entry(_lxmert, _lxmert_inputs),
    "visualbert": Entry(_visualbert, _visualbert_inputs),
    "whisper": Entry(_whisper, _whisper_inputs),
    "llava": Entry(_llava, _llava_inputs),
    "qwen2vl": Entry(_qwen2vl, _qwen2vl_inputs),
    "qwen25vl": Entry(_qwen25vl, _qwen2vl_inputs),
    "clap": Entry(_clap, _clap_inputs),
    "bridgetower": Entry(_bridgetower, lambda s, b: _image_text(s, b, 288, 40)),
    "blip2": Entry(_blip2, _blip2_inputs),
    "perceiver_text": Entry(
        _perceiver_text,
        lambda s, b: {"inputs": ids(b, 64 if s else 2048, 200), "attention_mask": ones(b, 64 if s else 2048)},
    ),
    "bert": _bert("Bert"),
    "albert": _bert("Albert"),
    "roberta": _bert("Roberta"),
    "wav2vec2": _audio("Wav2Vec2"),
    "data2vec_audio": _audio("Data2VecAudio"),
    "data2vec_vision": Entry(_data2vec_vision, lambda s, b: {"pixel_values": pixels(b, 32 if s else 224)}),
    "llama": Entry(_llama, lambda s, b: {"input_ids": ids(b, 16 if s else 512)}),
}
