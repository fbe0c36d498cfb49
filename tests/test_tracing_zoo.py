"""Networks of transformers: captured graphs equal eager, stages are as the papers tell, one graph for every batch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import mmsim
from mmsim.tracing import capture, nested, run
from tests.zoo import ZOO, Entry

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own words on its configurations

PER_IMAGE = {"qwen2vl", "qwen25vl", "vilt", "llava"}
"""They take the images of a batch one by one: valid at one batch only."""

QUICK = {"clip", "bert", "whisper", "visualbert", "llava", "perceiver_text", "wav2vec2"}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@lru_cache(maxsize=1)
def network(name: str) -> tuple[Entry, nn.Module]:
    torch.manual_seed(0)
    entry = ZOO[name]
    return entry, entry.build(True).eval()


def flat(value: object) -> list[Tensor]:
    return [tensor for _, tensor in nested.tensors(nested.plain(value, lambda tensor: tensor))]


@pytest.mark.parametrize("name", ZOO)
def test_captured_graph_equals_eager(name: str) -> None:
    entry, module = network(name)
    inputs = entry.inputs(True, 2)
    captured = capture(module, inputs, route="recorder")
    others = nested.replace(inputs, lambda _, t: torch.randn_like(t) if t.is_floating_point() else t)
    torch.manual_seed(1)
    with torch.no_grad():
        expected = flat(module(**others))
    torch.manual_seed(1)  # ViLT draws at random which patches it sees
    got = flat(run(captured, others))
    assert len(got) == len(expected) > 0
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ZOO])
def test_one_graph_for_every_batch(name: str) -> None:
    entry, module = network(name)
    graph = mmsim.trace(module, lambda B: entry.inputs(True, B), symbols={"B": 2}, stages={"": "head"})
    if name in PER_IMAGE:
        assert graph.symbols == frozenset()
        assert "only at 2" in dict(graph.provenance.symbols)["B"]
        return
    fresh = mmsim.trace(module, entry.inputs(True, 11), symbols=(), stages={"": "head"})
    assert graph.at(B=11).layers == fresh.layers


@pytest.mark.parametrize("name", ["bert", "clip", "visualbert"])
def test_a_real_run_and_torch_export_count_the_same(name: str) -> None:
    entry, module = network(name)
    graphs = [
        mmsim.trace(module, entry.inputs(True, 2), symbols=(), stages={"": "head"}, route=route)
        for route in ("recorder", "recorder-real", "export")
    ]
    assert graphs[0].macs == graphs[1].macs == graphs[2].macs > 0


def test_flops_agree_with_torchs_counter_where_it_counts_the_same() -> None:
    """It sees no fused attention on a CPU, so attention is computed by plain products here."""
    entry, module = network("bert")
    inputs = entry.inputs(True, 2)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module(**inputs)
    assert counter.get_total_flops() == 2 * mmsim.trace(module, inputs, symbols=()).macs


STAGES: dict[str, dict[str, str]] = {
    "clip": {"vision_model.encoder": "encoder:image", "text_model.encoder": "encoder:text", "": "fusion"},
    "siglip": {"vision_model.encoder": "encoder:image", "text_model.encoder": "encoder:text", "": "fusion"},
    "blip": {"vision_model.encoder": "encoder:image", "text_model.encoder": "encoder:text", "": "fusion"},
    "blip_caption": {
        "vision_model": "encoder:image", "text_decoder.bert.embeddings": "encoder:text",
        "text_decoder.bert.encoder": "fusion", "text_decoder.cls": "head",
    },
    "vilt": {"embeddings.text_embeddings": "encoder:text", "embeddings.patch_embeddings": "encoder:image",
             "encoder": "fusion", "pooler": "head"},
    "flava": {"image_model": "encoder:image", "text_model": "encoder:text", "multimodal_model.encoder": "fusion",
              "multimodal_model.pooler": "head"},
    "lxmert": {"encoder.layer": "encoder:text", "encoder.r_layers": "encoder:image", "encoder.x_layers": "fusion",
               "pooler": "head"},
    "visualbert": {"embeddings.word_embeddings": "encoder:text", "embeddings.visual_projection": "encoder:image",
                   "encoder": "fusion", "pooler": "head"},
    "bridgetower": {"vision_model.visual.transformer": "encoder:image", "text_model.encoder": "encoder:text",
                    "cross_modal_text_layers": "fusion", "cross_modal_image_layers": "fusion",
                    "cross_modal_text_pooler.dense": "head"},
    "llava": {"model.vision_tower": "encoder:image", "model.multi_modal_projector": "encoder:image",
              "model.language_model.embed_tokens": "encoder:text", "model.language_model.layers": "fusion",
              "lm_head": "head"},
    "qwen2vl": {"model.visual": "encoder:image", "model.language_model.layers": "fusion", "lm_head": "head"},
    "qwen25vl": {"model.visual": "encoder:image", "model.language_model.layers": "fusion", "lm_head": "head"},
    "blip2": {"vision_model": "encoder:image", "qformer": "encoder:image",
              "language_model.model.decoder.layers": "fusion", "language_model.lm_head": "head"},
    "whisper": {"encoder": "encoder:audio", "decoder.embed_tokens": "encoder:text", "decoder.layers": "fusion"},
    "clap": {"audio_model": "encoder:audio", "text_model.encoder": "encoder:text", "": "fusion"},
    "perceiver_text": {"perceiver.encoder.self_attends": "encoder:text", "embedding_decoder": "head"},
    "bert": {"embeddings": "encoder:text", "encoder": "encoder:text", "pooler": "head"},
    "albert": {"encoder": "encoder:text", "pooler": "head"},
    "wav2vec2": {"feature_extractor": "encoder:audio", "encoder.layers": "encoder:audio"},
    "llama": {"model.layers": "encoder:text", "lm_head": "head"},
}  # fmt: skip
"""What a reader of each paper expects: where the MACs of a part of the network belong."""


def test_the_norm_behind_a_trunk_is_the_trunks_and_a_pooler_the_heads() -> None:
    for name, norm, stage in (
        ("llama", "model.norm", "encoder:text"),
        ("llava", "model.language_model.norm", "fusion"),
    ):
        entry, module = network(name)
        graph = mmsim.trace(module, entry.inputs(True, 2), symbols=())
        assert {str(layer.stage) for layer in graph.layers if layer.module_path == norm} == {stage}


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_what_the_paper_says(name: str) -> None:
    entry, module = network(name)
    graph = mmsim.trace(module, entry.inputs(True, 2), symbols=())
    for path, stage in STAGES[name].items():
        work = [
            layer for layer in graph.layers
            if (layer.module_path == path if not path else (layer.module_path + ".").startswith(path + "."))
            and (any(p.macs for p in graph.problems(layer)) or layer.kind == "embedding")
        ]  # fmt: skip
        assert work, f"no work in {path}"
        assert {str(layer.stage) for layer in work} == {stage}, path
