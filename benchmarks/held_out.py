"""Thirty-six networks that the tracer was not written against, chosen after it was frozen: classes and inputs only.

Each row is a class of transformers with its default configuration (or the few settings it cannot be built without)
and the forms of its inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

IDS, LONG_IDS, MASK, IMAGE, WAVE = "ids 2x64", "ids 2x512", "ones 2x64", "float 2x3x224x224", "float 2x16000"
TEXT = {"input_ids": IDS, "attention_mask": MASK}
TWO_TEXTS = {"input_ids": IDS, "decoder_input_ids": "ids 2x16"}
PICTURE = {"pixel_values": IMAGE}

HELD_OUT: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "distilbert": ("DistilBertModel", {}, TEXT),
    "electra": ("ElectraModel", {}, TEXT),
    "deberta_v2": ("DebertaV2Model", {}, TEXT),
    "mpnet": ("MPNetModel", {}, TEXT),
    "xlnet": ("XLNetModel", {}, TEXT),
    "funnel": ("FunnelModel", {}, TEXT),
    "fnet": ("FNetModel", {}, {"input_ids": LONG_IDS}),
    "longformer": ("LongformerModel", {"attention_window": 64}, {"input_ids": LONG_IDS}),
    "bigbird": ("BigBirdModel", {"attention_type": "original_full"}, TEXT),
    "nystromformer": ("NystromformerModel", {"segment_means_seq_len": 64}, TEXT),
    "t5": ("T5Model", {}, TWO_TEXTS),
    "bart": ("BartModel", {}, TWO_TEXTS),
    "gpt2": ("GPT2LMHeadModel", {}, TEXT),
    "bloom": ("BloomForCausalLM", {}, TEXT),
    "mistral": ("MistralForCausalLM", {"num_hidden_layers": 8}, TEXT),
    "mixtral": ("MixtralForCausalLM", {"num_hidden_layers": 2}, TEXT),
    "gemma2": ("Gemma2ForCausalLM", {"num_hidden_layers": 8}, TEXT),
    "qwen3": ("Qwen3ForCausalLM", {"num_hidden_layers": 8}, TEXT),
    "mamba": ("MambaForCausalLM", {"num_hidden_layers": 4}, {"input_ids": IDS}),
    "vit": ("ViTForImageClassification", {}, PICTURE),
    "swinv2": ("Swinv2Model", {"image_size": 256}, {"pixel_values": "float 2x3x256x256"}),
    "convnext": ("ConvNextForImageClassification", {}, PICTURE),
    "resnet": ("ResNetForImageClassification", {}, PICTURE),
    "segformer": ("SegformerForSemanticSegmentation", {}, PICTURE),
    "dpt": ("DPTForDepthEstimation", {}, {"pixel_values": "float 2x3x384x384"}),
    "dinov2": ("Dinov2Model", {}, PICTURE),
    "mobilevit": ("MobileViTModel", {}, {"pixel_values": "float 2x3x256x256"}),
    "hubert": ("HubertModel", {}, {"input_values": WAVE}),
    "sew": ("SEWModel", {}, {"input_values": WAVE}),
    "speech_to_text": (
        "Speech2TextModel", {}, {"input_features": "float 2x200x80", "decoder_input_ids": "ids 2x16"},
    ),
    "encodec": ("EncodecModel", {}, {"input_values": "float 2x1x24000"}),
    "clipseg": ("CLIPSegModel", {}, {"input_ids": "ids 2x77", **PICTURE}),
    "owlvit": ("OwlViTModel", {}, {"input_ids": "ids 2x16", "pixel_values": "float 2x3x768x768"}),
    "align": ("AlignModel", {}, {"input_ids": IDS, "pixel_values": "float 2x3x600x600"}),
    "git": ("GitForCausalLM", {}, {**TEXT, **PICTURE}),
    "layoutlmv3": ("LayoutLMv3Model", {}, {**TEXT, "bbox": "ones 2x64x4", **PICTURE}),
    "patchtst": (
        "PatchTSTForPrediction", {"context_length": 512, "prediction_length": 96, "num_input_channels": 7},
        {"past_values": "float 2x512x7"},
    ),
    "sam": ("SamModel", {}, {"pixel_values": "float 1x3x1024x1024", "input_points": "float 1x1x2x2"}),
}  # fmt: skip
"""Name -> class, settings, inputs."""


def build(name: str) -> nn.Module:
    """The network in eval mode."""
    import transformers

    model_class, settings, _ = HELD_OUT[name]
    cls = getattr(transformers, model_class)
    module: nn.Module = cls(cls.config_class(**settings)).eval()
    return module


def inputs(name: str) -> dict[str, Tensor]:
    """Its inputs."""
    return {argument: _example(text) for argument, text in HELD_OUT[name][2].items()}


def _example(text: str) -> Tensor:
    kind, sizes = text.split()
    shape = tuple(map(int, sizes.split("x")))
    if kind == "float":
        return torch.randn(shape)
    return torch.randint(5, 90, shape) if kind == "ids" else torch.ones(shape, dtype=torch.long)
