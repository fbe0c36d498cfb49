"""Each op against a count worked by hand: its shapes, then MACs, vector operations and bytes in the comments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsim import ops
from mmsim.errors import InputError
from mmsim.layer import Layer, Stage, Tensor
from mmsim.ops.region import region
from mmsim.problem import Problem
from mmsim.size import Size, symbol, total

F, T = "torch.nn.functional.", "torch.Tensor."
B = symbol("B")
Shape = tuple[Size, ...]


def layer(
    op: str, operands: dict[str, Shape], *outputs: Shape, weights: str = "", dtypes: str = "", **attrs: Any
) -> Layer:
    """A layer of float32 tensors; `weights` and `dtypes` (``name:int64``) tell the exceptions by operand name."""
    formats = dict(pair.split(":") for pair in dtypes.split())

    def tensor(name: str, shape: Shape) -> Tensor:
        return Tensor(name, shape, formats.get(name, "float32"), "weight" if name in weights.split() else "activation")

    return Layer(
        id=0,
        name="layer",
        op=op,
        stage=Stage("head"),
        operands=tuple((name, tensor(name, shape)) for name, shape in operands.items()),
        outputs=tuple(tensor(f"out{i}", shape) for i, shape in enumerate(outputs)),
        attrs=tuple(attrs.items()),
        module_path="net.part",
        source="net.py:7",
    )


def counts(problems: tuple[Problem, ...]) -> tuple[Size, Size, Size]:
    """(MACs, vector operations, compulsory bytes)."""
    vector = total(p.operations for p in problems if p.kind == "vector")
    return total(p.macs for p in problems), vector, total(p.compulsory_bytes for p in problems)


CASES = [
    # --- convolutions: MACs = N * M * P * Q * C/g * R * S
    ("conv2d", layer(F + "conv2d", {"input": (2, 3, 8, 8), "weight": (4, 3, 3, 3)}, (2, 4, 8, 8), padding=1),
     2 * 4 * 64 * 27, 0, 4 * (2 * 3 * 64 + 4 * 27 + 2 * 4 * 64)),  # the padding is not stored
    ("conv2d stride 2", layer(F + "conv2d", {"input": (1, 3, 9, 9), "weight": (8, 3, 3, 3)}, (1, 8, 4, 4), stride=2),
     8 * 16 * 27, 0, 4 * (3 * 81 + 8 * 27 + 8 * 16)),
    ("1x1, stride 2: holes", layer(F + "conv2d", {"input": (1, 3, 8, 8), "weight": (8, 3, 1, 1)}, (1, 8, 4, 4),
         stride=(2, 2)),
     8 * 16 * 3, 0, 4 * (3 * 16 + 24 + 8 * 16)),  # every other row and column is never read
    ("grouped", layer(F + "conv2d", {"input": (1, 8, 5, 5), "weight": (6, 4, 3, 3)}, (1, 6, 3, 3), groups=2),
     6 * 9 * 4 * 9, 0, 4 * (8 * 25 + 6 * 36 + 6 * 9)),
    ("depthwise", layer(F + "conv2d", {"input": (1, 16, 7, 7), "weight": (16, 1, 3, 3)}, (1, 16, 7, 7), groups=16,
         padding=(1, 1)),
     16 * 49 * 9, 0, 4 * (16 * 49 + 16 * 9 + 16 * 49)),
    ("conv1d, dilated", layer(F + "conv1d", {"input": (2, 4, 20), "weight": (6, 4, 3)}, (2, 6, 12), dilation=4),
     2 * 6 * 12 * 12, 0, 4 * (2 * 4 * 20 + 72 + 2 * 6 * 12)),
    ("conv3d", layer(F + "conv3d", {"input": (1, 2, 4, 5, 6), "weight": (3, 2, 3, 3, 3)}, (1, 3, 2, 3, 4)),
     3 * 24 * 54, 0, 4 * (2 * 120 + 3 * 54 + 3 * 24)),
    ("transposed", layer(F + "conv_transpose2d", {"input": (1, 4, 5, 5), "weight": (4, 6, 2, 2)}, (1, 6, 10, 10),
         stride=2),
     4 * 25 * 6 * 4, 0, 4 * (4 * 25 + 96 + 600)),  # every input meets every kernel element
    ("aten convolution", layer("aten.convolution.default", {"input": (2, 3, 8, 8), "weight": (4, 3, 3, 3), "bias":
         (4,)}, (2, 4, 6, 6), stride=(1, 1), padding=(0, 0), dilation=(1, 1), transposed=False, groups=1),
     2 * 4 * 36 * 27, 0, 4 * (2 * 3 * 64 + 108 + 288)),
    ("batch 1 without N", layer(F + "conv2d", {"input": (3, 8, 8), "weight": (4, 3, 3, 3)}, (4, 6, 6)),
     4 * 36 * 27, 0, 4 * (192 + 108 + 144)),
    # --- products
    ("linear", layer(F + "linear", {"input": (2, 5, 7), "weight": (3, 7), "bias": (3,)}, (2, 5, 3)),
     10 * 7 * 3, 0, 4 * (70 + 21 + 30)),
    ("addmm", layer("aten.addmm.default", {"self": (3,), "mat1": (5, 7), "mat2": (7, 3)}, (5, 3)),
     105, 0, 4 * (35 + 21 + 15)),
    ("addmm on a matrix", layer("aten.addmm.default", {"self": (5, 3), "mat1": (5, 7), "mat2": (7, 3)}, (5, 3)),
     105, 15, 4 * (35 + 21 + 15) + 4 * 45),
    ("bmm", layer("torch.bmm", {"input": (4, 2, 3), "mat2": (4, 3, 5)}, (4, 2, 5)), 4 * 30, 0, 4 * (24 + 60 + 40)),
    ("matmul, broadcast", layer("torch.matmul", {"input": (6, 1, 2, 3), "other": (4, 3, 5)}, (6, 4, 2, 5)),
     6 * 4 * 2 * 3 * 5, 0, 4 * (36 + 60 + 240)),
    ("matrix times vector", layer(T + "matmul", {"self": (6, 3), "other": (3,)}, (6,)), 18, 0, 4 * (18 + 3 + 6)),
    ("einsum", layer("torch.functional.einsum", {"args.1": (2, 3), "args.2": (3, 4, 5)}, (2, 4, 5),
                     args=("bi,ijo->bjo", "tensor", "tensor")), 2 * 3 * 20, 0, 4 * (6 + 60 + 40)),
    ("einsum with an ellipsis", layer("torch.einsum", {"operands.0": (2, 3, 4), "operands.1": (4, 5)}, (2, 3, 5),
                                      equation="...d,de->...e"), 6 * 20, 0, 4 * (24 + 20 + 30)),
    ("complex einsum", layer("torch.einsum", {"a": (2, 3), "b": (3, 4)}, (2, 4), equation="ij,jk->ik",
                             dtypes="a:complex64 b:complex64 out0:complex64"), 4 * 24, 0, 8 * (6 + 12 + 8)),
    ("einsum of three", layer("torch.einsum", {"a": (2, 3), "b": (3, 4), "c": (4, 5)}, (2, 5), equation="ij,jk,kl->il"),
     24 + 40, 0, 4 * (6 + 12 + 8) + 4 * (8 + 20 + 10)),
    ("einsum, summing one operand first", layer("torch.einsum", {"a": (2, 3, 7), "b": (3, 4)}, (2, 4),
         equation="ijz,jk->ik"),
     24, 42, 4 * (42 + 6) + 4 * (6 + 12 + 8)),
    ("einsum without a sum", layer("torch.einsum", {"a": (2, 3), "b": (2, 4)}, (2, 3, 4), equation="bi,bj->bij"),
     0, 24, 4 * (6 + 8 + 24)),
    ("bilinear", layer(F + "bilinear", {"input1": (6, 3), "input2": (6, 4), "weight": (5, 3, 4)}, (6, 5)),
     6 * 5 * 3 * 4 + 6 * 5 * 4, 0, 4 * (18 + 60 + 120) + 4 * (120 + 24 + 30)),
    ("mixture of experts", layer("torch._grouped_mm", {"input": (10, 8), "mat2": (4, 8, 6), "offs": (4,)}, (10, 6)),
     10 * 8 * 6, 0, 4 * (80 + 4 * 48 + 60)),  # 2 experts with 3 rows, 2 with 2: each reads its own matrix
    ("outer", layer("torch.outer", {"input": (3,), "vec2": (4,)}, (3, 4)), 0, 12, 4 * (3 + 4 + 12)),
    ("tensordot", layer("torch.tensordot", {"a": (2, 3, 4), "b": (3, 4, 5)}, (2, 5), dims=2), 2 * 12 * 5, 0,
     4 * (24 + 60 + 10)),
    # --- attention: 2 products of B * H * L * S * D; softmax 5, scale 1, mask 1 for each score
    ("attention", layer(F + "scaled_dot_product_attention", {"query": (2, 4, 6, 8), "key": (2, 4, 6, 8), "value": (2,
     4, 6, 8)},
                        (2, 4, 6, 8), is_causal=True), 2 * (8 * 36 * 8), 6 * 288,
                         4 * 2 * (384 + 384 + 288) + 4 * 2 * 288),
    ("grouped-query attention", layer(F + "scaled_dot_product_attention",
                                      {"query": (1, 8, 6, 4), "key": (1, 2, 5, 4), "value": (1, 2, 5, 4),
                                       "attn_mask": (6, 5)},
                                      (1, 8, 6, 4), enable_gqa=True),
     2 * (8 * 30 * 4), 7 * 240, 4 * 2 * (192 + 40 + 240) + 4 * (2 * 240 + 30)),
    ("attention on itself, whole", layer(
        F + "multi_head_attention_forward", {"query": (5, 2, 8), "in_proj_weight": (24, 8), "out_proj_weight": (8, 8)},
        (5, 2, 8), (2, 5, 5), num_heads=4, need_weights=True),
     10 * 8 * 24 + 2 * (8 * 25 * 2) + 10 * 64, 6 * 200 + 200, None),  # projections, scores and values; softmax, average
    # --- recurrent: input product, recurrent product, 8 operations for each of 4 gates (7 of 3)
    ("lstm", layer("torch.lstm", {"input": (5, 2, 3), "hx.0": (1, 2, 4), "hx.1": (1, 2, 4), "params.0": (16, 3),
                                  "params.1": (16, 4), "params.2": (16,), "params.3": (16,)},
                   (5, 2, 4), (1, 2, 4), (1, 2, 4), num_layers=1, bidirectional=False, batch_first=False),
     10 * 48 + 5 * 2 * 64, 5 * 2 * 16 * 8, 4 * (30 + 48 + 160) + 5 * 4 * (8 + 64 + 32) + 5 * 4 * (32 + 32 + 8 + 8 + 8)),
    ("gru, two layers, both ways", layer(
        "torch.gru", {"input": (2, 5, 3), "hx": (4, 2, 4),
                      "params.0": (12, 3), "params.1": (12, 4), "params.2": (12, 3), "params.3": (12, 4),
                      "params.4": (12, 8), "params.5": (12, 4), "params.6": (12, 8), "params.7": (12, 4)},
        (2, 5, 8), (4, 2, 4), num_layers=2, bidirectional=True, batch_first=True),
     2 * 10 * (12 * 3 + 12 * 4) + 2 * 10 * (12 * 8 + 12 * 4), 4 * 10 * 12 * 7, None),
    ("lstm with projection", layer("torch.lstm", {"input": (5, 2, 3), "params.0": (16, 3), "params.1": (16, 2),
                                                  "params.2": (16,), "params.3": (16,), "params.4": (2, 4)},
                                   (5, 2, 2), num_layers=1), 10 * 16 * 3 + 10 * 16 * 2 + 10 * 2 * 4, 10 * 16 * 8, None),
    ("packed gru, 7 rows in 3 steps", layer("torch.gru", {"data": (7, 3), "batch_sizes": (3,), "params.0": (12, 3),
                                                          "params.1": (12, 4)}, (7, 4), num_layers=1),
     7 * 36 + 7 * 48, 7 * 12 * 7, None),
    ("lstm_cell", layer("torch.lstm_cell", {"input": (2, 3), "hx.0": (2, 4), "hx.1": (2, 4), "w_ih": (16, 3), "w_hh":
         (16, 4)}, (2, 4), (2, 4)),
     2 * 16 * 7, 2 * 16 * 8, None),
    # --- elementwise
    ("add", layer(T + "add_", {"self": (2, 3), "other": (2, 3)}, (2, 3)), 0, 6, 4 * 18),
    ("add of a channel bias", layer("torch.add", {"input": (2, 3, 4), "other": (3, 1)}, (2, 3, 4)), 0, 24,
     4 * (24 + 3 + 24)),
    ("x * x reads x once", layer("torch.mul", {"input": (10,)}, (10,)), 0, 10, 4 * 20),
    ("sigmoid", layer("torch.sigmoid", {"input": (10,)}, (10,)), 0, 40, 4 * 20),
    ("gelu", layer(F + "gelu", {"input": (10,)}, (10,), approximate="none"), 0, 50, 80),
    ("glu", layer(F + "glu", {"input": (2, 8)}, (2, 4), dim=-1), 0, 3 * 16, 4 * 24),
    ("prelu", layer(F + "prelu", {"input": (2, 3, 5), "weight": (3,)}, (2, 3, 5)), 0, 60, 4 * 63),
    ("scalar operand", layer(T + "__rsub__", {"self": (6,), "other": ()}, (6,)), 0, 6, 4 * 13),
    # --- along an axis
    ("sum", layer(T + "sum", {"self": (4, 5)}, (4,), dim=1), 0, 20, 4 * 24),
    ("mean of all", layer("torch.mean", {"input": (4, 5)}, ()), 0, 20, 4 * 21),
    ("max with indices", layer(T + "max", {"self": (4, 5)}, (4,), (4,), dim=1, dtypes="out1:int64"), 0, 20,
     4 * 24 + 8 * 4),
    ("max of two", layer("torch.max", {"input": (4, 5), "other": (4, 5)}, (4, 5)), 0, 20, 4 * 60),
    ("cumsum", layer("torch.cumsum", {"input": (4, 5)}, (4, 5), dim=-1), 0, 20, 4 * 40),
    ("softmax", layer(F + "softmax", {"input": (4, 5)}, (4, 5), dim=-1), 0, 100, 4 * 40),
    ("topk", layer("torch.topk", {"input": (4, 50)}, (4, 2), (4, 2), k=2, dtypes="out1:int64"), 0, 200 * 8,
     4 * 208 + 8 * 8),
    # --- normalisation
    ("layer_norm", layer(F + "layer_norm", {"input": (4, 6), "weight": (6,), "bias": (6,)}, (4, 6),
         normalized_shape=(6,)),
     0, 24 * 8, 4 * (24 + 6 + 6 + 24)),
    ("rms_norm", layer(F + "rms_norm", {"input": (4, 6), "weight": (6,)}, (4, 6), normalized_shape=(6,)), 0, 24 * 4,
     4 * 54),
    ("batch_norm, evaluation", layer(F + "batch_norm", {"input": (2, 3, 4, 4), "running_mean": (3,), "running_var":
         (3,), "weight": (3,), "bias": (3,)}, (2, 3, 4, 4), training=False),
     0, 96 * 4, 4 * (96 + 12 + 96)),
    ("group_norm", layer(F + "group_norm", {"input": (2, 6, 4), "weight": (6,), "bias": (6,)}, (2, 6, 4), num_groups=3),
     0, 48 * 8, 4 * (48 + 12 + 48)),
    ("instance_norm", layer(F + "instance_norm", {"input": (2, 3, 8)}, (2, 3, 8)), 0, 48 * 6, 4 * 96),
    # --- pooling: one operation for each element of each window
    ("max_pool2d", layer(F + "max_pool2d", {"input": (2, 3, 8, 8)}, (2, 3, 4, 4), kernel_size=2), 0, 6 * 16 * 4,
     4 * 6 * 80),
    ("overlapping windows", layer(F + "max_pool2d", {"input": (1, 1, 8, 8)}, (1, 1, 4, 4), kernel_size=3, stride=2,
         padding=1),
     0, 16 * 9, 4 * (64 + 16)),
    ("global average", layer(F + "adaptive_avg_pool2d", {"input": (2, 3, 8, 8)}, (2, 3, 1, 1), output_size=1), 0, 384,
     4 * 390),
    ("window beyond its input", layer(F + "avg_pool2d", {"input": (2, 3, 7, 7)}, (2, 3, 1, 1), kernel_size=1280,
     ceil_mode=True), 0, 294, 4 * 300),
    ("adaptive to its own size", layer(F + "adaptive_avg_pool2d", {"input": (2, 3, 7, 7)}, (2, 3, 7, 7)), 0, 294,
     4 * 588),
    # --- movement
    ("embedding", layer(F + "embedding", {"input": (2, 5), "weight": (100, 8)}, (2, 5, 8), dtypes="input:int64"),
     0, 0, 8 * 10 + 4 * 80 + 4 * 80),
    ("embedding, small table", layer("aten.embedding.default", {"weight": (3, 8), "indices": (2, 5)}, (2, 5, 8),
                                     weights="weight", dtypes="indices:int64"), 0, 0, 8 * 10 + 4 * 24 + 4 * 80),
    ("cat", layer("torch.cat", {"tensors.0": (2, 3), "tensors.1": (2, 5)}, (2, 8), dim=1), 0, 0, 4 * 32),
    ("pad", layer(F + "pad", {"input": (2, 3)}, (2, 5), pad=(1, 1)), 0, 0, 4 * 16),
    ("cast", layer(T + "half", {"self": (6,)}, (6,), dtypes="out0:float16"), 0, 0, 6 * 6),
    ("repeat", layer(T + "repeat", {"self": (1, 3)}, (4, 3), repeats=(4, 1)), 0, 0, 4 * 15),
    ("gather", layer("torch.gather", {"input": (4, 50), "index": (4, 2)}, (4, 2), dim=1, dtypes="index:int64"), 0, 0,
     8 * 16),
    ("index_add", layer(T + "index_add_", {"self": (9, 4), "index": (2,), "source": (2, 4)}, (9, 4),
         dtypes="index:int64"),
     0, 8, 16 + 32 + 32),
    ("scatter, out of place", layer("torch.scatter", {"input": (4, 8), "index": (4, 2), "src": (4, 2)}, (4, 8), dim=1,
                                    dtypes="index:int64"), 0, 0, 4 * 64 + 64 + 4 * 16),  # a copy, then 8 values
    ("fold", layer(F + "fold", {"input": (1, 12, 9)}, (1, 3, 4, 4), output_size=(4, 4)), 0, 108, 4 * (108 + 48)),
    ("x[:, 2:6] = y", layer(T + "__setitem__", {"self": (4, 8), "value": (4, 4)}, (4, 8), indices=(("slice", None,
     None, None), ("slice", 2, 6, None))),
     0, 0, 4 * 32),
    ("x[0] = scalar", layer(T + "__setitem__", {"self": (4, 8)}, (4, 8), indices=0), 0, 0, 4 * 8),
    ("x[-3:] = scalar", layer(T + "__setitem__", {"self": (8, 5)}, (8, 5), indices=("slice", -3, None, None)),
     0, 0, 4 * 15),
    ("x[mask] = y", layer(T + "__setitem__", {"self": (9,), "indices": (9,), "value": (2,)}, (9,), indices="tensor",
                          dtypes="indices:bool"), 0, 0, 9 + 8 + 36),
    ("zeros", layer("torch.zeros", {}, (3, 4), size=(3, 4)), 0, 0, 48),
    ("interpolate", layer(F + "interpolate", {"input": (1, 2, 4, 4)}, (1, 2, 8, 8), mode="bilinear"), 0, 128 * 8,
     4 * 160),
    ("downsampling reads 4 neighbours", layer(F + "interpolate", {"input": (1, 2, 64, 64)}, (1, 2, 2, 2),
         mode="bilinear"),
     0, 64, 4 * (4 * 8 + 8)),
    ("grid_sample", layer(F + "grid_sample", {"input": (1, 3, 8, 8), "grid": (1, 5, 5, 2)}, (1, 3, 5, 5),
         mode="bilinear"),
     0, 75 * 8, 4 * (192 + 50 + 75)),
    ("upsample by copying", layer("aten.upsample_nearest2d.default", {"self": (1, 2, 4, 4)}, (1, 2, 8, 8)), 0, 0,
     4 * 160),
    ("rfft", layer("torch.fft.fft_rfft", {"input": (3, 16)}, (3, 9), dtypes="out0:complex64"), 0, 48 * 10,
     4 * 48 + 8 * 27),
    ("rfft of padded rows", layer("torch.fft.rfft", {"input": (3, 8)}, (3, 9), n=16, dtypes="out0:complex64"),
     0, 48 * 10, 4 * 24 + 8 * 27),
    ("stft", layer("torch.stft", {"input": (2, 100)}, (2, 9, 11), n_fft=16, dtypes="out0:complex64"),
     0, 22 * 16 * 11, 4 * 200 + 8 * 198),
    ("cdist", layer("torch.cdist", {"x1": (2, 3, 4), "x2": (2, 5, 4)}, (2, 3, 5)), 0, 3 * 120, 4 * (24 + 40 + 30)),
    ("deform_conv2d", layer("torchvision.ops.deform_conv.deform_conv2d", {"input": (1, 4, 8, 8), "offset": (1, 18, 6,
     6),
                                                                           "weight": (6, 4, 3, 3)}, (1, 6, 6, 6),
                                                                           stride=(1, 1)),
     6 * 36 * 36, 0, None),
    ("bucketize", layer("torch.bucketize", {"input": (6,), "boundaries": (7,)}, (6,), dtypes="out0:int64"),
     0, 18, 4 * (6 + 6) + 48),  # 3 steps find one of 8 places
    ("inverse", layer("torch.linalg.linalg_inv", {"A": (2, 3, 3)}, (2, 3, 3)), 0, 2 * 2 * 27, 4 * 36),
    # --- gradient kernels of torch
    ("convolution_backward", layer("aten.convolution_backward.default",
                                   {"grad_output": (1, 4, 6, 6), "input": (1, 3, 8, 8), "weight": (4, 3, 3, 3)},
                                   (1, 3, 8, 8), (4, 3, 3, 3), output_mask=(True, True, False)),
     2 * 4 * 36 * 27, 0, 2 * 4 * (4 * 36 + 3 * 64 + 4 * 27)),
    ("relu's", layer("aten.threshold_backward.default", {"grad_output": (10,), "self": (10,)}, (10,)), 0, 20, 120),
    ("softmax's", layer("aten._softmax_backward_data.default", {"grad_output": (4, 5), "output": (4, 5)}, (4, 5),
         dim=-1),
     0, 80, 240),
    ("embedding's", layer("aten.embedding_dense_backward.default", {"grad_output": (2, 8), "indices": (2,)}, (50, 8),
                          dtypes="indices:int64"), 0, 16, 4 * 400 + 4 * 16 + 16 + 4 * 16),
    ("mse_loss", layer(F + "mse_loss", {"input": (4, 5), "target": (4, 5)}, ()), 0, 60, 4 * 41),
]  # fmt: skip


@pytest.mark.parametrize(("case", "macs", "vector", "nbytes"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_count(case: Layer, macs: int, vector: int, nbytes: int | None) -> None:
    found = counts(ops.problems_of(case))
    assert found == (macs, vector, found[2] if nbytes is None else nbytes)


FREE = [
    layer(T + "view", {"self": (2, 3)}, (6,)),
    layer(T + "transpose", {"self": (2, 3)}, (3, 2)),
    layer("torch.Tensor.T.__get__", {"self": (2, 3)}, (3, 2), weights="self"),
    layer("aten.t.default", {"self": (2, 3)}, (3, 2), weights="self"),
    layer(T + "reshape", {"self": (2, 3)}, (6,), aten=("aten.view.default",)),
    layer(T + "__getitem__", {"self": (2, 3)}, (3,), indices=0, aten=("aten.select.int",), weights="self"),
    layer(T + "to", {"self": (2, 3)}, (2, 3), aten=()),
    layer(T + "float", {"self": (2, 3)}, (2, 3), aten=()),
    layer(F + "dropout", {"input": (2, 3)}, (2, 3), p=0.5, training=False),
    layer("torch.empty", {}, (2, 3)),
    layer("torch.add", {"input": (0, 3), "other": (3,)}, (0, 3)),
    layer(F + "linear", {"input": (0, 7), "weight": (3, 7)}, (0, 3), weights="weight"),
]


@pytest.mark.parametrize("case", FREE, ids=lambda case: case.op)
def test_free(case: Layer) -> None:
    assert ops.problems_of(case) == ()
    assert ops.free_reason(case)


COPIES = [
    (layer(T + "reshape", {"self": (2, 3)}, (6,), aten=("aten.clone.default", "aten._unsafe_view.default")), 48),
    (layer(T + "contiguous", {"self": (2, 3)}, (2, 3), aten=("aten.clone.default",)), 48),
    (layer(T + "to", {"self": (2, 3)}, (2, 3), aten=("aten._to_copy.default",), dtypes="out0:float16"), 36),
    (layer(T + "__getitem__", {"self": (9, 3), "indices": (2,)}, (2, 3), aten=("aten.index.Tensor",),
           dtypes="indices:int64"), 16 + 48),
    (layer(T + "__getitem__", {"self": (9, 3), "indices.1": (2,)}, (9, 2), aten=("aten.index.Tensor",),
           dtypes="indices.1:int64"), 16 + 144),
]  # fmt: skip


@pytest.mark.parametrize(("case", "nbytes"), COPIES, ids=lambda value: getattr(value, "op", ""))
def test_copies(case: Layer, nbytes: int) -> None:
    assert counts(ops.problems_of(case)) == (0, 0, nbytes)


def test_one_row_for_every_spelling() -> None:
    shapes = {"self": (2, 3), "other": (2, 3)}
    spellings = ("torch.add", "torch.Tensor.add", "torch.Tensor.add_", "aten.add.Tensor", "torch.Tensor.__iadd__")
    found = {ops.problems_of(layer(op, shapes, (2, 3))) for op in spellings}
    assert len(found) == 1


def test_equal_work_is_one_problem() -> None:
    flat = layer("torch.add", {"input": (8, 150528), "other": (8, 150528)}, (8, 150528))
    deep = layer("torch.add", {"input": (8, 3, 224, 224), "other": (8, 3, 224, 224)}, (8, 3, 224, 224))
    assert ops.problems_of(flat) == ops.problems_of(deep)


def test_no_kind_stands_twice() -> None:
    rows = [kind for family in ops.FAMILIES for kind in family.ROWS]
    assert sorted(rows) == sorted(set(rows)) and not set(rows) & set(ops.FREE)


def test_unknown_ops_are_refused_together() -> None:
    layers = [layer(op, {"x": (2,)}, (2,)) for op in ("mine.blend", "mine.blend", "mine.warp", "torch.add")]
    with pytest.raises(InputError) as caught:
        ops.check(layers)
    assert str(caught.value) == (
        "3 calls of 2 unknown ops: mine.blend 2x at net.part (net.py:7); mine.warp 1x at net.part (net.py:7)"
    )
    ops.check(layers[3:])
    with pytest.raises(InputError, match=r"unknown op mine.blend at net.part \(net.py:7\)"):
        ops.problems_of(layers[0])


def test_a_weight_that_costs_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="reads the weight input and would cost nothing"):
        ops.problems_of(layer(F + "dropout", {"input": (5, 5)}, (5, 5), weights="input"))


def test_symbolic_batch() -> None:
    case = layer(F + "conv2d", {"input": (B, 3, 8, 8), "weight": (4, 3, 3, 3)}, (B, 4, 8, 8), padding=1)
    (problem,) = ops.problems_of(case)
    assert problem.macs == B * (4 * 64 * 27)
    assert problem.compulsory_bytes == 4 * (B * (192 + 256) + 108)
    assert ops.problems_of(case.at(B=5)) == (problem.at(B=5),)
    norm = layer(F + "layer_norm", {"input": (B, 6), "weight": (6,), "bias": (6,)}, (B, 6), normalized_shape=(6,))
    assert counts(ops.problems_of(norm)) == (0, 48 * B, 4 * (12 * B + 12))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_region_counts_what_numpy_takes(shape: list[int], data: st.DataObject) -> None:
    ends = st.none() | st.integers(-7, 7)
    whole = st.tuples(ends, ends, st.none() | st.integers(1, 3)).map(lambda ends: slice(*ends))
    index = data.draw(st.lists(whole, max_size=len(shape)).map(tuple))
    if data.draw(st.booleans()):
        index = (0, *index[1:])
    written = tuple(("slice", i.start, i.stop, i.step) if isinstance(i, slice) else i for i in index)
    assert region(tuple(shape), written) == np.zeros(shape)[index].size


def test_symbolic_region() -> None:
    """``x[1:] = y`` and ``x[:, -2:] = 0`` on a batch of unknown size."""
    rest = layer(T + "__setitem__", {"self": (B, 5), "value": (B - 1, 5)}, (B, 5), indices=("slice", 1, None, None))
    assert counts(ops.problems_of(rest)) == (0, 0, 4 * (2 * (5 * B - 5)))
    tail = (("slice", None, None, None), ("slice", -2, None, None))
    assert counts(ops.problems_of(layer(T + "__setitem__", {"self": (B, 5)}, (B, 5), indices=tail))) == (0, 0, 8 * B)


def test_a_pool_over_all_of_a_symbolic_image() -> None:
    height = symbol("H")
    case = layer(F + "avg_pool2d", {"input": (2, 3, height, height)}, (2, 3, 1, 1), kernel_size=(height, height))
    assert counts(ops.problems_of(case)) == (0, 6 * height * height, 4 * (6 * height * height + 6))
    glob = layer(F + "adaptive_avg_pool2d", {"input": (2, 3, height, height)}, (2, 3, 1, 1), output_size=1)
    assert ops.problems_of(glob) == ops.problems_of(case)
    seven = layer(F + "adaptive_avg_pool2d", {"input": (2, 3, 7 * height, 7 * height)}, (2, 3, 7, 7), output_size=7)
    assert counts(ops.problems_of(seven)) == (0, 294 * height * height, 4 * (294 * height * height + 294))


def test_convolution_speaks_timeloop() -> None:
    case = layer(F + "conv2d", {"input": (2, 3, 9, 11), "weight": (4, 3, 3, 5)}, (2, 4, 4, 7), stride=(2, 1))
    (problem,) = ops.problems_of(case)
    assert problem.shape == {"C": 3, "M": 4, "R": 5, "S": 3, "N": 2, "P": 7, "Q": 4}
    inputs = problem.inputs[1]
    assert inputs.name == "Inputs"
    assert inputs.projection == ((("N", 1),), (("C", 1),), (("S", 1), ("Q", 2)), (("R", 1), ("P", 1)))
