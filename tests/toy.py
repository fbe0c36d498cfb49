"""A two-encoder toy network as a Graph, written by hand: no torch, small enough to check on paper."""

from __future__ import annotations

from mmsim.graph import Graph, Provenance
from mmsim.layer import Layer, Stage, Tensor
from mmsim.size import symbol

B = symbol("B")
IMAGE, TEXT, FUSION, HEAD = (Stage.parse(s) for s in ("encoder:image", "encoder:text", "fusion", "head"))


def toy() -> Graph:
    """image [B,3,8,8] -> conv 3x3 -> relu -> flatten; text [B,16] -> linear; cat; linear to 10."""
    image = Tensor("image", (B, 3, 8, 8), "float32", "input")
    text = Tensor("text", (B, 16), "float32", "input")
    kernel = Tensor("image.conv.weight", (4, 3, 3, 3), "float32", "weight")
    text_weight = Tensor("text.weight", (32, 16), "float32", "weight")
    head_weight = Tensor("head.weight", (10, 288), "float32", "weight")
    maps = Tensor("t0", (B, 4, 8, 8), "float32", "activation")
    active = Tensor("t1", (B, 4, 8, 8), "float32", "activation")
    flat = Tensor("t2", (B, 256), "float32", "activation")
    words = Tensor("t3", (B, 32), "float32", "activation")
    joined = Tensor("t4", (B, 288), "float32", "activation")
    logits = Tensor("t5", (B, 10), "float32", "output")
    ones, same = (1, 1), (1, 1)
    layers = (
        Layer(
            0, "image.conv", "torch.conv2d", IMAGE, (("input", image), ("weight", kernel)), (maps,),
            (("stride", ones), ("padding", same), ("dilation", ones), ("groups", 1)), "image.conv",
        ),
        Layer(1, "image.relu", "torch.nn.functional.relu", IMAGE, (("input", maps),), (active,), (), "image.relu"),
        Layer(2, "image.flatten", "torch.flatten", IMAGE, (("input", active),), (flat,), (("start_dim", 1),), "image"),
        Layer(
            3, "text", "torch.nn.functional.linear", TEXT, (("input", text), ("weight", text_weight)), (words,), (),
            "text",
        ),
        Layer(
            4, "fusion", "torch.cat", FUSION, (("tensors.0", flat), ("tensors.1", words)), (joined,),
            (("dim", 1),), "fusion",
        ),
        Layer(
            5, "head", "torch.nn.functional.linear", HEAD, (("input", joined), ("weight", head_weight)), (logits,), (),
            "head",
        ),
    )  # fmt: skip
    return Graph("toy", "concat", layers, (image, text), (logits,), provenance=Provenance("by hand", "declared"))
