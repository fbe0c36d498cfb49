"""Preprocessing: each step against the obvious way to do it, and every workload from raw data to output."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmsim.workloads.base import HostStep
from mmsim.workloads.preprocess import tokenizer
from mmsim.workloads.preprocess.lidar import BirdsEye, sweep
from mmsim.workloads.preprocess.mri import BrainCube
from mmsim.workloads.preprocess.picture import CAFFE_MEANS, Caffe, CentreCrop, Square, picture
from mmsim.workloads.preprocess.signals import ForceHistory, Window


def test_birds_eye_counts_points_as_a_histogram_does() -> None:
    points = sweep(2, points=3000)
    grid = BirdsEye(256)(points)
    assert grid.shape == (2, 2, 256, 256)
    for sample, bands in zip(points.numpy(), grid.numpy(), strict=True):
        for band, chosen in enumerate((sample[:, 2] > -2.0, sample[:, 2] <= -2.0)):
            right, ahead, _ = sample[chosen].T
            edges = np.linspace(-16, 16, 257), np.linspace(0, 32, 257)
            counts, *_ = np.histogram2d(right, ahead, bins=edges)
            expected = np.minimum(counts, 5) / 5
            np.testing.assert_allclose(bands[band], expected.T[::-1], rtol=1e-6)


def test_points_outside_the_grid_do_not_count() -> None:
    outside = torch.tensor([[[0.0, -1.0, 0.0], [0.0, 33.0, 0.0], [17.0, 1.0, 0.0], [-17.0, 1.0, 0.0]]])
    assert BirdsEye(256)(outside).sum() == 0


def test_brain_cube_is_the_obvious_crop() -> None:
    """A brain of 20 x 24 x 30 voxels, cut by a cube of 32 about its centre and standardised scan by scan."""
    volume = torch.zeros(1, 2, 60, 60, 60, dtype=torch.int16)
    brain = (slice(10, 30), slice(5, 29), slice(30, 60))
    volume[0, :, *brain] = torch.randint(1, 1000, (2, 20, 24, 30), dtype=torch.int16)
    cube = BrainCube(32)(volume)[0]
    # centres 20, 17 and 45: the cube would start at 4, 1 and 29, the last moved back to 60 - 32
    expected = volume[0, :, 4:36, 1:33, 28:60].double()
    for scan, cut in zip(expected, cube, strict=True):
        inside = scan != 0
        values = scan[inside]
        scan[inside] = (values - values.mean()) / values.std(correction=0)
        torch.testing.assert_close(cut.double(), scan, rtol=1e-4, atol=1e-5)


def test_brain_cubes_of_a_batch_are_cut_apart() -> None:
    volume = torch.zeros(2, 1, 50, 50, 50, dtype=torch.int16)
    volume[0, 0, 2:8, 2:8, 2:8] = 7
    volume[1, 0, 40:48, 40:48, 40:48] = torch.arange(1, 513, dtype=torch.int16).reshape(8, 8, 8)
    cubes = BrainCube(32)(volume)
    assert (cubes[1] != 0).sum() == 512
    torch.testing.assert_close(cubes[1:], BrainCube(32)(volume[1:]))


def test_square_keeps_a_flat_picture_flat() -> None:
    flat = torch.full((1, 960, 640, 3), 77, dtype=torch.uint8)
    out = Square(224)(flat)
    assert out.shape == (1, 3, 224, 224)
    torch.testing.assert_close(out, torch.full_like(out, 77.0))


def test_square_takes_the_middle() -> None:
    """Of a 4 x 8 picture whose middle is bright, only the middle is left."""
    wide = torch.zeros(1, 4, 8, 3, dtype=torch.uint8)
    wide[:, :, 2:6] = 200
    assert Square(2)(wide).eq(200).all()


def test_centre_crop() -> None:
    camera = picture(1, 300, 400)
    assert torch.equal(CentreCrop(256)(camera)[0, 1].byte(), camera[0, 22:278, 72:328, 1])


def test_caffe_swaps_red_and_blue() -> None:
    rgb = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None]
    torch.testing.assert_close(Caffe()(rgb).flatten(), torch.tensor([3.0, 2.0, 1.0]) - torch.tensor(CAFFE_MEANS))


def test_signals() -> None:
    history = torch.randn(2, 50, 6)
    assert torch.equal(ForceHistory()(history)[1, 4], history[1, 18:, 4].tanh())
    recorded = torch.rand(2, 20, 7)
    assert torch.equal(Window(16, (7,))(recorded), (recorded[:, 4:] - 0.5) / 0.25)


@pytest.mark.parametrize(
    ("kind", "vocabulary"), [(tokenizer.bert, 30_522), (tokenizer.albert, 30_000), (tokenizer.roberta, 50_265)]
)
def test_tokenizers_have_the_true_vocabulary_and_lose_nothing(kind: tokenizer.Kind, vocabulary: int) -> None:
    known = kind()
    assert known.get_vocab_size() == vocabulary
    (sentence,) = tokenizer.sentences(1, 40)
    pieces = known.encode(sentence).tokens
    assert (pieces[0], pieces[-1]) == ("[CLS]", "[SEP]")
    assert "[UNK]" not in pieces
    assert "".join(pieces[1:-1]).translate(str.maketrans("", "", "▁Ġ#")) == sentence.replace(" ", "")


def test_tokenising_cuts_and_pads() -> None:
    step = tokenizer.tokenise("text", tokenizer.bert, batch=3, length=20, word_count=5)
    assert isinstance(step, HostStep)
    inputs = step.run()
    assert {name: tuple(x.shape) for name, x in inputs.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), (3, 20)
    )
    assert torch.equal(inputs["attention_mask"], (inputs["input_ids"] != 0).long())
    assert step.seconds(1) > 0
    cut = tokenizer.tokenise("text", tokenizer.bert, batch=1, length=4, word_count=50).run()
    assert cut["attention_mask"].tolist() == [[1, 1, 1, 1]]
