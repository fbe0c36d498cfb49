# ruff: noqa: E501 - a table: one network a line
"""Networks that the tracer was not written against: classes and inputs only, chosen while it was frozen.

A row of transformers is a class with its configuration (default, or cut in depth and width where that would not run
here) and the forms of its inputs; one of timm the smallest network of a family; programs are in `tests/programs.py`.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Built = tuple[nn.Module, Callable[[int], Any]]

IDS, LONG_IDS, MASK, IMAGE, WAVE = "ids Bx64", "ids Bx512", "ones Bx64", "float Bx3x224x224", "float Bx16000"
TEXT = {"input_ids": IDS, "attention_mask": MASK}
TWO_TEXTS = {"input_ids": IDS, "decoder_input_ids": "ids Bx16"}
PICTURE = {"pixel_values": IMAGE}

FIRST: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
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
    "swinv2": ("Swinv2Model", {"image_size": 256}, {"pixel_values": "float Bx3x256x256"}),
    "convnext": ("ConvNextForImageClassification", {}, PICTURE),
    "resnet": ("ResNetForImageClassification", {}, PICTURE),
    "segformer": ("SegformerForSemanticSegmentation", {}, PICTURE),
    "dpt": ("DPTForDepthEstimation", {}, {"pixel_values": "float Bx3x384x384"}),
    "dinov2": ("Dinov2Model", {}, PICTURE),
    "mobilevit": ("MobileViTModel", {}, {"pixel_values": "float Bx3x256x256"}),
    "hubert": ("HubertModel", {}, {"input_values": WAVE}),
    "sew": ("SEWModel", {}, {"input_values": WAVE}),
    "speech_to_text": (
        "Speech2TextModel", {}, {"input_features": "float Bx200x80", "decoder_input_ids": "ids Bx16"},
    ),
    "encodec": ("EncodecModel", {}, {"input_values": "float Bx1x24000"}),
    "clipseg": ("CLIPSegModel", {}, {"input_ids": "ids Bx77", **PICTURE}),
    "owlvit": ("OwlViTModel", {}, {"input_ids": "ids Bx16", "pixel_values": "float Bx3x768x768"}),
    "align": ("AlignModel", {}, {"input_ids": IDS, "pixel_values": "float Bx3x600x600"}),
    "git": ("GitForCausalLM", {}, {**TEXT, **PICTURE}),
    "layoutlmv3": ("LayoutLMv3Model", {}, {**TEXT, "bbox": "ones Bx64x4", **PICTURE}),
    "patchtst": (
        "PatchTSTForPrediction", {"context_length": 512, "prediction_length": 96, "num_input_channels": 7},
        {"past_values": "float Bx512x7"},
    ),
    "sam": ("SamModel", {}, {"pixel_values": "float Bx3x1024x1024", "input_points": "float Bx1x2x2"}),
}  # fmt: skip

SMALL = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 500,
}  # fmt: skip
LM = {**SMALL, "num_key_value_heads": 2, "head_dim": 16}
EYE = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip
SMALL_IMAGE = {"pixel_values": "float Bx3x64x64"}
AUDIO = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}

SECOND: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    # detection, segmentation, depth, points
    "yolos": ("YolosForObjectDetection", {"num_hidden_layers": 3, "image_size": [128, 128]}, {"pixel_values": "float Bx3x128x128"}),
    "detr": ("DetrForObjectDetection", {"use_timm_backbone": False, "backbone_config": {"model_type": "resnet", "out_features": ["stage4"]}}, {"pixel_values": "float Bx3x160x160"}),
    "conditional_detr": ("ConditionalDetrForObjectDetection", {"use_timm_backbone": False, "backbone_config": {"model_type": "resnet", "out_features": ["stage4"]}}, {"pixel_values": "float Bx3x160x160"}),
    "deformable_detr": ("DeformableDetrForObjectDetection", {"use_timm_backbone": False, "backbone_config": {"model_type": "resnet", "out_features": ["stage2", "stage3", "stage4"]}}, {"pixel_values": "float Bx3x160x160"}),
    "rt_detr": ("RTDetrForObjectDetection", {}, {"pixel_values": "float Bx3x320x320"}),
    "d_fine": ("DFineForObjectDetection", {}, {"pixel_values": "float Bx3x320x320"}),
    "grounding_dino": ("GroundingDinoForObjectDetection", {"num_queries": 50, "encoder_layers": 2, "decoder_layers": 2}, {"pixel_values": "float Bx3x160x160", "input_ids": "ids Bx16"}),
    "maskformer": ("MaskFormerForInstanceSegmentation", {}, {"pixel_values": "float Bx3x128x128"}),
    "mask2former": ("Mask2FormerForUniversalSegmentation", {}, {"pixel_values": "float Bx3x128x128"}),
    "upernet": ("UperNetForSemanticSegmentation", {}, {"pixel_values": "float Bx3x128x128"}),
    "glpn": ("GLPNForDepthEstimation", {}, {"pixel_values": "float Bx3x128x128"}),
    "depth_anything": ("DepthAnythingForDepthEstimation", {}, {"pixel_values": "float Bx3x140x140"}),
    "superpoint": ("SuperPointForKeypointDetection", {}, {"pixel_values": "float Bx3x120x160"}),
    "sam2": ("Sam2Model", {}, {"pixel_values": "float Bx3x1024x1024", "input_points": "float Bx1x2x2"}),
    "swin2sr": ("Swin2SRForImageSuperResolution", {}, {"pixel_values": "float Bx3x64x64"}),
    # images and video
    "beit": ("BeitModel", {}, PICTURE),
    "levit": ("LevitModel", {}, PICTURE),
    "pvt_v2": ("PvtV2Model", {}, PICTURE),
    "cvt": ("CvtModel", {}, PICTURE),
    "poolformer": ("PoolFormerModel", {}, PICTURE),
    "efficientnet": ("EfficientNetModel", {"image_size": 224}, PICTURE),
    "focalnet": ("FocalNetModel", {}, PICTURE),
    "hiera": ("HieraModel", {}, PICTURE),
    "vit_mae": ("ViTMAEForPreTraining", {"num_hidden_layers": 3}, PICTURE),
    "dinov3_vit": ("DINOv3ViTModel", {"num_hidden_layers": 3}, PICTURE),
    "swiftformer": ("SwiftFormerModel", {}, PICTURE),
    "videomae": ("VideoMAEModel", {"num_hidden_layers": 3}, {"pixel_values": "float Bx16x3x224x224"}),
    "timesformer": ("TimesformerModel", {"num_hidden_layers": 2}, {"pixel_values": "float Bx8x3x224x224"}),
    "vjepa2": ("VJEPA2Model", {**EYE, "crop_size": 64, "frames_per_clip": 4, "pred_hidden_size": 48, "pred_num_hidden_layers": 2, "pred_num_attention_heads": 4}, {"pixel_values_videos": "float Bx4x3x64x64"}),
    # text
    "convbert": ("ConvBertModel", {"num_hidden_layers": 3}, TEXT),
    "mobilebert": ("MobileBertModel", {"num_hidden_layers": 6}, TEXT),
    "squeezebert": ("SqueezeBertModel", {"num_hidden_layers": 3}, TEXT),
    "roformer": ("RoFormerModel", {"num_hidden_layers": 3}, TEXT),
    "ibert": ("IBertModel", {"num_hidden_layers": 2, "quant_mode": True}, TEXT),
    "canine": ("CanineModel", {"num_hidden_layers": 2}, {"input_ids": "ids Bx256", "attention_mask": "ones Bx256"}),
    "reformer": ("ReformerModel", {"axial_pos_shape": [8, 8], "is_decoder": False}, {"input_ids": IDS}),
    "modernbert": ("ModernBertModel", {"num_hidden_layers": 3}, TEXT),
    "luke": ("LukeModel", {"num_hidden_layers": 2, "entity_vocab_size": 500}, {**TEXT, "entity_ids": "ids Bx4", "entity_position_ids": "ids Bx4x8", "entity_attention_mask": "ones Bx4"}),
    "led": ("LEDModel", {"attention_window": 16, "encoder_layers": 2, "decoder_layers": 2}, TWO_TEXTS),
    "prophetnet": ("ProphetNetModel", {"num_encoder_layers": 2, "num_decoder_layers": 2}, TWO_TEXTS),
    "switch": ("SwitchTransformersModel", {"num_layers": 2, "num_decoder_layers": 2}, TWO_TEXTS),
    "tapas": ("TapasModel", {"num_hidden_layers": 2}, {**TEXT, "token_type_ids": "zeros Bx64x7"}),
    "esm": ("EsmModel", {**SMALL, "pad_token_id": 1, "mask_token_id": 3, "position_embedding_type": "rotary"}, TEXT),
    # language models
    "gptj": ("GPTJForCausalLM", {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 16, "vocab_size": 500}, TEXT),
    "falcon": ("FalconForCausalLM", {**SMALL, "alibi": True}, TEXT),
    "phi3": ("Phi3ForCausalLM", {**LM, "pad_token_id": 0}, TEXT),
    "rwkv": ("RwkvForCausalLM", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 500}, {"input_ids": "ids Bx16"}),
    "mamba2": ("Mamba2ForCausalLM", {"hidden_size": 64, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 16, "vocab_size": 500, "chunk_size": 32}, {"input_ids": IDS}),
    "jamba": ("JambaForCausalLM", {**SMALL, "num_hidden_layers": 8, "num_key_value_heads": 2, "use_mamba_kernels": False, "num_experts": 4}, TEXT),
    "recurrent_gemma": ("RecurrentGemmaForCausalLM", {**SMALL, "num_hidden_layers": 3, "lru_width": 64}, TEXT),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {**SMALL, "num_key_value_heads": 4, "moe_intermediate_size": 32, "n_routed_experts": 8, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "v_head_dim": 16, "qk_nope_head_dim": 16}, TEXT),
    "gpt_oss": ("GptOssForCausalLM", {**LM, "num_local_experts": 4, "num_experts_per_tok": 2}, TEXT),
    "qwen3_next": ("Qwen3NextForCausalLM", {**LM, "num_hidden_layers": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16}, TEXT),
    # audio
    "wavlm": ("WavLMModel", {"num_hidden_layers": 2}, {"input_values": WAVE}),
    "wav2vec2_conformer": ("Wav2Vec2ConformerModel", {"num_hidden_layers": 2, "position_embeddings_type": "relative"}, {"input_values": WAVE}),
    "ast": ("ASTModel", {"num_hidden_layers": 2}, {"input_values": "float Bx1024x128"}),
    "speecht5": ("SpeechT5ForSpeechToText", {"encoder_layers": 2, "decoder_layers": 2}, {"input_values": WAVE, "decoder_input_ids": "letters Bx8"}),
    "univnet": ("UnivNetModel", {}, {"input_features": "float Bx40x100"}),
    "vits": ("VitsModel", {}, {"input_ids": "letters Bx16", "attention_mask": "ones Bx16"}),
    "fastspeech2": ("FastSpeech2ConformerModel", {}, {"input_ids": "letters Bx16"}),
    "mimi": ("MimiModel", {"num_hidden_layers": 2}, {"input_values": "float Bx1x9600"}),
    "dac": ("DacModel", {}, {"input_values": "float Bx1x8192"}),
    "musicgen": ("MusicgenForCausalLM", {"num_hidden_layers": 2, "num_codebooks": 4}, {"input_ids": "musicgen Bx8"}),
    "moonshine": ("MoonshineForConditionalGeneration", {**{k: v for k, v in SMALL.items() if k not in ("num_hidden_layers", "num_attention_heads")}, "encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 2, "encoder_num_attention_heads": 4, "decoder_num_attention_heads": 4}, {"input_values": WAVE, "decoder_input_ids": "ids Bx8"}),
    # several modalities
    "altclip": ("AltCLIPModel", {"text_config": {"num_hidden_layers": 2}, "vision_config": EYE}, {"input_ids": IDS, **SMALL_IMAGE}),
    "chinese_clip": ("ChineseCLIPModel", {"text_config": SMALL, "vision_config": EYE}, {"input_ids": IDS, **SMALL_IMAGE}),
    "groupvit": ("GroupViTModel", {}, {"input_ids": "ids Bx77", **PICTURE}),
    "xclip": ("XCLIPModel", {"vision_config": {"num_hidden_layers": 2}, "text_config": {"num_hidden_layers": 2}}, {"input_ids": "ids Bx77", "pixel_values": "float Bx8x3x224x224"}),
    "owlv2": ("Owlv2Model", {"vision_config": {"num_hidden_layers": 2, "image_size": 192}}, {"input_ids": "ids Bx16", "pixel_values": "float Bx3x192x192"}),
    "siglip2": ("Siglip2Model", {"text_config": {**SMALL, "projection_size": 64}, "vision_config": {**{k: v for k, v in EYE.items() if k != "image_size"}, "num_patches": 16}}, {"input_ids": IDS, "pixel_values": "float Bx16x768", "pixel_attention_mask": "ones Bx16", "spatial_shapes": "four Bx2"}),
    "instructblip": ("InstructBlipForConditionalGeneration", {"vision_config": EYE, "qformer_config": {**SMALL, "encoder_hidden_size": 64}, "text_config": {"model_type": "opt", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 128, "vocab_size": 500, "word_embed_proj_dim": 64}, "num_query_tokens": 4, "image_token_index": 499}, {**SMALL_IMAGE, "qformer_input_ids": "ids Bx8", "input_ids": "image4of499 Bx16"}),
    "idefics2": ("Idefics2ForConditionalGeneration", {"vision_config": EYE, "text_config": {"model_type": "mistral", **LM, "pad_token_id": 0}, "perceiver_config": {"hidden_size": 64, "resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 4, "resampler_head_dim": 16, "num_key_value_heads": 2}, "image_token_id": 499}, {"input_ids": "image4of499 Bx16", "pixel_values": "float Bx1x3x64x64"}),
    "paligemma": ("PaliGemmaForConditionalGeneration", {"vision_config": {**EYE, "projection_dim": 64, "model_type": "siglip_vision_model"}, "text_config": {"model_type": "gemma", **LM, "pad_token_id": 0}, "projection_dim": 64, "image_token_index": 499, "image_token_id": 499}, {"input_ids": "image16of499 Bx32", **SMALL_IMAGE}),
    "kosmos2": ("Kosmos2Model", {"vision_config": EYE, "text_config": {"embed_dim": 64, "layers": 2, "ffn_dim": 128, "attention_heads": 4, "vocab_size": 500}, "latent_query_num": 4}, {**SMALL_IMAGE, "input_ids": "ids Bx16", "image_embeds_position_mask": "first4 Bx16"}),
    "florence2": ("Florence2ForConditionalGeneration", {"image_token_id": 499, "text_config": {"model_type": "bart", "vocab_size": 500, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "encoder_attention_heads": 4, "decoder_attention_heads": 4}, "vision_config": {"projection_dim": 64}}, {"input_ids": "image50of499 Bx64", "pixel_values": "float Bx3x224x224", "decoder_input_ids": "ids Bx8"}),
    "qwen2_audio": ("Qwen2AudioForConditionalGeneration", {"audio_config": {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128}, "text_config": {"model_type": "qwen2", **SMALL, "num_key_value_heads": 2, "max_position_embeddings": 2048}, "audio_token_index": 499}, {"input_ids": "image750of499 Bx800", "attention_mask": "ones Bx800", "input_features": "float Bx128x3000", "feature_attention_mask": "ones Bx3000"}),
    "mllama": ("MllamaForConditionalGeneration", {"vision_config": {"hidden_size": 64, "num_hidden_layers": 3, "num_global_layers": 1, "attention_heads": 4, "intermediate_size": 128, "image_size": 64, "patch_size": 16, "vision_output_dim": 128, "max_num_tiles": 4, "intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1], [2, 2]]}, "text_config": {**SMALL, "num_hidden_layers": 3, "num_key_value_heads": 2, "cross_attention_layers": [1], "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}, "pad_token_id": 0}}, {"input_ids": "ids Bx16", "attention_mask": "ones Bx16", "pixel_values": "float Bx1x4x3x64x64", "aspect_ratio_mask": "ones Bx1x4", "aspect_ratio_ids": "ones Bx1", "cross_attention_mask": "ones Bx16x1x4"}),
    "llava_next": ("LlavaNextForConditionalGeneration", {"vision_config": {**EYE, "model_type": "clip_vision_model"}, "text_config": {"model_type": "llama", **LM}, "image_token_index": 499, "image_grid_pinpoints": [[64, 64], [64, 128]]}, {"input_ids": "image36of499 Bx64", "pixel_values": "float Bx2x3x64x64", "image_sizes": "sixtyfour Bx2"}),
    "udop": ("UdopModel", {"num_layers": 2, "num_decoder_layers": 2}, {"input_ids": "ids Bx16", "bbox": "floats01 Bx16x4", "pixel_values": "float Bx3x224x224", "decoder_input_ids": "ids Bx8"}),
    # series, decisions
    "informer": ("InformerModel", {"prediction_length": 8, "context_length": 24, "lags_sequence": [1, 2, 3], "num_time_features": 1}, {"past_values": "float Bx27", "past_time_features": "float Bx27x1", "past_observed_mask": "ones Bx27", "future_values": "float Bx8", "future_time_features": "float Bx8x1"}),
    "autoformer": ("AutoformerModel", {"prediction_length": 8, "context_length": 24, "lags_sequence": [1, 2, 3], "num_time_features": 1}, {"past_values": "float Bx27", "past_time_features": "float Bx27x1", "past_observed_mask": "ones Bx27", "future_values": "float Bx8", "future_time_features": "float Bx8x1"}),
    "patchtsmixer": ("PatchTSMixerForPrediction", {"context_length": 128, "prediction_length": 16, "num_input_channels": 4}, {"past_values": "float Bx128x4"}),
    "decision_transformer": ("DecisionTransformerModel", {"state_dim": 11, "act_dim": 3, "max_ep_len": 100}, {"states": "float Bx20x11", "actions": "float Bx20x3", "rewards": "float Bx20x1", "returns_to_go": "float Bx20x1", "timesteps": "ids Bx20", "attention_mask": "ones Bx20"}),
}  # fmt: skip

THIRD: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "deberta": ("DebertaModel", {**SMALL, "pos_att_type": ["c2p", "p2c"], "relative_attention": True}, TEXT),
    "xmod": ("XmodModel", {**SMALL, "languages": ["en_XX"], "default_language": "en_XX"}, TEXT),
    "opt": ("OPTForCausalLM", {"hidden_size": 64, "word_embed_proj_dim": 32, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 500}, TEXT),
    "olmo2": ("Olmo2ForCausalLM", LM, TEXT),
    "granitemoe": ("GraniteMoeForCausalLM", {**LM, "num_local_experts": 4, "num_experts_per_tok": 2}, TEXT),
    "qwen2_moe": ("Qwen2MoeForCausalLM", {**LM, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2}, TEXT),
    "deepseek_v2": ("DeepseekV2ForCausalLM", {**SMALL, "num_key_value_heads": 4, "moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16, "first_k_dense_replace": 1}, TEXT),
    "falcon_mamba": ("FalconMambaForCausalLM", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 500, "state_size": 8}, {"input_ids": IDS}),
    "longt5": ("LongT5Model", {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 500, "local_radius": 15, "encoder_attention_type": "transient-global"}, {"input_ids": IDS, "decoder_input_ids": "ids Bx16"}),
    "pegasus_x": ("PegasusXModel", {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 500, "num_global_tokens": 8, "block_size": 16}, {"input_ids": IDS, "decoder_input_ids": "ids Bx16"}),
    "vivit": ("VivitModel", {**{k: v for k, v in EYE.items() if k != "patch_size"}, "num_frames": 8, "tubelet_size": [2, 16, 16]}, {"pixel_values": "float Bx8x3x64x64"}),
    "pix2struct": ("Pix2StructForConditionalGeneration", {"vision_config": {"hidden_size": 64, "d_ff": 128, "d_kv": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_embed_hidden_size": 48, "seq_len": 32}, "text_config": {"hidden_size": 64, "d_ff": 128, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 500}}, {"flattened_patches": "floats01 Bx32x50", "decoder_input_ids": "ids Bx16"}),
    "aimv2": ("Aimv2Model", {"text_config": {**SMALL, "eos_token_id": 2}, "vision_config": {**EYE}, "projection_dim": 32}, {"input_ids": "ids Bx16", **SMALL_IMAGE}),
    "regnet": ("RegNetForImageClassification", {"embedding_size": 32, "hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 2, 1], "groups_width": 16}, SMALL_IMAGE),
    "rt_detr_v2": ("RTDetrV2ForObjectDetection", {"num_queries": 50, "decoder_layers": 2}, {"pixel_values": "float Bx3x160x160"}),
    "sew_d": ("SEWDModel", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "conv_dim": [16, 16], "conv_stride": [5, 2], "conv_kernel": [10, 3], "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}, {"input_values": "float Bx1600"}),
    "diffllama": ("DiffLlamaForCausalLM", LM, TEXT),
    "timesfm": ("TimesFmModelForPrediction", {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "horizon_length": 32, "context_length": 128}, {"past_values": "float Bx128"}),
}  # fmt: skip

FOURTH: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "rembert": ("RemBertModel", {**SMALL, "input_embedding_size": 32, "output_embedding_size": 48}, TEXT),
    "megatron_bert": ("MegatronBertModel", SMALL, TEXT),
    "roberta_prelayernorm": ("RobertaPreLayerNormModel", SMALL, TEXT),
    "stablelm": ("StableLmForCausalLM", LM, TEXT),
    "starcoder2": ("Starcoder2ForCausalLM", LM, TEXT),
    "cohere2": ("Cohere2ForCausalLM", LM, TEXT),
    "gpt_neox": ("GPTNeoXForCausalLM", SMALL, TEXT),
    "gpt_neo": ("GPTNeoForCausalLM", {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 500, "attention_types": [[["global", "local"], 1]]}, TEXT),
    "mpt": ("MptForCausalLM", {"d_model": 64, "n_heads": 4, "n_layers": 2, "vocab_size": 500}, TEXT),
    "bros": ("BrosModel", {**SMALL, "dim_bbox": 8}, {**TEXT, "bbox": "floats01 Bx64x8"}),
    "lilt": ("LiltModel", {**SMALL, "hidden_size": 96}, {**TEXT, "bbox": "ones Bx64x4"}),
    "bit": ("BitModel", {"embedding_size": 32, "hidden_sizes": [128, 128, 256, 256], "depths": [1, 1, 1, 1]}, SMALL_IMAGE),
    "m2m_100": ("M2M100Model", {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 500}, TWO_TEXTS),
    "umt5": ("UMT5Model", {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 500}, TWO_TEXTS),
    "ijepa": ("IJepaModel", EYE, SMALL_IMAGE),
    "vit_msn": ("ViTMSNModel", EYE, SMALL_IMAGE),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", EYE, SMALL_IMAGE),
    "convnextv2": ("ConvNextV2Model", {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 24, 32, 48]}, SMALL_IMAGE),
    "mobilenet_v2": ("MobileNetV2ForImageClassification", {"depth_multiplier": 0.5}, SMALL_IMAGE),
    "pvt": ("PvtModel", {"image_size": 64, "depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 48, 64], "num_attention_heads": [1, 2, 3, 4]}, SMALL_IMAGE),
    "dab_detr": ("DabDetrModel", {"use_timm_backbone": False, "backbone_config": {"model_type": "resnet", "out_features": ["stage4"]}, "encoder_layers": 2, "decoder_layers": 2}, {"pixel_values": "float Bx3x96x96"}),
    "metaclip2": ("MetaClip2Model", {"text_config": {**SMALL, "eos_token_id": 2}, "vision_config": EYE, "projection_dim": 32}, {"input_ids": "ids Bx16", **SMALL_IMAGE}),
    "unispeech_sat": ("UniSpeechSatModel", {**AUDIO, "conv_dim": [16, 16], "conv_stride": [5, 2], "conv_kernel": [10, 3], "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}, {"input_values": "float Bx1600"}),
    "time_series_transformer": ("TimeSeriesTransformerModel", {"prediction_length": 8, "context_length": 24, "lags_sequence": [1, 2, 3], "num_time_features": 1}, {"past_values": "float Bx27", "past_time_features": "float Bx27x1", "past_observed_mask": "ones Bx27", "future_values": "float Bx8", "future_time_features": "float Bx8x1"}),
}  # fmt: skip

HELD_OUT = FIRST | SECOND | THIRD | FOURTH
"""Name -> class, settings, inputs."""

TIMM = """
flexivit_small mobileone_s0 beit_base_patch16_224 botnet26t_256 caformer_s18 cait_xxs24_224 coat_lite_small
coatnet_nano_cc_224 convit_small convmixer_768_32 convnext_nano cpubone_b0_bfrobust crossvit_small_240
cs3darknet_focus_l csatv2 cspnext_tiny davit_tiny deepseek_vit_412m deit3_small_patch16_224 densenet121 dla34
nf_regnet_b0 dpn48b eca_vovnet39b resnet18 edgenext_small efficientformer_l1 efficientformerv2_s0
efficientnet_b0 efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_small_patch14_224 fasternet_t0
fastvit_mci0 mobilenetv3_small_050 focalnet_tiny_lrf gcvit_tiny gemma4_vit_167m ghostnet_050 gmixer_12_224
hardcorenas_a hgnet_small hiera_tiny_224 hieradet_small hrnet_w18 iformer_l inception_next_tiny
inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small legacy_seresnet18 legacy_xception levit_128
lowformer_b0 mambaout_tiny mobilenetv5_base mobilevit_xxs mvitv2_tiny naflexvit_base_patch16_parfac_gap
nasnetalarge nest_tiny nextvit_small pit_s_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetv_040
repghostnet_050 repvit_m0_9 res2net50_14w_8s resnest14d resnetv2_18 rexnet_100 samvit_base_patch16_224
selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_l1 swin_s3_tiny_224
swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m twins_pcpvt_small
vgg11 visformer_tiny vit_tiny_r_s16_p8_224 vit_relpos_small_patch16_224 vitamin_small_224 volo_d1_224
xception41p xcit_nano_12_p8_224
"""


def of_transformers(name: str) -> Built:
    """A class of transformers."""
    import transformers

    model_class, settings, _ = HELD_OUT[name]
    cls = getattr(transformers, model_class)
    return cls(cls.config_class(**settings)).eval(), lambda batch: inputs(name, batch)


CUT = {
    "deepseek_vit_412m": {"img_size": 224, "depth": 2},
    "gemma4_vit_167m": {"img_size": 256, "depth": 2},
    "qwen3_vit_88m": {"img_size": 256, "depth": 2},
}
"""Of 768 pixels: a real run of the whole takes minutes."""


def of_timm(name: str) -> Built:
    """A network of timm at its own image size, or cut where that takes too long."""
    import timm

    settings = CUT.get(name, {})
    module: nn.Module = timm.create_model(name, **settings).eval()
    size = settings.get("img_size", module.default_cfg["input_size"][-1])
    return module, lambda batch: {"x": torch.randn(batch, 3, size, size)}


def of_programs(name: str) -> Built:
    """A network written by hand."""
    import tests.more_programs  # noqa: F401 - enters its own
    from tests.programs import PROGRAMS

    build, inputs_at = PROGRAMS[name]
    return build().eval(), inputs_at


KINDS: dict[str, Callable[[str], Built]] = {
    "transformers": of_transformers, "timm": of_timm, "program": of_programs,
}  # fmt: skip


def load_libraries() -> None:
    """Import what networks are built with, once."""
    import mmsim  # noqa: F401

    for library in ("transformers", "timm"):
        with contextlib.suppress(ImportError, RuntimeError):  # a torchvision of another build breaks timm
            importlib.import_module(library)


def names() -> list[str]:
    """Every network that can be had here, as ``kind/name``."""
    from importlib.util import find_spec

    import tests.more_programs  # noqa: F401 - enters its own
    from tests.programs import PROGRAMS

    timm = TIMM.split() if find_spec("timm") else []
    tables = {"transformers": list(HELD_OUT), "timm": timm, "program": list(PROGRAMS)}
    return [f"{kind}/{name}" for kind, listed in tables.items() for name in listed]


def inputs(name: str, batch: int) -> dict[str, Tensor]:
    """The inputs of a class of transformers."""
    return {argument: _example(text, batch) for argument, text in HELD_OUT[name][2].items()}


def _example(text: str, batch: int) -> Tensor:
    kind, sizes = text.split()
    shape = tuple(batch if size == "B" else int(size) for size in sizes.split("x"))
    if kind in _KINDS:
        return _KINDS[kind](shape)
    if kind.startswith("image"):  # so many places for an image's tokens, of that id
        count, token = map(int, kind.removeprefix("image").split("of"))
        return torch.cat([torch.full((batch, count), token), torch.randint(5, 90, (batch, shape[1] - count))], 1)
    raise ValueError(kind)


def _first_four(shape: tuple[int, ...]) -> Tensor:
    return (torch.arange(shape[1]) < 4).expand(shape).clone()


_KINDS: dict[str, Callable[[tuple[int, ...]], Tensor]] = {
    "float": torch.randn,
    "floats01": torch.rand,
    "ids": lambda shape: torch.randint(5, 90, shape),
    "letters": lambda shape: torch.randint(5, 30, shape),
    "ones": lambda shape: torch.ones(shape, dtype=torch.long),
    "zeros": lambda shape: torch.zeros(shape, dtype=torch.long),
    "four": lambda shape: torch.full(shape, 4),
    "sixtyfour": lambda shape: torch.full(shape, 64),
    "first4": _first_four,
    "musicgen": lambda shape: torch.randint(5, 90, (shape[0] * 4, shape[1])),
}
